"""Where a function lies in a program or library: ELF symbol tables, read with care.

The file belongs to whoever runs it, so every size is bounded, and it is read, never mapped: a
mapped file that is cut short meanwhile ends the process that looks at it.
"""

import os
import struct
from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS

_PT_LOAD: Final = 1
_PF_X: Final = 1
_SHT_SYMTAB: Final = 2
_SHT_DYNSYM: Final = 11
_SHT_VERSYM: Final = 0x6FFFFFFF
_SHT_NOTE: Final = 7
_SHT_NOBITS: Final = 8
# What tracepoints are noted by (sourceware.org/systemtap, "UserSpaceProbeImplementation").
_STAPSDT: Final = b"stapsdt\0"
_NT_STAPSDT: Final = 3
# include/uapi/linux/elf.h, NT_GNU_BUILD_ID.
_BUILD_ID: Final = (b"GNU\0", 3)
_SHN_UNDEF: Final = 0
_STT_FUNC: Final = 2
_STT_GNU_IFUNC: Final = 10
_STB_LOCAL: Final = 0
_STB_GLOBAL: Final = 1
_STB_WEAK: Final = 2
# A version that is there for old programs only ("name@VERSION", not "name@@VERSION").
_VERSYM_HIDDEN: Final = 0x8000
#: Sections of notes, and segments of code, that are looked at; linkers make fewer than 4.
_NOTED: Final = 16
_SEGMENTS: Final = 64
_CHUNK: Final = 1024 * 1024
_NEAR: Final = 3
_SHOWN: Final = 8


class _Shape(NamedTuple):
    """The layouts that differ between 32 and 64 bits."""

    header: str
    segment: str
    section: str
    symbol: str


_SHAPES: Final = {
    1: _Shape("HHIIIIIHHHHHH", "IIIIIIII", "IIIIIIIIII", "IIIBBH"),
    2: _Shape("HHIQQQIHHHHHH", "IIQQQQQQ", "IIQQQQIIQQ", "IBBHQQ"),
}


class _Segment(NamedTuple):
    offset: int
    address: int
    size: int


class Code(NamedTuple):
    """The parts of a file that are code."""

    segments: tuple[_Segment, ...]

    def address_at(self, offset: int) -> int | None:
        """Return the address of the code at an offset in the file, None where there is none."""
        for segment in self.segments:
            if segment.offset <= offset < segment.offset + segment.size:
                return offset - segment.offset + segment.address
        return None


class _Section(NamedTuple):
    name: int
    type: int
    offset: int
    size: int
    link: int


class _Symbol(NamedTuple):
    name: int
    info: int
    section: int
    value: int
    size: int


class ElfFile:
    """The parts of an ELF file that say where functions are."""

    def __init__(self, fd: int) -> None:
        """Read the headers; raises SpecError for what is no ELF file."""
        self._fd = fd
        ident = self._read(0, 16)
        shape = _SHAPES.get(ident[4])
        order = {1: "<", 2: ">"}.get(ident[5])
        if ident[:4] != b"\x7fELF" or shape is None or order is None:
            raise SpecError("is not an ELF file")
        self._wide, self.order = ident[4] == 2, order
        self._shape = _Shape(*(order + layout for layout in shape))
        head = self._unpack(self._shape.header, 16)
        self.machine: Final[int] = head[1]
        self._segments = tuple(self._read_segments(head[4], head[9]))
        self._sections = tuple(self._read_sections(head[5], head[11]))
        self._names_at: Final[int] = head[12]

    def _read(self, offset: int, size: int) -> bytes:
        if size > LIMITS.symbol_table:
            raise LimitExceeded(f"a table of more than {LIMITS.symbol_table} bytes")
        found = bytearray()
        while len(found) < size:
            try:
                part = os.pread(self._fd, min(size - len(found), _CHUNK), offset + len(found))
            except (OSError, OverflowError) as e:
                raise SpecError(f"cannot be read: {e}") from e
            if not part:
                raise SpecError("is an ELF file that was cut short")
            found += part
        return bytes(found)

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack(layout, self._read(offset, struct.calcsize(layout)))

    def _table(self, layout: str, offset: int, count: int) -> Iterator[tuple[int, ...]]:
        return struct.iter_unpack(layout, self._read(offset, struct.calcsize(layout) * count))

    def _read_segments(self, offset: int, count: int) -> Iterator[_Segment]:
        for row in self._table(self._shape.segment, offset, count):
            if self._wide:
                kind, flags, start, address, _, size, *_ = row
            else:
                kind, start, address, _, size, _, flags, _ = row
            if kind == _PT_LOAD and flags & _PF_X:
                yield _Segment(start, address, size)

    def _read_sections(self, offset: int, count: int) -> Iterator[_Section]:
        if not offset:
            return
        for row in self._table(self._shape.section, offset, count):
            yield _Section(name=row[0], type=row[1], offset=row[4], size=row[5], link=row[6])

    def function(self, name: str, inside: int = 0) -> int:
        """Return the offset in the file of the byte ``inside`` a function; raises SpecError.

        Of several symbols of the name a global one counts, and the version of it that new
        programs are linked with.
        """
        named = [
            symbol for table in (_SHT_SYMTAB, _SHT_DYNSYM) for symbol in self._named(table, name)
        ]
        functions = [s for s in named if s.info & 15 == _STT_FUNC and s.section != _SHN_UNDEF]
        if not functions:
            raise self._missing(name, named)
        best = min(map(_precedence, functions))
        functions = [s for s in functions if _precedence(s) == best]
        offsets = {self._offset(s.value) for s in functions}
        if len(offsets) == 1:
            # Written by hand in assembly, a function may have no size.
            size = max(s.size for s in functions)
            if inside and 0 < size <= inside:
                raise SpecError(f"has {size} bytes of {name!r}, and +{inside:#x} is beyond them")
            return self._offset(functions[0].value + inside)
        told = ", ".join(f"{offset:#x}" for offset in sorted(offsets))
        raise SpecError(f"has several functions {name!r}, at {told}")

    @property
    def code(self) -> "Code":
        """Where its code is."""
        return Code(self._segments[:_SEGMENTS])

    def symbol_table(self, *, exported: bool, most: int) -> tuple[bytes, bytes, str] | None:
        """Return entries, names and the entries' layout of a table, None without.

        All symbols, or those that are ``exported`` to other files: an ELF file has at most one
        table of each kind (gABI, "Sections").  Raises SpecError, LimitExceeded for more than
        ``most`` bytes of either.
        """
        size = struct.calcsize(self._shape.symbol)
        for section in self._sections:
            if section.type == (_SHT_DYNSYM if exported else _SHT_SYMTAB):
                names = self._names_of(section)
                if max(section.size, names.size) > most:
                    raise LimitExceeded(f"symbols of more than {most} bytes")
                data = self._read(section.offset, section.size - section.size % size)
                return data, self._read(names.offset, names.size), self._shape.symbol
        return None

    def section(self, name: bytes, most: int) -> bytes | None:
        """Return the content of the first section of a name; raises SpecError, LimitExceeded."""
        if not 0 < self._names_at < len(self._sections):
            return None
        table = self._sections[self._names_at]
        names = self._read(table.offset, min(table.size, LIMITS.elf_section_names))
        for section in self._sections:
            if section.type != _SHT_NOBITS and names.startswith(name + b"\0", section.name):
                if section.size > most:
                    raise LimitExceeded(f"a section of more than {most} bytes")
                return self._read(section.offset, section.size)
        return None

    def build_id(self) -> bytes:
        """Return what its linker called this file; empty without.  Raises SpecError."""
        noted = [s for s in self._sections if s.type == _SHT_NOTE and s.size <= LIMITS.elf_notes]
        for section in noted[:_NOTED]:
            notes = self._notes(self._read(section.offset, section.size))
            for name, kind, data in notes:
                if (name, kind) == _BUILD_ID:
                    return data[: LIMITS.build_id]
        return b""

    def require_marker(self, provider: str, name: str) -> None:
        """Raise SpecError unless the file has a statically defined tracepoint of that name."""
        known: dict[str, None] = {}
        for section in self._sections:
            if section.type == _SHT_NOTE:
                known |= dict.fromkeys(self._markers(self._read(section.offset, section.size)))
        if f"{provider}:{name}" in known:
            return
        error = SpecError(f"has no tracepoint {provider}:{name}")
        told = ", ".join(list(known)[:_SHOWN])
        raise (
            error.with_hint(f"it has {told}{', ...' if len(known) > _SHOWN else ''}")
            if told
            else error
        )

    def _markers(self, notes: bytes) -> Iterator[str]:
        """Yield PROVIDER:NAME of the notes that SystemTap's sys/sdt.h makes."""
        addresses = 24 if self._wide else 12
        for name, kind, data in self._notes(notes):
            if (name, kind) == (_STAPSDT, _NT_STAPSDT):
                texts = data[addresses:].split(b"\0")
                if len(texts) > 2:
                    yield b":".join(texts[:2]).decode(errors="replace")

    def _notes(self, notes: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """Yield name, type and content of each note."""
        head = struct.Struct(f"{self.order}III")
        at = 0
        while at + head.size <= len(notes):
            name_size, size, kind = head.unpack_from(notes, at)
            name = at + head.size
            start = name + (name_size + 3 & ~3)
            yield notes[name : name + name_size], kind, notes[start : start + size]
            at = start + (size + 3 & ~3)

    def _missing(self, name: str, named: list[_Symbol]) -> SpecError:
        if any(s.info & 15 == _STT_GNU_IFUNC for s in named):
            return SpecError(
                f"chooses its {name!r} as it is loaded (an indirect function)"
            ).with_hint("name the variant that this CPU uses")
        if not any(s.type in (_SHT_SYMTAB, _SHT_DYNSYM) for s in self._sections):
            return SpecError("has no symbols at all: it is stripped")
        if any(s.section == _SHN_UNDEF for s in named):
            return SpecError(f"uses {name!r}, but another file has it").with_hint(
                "name the library that defines it"
            )
        error = SpecError(f"has no function {name!r}")
        near = self._near(name)
        return error.with_hint(f"spelled alike: {', '.join(near)}") if near else error

    def _offset(self, address: int) -> int:
        # What gdb and perf call "the address" of an instruction is that of the loaded image.
        for segment in self._segments:
            if segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        raise SpecError(f"has no code at {address:#x}")

    def _named(self, kind: int, name: str) -> Iterator[_Symbol]:
        """Yield the symbols of one table that have that name, hidden versions left out."""
        for number, section in enumerate(self._sections):
            if section.type != kind:
                continue
            names = _occurrences(self._names(section), name.encode("utf-8", "surrogateescape"))
            if not names:
                continue
            hidden = self._hidden(number) if kind == _SHT_DYNSYM else frozenset()
            layout = struct.Struct(self._shape.symbol)
            data = self._read(section.offset, section.size - section.size % layout.size)
            for index, start in _where(data, names, layout.size, self.order):
                if index not in hidden:
                    yield self._symbol(layout.unpack_from(data, start))

    def _symbol(self, row: tuple[int, ...]) -> _Symbol:
        if self._wide:
            name, info, _, section, value, size = row
        else:
            name, value, size, info, _, section = row
        return _Symbol(name, info, section, value, size)

    def _names(self, table: _Section) -> bytes:
        names = self._names_of(table)
        return self._read(names.offset, names.size)

    def _names_of(self, table: _Section) -> _Section:
        if not 0 < table.link < len(self._sections):
            raise SpecError("has a symbol table without names")
        return self._sections[table.link]

    def _hidden(self, table: int) -> frozenset[int]:
        for section in self._sections:
            if section.type == _SHT_VERSYM and section.link == table:
                data = self._read(section.offset, section.size - section.size % 2)
                versions = struct.unpack(f"{self.order}{len(data) // 2}H", data)
                return frozenset(i for i, v in enumerate(versions) if v & _VERSYM_HIDDEN)
        return frozenset()

    def _near(self, name: str) -> list[str]:
        from difflib import get_close_matches  # for one error message

        known = set[str]()
        for section in self._sections:
            if section.type in (_SHT_SYMTAB, _SHT_DYNSYM):
                names = self._names(section)[: LIMITS.near_names]
                known.update(n.decode(errors="replace") for n in names.split(b"\0") if n)
        return get_close_matches(name, known, n=_NEAR, cutoff=0.8)


def _precedence(symbol: _Symbol) -> int:
    """Global before weak before local before what is unknown."""
    binds = (_STB_GLOBAL, _STB_WEAK, _STB_LOCAL)
    bind = symbol.info >> 4
    return binds.index(bind) if bind in binds else len(binds)


def _occurrences(names: bytes, name: bytes) -> frozenset[int]:
    """Where a name stands in a string table; linkers also point into the end of longer names."""
    found = set()
    at = names.find(name + b"\0")
    while at >= 0:
        found.add(at)
        at = names.find(name + b"\0", at + 1)
    return frozenset(found)


def _where(data: bytes, names: frozenset[int], size: int, order: str) -> Iterator[tuple[int, int]]:
    """Yield number and place of the symbols whose name, their first word, is one of ``names``."""
    words = array("I", data)
    if (order == "<") != (_LITTLE):
        words.byteswap()
    for index, word in enumerate(words[:: size // 4]):
        if word in names:
            yield index, index * size


_LITTLE: Final = struct.pack("=H", 1) == b"\x01\x00"
