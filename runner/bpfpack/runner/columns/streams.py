"""Streams of events whose output are columns, by the engine and in plain Python."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from bpfpack.runner.columns.arrow import ArrowColumns
from bpfpack.runner.columns.plain import PlainColumns
from bpfpack.runner.columns.schema import Schema
from bpfpack.runner.columns.tables import ColumnProgram
from bpfpack.runner.columns.writers import ArrowWriter, ParquetWriter, Writer
from bpfpack.runner.engine.streams import ClosableStream
from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.clock import WallClock
from bpfpack.runner.events.stream import EventStream, Taken
from bpfpack.spec.value import replace

if TYPE_CHECKING:
    from bpfpack.runner.engine.host import Engine


class ColumnOutput:
    """The bytes of one output: whatever gives the columns hands batches in."""

    def __init__(self, shape: Literal["arrow", "parquet"], schema: Schema) -> None:
        self.schema: Final = schema
        self.columns: Final = ArrowColumns(schema)
        made: Callable[[ArrowColumns], Writer] = ArrowWriter if shape == "arrow" else ParquetWriter
        self.writer: Final = made(self.columns)

    def program(self, engine: "Engine", filtered: bytes | None) -> ColumnProgram:
        """What the engine runs; raises SpecError where it cannot, EngineError."""
        self._program = ColumnProgram(engine, self.schema, filtered=filtered)
        return self._program

    def stream(self, inner: ClosableStream) -> EventStream:
        """The stream of columns that ``inner`` fills by `program`."""
        return ColumnStream(self, self._program, inner)

    def formatter(self) -> "ColumnFormatter":
        """What takes records in plain Python."""
        return ColumnFormatter(self)

    def sample(self) -> bytes:
        """What ends it: read once, when no more comes (see `Sampler`)."""
        return self.writer.end()


class ColumnStream:
    """A stream of which the engine fills columns; ``inner`` runs the program."""

    def __init__(self, output: ColumnOutput, program: ColumnProgram, inner: ClosableStream) -> None:
        self._output, self._program, self._inner = output, program, inner
        self.lost, self.close = inner.lost, inner.close

    @property
    def fd(self) -> int:
        """See `EventStream`."""
        return self._inner.fd

    def header(self) -> bytes | None:
        """See `EventStream`."""
        return self._output.writer.begin()

    def take(self, most: int) -> Taken:
        """See `EventStream`."""
        taken = self.skip(most)
        if not taken.shown:
            return taken
        columns = self._output.columns
        batch = columns.filled(self._program.read(taken.shown), taken.shown)
        data = self._output.writer.add(batch)
        return replace(taken, output=data, size=len(data))

    def skip(self, most: int) -> Taken:
        """See `EventStream`."""
        return self._inner.take(min(most, self._program.rows))


class ColumnFormatter:
    """The same in plain Python: see `Formatter`."""

    def __init__(self, output: ColumnOutput, clock: WallClock | None = None) -> None:
        self._output, self._plain = output, PlainColumns(output.schema, clock)

    def header(self) -> bytes | None:
        """See `Formatter`."""
        return self._output.writer.begin()

    def format(self, batch: Batch) -> bytes:
        """See `Formatter`."""
        return self._output.writer.add(self._output.columns.plain(self._plain.read(batch)))
