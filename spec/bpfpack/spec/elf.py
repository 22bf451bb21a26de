"""ELF64 relocatable objects for BPF, as the gABI and LLVM lay them out.

`NamedTuple` and not dataclasses: this module is on the way of every start, and a frozen
slotted dataclass costs 0.3 ms to define, six times as much (CPython 3.11).
"""

import struct
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS

ByteOrder = Literal["little", "big"]

EM_BPF: Final = 247

SHT_PROGBITS: Final = 1
SHT_SYMTAB: Final = 2
SHT_NOBITS: Final = 8
SHT_REL: Final = 9
SHF_EXECINSTR: Final = 0x4
_SHF_COMPRESSED: Final = 0x800
SHN_UNDEF: Final = 0
_SHN_XINDEX: Final = 0xFFFF

STT_NOTYPE: Final = 0
STT_OBJECT: Final = 1
STT_FUNC: Final = 2
STB_LOCAL: Final = 0
STB_WEAK: Final = 2

_ET_REL: Final = 1
_IDENT: Final = 16
_HEADER_SIZE: Final = 64
_SECTION_SIZE: Final = 64
_SYMBOL_SIZE: Final = 24
_REL_SIZE: Final = 16


class Section(NamedTuple):
    """One section; ``data`` is empty for NOBITS, whose ``size`` is what it takes in memory."""

    number: int
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    entry_size: int
    data: bytes


class Symbol(NamedTuple):
    """One entry of the symbol table; ``section`` is an index, 0 when undefined."""

    name: str
    bind: int
    type: int
    section: int
    value: int
    size: int


class Relocation(NamedTuple):
    """One REL entry: ``offset`` in the section, ``symbol`` an index into the symbols."""

    offset: int
    symbol: int
    type: int


class Elf:
    """A parsed object: every offset and size in it lies inside the file.

    Symbols and relocations are read when first asked for, and raise SpecError then.
    """

    __slots__ = ("_by_name", "_prefix", "_symbols", "_tables", "byte_order", "sections")

    def __init__(self, byte_order: ByteOrder, sections: tuple[Section, ...]) -> None:
        self.byte_order: Final = byte_order
        self.sections: Final = sections
        self._prefix = "<" if byte_order == "little" else ">"
        self._by_name: dict[str, Section] = {}
        for section in sections[1:]:
            self._by_name.setdefault(section.name, section)
        self._symbols: tuple[Symbol, ...] | None = None
        self._tables: dict[int, list[Section]] = {}
        for section in sections:
            if section.type == SHT_REL:
                self._tables.setdefault(section.info, []).append(section)

    @classmethod
    def parse(cls, data: bytes) -> "Elf":
        """Parse a BPF object; raises SpecError for anything else.

        >>> Elf.parse(b"#!/bin/sh")
        Traceback (most recent call last):
        ...
        bpfpack.spec.errors.SpecError: not an ELF file
        """
        if len(data) > LIMITS.object:
            raise LimitExceeded(f"object is larger than {LIMITS.object} bytes")
        byte_order = _identify(data)
        return cls(byte_order, _sections(data, "<" if byte_order == "little" else ">"))

    def section(self, name: str) -> Section | None:
        """Return the first section of that name."""
        return self._by_name.get(name)

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbol table, in its order; empty when there is none."""
        if self._symbols is None:
            self._symbols = self._read_symbols()
        return self._symbols

    def relocations(self, section: Section) -> tuple[Relocation, ...]:
        """Return the relocations that apply to ``section``, in their order."""
        tables = self._tables.get(section.number, ())
        if len(tables) > 1:
            raise SpecError("relocated by two tables", path=("elf", section.name))
        return self._read_relocations(tables[0], section.size) if tables else ()

    def _read_symbols(self) -> tuple[Symbol, ...]:
        tables = [s for s in self.sections if s.type == SHT_SYMTAB]
        if not tables:
            return ()
        if len(tables) > 1:
            raise SpecError("more than one symbol table", path=("elf",))
        table = tables[0]
        _check_entries(table, _SYMBOL_SIZE)
        if table.size // _SYMBOL_SIZE > LIMITS.elf_symbols:
            raise LimitExceeded(f"more than {LIMITS.elf_symbols} symbols", path=("elf", table.name))
        if not 0 < table.link < len(self.sections):
            raise SpecError("symbol table without strings", path=("elf", table.name))
        strings, count = self.sections[table.link].data, len(self.sections)
        found: list[Symbol] = []
        for entry in struct.iter_unpack(f"{self._prefix}IBBHQQ", table.data):
            name, info, _, section, value, size = entry
            # 0xff00 and above are reserved: SHN_ABS, SHN_COMMON and the like.
            if count <= section < 0xFF00 or section == _SHN_XINDEX:
                raise SpecError(
                    f"symbol {len(found)} in a section that is not there", path=("elf",)
                )
            symbol = Symbol(_name(strings, name), info >> 4, info & 15, section, value, size)
            found.append(symbol)
        return tuple(found)

    def _read_relocations(self, table: Section, size: int) -> tuple[Relocation, ...]:
        path = ("elf", table.name)
        _check_entries(table, _REL_SIZE)
        if table.size // _REL_SIZE > LIMITS.elf_relocations:
            raise LimitExceeded(f"more than {LIMITS.elf_relocations} relocations", path=path)
        count = len(self.symbols)
        entries: list[Relocation] = []
        for offset, info in struct.iter_unpack(f"{self._prefix}QQ", table.data):
            if offset >= size or info >> 32 >= count:
                raise SpecError(f"relocation {len(entries)} out of range", path=path)
            entries.append(Relocation(offset, info >> 32, info & 0xFFFFFFFF))
        return tuple(entries)


def _identify(data: bytes) -> ByteOrder:
    if data[:4] != b"\x7fELF":
        raise SpecError("not an ELF file")
    if len(data) < _HEADER_SIZE:
        raise SpecError("shorter than its header", path=("elf",))
    if data[4] != 2:
        raise SpecError("not a 64-bit ELF file", path=("elf",))
    if data[5] not in (1, 2):
        raise SpecError(f"unknown byte order {data[5]}", path=("elf",))
    if data[6] != 1:
        raise SpecError(f"unknown ELF version {data[6]}", path=("elf",))
    return "little" if data[5] == 1 else "big"


def _sections(data: bytes, prefix: str) -> tuple[Section, ...]:
    """Read the section headers; every extent is inside the file and none overlap."""
    header = struct.unpack_from(f"{prefix}HHIQQQIHHHHHH", data, _IDENT)
    kind, machine, _, _, _, table, _, _, _, _, entry_size, count, names_index = header
    if machine != EM_BPF:
        raise SpecError(f"for machine {machine}, not for BPF ({EM_BPF})", path=("elf",))
    if kind != _ET_REL:
        raise SpecError("not a relocatable object", path=("elf",))
    if entry_size != _SECTION_SIZE or table < _HEADER_SIZE or table + _SECTION_SIZE > len(data):
        raise SpecError("no section headers", path=("elf",))
    layout = struct.Struct(f"{prefix}IIQQQQIIQQ")
    first = layout.unpack_from(data, table)
    # gABI, "ELF Header": numbers too large for 16 bits are in section 0.
    count = count or first[5]
    names_index = first[6] if names_index == _SHN_XINDEX else names_index
    if count > LIMITS.elf_sections:
        raise LimitExceeded(f"more than {LIMITS.elf_sections} sections", path=("elf",))
    end = table + count * _SECTION_SIZE
    if end > len(data):
        raise SpecError("section headers outside the file", path=("elf",))
    headers = list(layout.iter_unpack(data[table:end]))
    if not 0 < names_index < count:
        raise SpecError("no section names", path=("elf",))
    _check_extents(headers, (table, end), len(data))
    _, kind, _, _, start, size, *_ = headers[names_index]
    names = b"" if kind == SHT_NOBITS else data[start : start + size]
    return tuple(_section(data, names, i, fields) for i, fields in enumerate(headers))


def _check_extents(headers: list[tuple[int, ...]], table: tuple[int, int], length: int) -> None:
    extents = [(0, _HEADER_SIZE, "header"), (*table, "section headers")]
    for index, (_, kind, _, _, offset, size, *_) in enumerate(headers):
        if index == 0 or kind in (0, SHT_NOBITS) or size == 0:
            continue
        if offset + size > length:
            raise SpecError("outside the file", path=("elf", f"section {index}"))
        extents.append((offset, offset + size, f"section {index}"))
    extents.sort(key=lambda e: (e[0], -e[1]))
    for (_, end, before), (start, _, name) in pairwise(extents):
        if start < end:
            raise SpecError(f"overlaps the {before}", path=("elf", name))


def _section(data: bytes, names: bytes, index: int, fields: tuple[int, ...]) -> Section:
    name_offset, kind, flags, address, offset, size, link, info, _, entry_size = fields
    name = _name(names, name_offset) if index else ""
    if flags & _SHF_COMPRESSED and not name.startswith(".debug"):
        raise SpecError("compressed section", path=("elf", name))
    content = b"" if index == 0 or kind in (0, SHT_NOBITS) else data[offset : offset + size]
    return Section(index, name, kind, flags, address, offset, size, link, info, entry_size, content)


def _check_entries(table: Section, size: int) -> None:
    if table.entry_size != size or len(table.data) % size:
        raise SpecError(f"entries are not {size} bytes each", path=("elf", table.name))


def _name(strings: bytes, offset: int) -> str:
    """Return the NUL-terminated name at ``offset``."""
    if offset == 0:
        return ""
    end = strings.find(b"\0", offset, offset + LIMITS.elf_name + 1)
    if end < 0:
        if len(strings) - offset > LIMITS.elf_name:
            raise LimitExceeded(f"name longer than {LIMITS.elf_name} bytes", path=("elf",))
        raise SpecError("name outside its string table", path=("elf",))
    try:
        return strings[offset:end].decode()
    except UnicodeDecodeError as e:
        raise SpecError("name is not UTF-8", path=("elf",)) from e
