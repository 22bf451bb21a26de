"""What iterators print, as lines: as they are, or as JSON."""

from collections.abc import Callable, Iterator
from typing import Literal

from bpfpack.spec.errors import UsageError
from bpfpack.spec.safetext import json_string, printable

Shape = Literal["table", "json", "raw"]


class TextSampler:
    """Reads a text once each time; ``alone`` is False when there are other outputs.

    As a table its lines, in which nothing disturbs a terminal; as JSON ``{"line":...}`` each,
    after ``"output":NAME`` where there are others; raw the very bytes.
    """

    def __init__(self, shape: Shape, name: str, read: Callable[[], bytes], *, alone: bool) -> None:
        self._shape, self._name, self._read, self._alone = shape, name, read, alone

    def sample(self) -> bytes:
        """See `bpfpack.runner.events.loop.Sampler`."""
        text = self._read()
        if self._shape == "raw":
            return text
        return "".join(f"{line}\n" for line in self._lines(text)).encode()

    def _lines(self, text: bytes) -> Iterator[str]:
        lines = text.decode(errors="replace").split("\n")
        if not lines[-1]:
            del lines[-1]
        if self._shape == "json":
            first = "" if self._alone else f'"output":{json_string(self._name)},'
            for line in lines:
                yield f'{{{first}"line":{json_string(line)}}}'
            return
        if not self._alone:
            yield f"{self._name}:"
        for line in lines:
            yield printable(line.expandtabs(), len(line) * 8)


def check_shape(name: str, shape: str) -> Shape:
    """Return ``shape`` when a text can have it; raises UsageError."""
    match shape:
        case "table" | "json" | "raw":
            return shape
        case _:
            raise UsageError(f"{name} is text: it is shown as table, json or raw, not as {shape}")
