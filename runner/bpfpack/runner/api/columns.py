"""The events of one output as columns of Arrow, filled by the engine."""

from typing import TYPE_CHECKING, Protocol

from bpfpack.runner.api.arrow import ArrowMaker
from bpfpack.runner.api.lines import Asked, StreamReader, by_engine, source_of
from bpfpack.runner.api.outputs import BATCH
from bpfpack.runner.events.batch import Batch, Source
from bpfpack.runner.events.stream import NOTHING, EventStream, Taken
from bpfpack.runner.filters.filter import Filter
from bpfpack.runner.losses import LossCounter
from bpfpack.runner.session import Session
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from pyarrow import RecordBatch

    from bpfpack.runner.columns.tables import ColumnProgram
    from bpfpack.runner.engine.host import Engine


class Columns(Protocol):
    """What makes columns of what a stream took last."""

    def read(self, shown: int) -> "RecordBatch":
        """So many rows."""
        ...


class ColumnReader(StreamReader["RecordBatch"]):
    """Events of one output as Arrow's record batches, whose memory is their own.

    ``for columns in reader.chunks(timeout=1)`` and ``async for columns in reader``.
    """

    def __init__(self, name: str, stream: EventStream, columns: Columns, most: int) -> None:
        super().__init__(name, stream, most=most)
        self._columns = columns

    def _made(self, found: Taken) -> "RecordBatch":
        return self._columns.read(found.shown)


def column_reader(
    session: Session, asked: Asked, map_name: str, counter: LossCounter | None
) -> ColumnReader:
    """A ring buffer by the engine, where that can be had; otherwise by plain Python.

    Raises UsageError, KernelError.
    """
    from bpfpack.runner.columns.tables import ColumnProgram

    maker, made = ArrowMaker(asked.output), list[ColumnProgram]()

    def make(engine: "Engine") -> ColumnProgram:
        image = asked.kept.image() if asked.kept else None
        made.append(ColumnProgram(engine, maker.schema, filtered=image))
        return made[0]

    if stream := by_engine(session, map_name, counter, make):
        (program,) = made
        return ColumnReader(asked.output.name, stream, _Filled(maker, program), program.rows)
    plain = _Plain(source_of(session, asked.output.name, counter), maker, asked.kept)
    return ColumnReader(asked.output.name, plain, plain, BATCH)


@valuetype(kw_only=False)
class _Filled:
    """Columns in the engine's memory."""

    maker: ArrowMaker
    program: "ColumnProgram"

    def read(self, shown: int) -> "RecordBatch":
        return self.maker.filled(self.program.read(shown), shown)


class _Plain:
    """A source and columns by plain Python: an `EventStream`, and `Columns`."""

    def __init__(self, source: Source, maker: ArrowMaker, kept: Filter | None) -> None:
        self._source, self._maker, self._kept = source, maker, kept
        self._last: Batch | None = None
        self.lost, self.header = source.lost, lambda: None

    @property
    def fd(self) -> int:
        return self._source.fd

    def take(self, most: int) -> Taken:
        batch = self._source.drain(most)
        if batch is None:
            return NOTHING
        self._last = kept = self._kept.kept(batch) if self._kept else batch
        records, shown = len(batch.records), len(kept.records)
        return Taken(records=records, shown=shown, size=0, output=b"", fill=batch.fill)

    def skip(self, most: int) -> Taken:
        return self.take(most)

    def read(self, shown: int) -> "RecordBatch":
        if self._last is None or len(self._last.records) != shown:
            raise ValueError("nothing was taken")
        return self._maker.of(self._last)
