"""Types, displays and records made from choices, whoever makes these: hypothesis or a seed."""

import random
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from bpfpack.runner.events.formatter import EventOutput, OutputFormat, RecordType
from bpfpack.spec.btf import Btf
from bpfpack.spec.displays import CLOCKS, FORMATS, TIME_UNITS, FieldDisplay
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import SpecError
from bpfpack.spec.record import RecordLayout
from tests.kit.elfwriter import BtfWriter

T = TypeVar("T")

SHAPES: Final[tuple[OutputFormat, ...]] = (
    *("json", "json-array", "yaml", "csv", "tsv", "table", "raw"),
)
#: Numbers at which something changes.
_EDGES: Final = (
    *(0, 1, 9, 10, 99, 100, 255, 256, 999, 1000, 1023, 1024, 4095, 9999, 10000, 65535, 65536),
    *(999_499, 999_500, 99_999_999, 100_000_000, 999_499_999, 59_949_999_999, 59_950_000_000),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 10**16, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 2),
    *(253_402_300_799, 253_402_300_800, 1_764_000_000, 1_764_000_000_123_456_789),
    *(0x7FF0_0000_0000_0000, 0x7FF8_0000_0000_0000, 0x3FF0_0000_0000_0000, 0x7F80_0000, 5),
    *(0x0010_0000_0000_0000, 0x3FB9_9999_9999_999A, 0x412E_847F_CCCC_CCCD, 0x4341_C379_37E0_8000),
)
_TEXTS: Final = (
    *(b"", b"sh", b"a,b", b'say "hi"', b"back\\slash", b"tab\tnew\nline\r\x1b[2J\x7f", b"\\ud83d"),
    *("caf\u00e9 \u65e5\u672c e\u0301 \U0001f600".encode(), b"\xc3\xff\xe2\x82", b"\xed\xa0\x80"),
    *(b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xc0\x80", "\u202e\u200b\u00ad\ufeff".encode()),
    *("\U000e0001\U0001d173".encode(), b"\xe0\x80\x80\xf8\x88", b"  ends with spaces  ", b"-1"),
)
_LABELS: Final = (
    "",
    "none",
    "O_RDONLY",
    'odd "one", here',
    "caf\u00e9",
    "bad\x1b\u202e",
    "\U000e0001",
)
_NAMES: Final = (
    *("pid", "comm", "saddr", "dport", "value", "path", "no", "true", "type", "output", "tgid"),
    *("\u00e9t\u00e9", "%s", "pad", "a", "key"),
)


class Chooser(Protocol):
    """Where choices come from."""

    def number(self, low: int, high: int) -> int:
        """A number, both ends in the range."""
        ...

    def data(self, size: int) -> bytes:
        """So many bytes of any kind."""
        ...


class Dice:
    """Choices by a seed: millions in an hour."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def number(self, low: int, high: int) -> int:
        """See `Chooser`."""
        return self._random.randint(low, high)

    def data(self, size: int) -> bytes:
        """See `Chooser`."""
        return self._random.randbytes(size)


class Case(NamedTuple):
    """An output, records, and how wide the terminal is."""

    output: EventOutput
    records: Sequence[bytes]
    columns: int


def make_case(choose: Chooser) -> Case:
    """One output of one or more types, with records of these and others."""
    maker = _Maker(choose)
    order: ByteOrder = maker.pick(("little", "little", "little", "big"))
    layouts = [maker.layout(order) for _ in range(maker.pick((1, 1, 2, 3)))]
    types = tuple(RecordType(layout=one, when=maker.when()) for one in layouts)
    output = EventOutput(
        name=maker.pick(("events", 'odd "name"')),
        types=types,
        discriminator=maker.discriminator(layouts[0]),
        alone=maker.number(0, 3) > 0,
    )
    records = [maker.record(maker.pick(layouts)) for _ in range(maker.number(1, 6))]
    return Case(output, records, maker.pick((0, 0, 1, 7, 40, 80)))


class _Maker:
    def __init__(self, choose: Chooser) -> None:
        self._choose = choose
        self.number = choose.number

    def pick(self, of: Sequence[T]) -> T:
        """One of several."""
        return of[self.number(0, len(of) - 1)]

    def when(self) -> int | None:
        return self.pick((None, 0, 1, 7, 255, -1, 2**64 - 1))

    def discriminator(self, layout: RecordLayout) -> str | None:
        """A member that can tell types apart, or None: their sizes do."""
        able = [
            f.name
            for f in layout.fields
            if not f.dimensions and f.base in ("int", "uint", "enum", "bool")
        ]
        return self.pick(able) if able and self.number(0, 1) else None

    def layout(self, order: ByteOrder) -> RecordLayout:
        """A type, shown as it can be."""
        types = _Types(self, order)
        type_id = types.struct(0, self.pick(("event", "opened", 'a"b')))
        btf = Btf.parse(types.writer.build(), order)
        plain = RecordLayout.of(btf, type_id)
        displays = {}
        for name in sorted({_without_subscripts(f.path) for f in plain.fields}):
            display = self.display()
            try:
                RecordLayout.of(btf, type_id, {name: display})
            except SpecError:
                continue
            displays[name] = display
        try:
            return RecordLayout.of(btf, type_id, displays)
        except SpecError:
            return plain

    def display(self) -> FieldDisplay:
        return FieldDisplay(
            format=self.pick((None, *FORMATS)),
            hidden=self.number(0, 9) == 0,
            title=self.pick((None, None, "TITLE", "caf\u00e9 \u65e5")),
            unit=self.pick((None, *TIME_UNITS)),
            clock=self.pick((None, *CLOCKS)),
            order=self.pick((None, "net", "host")),
            labels=self.labels(),
        )

    def labels(self) -> dict[int, str]:
        if self.number(0, 1):
            return {}
        keys = (0, 1, 2, 3, 4, 8, 6, 255, -1, -2, 2**31, 2**63, 2**64 - 1, 10**19)
        return {self.pick(keys): self.pick(_LABELS) for _ in range(self.number(1, 6))}

    def record(self, layout: RecordLayout) -> bytes:
        """Bytes for a type: whole, cut short, or longer than it."""
        size = layout.size
        match self.number(0, 5):
            case 0:
                size = self.number(0, size)
            case 1:
                size += self.number(1, 40)
        data = bytearray()
        while len(data) < size:
            data += self._part()
        for field in layout.fields:
            if self.number(0, 2) == 0:
                part = self._value(field.size or 24)
                data[field.offset : field.offset + len(part)] = part
        return bytes(data[:size])

    def _part(self) -> bytes:
        match self.number(0, 4):
            case 0:
                return self.pick(_TEXTS) + b"\0"
            case 1:
                return self._choose.data(8)
            case 2:
                return self.pick(_EDGES).to_bytes(8, "little")
            case 3:
                return bytes(8)
            case _:
                return self.number(0, 2000).to_bytes(8, "little")

    def _value(self, size: int) -> bytes:
        """What suits a field of that size."""
        match self.number(0, 3):
            case 0:
                return self.pick(_TEXTS)[:size]
            case 1:
                number = self.pick(_EDGES) % (1 << 8 * size)
                return number.to_bytes(size, "little")
            case 2:
                return (-self.number(0, 200) % (1 << 8 * size)).to_bytes(size, "little")
            case _:
                real = self.pick((0.1, 1.5, -2.0, 1e22, 1e23, 123456.5, 5e-324, 1e16, 3.14e-5))
                return struct.pack("<d" if size >= 8 else "<f", real)[:size]


def _without_subscripts(path: Sequence[str]) -> str:
    return ".".join(part.partition("[")[0] for part in path)


class _Types:
    """Writes BTF: structs of members that lie where they may, beside and over each other."""

    def __init__(self, maker: _Maker, order: ByteOrder) -> None:
        self._maker, self.writer = maker, BtfWriter(order)
        self._sizes: dict[int, int] = {}

    def struct(self, depth: int, name: str) -> int:
        """A struct or union; the outermost may end in a flexible array."""
        maker, size = self._maker, 0
        union = depth > 0 and maker.number(0, 3) == 0
        members: list[tuple[str, int, int, int]] = []
        for index in range(maker.number(1, 6 if depth == 0 else 3)):
            type_id, bits = self._member(depth)
            bit = 0 if union else 8 * (size + maker.pick((0, 0, 0, 1, 3)))
            if bits and not union:
                bit += maker.number(0, 7)
            taken = maker.pick(_NAMES)
            unique = taken if all(taken != m[0] for m in members) else f"{taken}{index}"
            members.append((unique, type_id, bit, bits))
            end = -(-(bit + (bits or 8 * self._sizes[type_id])) // 8)
            size = max(size, end)
        if depth == 0 and maker.number(0, 3) == 0:
            members.append(("tail", self._flexible(), 8 * size, 0))
        return self._record(name, size, members, union=union)

    def _record(
        self, name: str, size: int, members: Sequence[tuple[str, int, int, int]], *, union: bool
    ) -> int:
        words = [
            w for n, t, bit, bits in members for w in (self.writer.name(n), t, bits << 24 | bit)
        ]
        made = self.writer.add(5 if union else 4, name, size, *words, vlen=len(members), flag=True)
        return self._sized(made, size)

    def _sized(self, type_id: int, size: int) -> int:
        self._sizes[type_id] = size
        return type_id

    def _member(self, depth: int) -> tuple[int, int]:
        """A type, and the bits of a bit-field or 0."""
        maker = self._maker
        what = maker.number(0, 9)
        if what == 0 and depth < 2:
            return self._array(self.struct(depth + 1, maker.pick(("", "inner"))), 1), 0
        if what in (1, 2):
            return self._chars(), 0
        if what == 3:
            type_id = self._integer()
            return type_id, maker.number(1, 8 * self._sizes[type_id])
        return self._array(self._leaf(), 2), 0

    def _array(self, element: int, most: int) -> int:
        for _ in range(max(0, self._maker.number(-2, most))):
            length = self._maker.number(1, 3)
            size = self._sizes[element] * length
            element = self._sized(self.writer.array(element, length), size)
        return element

    def _flexible(self) -> int:
        element = self._array(self._leaf(), 1) if self._maker.number(0, 1) else self._char()
        return self._sized(self.writer.array(element, 0), 0)

    def _chars(self) -> int:
        length = self._maker.pick((1, 2, 7, 8, 9, 16, 24, 33))
        array = self._sized(self.writer.array(self._char(), length), length)
        return self._array(array, 1)

    def _char(self) -> int:
        if self._maker.number(0, 3) == 0:
            return self._sized(self.writer.integer("unsigned char", 1, signed=False), 1)
        return self._sized(self.writer.add(1, "char", 1, 3 << 24 | 8), 1)

    def _integer(self) -> int:
        size = self._maker.pick((1, 2, 4, 8, 16))
        signed = self._maker.number(0, 1) == 0
        return self._sized(self.writer.integer(f"i{size}{signed}", size, signed=signed), size)

    def _leaf(self) -> int:
        maker, writer = self._maker, self.writer
        leaves: Sequence[Callable[[], tuple[int, int]]] = (
            lambda: (self._integer(), 0),
            lambda: (writer.add(1, "bool", 1, 4 << 24 | 8), 1),
            lambda: (writer.ptr(0), 8),
            lambda: (writer.add(16, "double", 8), 8),
            lambda: (writer.add(16, "float", 4), 4),
            self._enum,
            lambda: (writer.add(8, "pid_t", writer.integer()), 4),
            lambda: (writer.add(8, "__be32", writer.integer("u32", 4, signed=False)), 4),
            lambda: (writer.add(8, "__be16", writer.integer("u16", 2, signed=False)), 2),
            lambda: (self._in6_addr(), 16),
        )
        type_id, size = maker.pick(leaves)()
        return type_id if type_id in self._sizes else self._sized(type_id, size)

    def _enum(self) -> tuple[int, int]:
        maker, words = self._maker, list[int]()
        signed = maker.number(0, 1) == 0
        count = maker.number(1, 5)
        if maker.number(0, 4) == 0:
            for i in range(count):
                words += (
                    self.writer.name(f"BIG{i}"),
                    maker.pick((0, 1, 9, 2**31)),
                    maker.number(0, 3),
                )
            return self.writer.add(19, "enum64", 8, *words, vlen=count, flag=signed), 8
        for i in range(count):
            words += (self.writer.name(f"LABEL_{i}"), maker.pick((0, 1, 2, 3, 1000, 2**32 - 1)))
        size = maker.pick((4, 4, 1, 8))
        return self.writer.add(6, "enum", size, *words, vlen=count, flag=signed), size

    def _in6_addr(self) -> int:
        byte = self.writer.integer("u8", 1, signed=False)
        array = self.writer.array(byte, 16)
        return self._sized(self.writer.record("in6_addr", 16, ("u6", array, 0)), 16)


def fields_of(case: Case) -> Sequence[Any]:
    """What a failure shows of a case."""
    return [
        (f.name, f.base, f.format, f.offset, f.size, f.dimensions, f.bits, f.shift)
        for t in case.output.types
        for f in t.layout.fields
    ]
