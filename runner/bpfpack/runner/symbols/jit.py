"""Functions that a process made as it ran, by what it writes down of them.

``/tmp/perf-PID.map``, as tools/perf/Documentation/jit-interface.txt of the kernel has it: a line
for each, its address and size in hexadecimal and its name.  Interpreters that compile write it
when they are told to (``python -X perf``, ``node --perf-basic-prof``).
"""

import os
import re
import stat
import time
from array import array
from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path
from typing import Final

from bpfpack.runner._native import libc
from bpfpack.spec.errors import KernelError
from bpfpack.spec.limits import LIMITS

_LINE: Final = re.compile(rb"^(?:0x)?([0-9a-fA-F]{1,16}) (?:0x)?([0-9a-fA-F]{1,16}) (.+)$", re.M)
_NAME: Final = "/tmp/perf-{}.map"  # noqa: S108  # where others write it; see `_read`
_PROCESSES: Final = 64
#: Seconds before a file that may have grown is read again: so much at least, and so many times
#: what the last reading took.
_AGAIN: Final = 0.05
_TIMES: Final = 20


class JitMap:
    """The functions of one such file."""

    def __init__(self, data: bytes) -> None:
        rows: list[tuple[int, int, int, int, int]] = []
        for line in _LINE.finditer(data):
            start, size = int(line[1], 16), int(line[2], 16)
            if size and start + size < 1 << 64:
                rows.append((start, len(rows), size, line.start(3), line.end(3)))
            if len(rows) >= LIMITS.jit_functions:
                break
        # Where two begin at one address, the later one is there now.
        rows.sort()
        self._data = data
        self._starts, self._sizes, self._from, self._to = (
            array("Q", (row[i] for row in rows)) for i in (0, 2, 3, 4)
        )

    def find(self, address: int) -> tuple[str, int] | None:
        """Return the function at an address, and how far inside it that is."""
        place = bisect_right(self._starts, address) - 1
        if place < 0 or address >= self._starts[place] + self._sizes[place]:
            return None
        name = self._data[self._from[place] : self._to[place]][: LIMITS.elf_name]
        return name.decode(errors="replace").strip(), address - self._starts[place]


class JitMaps:
    """The files of processes; those used longest ago are forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[float, object, JitMap | None]] = OrderedDict()

    def find(self, pid: int, address: int) -> tuple[str, int] | None:
        """Return the function at an address of a process, read anew when that is not known."""
        again, version, known = self._known.get(pid, (0.0, None, None))
        found = known.find(address) if known else None
        began = time.monotonic()
        if found is None and began >= again:
            version, known = _read(pid, version, known)
            ended = time.monotonic()
            again = ended + max(_AGAIN, _TIMES * (ended - began))
            self._known[pid] = again, version, known
            found = known.find(address) if known else None
            if len(self._known) > _PROCESSES:
                self._known.popitem(last=False)
        if pid in self._known:
            self._known.move_to_end(pid)
        return found


def _read(pid: int, version: object, known: JitMap | None) -> tuple[object, JitMap | None]:
    """Which file there is now, and what it says; as before when there is none, or no other."""
    try:
        owner = Path(f"/proc/{pid}").stat().st_uid
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
            fd = libc.open_in_root(root, _NAME.format(_own_number(pid)), flags)
        finally:
            os.close(root)
        try:
            found = os.fstat(fd)
            now = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            # Anybody may write into /tmp: only the process itself, or root, says what it runs.
            if not stat.S_ISREG(found.st_mode) or found.st_uid not in (owner, 0) or now == version:
                return version, known
            with open(fd, "rb", closefd=False) as file:
                return now, JitMap(file.read(LIMITS.jit_map))
        finally:
            os.close(fd)
    except (OSError, KernelError):
        return version, known


def _own_number(pid: int) -> str:
    """The number that a process has for itself: in its own PID namespace."""
    for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1]
    return str(pid)
