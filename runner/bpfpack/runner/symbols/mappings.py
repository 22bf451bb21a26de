"""What code a process has mapped, remembered beyond its end."""

import os
from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from bpfpack.runner.attach.attachments import Located
from bpfpack.spec.limits import LIMITS


class Mapping(NamedTuple):
    """A range of addresses of one process and the part of a file that is there.

    ``file`` is None for what is no file; ``name`` is "[vdso]" or the path.
    """

    start: int
    end: int
    offset: int
    identity: bytes
    name: str | None
    file: Located | None


class Snapshot(NamedTuple):
    """The code of a process at one moment, by address."""

    digest: int
    starts: list[int]
    mappings: list[Mapping]

    def find(self, address: int) -> Mapping | None:
        """The mapping that an address lies in."""
        place = bisect_right(self.starts, address) - 1
        if place >= 0 and address < self.mappings[place].end:
            return self.mappings[place]
        return None


class Mappings:
    """The mappings of processes; those seen longest ago are forgotten first.

    A process that has started another program has several snapshots: a stack of the first may
    be shown after that.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[int, list[Snapshot]] = OrderedDict()
        self._own_namespace = _link("/proc/self/ns/mnt")

    def look(self, pid: int) -> None:
        """Remember what a process has now; one that has ended stays as it was."""
        text = _maps(pid)
        snapshots = self._seen.setdefault(pid, [])
        self._seen.move_to_end(pid)
        if len(self._seen) > LIMITS.stack_processes:
            self._seen.popitem(last=False)
        if text and not (snapshots and snapshots[-1].digest == hash(text)):
            snapshots.append(_snapshot(text, self._root(pid)))
            del snapshots[: -LIMITS.stack_mappings]

    def known(self, pid: int) -> bool:
        """Whether a process has been looked at."""
        return pid in self._seen

    def find(self, pid: int, address: int) -> Mapping | None:
        """What lies at an address of a process, or last lay there."""
        for snapshot in reversed(self._seen.get(pid, [])):
            if found := snapshot.find(address):
                return found
        return None

    def _root(self, pid: int) -> str:
        """Where the files of a process are found by the paths of its mappings.

        In our mount namespace they are told from our root, whatever its own is (fs/seq_file.c,
        seq_path), and found even after its end.
        """
        here = self._own_namespace
        if here is not None and _link(f"/proc/{pid}/ns/mnt") == here:
            return "/"
        return f"/proc/{pid}/root"


def _link(path: str) -> str | None:
    try:
        return str(Path(path).readlink())
    except OSError:
        return None


def _maps(pid: int) -> bytes:
    try:
        with Path(f"/proc/{pid}/maps").open("rb") as file:
            return file.read(LIMITS.process_maps)
    except OSError:
        return b""


def _snapshot(text: bytes, root: str) -> Snapshot:
    mappings = [found for line in text.splitlines() if (found := _mapping(line, root))]
    mappings.sort()
    return Snapshot(hash(text), [m.start for m in mappings], mappings)


def _mapping(line: bytes, root: str) -> Mapping | None:
    """One line of proc_pid_maps(5), None for what cannot be run."""
    columns = line.split(None, 5)
    if len(columns) < 5 or b"x" not in columns[1]:
        return None
    start, end = (int(address, 16) for address in columns[0].split(b"-"))
    name = columns[5] if len(columns) == 6 else None
    is_file = name is not None and name.startswith(b"/")
    return Mapping(
        start=start,
        end=end,
        offset=int(columns[2], 16),
        identity=b" ".join(columns[3:5]),
        name=None if name is None else name.decode(errors="replace"),
        file=Located(root=root, path=os.fsdecode(name)) if name and is_file else None,
    )
