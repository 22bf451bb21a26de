"""What processes start, become, map and end: perf events of all CPUs that count nothing.

One dummy event for each CPU (perf_event_open(2), PERF_COUNT_SW_DUMMY), whose ring holds records
of forks, names, mapped code and ends.  A ring is read as include/uapi/linux/perf_event.h says at
``data_head``: the head, a read barrier, the records, a full barrier, the tail.
"""

import errno
import mmap
import os
import select
import threading
import time
from typing import Final, Self

from bpfpack.runner._native import perf
from bpfpack.spec.errors import KernelError, Unsupported

# include/uapi/linux/perf_event.h
_COUNT_SW_DUMMY: Final = 9
_MMAP: Final = 1 << 8
_COMM: Final = 1 << 9
_TASK: Final = 1 << 13
_WATERMARK: Final = 1 << 14
_SAMPLE_ID_ALL: Final = 1 << 18
_MMAP2: Final = 1 << 23
_COMM_EXEC: Final = 1 << 24
_BUILD_ID: Final = 1 << 34
# Of struct perf_event_mmap_page, in words of 8 bytes.
_HEAD: Final = 1024 // 8
_TAIL: Final = 1032 // 8
_PAGE: Final = mmap.PAGESIZE

_FLAGS: Final = (
    _MMAP | _COMM | _TASK | _WATERMARK | _SAMPLE_ID_ALL | _MMAP2 | _COMM_EXEC | perf.USE_CLOCKID
)


class TaskRings:
    """The rings of some CPUs, each of ``size`` bytes, a power of two; raises KernelError.

    A ring has one page at least.  ``fd`` is readable when one is half full.
    """

    def __init__(self, cpus: tuple[int, ...], size: int) -> None:
        self._waiting = select.epoll()
        self._rings: list[_Ring] = []
        self._fence = threading.Lock()
        try:
            for cpu in cpus:
                try:
                    ring = _Ring(cpu, max(size, _PAGE))
                except KernelError as e:
                    if e.errno == errno.ENODEV:  # it went offline a moment ago
                        continue
                    raise
                self._rings.append(ring)
                self._waiting.register(ring.fd, select.EPOLLIN)
        except BaseException:
            self.close()
            raise

    @property
    def fd(self) -> int:
        """To wait for; it stays the same."""
        return self._waiting.fileno()

    def read(self) -> list[bytes]:
        """Take what each ring holds: whole records, in the order of that CPU."""
        # Clears what made `fd` readable.
        self._waiting.poll(0)
        heads = [ring.head for ring in self._rings]
        self._barrier()
        found = [ring.copy(head) for ring, head in zip(self._rings, heads, strict=True)]
        self._barrier()
        for ring, head in zip(self._rings, heads, strict=True):
            ring.tail = head
        return [data for data in found if data]

    def lost(self) -> int | None:
        """Records that found no room since; None before Linux 6.0, which does not count them."""
        counts = [ring.lost() for ring in self._rings]
        return None if None in counts else sum(count for count in counts if count)

    def _barrier(self) -> None:
        # Python has none.  What was read before a lock is let go stays before it, what is read
        # after it is taken again stays behind: together, no load or store passes.
        for _ in range(2):
            with self._fence:
                pass

    def close(self) -> None:
        """Let go of the rings; a second call does nothing."""
        while self._rings:
            self._rings.pop().close()
        self._waiting.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Ring:
    def __init__(self, cpu: int, size: int) -> None:
        self.fd, self._counts = _open(cpu, size // 2)
        try:
            self._memory = mmap.mmap(self.fd, _PAGE + size)
        except OSError as e:
            os.close(self.fd)
            raise KernelError(e.errno or 0, str(e.strerror), "mmap of a perf event") from e
        self._view = memoryview(self._memory)
        self._words = self._view[:_PAGE].cast("Q")
        self._data = self._view[_PAGE:]

    @property
    def head(self) -> int:
        return self._words[_HEAD]

    @property
    def tail(self) -> int:
        return self._words[_TAIL]

    @tail.setter
    def tail(self, value: int) -> None:
        self._words[_TAIL] = value

    def copy(self, head: int) -> bytes:
        """What lies between the tail and a head; it may begin anew at the start."""
        size = len(self._data)
        start, length = self.tail % size, head - self.tail
        return bytes(self._data[start : start + length]) + bytes(
            self._data[: max(0, start + length - size)]
        )

    def lost(self) -> int | None:
        """What found no room; None where that is not counted."""
        return perf.lost(self.fd) if self._counts else None

    def close(self) -> None:
        for view in (self._words, self._data, self._view):
            view.release()
        self._memory.close()
        os.close(self.fd)


def _open(cpu: int, watermark: int) -> tuple[int, bool]:
    """Open the event of a CPU; say whether it counts what is lost.

    Linux 6.0 counts that (commit 119a784c8127), 5.12 tells build IDs (commit 88a16a130933).
    """
    for read_format, build_id in ((perf.FORMAT_LOST, _BUILD_ID), (0, _BUILD_ID), (0, 0)):
        attr = perf.Attr(
            type=perf.TYPE_SOFTWARE,
            config=_COUNT_SW_DUMMY,
            sample_type=perf.SAMPLE_TIME,
            read_format=read_format,
            flags=_FLAGS | build_id,
            wakeup=watermark,
            clockid=time.CLOCK_MONOTONIC,
        )
        try:
            return perf.open_attr(attr, cpu), bool(read_format)
        except KernelError as e:
            if e.errno != errno.EINVAL:
                raise
    raise Unsupported("perf_event", "this kernel does not tell what processes map")
