"""Records as columns of Arrow, copied; `bpfpack.runner.columns.schema` says what fields become."""

from typing import TYPE_CHECKING, Final, cast

from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.clock import WallClock
from bpfpack.runner.events.formatter import EventOutput
from bpfpack.spec.errors import SpecError, UsageError

if TYPE_CHECKING:
    from pyarrow import RecordBatch

    from bpfpack.runner.columns.schema import Schema
    from bpfpack.runner.columns.tables import Filled


class ArrowMaker:
    """Makes Arrow's batches of one output."""

    def __init__(self, output: EventOutput, clock: WallClock | None = None) -> None:
        """Raise UsageError without pyarrow, or where types disagree about a column."""
        try:
            from bpfpack.runner.columns.arrow import ArrowColumns
        except ImportError as e:
            raise UsageError("Arrow takes pyarrow, which is not installed").with_hint(
                "pip install 'bpfpack[arrow]'"
            ) from e
        from bpfpack.runner.columns.plain import PlainColumns
        from bpfpack.runner.columns.schema import schema_of

        try:
            self.schema: Final[Schema] = schema_of(output)
        except SpecError as e:
            raise UsageError(f"{output.name} cannot be columns: {e}") from e
        self._columns, self._plain = ArrowColumns(self.schema), PlainColumns(self.schema, clock)

    def of(self, batch: Batch) -> "RecordBatch":
        """Columns of records, at least one, by plain Python."""
        return self._named(self._columns.plain(self._plain.read(batch)))

    def filled(self, columns: "list[Filled]", rows: int) -> "RecordBatch":
        """Columns that the engine has filled."""
        return self._named(self._columns.filled(columns, rows))

    def _named(self, columns: "RecordBatch") -> "RecordBatch":
        # Of one batch that is not empty there is one.
        (found,) = self._columns.named([columns]).to_batches()
        return cast("RecordBatch", found)
