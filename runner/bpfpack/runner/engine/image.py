"""The image of tables that drives the engine: its structs, and how they come to their addresses.

The same layouts as ``runner/engine/table.h``, in its order and with its names.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from bpfpack.spec.errors import SpecError

TEXT: Final = struct.Struct("<2I")
FIELD: Final = struct.Struct("<5I8BI")
LABEL: Final = struct.Struct("<2Q2I")
LABELS: Final = struct.Struct("<q4I")
FLAGS: Final = struct.Struct("<16I")
OP: Final = struct.Struct("<2I6BH6I")
TYPE: Final = struct.Struct("<4IQ2I")
CASE: Final = struct.Struct("<2Q2I")
RANGE: Final = struct.Struct("<2I")
ZONE: Final = struct.Struct("<2q")
NUMBER: Final = struct.Struct("<I")
PROGRAM: Final = struct.Struct("<4q26I2q24s8s")

#: What an image may have: the engine's memory has 4 GiB for everything.
_MOST: Final = 1 << 28
_WORD: Final = 8
#: Copying a text reads so much behind it.
_BEHIND: Final = 16
_U64: Final = (1 << 64) - 1


class Text(NamedTuple):
    """``struct bp_text``."""

    at: int
    size: int


class Table(NamedTuple):
    """So many structs of one kind, one after the other."""

    at: int
    length: int


def wide(number: int) -> tuple[int, int]:
    """A number as ``struct bp_wide``: two's complement of 128 bits, the low half first."""
    return number & _U64, number >> 64 & _U64


class Image:
    """Puts tables one after the other; the head, whose size is known, comes first."""

    def __init__(self, at: int) -> None:
        """Lie at address ``at``, a multiple of 8."""
        if at < 0 or at % _WORD:
            raise ValueError("an image begins at a multiple of 8")
        self._at = at
        self._data = bytearray(PROGRAM.size)
        self._texts: dict[bytes, Text] = {}

    def bytes_(self, data: bytes | bytearray) -> int:
        """Put bytes, aligned; return their address."""
        self._data.extend(bytes(-len(self._data) % _WORD))
        at = self._at + len(self._data)
        self._data += data
        if at + len(data) > 0xFFFF_0000 or len(self._data) > _MOST:
            raise SpecError("too much to show")
        return at

    def table(self, kind: struct.Struct, rows: Iterable[Sequence[int]]) -> Table:
        """Put structs."""
        packed = [kind.pack(*row) for row in rows]
        return Table(self.bytes_(b"".join(packed)), len(packed))

    def text(self, text: str | bytes) -> Text:
        """Put a text, once."""
        data = text.encode() if isinstance(text, str) else text
        found = self._texts.get(data)
        if found is None:
            at = self.bytes_(data + bytes(_BEHIND))
            found = self._texts[data] = Text(at, len(data))
        return found

    def finish(self, *head: int | bytes) -> bytes:
        """Return the image with its head."""
        PROGRAM.pack_into(self._data, 0, *head)
        return bytes(self._data)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self._data)
