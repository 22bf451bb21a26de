"""Writes ELF objects and BTF by hand, well-formed or not."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from bpfpack.spec.elf import EM_BPF, ByteOrder

PROGBITS, SYMTAB, STRTAB, NOBITS, REL = 1, 2, 3, 8, 9
ALLOC_EXEC = 6
GLOBAL, LOCAL, WEAK = 1, 0, 2
NOTYPE, OBJECT, FUNC, SECTION = 0, 1, 2, 3

EXIT = b"\x95" + bytes(7)


def prefix(order: ByteOrder) -> str:
    """The byte order as `struct` writes it."""
    return "<" if order == "little" else ">"


def instruction(code: int, *, source: int = 0, immediate: int = 0, order: ByteOrder) -> bytes:
    """One BPF instruction."""
    registers = source << 4 if order == "little" else source
    return struct.pack(f"{prefix(order)}BBhi", code, registers, 0, immediate)


@dataclass
class Section:
    """A section to write; ``size`` and ``offset`` lie when they are given."""

    name: str
    data: bytes = b""
    type: int = PROGBITS
    flags: int = 0
    link: int = 0
    info: int = 0
    entry_size: int = 0
    size: int | None = None
    offset: int | None = None


@dataclass
class Symbol:
    """A symbol to write; ``section`` is the index of a section, from 1."""

    name: str
    section: int
    value: int = 0
    size: int = 0
    type: int = FUNC
    bind: int = GLOBAL


@dataclass
class ElfWriter:
    """Collects sections, symbols and relocations, and puts them into a file."""

    order: ByteOrder = "little"
    sections: list[Section] = field(default_factory=list)
    symbols: list[Symbol] = field(default_factory=list)
    relocations: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    machine: int = EM_BPF
    kind: int = 1

    def section(self, name: str, data: bytes = b"", **fields: int) -> int:
        """Add a section and return its index."""
        self.sections.append(Section(name, data, **fields))
        return len(self.sections)

    def function(self, name: str, section: str, code: bytes, **fields: int) -> int:
        """Add a section with one function that fills it, and return its index."""
        index = self.section(section, code, flags=ALLOC_EXEC)
        self.symbols.append(Symbol(name, index, size=len(code), **fields))
        return index

    def build(self) -> bytes:
        """Return the file."""
        p, sections = prefix(self.order), list(self.sections)
        strings, offsets = string_table([s.name for s in self.symbols])
        for target, entries in self.relocations.items():
            data = b"".join(struct.pack(f"{p}QQ", at, symbol << 32 | 10) for at, symbol in entries)
            name = f".rel{sections[target - 1].name}"
            link = len(self.sections) + len(self.relocations) + 1
            sections.append(Section(name, data, REL, link=link, info=target, entry_size=16))
        if self.symbols:
            table = bytes(24) + b"".join(
                struct.pack(
                    f"{p}IBBHQQ",
                    offsets[s.name],
                    s.bind << 4 | s.type,
                    0,
                    s.section,
                    s.value,
                    s.size,
                )
                for s in self.symbols
            )
            link = len(sections) + 2
            sections.append(Section(".symtab", table, SYMTAB, link=link, entry_size=24))
            sections.append(Section(".strtab", strings, STRTAB))
        return self._file(sections)

    def _file(self, sections: list[Section]) -> bytes:
        p = prefix(self.order)
        names, offsets = string_table([s.name for s in sections] + [".shstrtab"])
        sections.append(Section(".shstrtab", names, STRTAB))
        body, headers = b"", bytes(64)
        for s in sections:
            at = 64 + len(body) if s.offset is None else s.offset
            size = len(s.data) if s.size is None else s.size
            headers += struct.pack(
                f"{p}IIQQQQIIQQ",
                *(offsets[s.name], s.type, s.flags, 0, at, size, s.link, s.info, 1, s.entry_size),
            )
            body += s.data + bytes(-len(s.data) % 8)
        ident = (
            b"\x7fELF\x02" + (b"\x01" if self.order == "little" else b"\x02") + b"\x01" + bytes(9)
        )
        count = len(sections) + 1
        fields = (
            self.kind,
            self.machine,
            1,
            0,
            0,
            64 + len(body),
            0,
            64,
            0,
            0,
            64,
            count,
            count - 1,
        )
        return ident + struct.pack(f"{p}HHIQQQIHHHHHH", *fields) + body + headers


def string_table(names: Sequence[str]) -> tuple[bytes, dict[str, int]]:
    """Return a string table and where each name is in it."""
    table, offsets = b"\0", {"": 0}
    for name in names:
        if name not in offsets:
            offsets[name] = len(table)
            table += name.encode() + b"\0"
    return table, offsets


class BtfWriter:
    """Collects types; each method returns the id of the one it adds."""

    def __init__(self, order: ByteOrder = "little") -> None:
        self.order: ByteOrder = order
        self._types = b""
        self._count = 0
        self._strings = bytearray(b"\0")

    def name(self, text: str) -> int:
        """Add a string and return its offset."""
        if not text:
            return 0
        self._strings += text.encode() + b"\0"
        return len(self._strings) - len(text.encode()) - 1

    def add(
        self,
        kind: int,
        name: str = "",
        word: int = 0,
        *extra: int,
        vlen: int = 0,
        flag: bool = False,
        layout: str = "",
    ) -> int:
        """Add a type of a kind's number; ``extra`` are words, unless ``layout`` says otherwise."""
        p = prefix(self.order)
        info = flag << 31 | kind << 24 | vlen
        self._types += struct.pack(f"{p}III", self.name(name), info, word)
        self._types += struct.pack(p + (layout or "I" * len(extra)), *extra)
        self._count += 1
        return self._count

    def integer(self, name: str = "int", size: int = 4, *, signed: bool = True) -> int:
        """Add a plain integer."""
        return self.add(1, name, size, signed << 24 | size * 8)

    def ptr(self, target: int) -> int:
        """Add a pointer."""
        return self.add(2, "", target)

    def array(self, element: int, length: int) -> int:
        """Add an array."""
        return self.add(3, "", 0, element, element, length)

    def record(
        self,
        name: str,
        size: int,
        *members: tuple[str, int, int],
        kind: int = 4,
        flag: bool = False,
    ) -> int:
        """Add a struct of (name, type, offset in bits)."""
        words = [w for n, t, at in members for w in (self.name(n), t, at)]
        return self.add(kind, name, size, *words, vlen=len(members), flag=flag)

    def var(self, name: str, type_id: int, linkage: int = 1) -> int:
        """Add a variable."""
        return self.add(14, name, type_id, linkage)

    def datasec(self, name: str, size: int, *variables: tuple[int, int, int]) -> int:
        """Add a section of (variable, offset, size)."""
        words = [w for entry in variables for w in entry]
        return self.add(15, name, size, *words, vlen=len(variables))

    def build(self) -> bytes:
        """Return the content of ``.BTF``."""
        head = struct.pack(
            f"{prefix(self.order)}HBBIIIII",
            *(0xEB9F, 1, 0, 24, 0, len(self._types), len(self._types), len(self._strings)),
        )
        return head + self._types + bytes(self._strings)
