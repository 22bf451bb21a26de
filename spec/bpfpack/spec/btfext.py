"""``.BTF.ext``: which source line an instruction comes from."""

import struct
from bisect import bisect_right
from typing import NamedTuple

from bpfpack.spec.btf import Btf
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import SpecError

_PATH = (".BTF.ext",)
_HEADER_SIZE = 24


class Line(NamedTuple):
    """A line of source; the text is what the compiler kept of it."""

    file: str
    number: int
    column: int
    text: str


class LineInfo:
    """The lines of every section that has code."""

    __slots__ = ("_btf", "_sections")

    def __init__(self, btf: Btf, sections: dict[str, list[tuple[int, ...]]]) -> None:
        self._btf, self._sections = btf, sections

    @classmethod
    def parse(cls, data: bytes, btf: Btf, byte_order: ByteOrder) -> "LineInfo":
        """Parse the content of ``.BTF.ext``; raises SpecError."""
        prefix = "<" if byte_order == "little" else ">"
        if len(data) < _HEADER_SIZE:
            raise SpecError("shorter than its header", path=_PATH)
        magic, version, _, length = struct.unpack_from(f"{prefix}HBBI", data)
        if magic != 0xEB9F or version != 1:
            raise SpecError(f"not BTF in {byte_order}-endian order", path=_PATH)
        start, size = struct.unpack_from(f"{prefix}II", data, 16)
        if length < _HEADER_SIZE or length + start + size > len(data):
            raise SpecError("parts outside it", path=_PATH)
        part = data[length + start : length + start + size]
        return cls(btf, dict(_parts(part, btf, prefix)) if part else {})

    def line_of(self, section: str, offset: int) -> Line | None:
        """Return the line of the instruction at ``offset`` bytes into ``section``."""
        records = self._sections.get(section, [])
        at = bisect_right(records, offset, key=lambda r: r[0]) - 1
        if at < 0:
            return None
        _, file, text, place = records[at]
        string = self._btf.string
        return Line(string(file), place >> 10, place & 0x3FF, string(text).strip())


def _parts(part: bytes, btf: Btf, prefix: str) -> "list[tuple[str, list[tuple[int, ...]]]]":
    """Split the line records by section."""
    if len(part) < 4:
        raise SpecError("line records cut short", path=_PATH)
    (size,) = struct.unpack_from(f"{prefix}I", part)
    if size < 16 or size % 4:
        raise SpecError(f"line records of {size} bytes", path=_PATH)
    layout, at, found = struct.Struct(f"{prefix}IIII{size - 16}x"), 4, []
    while at < len(part):
        if at + 8 > len(part):
            raise SpecError("line records cut short", path=_PATH)
        name, count = struct.unpack_from(f"{prefix}II", part, at)
        at, end = at + 8, at + 8 + count * size
        if not count or end > len(part):
            raise SpecError("line records outside it", path=_PATH)
        found.append((btf.string(name), sorted(layout.iter_unpack(part[at:end]))))
        at = end
    return found
