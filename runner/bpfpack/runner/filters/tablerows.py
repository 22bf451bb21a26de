"""The rows of a sampled table as records, so that an expression can be asked of them.

A row's raw values stand one after the other.  Counts, which may be sums over CPUs, are 16 bytes
wide, so that every sum fits.
"""

import struct
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final

from bpfpack.runner.events.entries import is_count
from bpfpack.runner.events.formatter import EventOutput, RecordType
from bpfpack.runner.events.tables import MapOutput, column_names
from bpfpack.runner.filters.filter import Filter
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.record import Field, RecordLayout
from bpfpack.spec.value import replace

_WIDE: Final = 16
_FLOATS: Final = {4: "f", 8: "d"}


def rows_output(table: MapOutput) -> EventOutput:
    """Return a table as if its rows were events, with the names that CSV gives the columns."""
    key = [f for f in table.key.fields if not f.hidden]
    value = [f for f in table.value.fields if not f.hidden]
    fields, offset = [], 0
    for field, name in zip((*key, *value), column_names(key, value), strict=True):
        wide: dict[str, Any] = {"size": _WIDE, "base": "int", "signed": True}
        changes = wide if is_count(field) else {}
        one = replace(field, path=(name,), offset=offset, **changes)
        fields.append(one)
        offset += one.size * prod(one.dimensions)
    layout = RecordLayout(
        type=table.name,
        size=offset,
        byte_order=table.key.byte_order,
        fields=tuple(fields),
        flexible=False,
    )
    return EventOutput(name=table.name, types=(RecordType(layout=layout),))


def keeps_rows(of: Filter, rows: EventOutput) -> Callable[[Sequence[Any]], bool]:
    """Return what says of a row's raw values whether it is shown."""
    (only,) = rows.types
    layout = only.layout

    def keeps(raws: Sequence[Any]) -> bool:
        packed = [
            _packed(field, raw, layout.byte_order)
            for field, raw in zip(layout.fields, raws, strict=True)
        ]
        return of.keeps(memoryview(b"".join(packed)))

    return keeps


def _packed(field: Field, raw: Any, order: ByteOrder) -> bytes:
    """A raw value, as `bpfpack.runner.events.rows` has it, as bytes again."""
    match raw:
        case list():
            return b"".join(_packed(field, one, order) for one in raw)
        case int():
            return raw.to_bytes(field.size, order, signed=field.signed)
        case float():
            return struct.pack((">" if order == "big" else "<") + _FLOATS[field.size], raw)
        case None:
            return bytes(field.size * prod(field.dimensions))
    return bytes(raw)
