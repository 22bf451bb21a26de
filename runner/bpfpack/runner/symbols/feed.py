"""Keeps `Mappings` up to what processes do, as the kernel tells it.

Each CPU tells in an order of its own; all of them use one clock, so that what was told up to a
moment can be put in order, and what came after waits for the next time.
"""

import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from bpfpack.runner.symbols.mappings import MappedFile, Mapping, Mappings
from bpfpack.spec.errors import KernelError
from bpfpack.spec.limits import LIMITS

# include/uapi/linux/perf_event.h, enum perf_event_type and the flags of its records.
_LOST: Final = 2
_COMM: Final = 3
_EXIT: Final = 4
_FORK: Final = 7
_MMAP2: Final = 10
_EXECUTED: Final = 1 << 13
_WITH_BUILD_ID: Final = 1 << 14

_HEAD: Final = struct.Struct("=IHH")
_TIME: Final = struct.Struct("=Q")
#: Process, parent, thread, thread of the parent.
_TASK: Final = struct.Struct("=4I")
_LOSS: Final = struct.Struct("=QQ")
#: Process, thread, address, length, offset, build ID or device and inode, access, flags.
_MAP: Final = struct.Struct("=2I3Q24s2I")
_FILE: Final = struct.Struct("=2IQQ")
_PID: Final = struct.Struct("=I")
_LEAST: Final = {
    _LOST: _LOSS.size,
    _COMM: _PID.size,
    _EXIT: _TASK.size,
    _FORK: _TASK.size,
    _MMAP2: _MAP.size,
}
_KERNEL: Final = 0xFFFFFFFF
_NO_FILE: Final = b"//"

#: Bytes of all rings together, and of one at least and at most: 600 for each process that comes
#: and goes.
_ROOM: Final = 4 * 1024 * 1024
_LEAST_RING: Final = 32 * 1024
_LARGEST_RING: Final = 512 * 1024
#: Files that are told apart before all are told anew.
_FILES: Final = 16384


class Change(NamedTuple):
    """One record of the kernel: when, what, its flags and the rest of it."""

    time: int
    kind: int
    flags: int
    body: bytes


class Rings(Protocol):
    """Where the kernel tells; `bpfpack.runner._native.tasks.TaskRings` is one."""

    @property
    def fd(self) -> int:
        """Readable when there is so much that it should be taken."""
        ...

    def read(self) -> list[bytes]:
        """What each CPU has told since."""
        ...

    def lost(self) -> int | None:
        """How much there was no room for, None where that is only told with the next record."""
        ...

    def close(self) -> None:
        """Let go of them."""
        ...


class TaskFeed:
    """Takes what the kernel tells; ``lost`` counts the records that it had no room for."""

    def __init__(
        self, rings: Rings, mappings: Mappings, now: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._rings, self._mappings, self._now = rings, mappings, now
        self._waiting: list[Change] = []
        self._files: dict[tuple[bytes, bytes], MappedFile] = {}
        self.lost = self._announced = 0

    @property
    def fd(self) -> int:
        """Readable when it is time to drain."""
        return self._rings.fd

    def drain(self) -> None:
        """Take what there is, without waiting."""
        until = self._now()
        found = self._waiting
        for data in self._rings.read():
            found += changes(data)
        found.sort(key=lambda change: change.time)
        ready = next((i for i, c in enumerate(found) if c.time > until), len(found))
        self._waiting = found[ready:]
        for change in found[:ready]:
            self._apply(change)
        counted = self._rings.lost()
        if counted is not None and counted > self.lost:
            self.lost = counted
            self._mappings.missed()

    def close(self) -> None:
        """Let go of the rings; a second call does nothing."""
        self._rings.close()

    def _apply(self, change: Change) -> None:
        body = change.body
        if change.kind == _MMAP2:
            self._mapped(change)
        elif change.kind == _LOST:
            self._announced += _LOSS.unpack_from(body)[1]
            self.lost = max(self.lost, self._announced)
            self._mappings.missed()
        elif change.kind == _COMM:
            if change.flags & _EXECUTED:
                self._mappings.executed(_PID.unpack_from(body)[0])
        else:
            pid, parent, thread, _ = _TASK.unpack_from(body)
            # Threads come and go without a change of what is mapped.
            if change.kind == _FORK and pid != parent:
                self._mappings.forked(pid, parent)
            elif change.kind == _EXIT and pid == thread:
                self._mappings.ended(pid)

    def _mapped(self, change: Change) -> None:
        pid, _, start, length, offset, told, _, _ = _MAP.unpack_from(change.body)
        if pid == _KERNEL or not length:
            return
        name = change.body[_MAP.size :].partition(b"\0")[0]
        key = (name, told if change.flags & _WITH_BUILD_ID else told + b"-")
        file = self._files.get(key)
        if file is None:
            if len(self._files) >= _FILES:
                self._files.clear()
            file = self._files[key] = _file(name, told, change.flags)
        end = min(start + length, (1 << 64) - 1)
        self._mappings.mapped(pid, Mapping(start, end, offset, file))


def changes(data: bytes) -> Iterator[Change]:
    """The records of one CPU that say what a process does.

    They come from the kernel, so that what is no record ends the reading.
    """
    at = 0
    while at + _HEAD.size <= len(data):
        kind, flags, size = _HEAD.unpack_from(data, at)
        body, end = at + _HEAD.size, at + size - _TIME.size
        if size < _HEAD.size or at + size > len(data):
            return
        if kind in _LEAST and end - body >= _LEAST[kind]:
            yield Change(_TIME.unpack_from(data, end)[0], kind, flags, data[body:end])
        at += size


def _file(name: bytes, told: bytes, flags: int) -> MappedFile:
    if name.startswith(_NO_FILE):
        return MappedFile(None)
    text = name.decode(errors="replace")
    if not name.startswith(b"/"):
        return MappedFile(text)
    if flags & _WITH_BUILD_ID:
        build_id, inode = told[4 : 4 + min(told[0], LIMITS.build_id)], 0
    else:
        build_id, inode = b"", _FILE.unpack(told)[2]
    return MappedFile(text, os.fsdecode(name), None, build_id, inode)


def open_feed(mappings: Mappings, cpus: Sequence[int]) -> TaskFeed | None:
    """Have the kernel tell from now on; None where it does not, or may not."""
    from bpfpack.runner._native.tasks import TaskRings

    size = _LARGEST_RING
    while size > _LEAST_RING and size * len(cpus) > _ROOM:
        size //= 2
    while size >= _LEAST_RING:
        try:
            return TaskFeed(TaskRings(tuple(cpus), size), mappings)
        except KernelError:
            # Perhaps it was too much memory (perf_event_mlock_kb).
            size //= 2
    return None
