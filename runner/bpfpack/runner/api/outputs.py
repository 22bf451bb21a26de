"""The events of one output, batch by batch: with a loop, or with asyncio."""

import threading
from collections.abc import Iterator
from typing import Final

from bpfpack.runner.api.batches import Decoders, RecordBatch
from bpfpack.runner.api.taking import Taking
from bpfpack.runner.api.waiting import AsyncEach, each
from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.runner.events.formatter import EventOutput, Known
from bpfpack.spec.errors import UsageError
from bpfpack.spec.record import RecordLayout
from bpfpack.spec.value import valuetype

#: Records of one batch, unless told otherwise.
BATCH: Final = 4096


class EventReader:
    """Events of one output of a session; readable at ``fd`` when some may be there.

    ``for batch in reader.batches(timeout=1)`` and ``async for batch in reader`` take records out
    of the kernel's buffer: whoever takes one is the only one to see it.
    """

    def __init__(self, output: EventOutput, taking: Taking, clock: WallClock | None = None) -> None:
        self._taking: Taking | None = taking
        self._output = output
        self._decoders = Decoders(Known(output, clock or SystemClock()))
        # A batch that is being taken lies in memory that the next one is put into.
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """As the package calls it."""
        return self._output.name

    @property
    def layouts(self) -> tuple[RecordLayout, ...]:
        """The types of its records: names, offsets, sizes and formats of their members."""
        return tuple(t.layout for t in self._output.types)

    @property
    def _open(self) -> Taking:
        if self._taking is None:
            raise ValueError(f"the session of {self.name} is closed")
        return self._taking

    @property
    def fd(self) -> int:
        """The descriptor to wait on, owned by the session; ValueError once that is closed."""
        return self._open.fd

    def lost(self) -> int | None:
        """Records lost since the package was loaded: exact, or None where nobody counts them.

        Raises KernelError.
        """
        return self._open.lost()

    def take(self, max_records: int = BATCH) -> RecordBatch | None:
        """What is there now, at most ``max_records``; None for nothing.

        Raises KernelError, EngineError.
        """
        while True:
            there, batch = self.poll(max_records)
            if batch is not None or not there:
                return batch

    def poll(self, max_records: int = BATCH) -> tuple[bool, RecordBatch | None]:
        """The same, and whether there was anything: a record may still be being written."""
        if max_records < 1:
            raise UsageError(f"a batch of {max_records} records")
        with self._lock:
            taking = self._open
            there, records = taking.take(max_records)
            if records is None:
                return there, None
            return True, RecordBatch(records, self._decoders, lost=taking.lost())

    def batches(
        self, *, timeout: float | None = None, max_records: int = BATCH
    ) -> Iterator[RecordBatch]:
        """Return batches until none comes for ``timeout`` seconds; None waits for ever.

        With 0 it takes what is there and ends.  Ctrl-C ends the wait, as everywhere in Python.
        Raises KernelError, and ValueError once the session is closed.
        """
        return each(_Sized(self, max_records), timeout)

    def __iter__(self) -> Iterator[RecordBatch]:
        return self.batches()

    def __aiter__(self) -> "AsyncEach[RecordBatch]":
        return AsyncEach(self)

    def close(self) -> None:
        """Let go of the source, which the session closes; batches stay as they are."""
        with self._lock:
            self._taking = None


@valuetype(kw_only=False)
class _Sized:
    """The same with batches of another size."""

    reader: EventReader
    most: int

    @property
    def fd(self) -> int:
        return self.reader.fd

    def poll(self) -> tuple[bool, RecordBatch | None]:
        return self.reader.poll(self.most)
