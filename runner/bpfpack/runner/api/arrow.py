"""Records as columns of Arrow: copied, with types of their own where Arrow has them.

Numbers keep their width and stay numbers, also where JSON has text (pointers, ``hex``); a
timestamp is one in UTC, in nanoseconds; labels, names, addresses and numbers of 128 bits are
text, flags lists of text, arrays lists, raw bytes binary.  Columns have dotted names.  The
columns of several types are put together as in CSV, behind ``type``; what a record has not is
null, and of a name that two types use differently both columns are text.
"""

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from bpfpack.runner.events.clock import WallClock
from bpfpack.runner.events.formatter import Known
from bpfpack.runner.events.values import BYTE_ORDERS, meaning
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import UsageError
from bpfpack.spec.record import Field

if TYPE_CHECKING:
    import pyarrow as pa

_UNITS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_NAMED: Final = ("enum", "signal", "syscall")
_MOST: Final = (1 << 63) - 1


def to_arrow(
    known: Known, memory: memoryview, places: Sequence[tuple[int, int]]
) -> "pa.RecordBatch":
    """The records at these places; raises UsageError without pyarrow."""
    arrow = _pyarrow()
    known.clock.refresh()
    columns, order = known.united()
    united = [_of_all(known, column.field.name, arrow) for column in columns]
    data: list[list[Any]] = [[None] * len(places) for _ in united]
    kinds: list[str | None] = [None] * len(places)
    readers = [
        [_Element.of(c.field, t.layout.byte_order, known.clock, arrow) for c in rows.columns]
        for rows, t in zip(known.rows, known.output.types, strict=True)
    ]
    for row, (at, size) in enumerate(places):
        index = known.select(memory, at, size)
        if index is None:
            continue
        kinds[row] = known.kinds[index] if known.kinds else None
        raws = known.rows[index].read(memory, at, size)
        for place, reader, raw in zip(order[index], readers[index], raws, strict=True):
            if raw is not None:
                value = reader.read(raw)
                as_text = united[place] != reader.type
                data[place][row] = str(value) if as_text and value is not None else value
    arrays = [arrow.array(column, type=kind) for column, kind in zip(data, united, strict=True)]
    names = [column.field.name for column in columns]
    if known.kinds:
        arrays.insert(0, arrow.array(kinds, type=arrow.string()))
        names.insert(0, known.free("type"))
    return cast("pa.RecordBatch", arrow.RecordBatch.from_arrays(arrays, names=names))


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as e:
        raise UsageError("to_arrow() takes pyarrow, which is not installed").with_hint(
            "pip install 'bpfpack[arrow]'"
        ) from e
    return pyarrow


def _of_all(known: Known, name: str, pa: Any) -> Any:
    """The type of a column that several types may have."""
    found: list[Any] = []
    for rows, of in zip(known.rows, known.output.types, strict=True):
        for column in rows.columns:
            if column.field.name == name:
                element = _Element.of(column.field, of.layout.byte_order, known.clock, pa)
                found.append(element.type)
    return found[0] if all(one == found[0] for one in found) else pa.string()


class _Element:
    """The type of a field, and how its raw value becomes one of that type."""

    def __init__(self, kind: Any, read: Callable[[Any], Any]) -> None:
        self.type, self.read = kind, read

    @classmethod
    def of(cls, field: Field, order: ByteOrder, clock: WallClock, pa: Any) -> "_Element":
        found = _scalar(field, order, clock, pa)
        if not field.dimensions:
            return found
        code = BYTE_ORDERS[order] + meaning(field, order, clock).code
        kind = found.type
        for _ in field.dimensions:
            kind = pa.list_(kind)
        return cls(kind, _array(struct.Struct(code), field.dimensions, found.read))


def _array(
    code: struct.Struct, dimensions: Sequence[int], read: Callable[[Any], Any]
) -> Callable[[bytes], list[Any]]:
    def elements(raw: bytes) -> list[Any]:
        # Of a flexible array the record may end in the middle of an element.
        whole = len(raw) - len(raw) % code.size
        found = [read(one[0]) for one in code.iter_unpack(raw[:whole])]
        for length in reversed(dimensions[1:]):
            found = [found[i : i + length] for i in range(0, len(found), length)]
        return found

    return elements


def _scalar(field: Field, order: ByteOrder, clock: WallClock, pa: Any) -> _Element:
    _, load, value, _, _, _ = meaning(field, order, clock)
    loaded: Callable[[Any], Any] = load or _same
    shown: Callable[[Any], Any] = value or _same
    if field.base == "string" or field.format in ("ipv4", "ipv6"):
        return _Element(pa.string(), shown)
    if field.base == "bytes":
        return _Element(pa.binary(), _same)
    if field.format in _NAMED or field.size > 8:
        return _Element(pa.string(), lambda raw: str(shown(loaded(raw))))
    if field.format == "flags":
        return _Element(pa.list_(pa.string()), lambda raw: shown(loaded(raw)))
    if field.format == "timestamp":
        scale, name = _UNITS[field.unit or "ns"], field.clock or "mono"

        def since_1970(raw: Any) -> int | None:
            found: int = loaded(raw) * scale + clock.offset(name)
            return found if abs(found) <= _MOST else None

        return _Element(pa.timestamp("ns", tz="UTC"), since_1970)
    if field.base == "float":
        return _Element(pa.float32() if field.size == 4 else pa.float64(), loaded)
    if field.base == "bool" and field.format == "dec":
        return _Element(pa.bool_(), lambda raw: bool(loaded(raw)))
    bits = next(width for width in (8, 16, 32, 64) if field.size * 8 <= width)
    kind = getattr(pa, f"{'' if field.signed else 'u'}int{bits}")()
    return _Element(kind, loaded)


def _same(raw: Any) -> Any:
    return raw
