"""Columns that the engine fills from staged records, and values of these to compare."""

import mmap
from collections.abc import Sequence
from typing import Any, Final, cast

import pyarrow as pa

from bpfpack.runner.columns.arrow import ArrowColumns
from bpfpack.runner.columns.plain import PlainColumns
from bpfpack.runner.columns.schema import Schema
from bpfpack.runner.columns.tables import ColumnProgram
from bpfpack.runner.engine.host import FULL, Call, Engine
from bpfpack.runner.events.clock import WallClock
from tests.kit.enginehost import staged
from tests.kit.records import batch

_GUARD: Final = b"\xa5" * mmap.PAGESIZE


class _GuardedMemory:
    """An engine's memory in which a page that nothing may touch follows what is placed."""

    def __init__(self, engine: Engine) -> None:
        self._memory = engine.memory
        self._guards: list[memoryview] = []

    def place(self, size: int) -> int:
        """See `Memory`; what is placed ends where the page begins."""
        pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        at = self._memory.place(pages + mmap.PAGESIZE)
        guard = self._memory.view(at + pages, mmap.PAGESIZE)
        guard[:] = _GUARD
        self._guards.append(guard)
        return at + (pages - size) // 8 * 8

    def check(self) -> None:
        """Fail when something was touched."""
        assert all(bytes(guard) == _GUARD for guard in self._guards)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)


class _Guarded:
    """An engine with such a memory."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.memory = engine, _GuardedMemory(engine)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def filled(
    engine: Engine,
    schema: Schema,
    records: Sequence[bytes],
    clock: WallClock | None = None,
    filtered: bytes | None = None,
) -> pa.Table:
    """What the engine makes of records, in as many calls as it takes."""
    guarded = _Guarded(engine)
    program = ColumnProgram(cast("Engine", guarded), schema, filtered=filtered, clock=clock)
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
        guarded.memory.check()
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
