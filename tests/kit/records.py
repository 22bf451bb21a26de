"""Layouts, batches and a clock that stands still, for tests of formatters."""

from collections.abc import Sequence
from typing import Any

from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.formatter import EventOutput, RecordType, make_formatter
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.record import Base, Field, RecordLayout


class FixedClock:
    """Offsets that a test chose; ``sampled`` counts the batches."""

    def __init__(self, **offsets: int) -> None:
        self.offsets, self.sampled = offsets, 0

    def offset(self, clock: str) -> int:
        """The offset of one clock."""
        return self.offsets.get(clock, 0)

    def refresh(self) -> None:
        """Count."""
        self.sampled += 1


_FORMATS = {"enum": "enum", "pointer": "hex", "string": "string", "bytes": "hex"}


def field(path: str, base: Base, offset: int, size: int, **more: Any) -> Field:
    """A field as `RecordLayout.of` makes it; ``path`` with dots."""
    more.setdefault("format", _FORMATS.get(base, "dec"))
    more.setdefault("title", path)
    more.setdefault("signed", base == "int")
    return Field(
        path=tuple(path.split(".")), type=base, base=base, offset=offset, size=size, **more
    )


def layout(
    *fields: Field, size: int | None = None, order: ByteOrder = "little", name: str = "struct e"
) -> RecordLayout:
    """A layout that ends where its last field does, unless told."""
    end = max(f.offset + f.size * _count(f.dimensions) for f in fields)
    return RecordLayout(
        type=name,
        size=end if size is None else size,
        byte_order=order,
        fields=fields,
        flexible=any(0 in (f.size, *f.dimensions) for f in fields),
    )


def _count(dimensions: Sequence[int]) -> int:
    count = 1
    for length in dimensions:
        count *= length
    return count


def batch(*records: bytes) -> Batch:
    """A batch of these records, something unrelated before, between and after them."""
    memory, places = bytearray(b"\xee" * 3), []
    for record in records:
        places.append((len(memory), len(record)))
        memory += record + b"\xee" * 5
    return Batch(memory=memoryview(bytes(memory)), records=places)


def output(*layouts: RecordLayout, **more: Any) -> EventOutput:
    """An output of these types, without discriminator."""
    return EventOutput(
        name="events", types=tuple(RecordType(layout=one) for one in layouts), **more
    )


def shown(shape: Any, of: EventOutput | RecordLayout, *records: bytes, **options: Any) -> list[str]:
    """The lines that a formatter makes of records, without its header."""
    described = of if isinstance(of, EventOutput) else output(of)
    options.setdefault("clock", FixedClock())
    made = make_formatter(shape, described, **options)
    made.header()
    text = made.format(batch(*records)).decode()
    assert text.endswith("\n")
    return text.removesuffix("\n").split("\n")
