"""Columns that the engine fills from staged records, and values of these to compare."""

from collections.abc import Sequence

import pyarrow as pa

from bpfpack.runner.columns.arrow import ArrowColumns
from bpfpack.runner.columns.plain import PlainColumns
from bpfpack.runner.columns.schema import Schema
from bpfpack.runner.columns.tables import ColumnProgram
from bpfpack.runner.engine.host import FULL, Call, Engine
from bpfpack.runner.events.clock import WallClock
from tests.kit.enginehost import staged
from tests.kit.records import batch


def filled(
    engine: Engine,
    schema: Schema,
    records: Sequence[bytes],
    clock: WallClock | None = None,
    filtered: bytes | None = None,
) -> pa.Table:
    """What the engine makes of records, in as many calls as it takes."""
    program = ColumnProgram(engine, schema, filtered=filtered, clock=clock)
    arrow = ArrowColumns(schema)
    call, data = Call(program), staged(records)
    call.staged = engine.memory.write(data)
    call.staged_end = call.staged + len(data)
    found, taken = [], 0
    while True:
        outcome = call(program.rows)
        taken += outcome.taken
        found.append(arrow.filled(program.read(outcome.shown), outcome.shown))
        found[-1].validate(full=True)
        if outcome.status != FULL and taken == len(records):
            return arrow.named(found)


def read(schema: Schema, records: Sequence[bytes], clock: WallClock | None = None) -> pa.Table:
    """What plain Python makes of them."""
    arrow = ArrowColumns(schema)
    return arrow.named([arrow.plain(PlainColumns(schema, clock).read(batch(*records)))])


def values(of: pa.Table) -> dict[str, str]:
    """Each column as text: NaN is as good as itself, times are numbers of nanoseconds."""
    of.validate(full=True)
    return {
        f"{place} {field.name}": repr(column.cast(_bare(field.type)).to_pylist())
        for place, (field, column) in enumerate(zip(of.schema, of.columns, strict=True))
    }


def _bare(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_bare(kind.value_type))
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.int64() if pa.types.is_timestamp(kind) else kind
