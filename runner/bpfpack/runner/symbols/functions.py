"""The functions of a program or library by address."""

import struct
from array import array
from bisect import bisect_right
from typing import Final, TypeAlias

from bpfpack.runner.attach.symbols import ElfFile
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS

_FUNCTIONS: Final = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
_GLOBAL: Final = 1 << 4  # STB_GLOBAL in st_info; STB_LOCAL is 0, STB_WEAK 2
_WIDE: Final = 24  # bytes of a symbol of 64 bits

#: Address, `_GLOBAL` or 0, size, where the name is.
_Row: TypeAlias = tuple[int, int, int, int]


class FunctionTable:
    """What a file calls its functions; ``count`` of them.

    Offsets are those in the file, where they are the same wherever it is loaded.
    """

    def __init__(self, elf: ElfFile) -> None:
        """Read the symbols; raises SpecError, LimitExceeded."""
        self._elf = elf
        rows, self._names = _rows(elf)
        self._starts = array("Q", (row[0] for row in rows))
        self._sizes = array("Q", (row[2] for row in rows))
        self._at = array("I", (row[3] for row in rows))
        self.count: Final = len(rows)

    def find(self, offset: int, *, called: bool = False) -> tuple[str, int] | None:
        """Return the function at an offset in the file, and how far inside it that is.

        ``called``: the offset is where a call returns to, perhaps behind its function's end.
        """
        address = self._elf.address_at(offset - called)
        if address is None:
            return None
        place = bisect_right(self._starts, address) - 1
        if place < 0:
            return None
        start, size = self._starts[place], self._sizes[place]
        # Functions written by hand in assembly have no size.
        if size and address >= start + size:
            return None
        return _name(self._names, self._at[place]), address + called - start


def read_functions(fd: int) -> FunctionTable | None:
    """Return the functions of an open file, None when it says none that can be read."""
    try:
        table = FunctionTable(ElfFile(fd))
    except SpecError:
        return None
    return table if table.count else None


def _rows(elf: ElfFile) -> tuple[list[_Row], bytes]:
    """The functions by address, one for each, and the names that they point into."""
    for symbols, names, layout in elf.symbol_tables():
        if rows := _functions(symbols, layout, len(names)):
            rows.sort()
            return _best(rows, names), names
    return [], b""


def _functions(symbols: bytes, layout: str, names: int) -> list[_Row]:
    """The functions that are defined here and have a name."""
    if len(symbols) // _WIDE > LIMITS.stack_symbols:
        raise LimitExceeded(f"more than {LIMITS.stack_symbols} symbols")
    rows = struct.iter_unpack(layout, symbols)
    if struct.calcsize(layout) == _WIDE:
        return [
            (value, info & _GLOBAL, size, name)
            for name, info, _, section, value, size in rows
            if info & 15 in _FUNCTIONS and section and 0 < name < names
        ]
    return [
        (value, info & _GLOBAL, size, name)
        for name, value, size, info, _, section in rows
        if info & 15 in _FUNCTIONS and section and 0 < name < names
    ]


def _best(rows: list[_Row], names: bytes) -> list[_Row]:
    """Of several names for one address the one that people use: "read", not "__read"."""
    found: list[_Row] = []
    for row in rows:
        if not found or found[-1][0] != row[0]:
            found.append(row)
        elif _rank(row, names) > _rank(found[-1], names):
            found[-1] = row
    return found


def _rank(row: _Row, names: bytes) -> tuple[bool, int, int]:
    _, is_global, size, name = row
    underscores = names.startswith(b"_", name) + names.startswith(b"__", name)
    return size > 0, -underscores, is_global


def _name(names: bytes, start: int) -> str:
    end = names.find(b"\0", start, start + LIMITS.elf_name)
    return names[start : end if end >= 0 else start + LIMITS.elf_name].decode(errors="replace")
