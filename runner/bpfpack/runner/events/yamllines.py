"""A row of raw values as a YAML 1.2 document, by pieces made once for each type.

Structs and arrays of structs are blocks, arrays of numbers stand on one line.  Text is always in
quotes, so that no parser takes ``no`` or ``1:30`` for something else.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from bpfpack.runner.events.jsonlines import PLACE, Tree, dump, tree_of
from bpfpack.runner.events.rows import Column
from bpfpack.runner.events.values import Value
from bpfpack.spec.record import Field
from bpfpack.spec.safetext import json_string

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Words that YAML 1.1 and 1.2 take for something else than text.
_WORDS: Final = frozenset(
    ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf")
)
#: JSON's way to escape what is beyond the basic plane; YAML has one of its own.
_PAIR: Final = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")
_STEP: Final = "  "


def yaml_string(text: str) -> str:
    r"""Text in quotes, safe to show.

    >>> yaml_string("a\U000e0001")
    '"a\\U000e0001"'
    """
    quoted = json_string(text)
    if "\\u" in quoted:
        # An escaped backslash before "ud83d" is text that somebody wrote.
        return "\\\\".join(_PAIR.sub(_one, part) for part in quoted.split("\\\\"))
    return quoted


def _one(match: re.Match[str]) -> str:
    high, low = int(match[1], 16), int(match[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + low - 0xDC00:08x}"


def yaml_value(value: Value) -> str:
    """A value on one line.

    >>> yaml_value([1, None, "a", 1e20])
    '[1,null,"a",1.0e+20]'
    """
    if isinstance(value, float):  # YAML 1.1 has no number without a point
        text = dump(value)
        return text if "." in text else text.replace("e", ".0e")
    if isinstance(value, str):
        return yaml_string(value)
    if isinstance(value, list):
        return "[" + ",".join(map(yaml_value, value)) + "]"
    return dump(value)


def yaml_pieces(fields: Sequence[Field], first: Sequence[tuple[str, str]] = ()) -> list[str]:
    """What stands before, between and after the values of a document.

    ``first`` are members that come before them.  Raises SpecError as `json_pieces` does.
    """
    lines = [f"{_key(name)}: {yaml_string(value)}\n" for name, value in first]
    body = "".join(lines) + _block(tree_of(fields), "")
    return ("---\n" + (body or "{}\n")).split(PLACE)


def yaml_unknown(first: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """What stands before and after the digits of a record of no known type."""
    lines = [f"{_key(name)}: {yaml_string(value)}\n" for name, value in first]
    return "---\n" + "".join(lines) + 'unknown: "', '"\n'


class YamlRow:
    """Turns the raw values of one type's columns into a document; see `yaml_pieces`."""

    def __init__(self, columns: Sequence[Column], first: Sequence[tuple[str, str]] = ()) -> None:
        self._values = [c.value for c in columns]
        *self._pieces, self._last = yaml_pieces([c.field for c in columns], first)

    def __call__(self, raws: Sequence[Any]) -> str:
        """The document; a missing value is null."""
        shown = [
            piece + yaml_value(raw if value is None or raw is None else value(raw))
            for piece, value, raw in zip(self._pieces, self._values, raws, strict=True)
        ]
        return "".join((*shown, self._last))


def _block(tree: Tree, indent: str) -> str:
    """Lines of members, or of the elements of an array."""
    if all(isinstance(step, int) for step in tree):
        return "".join(_item(inside, indent) for inside in tree.values())
    return "".join(_member(str(name), inside, indent) for name, inside in tree.items())


def _member(name: str, inside: "Tree | int", indent: str) -> str:
    if isinstance(inside, int):
        return f"{indent}{_key(name)}: {PLACE}\n"
    return f"{indent}{_key(name)}:\n{_block(inside, indent + _STEP)}"


def _item(inside: "Tree | int", indent: str) -> str:
    if isinstance(inside, int):
        return f"{indent}- {PLACE}\n"
    # The first line of the element stands behind the dash.
    return f"{indent}- " + _block(inside, indent + _STEP).removeprefix(indent + _STEP)


def _key(name: str) -> str:
    if _PLAIN.fullmatch(name) and name.lower() not in _WORDS:
        return name
    return yaml_string(name)
