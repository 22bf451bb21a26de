"""The events of one output, batch by batch: with a loop, or with asyncio."""

import asyncio
import select
import threading
import time
from collections.abc import Iterator
from typing import Final

from bpfpack.runner.api.batches import Decoders, RecordBatch
from bpfpack.runner.events.batch import Source
from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.runner.events.formatter import EventOutput, Known
from bpfpack.spec.errors import UsageError
from bpfpack.spec.record import RecordLayout

#: Records of one batch, unless told otherwise.
BATCH: Final = 4096


class EventReader:
    """Events of one output of a session; readable at ``fd`` when some may be there.

    ``for batch in reader.batches(timeout=1)`` and ``async for batch in reader`` take records out
    of the kernel's buffer: whoever takes one is the only one to see it.
    """

    def __init__(self, output: EventOutput, source: Source, clock: WallClock | None = None) -> None:
        self._source: Source | None = source
        self._output = output
        self._decoders = Decoders(Known(output, clock or SystemClock()))
        # A batch that is being taken lies in memory of the source.
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
    def _open(self) -> Source:
        if self._source is None:
            raise ValueError(f"the session of {self.name} is closed")
        return self._source

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
        """What is there now, at most ``max_records``; None for nothing.  Raises KernelError."""
        if max_records < 1:
            raise UsageError(f"a batch of {max_records} records")
        with self._lock:
            source = self._open
            batch = source.drain(max_records)
            if batch is None:
                return None
            end = max(at + size for at, size in batch.records)
            return RecordBatch(
                bytes(batch.memory[:end]),
                tuple(batch.records),
                self._decoders,
                lost=source.lost(),
                fill=batch.fill,
            )

    def batches(
        self, *, timeout: float | None = None, max_records: int = BATCH
    ) -> Iterator[RecordBatch]:
        """Yield batches until none comes for ``timeout`` seconds; None waits for ever.

        With 0 it takes what is there and ends.  Ctrl-C ends the wait, as everywhere in Python.
        Raises KernelError, and ValueError once the session is closed.
        """
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            batch = self.take(max_records)
            if batch is not None:
                yield batch
                until = None if timeout is None else time.monotonic() + timeout
                continue
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            poll.poll(None if left is None else left * 1000)

    def __iter__(self) -> Iterator[RecordBatch]:
        return self.batches()

    def __aiter__(self) -> "AsyncBatches":
        return AsyncBatches(self)

    def close(self) -> None:
        """Let go of the source, which the session closes; batches stay as they are."""
        with self._lock:
            self._source = None


class AsyncBatches:
    """Batches for ``async for``: it never ends by itself.

    Nothing of it is left in the event loop when the loop over it is left, or cancelled.
    """

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    def __aiter__(self) -> "AsyncBatches":
        return self

    async def __anext__(self) -> RecordBatch:
        """Wait for the next batch; raises KernelError, ValueError once the session is closed."""
        # In a flood there is always a batch: others get their turn, and cancellation its own.
        await asyncio.sleep(0)
        while (batch := self._reader.take()) is None:
            await _readable(self._reader.fd)
        return batch


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _wake, woken)
    try:
        await woken
    finally:
        loop.remove_reader(fd)


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)
