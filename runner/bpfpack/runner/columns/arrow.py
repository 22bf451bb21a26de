"""Arrow arrays of columns, copied: nothing of them refers to the engine's memory."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from bpfpack.runner.columns.schema import ColumnOf, Schema, Shape, Slot
from bpfpack.runner.columns.tables import Filled
from bpfpack.runner.events.clock import SystemClock
from bpfpack.runner.events.values import Flags, meaning
from bpfpack.spec.record import Field
from bpfpack.spec.value import replace

_INTEGERS: Final = {
    (1, False): pa.uint8(),
    (2, False): pa.uint16(),
    (4, False): pa.uint32(),
    (8, False): pa.uint64(),
    (1, True): pa.int8(),
    (2, True): pa.int16(),
    (4, True): pa.int32(),
    (8, True): pa.int64(),
}
_MOMENT: Final = pa.timestamp("ns", tz="UTC")


class ArrowColumns:
    """Makes batches of what the engine filled, or plain Python read.

    Numbers that have names are numbers in a batch; `named` gives them their names, once for many
    batches.  Each name stands in a dictionary once, whatever numbers it has.
    """

    def __init__(self, schema: Schema) -> None:
        self._columns = schema.columns
        self._texts = [_texts_of(schema, column) for column in schema.columns]
        names = [column.name for column in schema.columns]
        raw = [_listed(_raw(c.shape), c.shape) for c in schema.columns]
        final = [_listed(_final(c.shape), c.shape) for c in schema.columns]
        #: Of batches with numbers, and with names.
        self.raw: Final = pa.schema(list(zip(names, raw, strict=True)))
        self.schema: Final = pa.schema(list(zip(names, final, strict=True)))

    def filled(self, columns: Sequence[Filled], rows: int) -> pa.RecordBatch:
        """A batch of what the engine filled."""
        arrays = [
            _array(one, column.shape) for one, column in zip(columns, self._columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.raw)

    def plain(self, columns: Sequence[Sequence[Any]]) -> pa.RecordBatch:
        """A batch of values."""
        arrays = [
            pa.array(values, type=one.type) for values, one in zip(columns, self.raw, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.raw)

    def named(self, batches: Sequence[pa.RecordBatch]) -> pa.Table:
        """All batches as one table, with names."""
        whole = pa.Table.from_batches(batches, schema=self.raw)
        arrays = [
            array if text is None else _named(array.combine_chunks(), text, column.shape)
            for array, text, column in zip(whole.columns, self._texts, self._columns, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def _raw(shape: Shape) -> pa.DataType:
    match shape.slot:
        case Slot.NUMBER | Slot.TYPE:
            if shape.floating:
                return pa.float32() if shape.width == 4 else pa.float64()
            return _INTEGERS[shape.width, shape.signed]
        case Slot.BOOL:
            return pa.bool_()
        case Slot.TIME:
            return _MOMENT
        case Slot.BYTES:
            return pa.binary()
    return pa.string()


def _final(shape: Shape) -> pa.DataType:
    if shape.flags:
        return pa.list_(pa.string())
    if not shape.named:
        return _raw(shape)
    return pa.string() if shape.depth else pa.dictionary(pa.int32(), pa.string())


def _listed(element: pa.DataType, shape: Shape) -> pa.DataType:
    for _ in range(shape.depth):
        element = pa.list_(element)
    return element


def _array(column: Filled, shape: Shape) -> pa.Array:
    present = None if column.present is None else pa.py_buffer(column.present)
    slots = pa.py_buffer(column.slots)
    if column.elements is not None:
        return _lists(column, shape, present)
    kind = _raw(shape)
    if column.data is not None:
        return pa.Array.from_buffers(
            kind, column.slot_count, [present, slots, pa.py_buffer(column.data)]
        )
    if shape.slot == Slot.BOOL:
        bytes_ = pa.Array.from_buffers(pa.uint8(), column.slot_count, [present, slots])
        return bytes_.cast(pa.bool_())
    return pa.Array.from_buffers(kind, column.slot_count, [present, slots])


def _lists(column: Filled, shape: Shape, present: pa.Buffer | None) -> pa.Array:
    """Lists of elements, the inner ones of lengths that are known."""
    assert column.elements is not None  # noqa: S101 - asked for by the caller
    array = _array(column.elements, shape)
    ends = pa.Array.from_buffers(
        pa.int32(), column.slot_count + 1, [None, pa.py_buffer(column.slots)]
    )
    for length in reversed(shape.lengths):
        offsets, ends = _grouped(ends, length)
        array = pa.ListArray.from_arrays(offsets, array)
    kind = pa.list_(array.type)
    return pa.Array.from_buffers(
        kind, column.slot_count, [present, ends.buffers()[1]], children=[array]
    )


def _grouped(ends: pa.Array, length: int) -> tuple[pa.Array, pa.Array]:
    """Ends of lists of elements: as ends of inner lists, and ends of lists of these."""
    size = pa.scalar(length, pa.int32())
    groups = pc.divide(ends, size)
    if pc.multiply(groups, size).equals(ends):
        return pa.array(range(0, ends[-1].as_py() + 1, length), pa.int32()), groups
    # A record has ended inside of an inner list: that one is shorter.
    offsets, found = [0], [0]
    for start, end in pairwise(ends.to_pylist()):
        offsets += range(start + length, end, length)
        if end > start:
            offsets.append(end)
        found.append(len(offsets) - 1)
    return pa.array(offsets, pa.int32()), pa.array(found, pa.int32())


def _named(array: pa.Array, text: Callable[[Any], Any], shape: Shape) -> pa.Array:
    if not shape.depth:
        return _looked_up(array, text, shape)
    values = _named(array.flatten(), text, shape._replace(depth=shape.depth - 1))
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
    # Lists that are null have no elements.
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    ends = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
    mask = array.is_null() if array.null_count else None
    return pa.ListArray.from_arrays(ends, values, mask=mask)


def _looked_up(array: pa.Array, text: Callable[[Any], Any], shape: Shape) -> pa.Array:
    """Numbers as their names: each of different ones is looked up once."""
    numbers = array.dictionary_encode()
    found = [text(number) for number in numbers.dictionary.to_pylist()]
    if shape.flags:
        return pa.array(found, pa.list_(pa.string())).take(numbers.indices)
    texts, indices = pa.array(found, pa.string()).dictionary_encode(), numbers.indices
    if len(texts.dictionary) != len(texts):
        indices = texts.indices.take(indices)
    return pa.DictionaryArray.from_arrays(indices, texts.dictionary)


def _texts_of(schema: Schema, column: ColumnOf) -> Callable[[Any], Any] | None:
    """What names a column's numbers; None where they have no names."""
    if not column.shape.named:
        return None
    if column.shape.slot == Slot.TYPE:
        return lambda place: schema.kinds[place]
    field = column.field
    assert field is not None  # noqa: S101 - only the column of types has none
    name = _name_of(field)
    return cache(lambda number: name(int(number)))


def _name_of(field: Field) -> Callable[[int], Any]:
    if field.format == "flags":
        return Flags(field)
    value = meaning(replace(field, dimensions=()), "little", SystemClock()).value
    return lambda number: str(number if value is None else value(number))
