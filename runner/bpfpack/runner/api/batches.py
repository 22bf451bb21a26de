"""A batch of records that owns its memory."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Final

from bpfpack.runner.api.decoding import EventDecoder, Record
from bpfpack.runner.api.taking import Records, places_of
from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.formatter import JsonFormatter, Known

if TYPE_CHECKING:
    from pyarrow import RecordBatch as ArrowBatch

    from bpfpack.runner.api.arrow import ArrowMaker


class Decoders:
    """What an output's batches share: how its records are read."""

    def __init__(self, known: Known) -> None:
        self.known: Final = known
        self.event: Final = EventDecoder(known)
        self.json: Final = JsonFormatter(known)

    @cached_property
    def arrow(self) -> "ArrowMaker":
        """What makes columns; raises UsageError."""
        from bpfpack.runner.api.arrow import ArrowMaker

        return ArrowMaker(self.known.output, self.known.clock)


class RecordBatch:
    """Some records of one output, in the order of the buffer, copied out of it.

    A context manager: at its end every view that it gave is released, and each later use of
    them, or of the batch, is a ValueError.  The end of the session does not touch it.
    ``len(batch)`` is the number of records; iterating gives `dicts`.
    """

    def __init__(
        self,
        records: Records,
        decoders: Decoders,
        *,
        lost: int | None,
    ) -> None:
        self._memory: memoryview | None = memoryview(records.memory)
        self._records, self._decoders = records, decoders
        self._views: list[memoryview] = []
        #: Records lost since the package was loaded, as of this batch; None where nobody counts.
        self.lost: Final = lost
        #: The largest share of the kernel's buffer in use, 0 to 1; None where it is not seen.
        self.fill: Final = records.fill

    def __len__(self) -> int:
        return self._records.count

    @cached_property
    def _places(self) -> Sequence[tuple[int, int]]:
        found = self._records.places
        return places_of(self._records.memory) if found is None else found

    @property
    def _open(self) -> memoryview:
        if self._memory is None:
            raise ValueError("the batch has ended")
        return self._memory

    def views(self) -> list[memoryview]:
        """The bytes of each record, read-only, until the batch ends; raises ValueError then.

        Slices of a view, and what is made of one (an array of numpy), keep its memory alive:
        they stay valid.
        """
        memory = self._open
        found = [memory[at : at + size] for at, size in self._places]
        self._views += found
        return found

    def dicts(self) -> Iterator[Record]:
        """Each record as a dict of the values that JSON has; raises ValueError after the end."""
        self._decoders.known.clock.refresh()
        for at, size in self._places:
            yield self._decoders.event(self._open, at, size)

    def __iter__(self) -> Iterator[Record]:
        return self.dicts()

    def json(self) -> bytes:
        """The records as JSON lines, UTF-8, each with its newline."""
        return self._decoders.json.format(Batch(memory=self._open, records=self._places))

    def to_arrow(self) -> "ArrowBatch":
        """The records as columns of Arrow, copied: they outlive the batch.

        Takes pyarrow (``pip install 'bpfpack[arrow]'``); raises UsageError without it.
        """
        return self._decoders.arrow.of(Batch(memory=self._open, records=self._places))

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._memory is None

    def close(self) -> None:
        """End it; a second call does nothing."""
        memory, self._memory = self._memory, None
        views, self._views = self._views, []
        for view in (*views, *([] if memory is None else [memory])):
            # One that somebody else looks through keeps the memory: it is not the kernel's.
            with suppress(BufferError):
                view.release()

    def __enter__(self) -> "RecordBatch":
        if self.closed:
            raise ValueError("the batch has ended")
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "ended" if self.closed else f"{len(self)} records"
        return f"<RecordBatch: {state}>"
