"""The functions of a program or library by address."""

import hashlib
import struct
from array import array
from bisect import bisect_right
from typing import Final, NamedTuple, TypeAlias

from bpfpack.runner.attach.symbols import Code, ElfFile
from bpfpack.spec.errors import LimitExceeded
from bpfpack.spec.limits import LIMITS

_FUNCTIONS: Final = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
_GLOBAL: Final = 1 << 4  # STB_GLOBAL in st_info; STB_LOCAL is 0, STB_WEAK 2
_WIDE: Final = 24  # bytes of a symbol of 64 bits

#: Address, `_GLOBAL` or 0, size, where the name is.
_Row: TypeAlias = tuple[int, int, int, int]


class Symbols(NamedTuple):
    """A table of symbols as a file holds it, and their names."""

    rows: bytes
    names: bytes
    layout: str

    @classmethod
    def of(cls, elf: ElfFile, *, exported: bool) -> "Symbols | None":
        """All symbols of a file, or those that it exports; raises SpecError, LimitExceeded."""
        found = elf.symbol_table(exported=exported, most=LIMITS.stack_table)
        if found is None:
            return None
        if len(found[0]) // struct.calcsize(found[2]) > LIMITS.stack_symbols:
            raise LimitExceeded(f"more than {LIMITS.stack_symbols} symbols")
        return cls(*found)

    @property
    def digest(self) -> bytes:
        """Tells it from any other."""
        made = hashlib.blake2b(self.layout.encode(), digest_size=20)
        for part in (self.rows, self.names):
            made.update(len(part).to_bytes(8, "little"))
            made.update(part)
        return made.digest()


class FunctionTable:
    """What a table of symbols calls functions, by their addresses; ``count`` of them."""

    def __init__(self, symbols: Symbols) -> None:
        rows = _functions(symbols)
        rows.sort()
        rows = _best(rows, symbols.names)
        self._names = symbols.names if rows else b""
        self._starts = array("Q", (row[0] for row in rows))
        self._sizes = array("Q", (row[2] for row in rows))
        self._at = array("I", (row[3] for row in rows))
        self.count: Final = len(rows)

    @property
    def size(self) -> int:
        """The bytes that it takes."""
        return len(self._names) + 20 * self.count

    def find(self, address: int, *, called: bool = False) -> tuple[str, int] | None:
        """Return the function at an address, and how far inside it that is.

        ``called``: the address is where a call returns to, perhaps behind its function's end.
        """
        place = bisect_right(self._starts, address - called) - 1
        if place < 0:
            return None
        start, size = self._starts[place], self._sizes[place]
        # Functions written by hand in assembly have no size.
        if size and address - called >= start + size:
            return None
        return _name(self._names, self._at[place]), address - start


class FileFunctions(NamedTuple):
    """The functions of a file by offsets in it, which are the same wherever it is loaded."""

    table: FunctionTable
    code: Code
    build_id: bytes

    def find(self, offset: int, *, called: bool = False) -> tuple[str, int] | None:
        """Return the function at an offset, as `FunctionTable.find`."""
        address = self.code.address_at(offset - called)
        return None if address is None else self.table.find(address + called, called=called)


def _functions(symbols: Symbols) -> list[_Row]:
    """The functions that are defined here and have a name."""
    rows, names = struct.iter_unpack(symbols.layout, symbols.rows), len(symbols.names)
    if struct.calcsize(symbols.layout) == _WIDE:
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
    name = names[start : end if end >= 0 else start + LIMITS.elf_name].decode(errors="replace")
    # Debug files of libraries say which version: "read@@GLIBC_2.2.5".
    return name.partition("@")[0] or name
