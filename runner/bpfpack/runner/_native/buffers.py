"""Ring and perf buffers of libbpf, drained into memory that Python owns.

The C callbacks only copy: a record goes into one preallocated bytearray, so that what
Python sees never changes under it.  No exception crosses a callback: it is kept, the
drain ends, and it is raised from there.
"""

import ctypes
import errno
import math
import struct
import time
from typing import Final

from bpfpack.runner._native import perf
from bpfpack.runner._native.libbpf import Handle, describe, fn
from bpfpack.spec.errors import KernelError

_RING_CALLBACK: Final = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
)
_PERF_CALLBACK: Final = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
)

# Any negative number ends ring_buffer__consume after the record at hand; libbpf has none
# of its own from there but -errno of a wait that `consume` does not do.
_STOP: Final = -125

# libbpf.h, ``enum bpf_perf_event_ret``.
_PERF_DONE: Final = 0
_PERF_CONTINUE: Final = -2
# include/uapi/linux/perf_event.h
_PERF_COUNT_SW_BPF_OUTPUT: Final = 10
_PERF_SAMPLE_RAW: Final = 1 << 10
_PERF_RECORD_SAMPLE: Final = 9
#: What stands before a record of a ring buffer (kernel/bpf/ringbuf.c, ``struct bpf_ringbuf_hdr``).
_LENGTH: Final = struct.Struct("=II")
#: How long the kernel takes at most from telling the time of a record to showing it, unless it is
#: interrupted: then that record comes late.
_COMMITTED_NS: Final = 100_000


class Filling:
    """One batch in the making: fixed memory, a bounded number of records.

    What does not fit any more waits in ``pending`` for the next batch; the kernel has
    already handed it over by then.

    The memory is our own, or another's ``into`` which records go as they stand in a ring buffer:
    behind 8 bytes of which the first four are the length.
    """

    def __init__(self, capacity: int, into: memoryview | None = None) -> None:
        self.memory: bytearray | memoryview = bytearray(capacity) if into is None else into
        self._header = 0 if into is None else _LENGTH.size
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.records: list[tuple[int, int]] = []
        self.pending: list[bytes] = []
        self.used = 0
        self.most = 0
        self.error: BaseException | None = None

    def begin(self, most: int) -> None:
        """Start a batch of at most ``most`` records with what the last one left over."""
        self.records, self.used, self.most = [], 0, most
        waiting, self.pending = self.pending, []
        for i, record in enumerate(waiting):
            if not self.has_room(len(record)) and self.records:
                self.pending = waiting[i:]
                return
            if len(record) > len(self.memory):
                self._grow(len(record))
            begin = self.used + self._header
            self.memory[begin : begin + len(record)] = record
            self._added(len(record))

    @property
    def wants_more(self) -> bool:
        """Whether the kernel may be asked for another record."""
        return not self.pending and self.has_room(1)

    def has_room(self, size: int) -> bool:
        """Whether one more record of ``size`` bytes fits."""
        end = self.used + self._header + size
        return len(self.records) < self.most and end <= len(self.memory)

    def add(self, address: int, size: int) -> bool:
        """Copy a record; say whether another may come."""
        if not self.has_room(size):
            self.pending.append(ctypes.string_at(address, size))
            return False
        ctypes.memmove(self._address + self.used + self._header, address, size)
        self._added(size)
        return len(self.records) < self.most

    def _added(self, size: int) -> None:
        if self._header:
            _LENGTH.pack_into(self.memory, self.used, size, 0)
        self.records.append((self.used + self._header, size))
        # The kernel aligns records to 8 bytes; so do we, for whoever maps structures.
        self.used += self._header + ((size + 7) & ~7)

    def _grow(self, size: int) -> None:
        # Old memory stays with the batches that were handed out of it.
        self.memory = bytearray((size + 7) & ~7)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def put(self, record: bytes) -> bool:
        """Append a record that has no other place any more; False when there is no room."""
        if not self.has_room(len(record)):
            if self.records or len(record) <= len(self.memory):
                return False
            self._grow(len(record))
        begin = self.used + self._header
        self.memory[begin : begin + len(record)] = record
        self._added(len(record))
        return True

    def raise_kept(self) -> None:
        """Raise what a callback caught."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error


class Merge:
    """Records of several rings, put in the order of their times; holds ``capacity`` bytes.

    Not ``ordered`` they stay in that in which they came.
    """

    def __init__(self, capacity: int, *, ordered: bool = True) -> None:
        self._capacity, self._ordered = capacity, ordered
        # (time, place among all, record): the place keeps those of one moment as they came.
        self._held: list[tuple[int, int, bytes]] = []
        self._size = self._count = 0
        self.error: BaseException | None = None

    @property
    def has_room(self) -> bool:
        """Whether the kernel may be asked for another record."""
        return self._size < self._capacity

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, when: int, address: int, size: int) -> bool:
        """Copy a record; say whether another may come."""
        self._held.append((when, self._count, ctypes.string_at(address, size)))
        self._count += 1
        self._size += size
        return self.has_room

    def give(self, into: Filling, until: float) -> None:
        """Put the oldest, up to a time, into a batch that has begun."""
        if self._ordered:
            self._held.sort()
        given = 0
        for when, _, record in self._held:
            if (
                (self._ordered and when > until)
                or len(into.records) == into.most
                or not into.put(record)
            ):
                break
            self._size -= len(record)
            given += 1
        del self._held[:given]


class NativeRing(Handle):
    """A ``struct ring_buffer`` over one map."""

    def __init__(self, map_fd: int, into: Filling) -> None:
        self._into = into
        # libbpf keeps the address only: the callback must live as long as the handle.
        self._callback = _RING_CALLBACK(self._on_record)
        super().__init__(fn("ring_buffer__new")(map_fd, self._callback, None, None))

    def _on_record(self, context: int, address: int, size: int) -> int:
        try:
            return 0 if self._into.add(address, size) else _STOP
        except BaseException as e:  # noqa: BLE001  # raised again by `consume`
            self._into.error = e
            return _STOP

    @property
    def fd(self) -> int:
        """Readable when a record is there."""
        return int(fn("ring_buffer__epoll_fd")(self.ptr))

    def drain(self) -> None:
        """Copy what is there until the batch is full; raises KernelError."""
        result = fn("ring_buffer__consume")(self.ptr)
        self._into.raise_kept()
        if result < 0 and result != _STOP:
            raise KernelError(-result, describe(-result), "ring_buffer__consume")

    def _delete(self, pointer: int) -> None:
        fn("ring_buffer__free")(pointer)


class _PerfHeader(ctypes.Structure):
    """``struct perf_event_header``, followed by the body."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("misc", ctypes.c_uint16),
        ("size", ctypes.c_uint16),
    )


class NativePerf(Handle):
    """A ``struct perf_buffer``: one ring of ``pages`` pages for each CPU online.

    ``counts`` asks the kernel to count what finds no room, as it can from Linux 6.0 on
    (commit 119a784c8127, "perf/core: Add a new read format to get a number of lost
    samples").  What PERF_RECORD_LOST announces is no substitute: it comes with the next
    record that finds room, so never for the last losses of a run.  Records bear the time of
    CLOCK_MONOTONIC, and come in that order if ``ordered``.
    """

    def __init__(
        self, map_fd: int, pages: int, into: Filling, *, counts: bool, ordered: bool = True
    ) -> None:
        self._into, self._counts = into, counts
        self._merge = Merge(max(len(into.memory), 1), ordered=ordered)
        self._callback = _PERF_CALLBACK(self._on_event)
        attr = perf.Attr(
            type=perf.TYPE_SOFTWARE,
            config=_PERF_COUNT_SW_BPF_OUTPUT,
            sample=1,
            sample_type=perf.SAMPLE_TIME | _PERF_SAMPLE_RAW,
            flags=perf.USE_CLOCKID,
            clockid=time.CLOCK_MONOTONIC,
            read_format=perf.FORMAT_LOST if counts else 0,
            wakeup=1,
        )
        super().__init__(
            fn("perf_buffer__new_raw")(
                map_fd, pages, ctypes.byref(attr), self._callback, None, None
            )
        )
        self._rings = int(fn("perf_buffer__buffer_cnt")(self.ptr))
        self._next = 0

    @classmethod
    def open(cls, map_fd: int, pages: int, into: Filling, *, ordered: bool = True) -> "NativePerf":
        """Open one that counts, or where the kernel cannot, one that does not."""
        try:
            return cls(map_fd, pages, into, counts=True, ordered=ordered)
        except KernelError as e:
            if e.errno != errno.EINVAL:
                raise
        return cls(map_fd, pages, into, counts=False, ordered=ordered)

    def _on_event(self, context: int, cpu: int, address: int) -> int:
        try:
            header = _PerfHeader.from_address(address)
            body = address + ctypes.sizeof(_PerfHeader)
            if header.type != _PERF_RECORD_SAMPLE:
                return _PERF_CONTINUE
            when = ctypes.c_uint64.from_address(body).value
            size = ctypes.c_uint32.from_address(body + 8).value
            return _PERF_CONTINUE if self._merge.add(when, body + 12, size) else _PERF_DONE
        except BaseException as e:  # noqa: BLE001  # raised again by `drain`
            self._into.error = e
            return _PERF_DONE

    @property
    def fd(self) -> int:
        """Readable when a record is there."""
        return int(fn("perf_buffer__epoll_fd")(self.ptr))

    def drain(self) -> None:
        """Copy what is there until the batch is full, by time; raises KernelError.

        What a processor may still be older than is held until all have been asked again.
        """
        while not self._into.records:
            until = time.monotonic_ns() - _COMMITTED_NS
            # Of a flood that has no room here only what was seen can be in order.
            self._merge.give(self._into, until if self._ask() else math.inf)
            if not self._merge:
                return

    def _ask(self) -> bool:
        """Take from all rings, each time from another on; False when that is too much at once."""
        start, self._next = self._next, (self._next + 1) % max(self._rings, 1)
        for i in range(self._rings):
            if not self._merge.has_room:
                return False
            ring = (start + i) % self._rings
            result = fn("perf_buffer__consume_buffer")(self.ptr, ring)
            self._into.raise_kept()
            if result < 0:
                raise KernelError(-result, describe(-result), "perf_buffer__consume_buffer")
        return self._merge.has_room

    def lost(self) -> int | None:
        """What found no room on any CPU, None when it is not counted; raises KernelError."""
        if not self._counts:
            return None
        fds = (fn("perf_buffer__buffer_fd")(self.ptr, ring) for ring in range(self._rings))
        return sum(perf.lost(fd) for fd in fds)

    def _delete(self, pointer: int) -> None:
        fn("perf_buffer__free")(pointer)
