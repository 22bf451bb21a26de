"""Where events come from: ring and perf buffers, drained into batches.

Memory is bounded: each source owns one buffer of ``capacity`` bytes, and stops draining
when it is full; what is not drained stays in the kernel, which counts or drops as the
program decided.
"""

import errno
import mmap
import struct
from typing import Final, Protocol

from bpfpack.runner._native.buffers import Filling, NativePerf, NativeRing
from bpfpack.runner._native.libbpf import captured
from bpfpack.runner.events.batch import Batch, Source
from bpfpack.runner.maps import PERF_EVENT_ARRAY, RINGBUF, Map
from bpfpack.spec.errors import KernelError, MissingCapability, Unsupported

_CAPACITY: Final = 256 * 1024
PERF_PAGES: Final = 64
#: Native: `struct` copies it at once, not byte by byte while it changes.
_POSITION: Final = struct.Struct("@Q")


class RingBufferSource:
    """A ring buffer: in order over all CPUs.

    The kernel counts no record that found no room, so `lost` is None; ``fill`` of a batch
    is how full the ring was when the drain began.
    """

    def __init__(self, ring: Map, *, capacity: int = _CAPACITY) -> None:
        self._filling = Filling(capacity)
        self._size = ring.max_entries
        # Two pages: the consumer's position, then the producer's (kernel/bpf/ringbuf.c).
        try:
            self._positions = mmap.mmap(ring.fd, 2 * mmap.PAGESIZE, prot=mmap.PROT_READ)
        except OSError as e:
            raise KernelError(e.errno or 0, str(e.strerror), f"ring buffer {ring.name}") from e
        try:
            self._native = _open_ring(ring, self._filling)
        except BaseException:
            self._positions.close()
            raise

    @property
    def fd(self) -> int:
        """Readable, for epoll, when there may be something to drain."""
        return self._native.fd

    def drain(self, max_records: int) -> Batch | None:
        """Take at most ``max_records`` without waiting, None for nothing; raises KernelError.

        Records start at multiples of 8 bytes.  A batch may be shorter for want of memory:
        only None means that nothing was left.
        """
        fill = self._fill()
        self._filling.begin(max_records)
        if self._filling.wants_more:
            self._native.drain()
        if not self._filling.records:
            return None
        memory = memoryview(self._filling.memory)
        return Batch(memory=memory, records=self._filling.records, fill=fill)

    def lost(self) -> None:
        """Nobody knows, unless the program counts."""

    def _fill(self) -> float:
        (consumed,) = _POSITION.unpack_from(self._positions, 0)
        (produced,) = _POSITION.unpack_from(self._positions, mmap.PAGESIZE)
        used: int = produced - consumed
        return min(1.0, max(0, used) / self._size)

    def close(self) -> None:
        """Give the memory back; a second call does nothing."""
        self._positions.close()
        self._native.close()


class PerfBufferSource:
    """A perf buffer: a ring of ``pages`` (a power of two) for each CPU, merged by time.

    Not ``ordered`` they come as they are found: a tenth of a ms sooner.

    A record may be up to 7 bytes longer than what the program wrote: the kernel pads it,
    and keeps no note of that.
    """

    def __init__(
        self,
        array: Map,
        *,
        pages: int = PERF_PAGES,
        capacity: int = _CAPACITY,
        into: memoryview | None = None,
        ordered: bool = True,
    ) -> None:
        """``into``: where records are put as in a ring buffer, in place of memory of our own."""
        self._filling = Filling(capacity, into)
        self._native = _open_perf(array, pages, self._filling, ordered=ordered)

    @property
    def fd(self) -> int:
        """Readable, for epoll, when there may be something to drain."""
        return self._native.fd

    def drain(self, max_records: int) -> Batch | None:
        """Take at most ``max_records`` without waiting, None for nothing; raises KernelError."""
        self.fill(max_records)
        if not self._filling.records:
            return None
        memory = memoryview(self._filling.memory)
        return Batch(memory=memory, records=self._filling.records)

    def fill(self, max_records: int) -> int:
        """Take them without telling where they are; return how many bytes they fill."""
        self._filling.begin(max_records)
        if self._filling.wants_more:
            self._native.drain()
        return self._filling.used

    def lost(self) -> int | None:
        """What found no room, None where the kernel does not say; raises KernelError."""
        return self._native.lost()

    def close(self) -> None:
        """Give the memory back; a second call does nothing."""
        self._native.close()


def _open_ring(ring: Map, into: Filling) -> NativeRing:
    with captured() as messages:
        try:
            return NativeRing(ring.fd, into)
        except KernelError as e:
            e.add_note("\n".join(messages))
            raise


def _open_perf(array: Map, pages: int, into: Filling, *, ordered: bool) -> NativePerf:
    with captured() as messages:
        try:
            return NativePerf.open(array.fd, pages, into, ordered=ordered)
        except KernelError as e:
            e.add_note("\n".join(messages))
            if e.errno != errno.EPERM:
                raise
            # kernel/events/core.c, perf_mmap: CAP_IPC_LOCK lifts both limits.
            raise MissingCapability(("CAP_IPC_LOCK",), f"perf buffer {array.name}").with_hint(
                "or more of kernel.perf_event_mlock_kb, or of locked memory (ulimit -l)"
            ) from e


class ClosableSource(Source, Protocol):
    """A source and what it owns."""

    def close(self) -> None:
        """Give the memory back; a second call does nothing."""


def open_source(of: Map, *, pages: int | None = None, ordered: bool = True) -> ClosableSource:
    """The source for a map that carries events; raises KernelError, Unsupported.

    ``pages``, a power of two, is the size of a perf buffer for each processor; ``ordered`` merges
    these by time.
    """
    if of.type == RINGBUF:
        return RingBufferSource(of)
    if of.type == PERF_EVENT_ARRAY:
        return PerfBufferSource(of, pages=pages or PERF_PAGES, ordered=ordered)
    raise Unsupported(of.name, f"map type {of.type} carries no events")
