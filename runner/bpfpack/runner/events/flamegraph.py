"""A flame graph: counted stacks as one SVG, which needs nothing but a browser.

The outermost function is at the bottom, as wide as it was seen often; what it called stands on
it, sorted by name.  Resting on a frame tells its whole name and its share; a browser finds
names in the page, those that are cut short included.  There is no script in it and nothing is
fetched, so that a picture of somebody else's processes can be opened without a thought.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple
from zlib import crc32

from bpfpack.spec.safetext import printable

Kind = Literal["all", "label", "user", "kernel", "missed"]

_WIDTH: Final = 1200.0
_SIDE: Final = 10.0
_ROW: Final = 17
_ABOVE: Final = 60
_BELOW: Final = 12
#: The narrowest frame that is drawn, and the narrowest with a name in it, in pixels.
_DRAWN: Final = 0.2
_NAMED: Final = 18.0
#: Characters of a name that are shown: C++ has names of many thousands.
_NAME: Final = 512
#: Hue, from and to, and saturation by kind: people tell kernel and process at a glance.
_HUES: Final[dict[Kind, tuple[int, int, int]]] = {
    "all": (210, 210, 15),
    "label": (195, 215, 45),
    "user": (0, 40, 85),
    "kernel": (95, 150, 45),
    "missed": (0, 0, 0),
}
_STYLE: Final = (
    "text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#111;pointer-events:none}"
    ".title{font-size:16px;font-weight:bold}.note{fill:#555}"
    "rect{stroke:#fff;stroke-width:.5}g:hover>rect{stroke:#111;stroke-width:1.5}"
)
_ENTITIES: Final = str.maketrans(
    {
        **{"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"},
        # The two that printable text may hold and XML may not (XML 1.0, 2.2).
        **{"\ufffe": "\\ufffe", "\uffff": "\\uffff"},
    }
)


class Step(NamedTuple):
    """One frame of a stack, or a label below all of them."""

    text: str
    kind: Kind


class _Node:
    """A frame and those on it; ``value`` is how often it was seen."""

    __slots__ = ("above", "step", "value")

    def __init__(self, step: Step) -> None:
        self.step, self.value = step, 0
        self.above: dict[Step, _Node] = {}


class _Box(NamedTuple):
    node: _Node
    depth: int
    start: int


def flamegraph(
    stacks: Iterable[tuple[Sequence[Step], int]], *, title: str, notes: Sequence[str] = ()
) -> str:
    """Return the SVG of stacks, each from the outermost step, and how often it was seen."""
    root = _tree(stacks)
    scale = (_WIDTH - 2 * _SIDE) / max(root.value, 1)
    boxes = list(_boxes(root, scale))
    height = _ABOVE + _ROW * (1 + max(box.depth for box in boxes)) + _BELOW
    counted = f"{root.value} sample{'' if root.value == 1 else 's'}"
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height}" '
            f'width="100%" role="img" aria-label="{_escaped(title)}">\n<style>{_STYLE}</style>\n',
            '<rect width="100%" height="100%" fill="#fff"/>\n',
            f'<text class="title" x="{_SIDE:g}" y="24">{_escaped(title)}</text>\n',
            f'<text class="note" x="{_SIDE:g}" y="44">{_escaped("; ".join((counted, *notes)))}'
            "</text>\n",
            *(_frame(box, scale, height, root.value) for box in boxes),
            "</svg>",
        ]
    )


def _tree(stacks: Iterable[tuple[Sequence[Step], int]]) -> _Node:
    root = _Node(Step("all", "all"))
    for steps, count in stacks:
        node = root
        node.value += count
        for step in steps:
            node = node.above.setdefault(step, _Node(step))
            node.value += count
    return root


def _boxes(root: _Node, scale: float) -> Iterator[_Box]:
    """Where each frame is; without recursion, since stacks may be deep."""
    waiting = [_Box(root, 0, 0)]
    while waiting:
        box = waiting.pop()
        yield box
        start = box.start
        for step in sorted(box.node.above):
            node = box.node.above[step]
            if node.value * scale >= _DRAWN:
                waiting.append(_Box(node, box.depth + 1, start))
            start += node.value


def _frame(box: _Box, scale: float, height: int, total: int) -> str:
    node, x = box.node, _SIDE + box.start * scale
    y, wide = height - _BELOW - _ROW * (box.depth + 1), node.value * scale
    name = _escaped(node.step.text)
    times = f"{node.value} sample{'' if node.value == 1 else 's'}"
    share = f"{node.value / max(total, 1):.2%}"
    # A nested picture cuts off what is longer than its frame.
    text = (
        f'<svg x="{x:.2f}" y="{y}" width="{wide - 2:.2f}" height="{_ROW}">'
        f'<text x="3" y="13">{name}</text></svg>'
        if wide >= _NAMED
        else ""
    )
    return (
        f"<g><title>{name} ({times}, {share})</title>"
        f'<rect x="{x:.2f}" y="{y}" width="{wide:.2f}" height="{_ROW - 1}" '
        f'fill="{_colour(node.step)}"/>{text}</g>\n'
    )


def _colour(step: Step) -> str:
    """The same for the same name, whatever else is in the picture."""
    low, high, saturation = _HUES[step.kind]
    number = crc32(step.text.encode("utf-8", "replace"))
    return f"hsl({low + number % (high - low + 1)},{saturation}%,{70 + number // 997 % 12}%)"


def _escaped(text: str) -> str:
    return printable(text, _NAME).translate(_ENTITIES)
