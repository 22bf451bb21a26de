"""Columns in plain Python: slow and obvious, the reference of what the engine fills."""

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from bpfpack.runner.columns.schema import ColumnOf, Schema, Slot
from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.runner.events.rows import Rows
from bpfpack.runner.events.selector import Selector
from bpfpack.runner.events.values import BYTE_ORDERS, meaning, text_value
from bpfpack.spec.record import Field

_NANOSECONDS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
#: What an int64 of nanoseconds says at most.
_LAST: Final = (1 << 63) - 1


class PlainColumns:
    """Reads batches into columns; see `Filled` for what the engine gives instead."""

    def __init__(self, schema: Schema, clock: WallClock | None = None) -> None:
        self._schema, self._clock = schema, clock or SystemClock()
        output = schema.output
        self._rows = [Rows(t.layout, self._clock) for t in output.types]
        self._select = Selector([(t.layout, t.when) for t in output.types], output.discriminator)
        self._readers = [self._type(place) for place in range(len(output.types))]

    def read(self, batch: Batch) -> list[list[Any]]:
        """The values of each column, None for a missing one; numbers that have names as such."""
        found: list[list[Any]] = [[] for _ in self._schema.columns]
        self._clock.refresh()
        for offset, length in batch.records:
            kind = self._select(batch.memory, offset, length)
            row = [] if kind is None else self._rows[kind].read(batch.memory, offset, length)
            for values, reader in zip(found, self._reader(kind), strict=True):
                values.append(reader(row))
        return found

    def _reader(self, kind: int | None) -> "Sequence[Callable[[Sequence[Any]], Any]]":
        return [_nothing] * len(self._schema.columns) if kind is None else self._readers[kind]

    def _type(self, place: int) -> "list[Callable[[Sequence[Any]], Any]]":
        """What finds each column's value in a row of the visible fields of one type."""
        names = [column.field.name for column in self._rows[place].columns]
        found: list[Callable[[Sequence[Any]], Any]] = []
        for column in self._schema.columns:
            field = column.fields[place]
            if column.shape.slot == Slot.TYPE:
                found.append(_Constant(place))
            elif field is None:
                found.append(_nothing)
            else:
                found.append(_Value(self, column, field, names.index(field.name)))
        return found

    def element(self, slot: Slot, field: Field) -> tuple[struct.Struct, Callable[[Any], Any]]:
        """How an element is read from the bytes of an array, and what makes its value."""
        order = self._schema.output.types[0].layout.byte_order
        how = meaning(field, order, self._clock)
        load = how.load or _same
        value: Callable[[Any], Any] = _same
        match slot:
            case Slot.TEXT:
                value = text_value
            case Slot.WIDE:
                value = str
            case Slot.BOOL:
                value = bool
            case Slot.TIME:
                scale, clock = _NANOSECONDS[field.unit or "ns"], field.clock or "mono"
                value = lambda n: _moment(n * scale + self._clock.offset(clock))  # noqa: E731
            case Slot.IPV4 | Slot.IPV6:
                value = how.value or _same
        return struct.Struct(BYTE_ORDERS[order] + how.code), lambda raw: value(load(raw))


def _same(raw: Any) -> Any:
    return raw


def _moment(nanoseconds: int) -> int | None:
    return nanoseconds if 0 <= nanoseconds <= _LAST else None


def _nothing(row: Sequence[Any]) -> None:
    return None


class _Constant:
    def __init__(self, value: int) -> None:
        self._value = value

    def __call__(self, row: Sequence[Any]) -> int:
        return self._value


class _Value:
    """The value of one field."""

    def __init__(self, of: PlainColumns, column: ColumnOf, field: Field, place: int) -> None:
        self._struct, self._element = of.element(column.shape.slot, field)
        self._shape, self._place = column.shape, place

    def __call__(self, row: Sequence[Any]) -> Any:
        raw = row[self._place]
        if raw is None or not self._shape.depth:
            return None if raw is None else self._element(raw)
        # Of a flexible array the record may end in the middle of an element.
        whole = raw[: len(raw) - len(raw) % self._struct.size]
        found = [self._element(one) for (one,) in self._struct.iter_unpack(whole)]
        for length in reversed(self._shape.lengths):
            found = [found[i : i + length] for i in range(0, len(found), length)]
        return found
