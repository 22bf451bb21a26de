"""What code processes have mapped, remembered beyond their end.

Of a process that is there /proc tells; of one that comes and goes between two looks only the
kernel does, as it happens (`feed`).  Both are kept here, as one image for each program that a
process ran: a fork shares the image of its parent until one of them maps something.
"""

import os
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bpfpack.spec.limits import LIMITS

_WORD: Final = (1 << 64) - 1
#: Processes that are asked for an image that was there before the kernel told of it.
_READERS: Final = 8
#: How far up a process's ancestors its files are looked for.
_ANCESTORS: Final = 4


class MappedFile(NamedTuple):
    """What is mapped: ``name`` is a path, "[vdso]", or None.

    ``path`` is where the file is below ``root``, None for what is no file; without ``root`` it
    is the path that the process called it by.  ``build_id`` and ``inode`` are those of the file,
    empty and 0 where nobody said.
    """

    name: str | None
    path: str | None = None
    root: str | None = None
    build_id: bytes = b""
    inode: int = 0


class Mapping(NamedTuple):
    """A range of addresses and the part of a file that is there."""

    start: int
    end: int
    offset: int
    file: MappedFile

    @property
    def name(self) -> str | None:
        """What the process calls the file."""
        return self.file.name


class Image:
    """What one program has mapped, by address; no two overlap.

    ``whole``: nothing that it mapped before is missing.  ``readers`` are processes that run it,
    of which /proc would tell the rest; ``users`` counts the processes that have it.
    """

    __slots__ = ("_ends", "_files", "_offsets", "_starts", "digest", "readers", "users", "whole")

    def __init__(self, *, whole: bool) -> None:
        self._starts, self._ends, self._offsets = array("Q"), array("Q"), array("Q")
        self._files: list[MappedFile] = []
        self.whole, self.users = whole, 1
        self.readers: list[int] = []
        self.digest = 0

    def __len__(self) -> int:
        return len(self._files)

    def find(self, address: int) -> Mapping | None:
        """The mapping that an address lies in."""
        place = bisect_right(self._starts, address) - 1
        return self._row(place) if place >= 0 and address < self._ends[place] else None

    def add(self, new: Mapping) -> None:
        """Map what a process maps now; what lay there is there no more."""
        first = bisect_right(self._ends, new.start)
        last = bisect_left(self._starts, new.end)
        rows = [new]
        if first < last:
            before, after = self._row(first), self._row(last - 1)
            if before.start < new.start:
                rows.insert(0, before._replace(end=new.start))
            if after.end > new.end:
                moved = after.offset + new.end - after.start & _WORD
                rows.append(after._replace(start=new.end, offset=moved))
        self._starts[first:last] = array("Q", (row.start for row in rows))
        self._ends[first:last] = array("Q", (row.end for row in rows))
        self._offsets[first:last] = array("Q", (row.offset for row in rows))
        self._files[first:last] = [row.file for row in rows]

    def copy(self) -> "Image":
        """One of its own for a process that maps what the others do not."""
        made = Image(whole=self.whole)
        made._starts, made._ends = self._starts[:], self._ends[:]
        made._offsets, made._files = self._offsets[:], self._files[:]
        made.readers, made.digest = self.readers[:], self.digest
        return made

    def _row(self, place: int) -> Mapping:
        at = (self._starts[place], self._ends[place], self._offsets[place])
        return Mapping(*at, self._files[place])


class _Process:
    __slots__ = ("ended", "images", "looked", "parent", "stale")

    def __init__(self, image: Image, parent: int | None = None) -> None:
        self.images = [image]
        self.parent = parent
        self.ended = self.looked = self.stale = False


class Mappings:
    """The mappings of processes; those that ended longest ago are forgotten first.

    A process that has started another program has several images: a stack of the first may be
    shown after that.  ``fed``: the kernel tells what happens from now on.
    """

    def __init__(self, *, fed: bool = False) -> None:
        self._processes: OrderedDict[int, _Process] = OrderedDict()
        self._ended: OrderedDict[int, None] = OrderedDict()
        self._own_namespace = _link("/proc/self/ns/mnt")
        self._fed = fed
        self._total = 0

    def look(self, pid: int) -> None:
        """Remember what a process has now; one that has ended stays as it was."""
        process = self._process(pid)
        self._processes.move_to_end(pid)
        image = process.images[-1]
        if self._fed and image.whole and not process.stale:
            return
        process.looked, process.stale = True, False
        if text := _maps(pid):
            self._read(process, pid, text)
        elif not image.whole:
            # It has gone; what it was forked from may have the same.
            readers = (reader for reader in reversed(image.readers) if reader != pid)
            for reader in readers:
                if text := _maps(reader):
                    self._fill(image, reader, text)
                    break
        self._forget()

    def known(self, pid: int) -> bool:
        """Whether a process has been looked at, or the kernel told all of it."""
        process = self._processes.get(pid)
        return process is not None and (process.looked or process.images[-1].whole)

    def find(self, pid: int, address: int) -> Mapping | None:
        """What lies at an address of a process, or last lay there."""
        process = self._processes.get(pid)
        for image in reversed(process.images if process else []):
            if found := image.find(address):
                return found
        return None

    def roots(self, pid: int) -> Iterator[str]:
        """Directories that the paths of a process may begin at, the likeliest first."""
        at: int | None = pid
        for _ in range(_ANCESTORS):
            process = None if at is None else self._processes.get(at)
            if process is None or not process.ended:
                yield f"/proc/{at}/root"
            if process is None or process.parent is None:
                break
            at = process.parent
        yield "/"

    def forked(self, pid: int, parent: int) -> None:
        """A process was forked: it has what its parent has."""
        self._drop(pid)
        image = self._process(parent).images[-1]
        image.users += 1
        if not image.whole and len(image.readers) < _READERS:
            image.readers.append(pid)
        self._keep(pid, _Process(image, parent))

    def executed(self, pid: int) -> None:
        """A process runs another program, which has nothing mapped yet."""
        process = self._process(pid)
        for image in process.images:
            if pid in image.readers:
                image.readers.remove(pid)
        process.stale = False
        self._add(process, Image(whole=True))

    def mapped(self, pid: int, new: Mapping) -> None:
        """A process has mapped code."""
        process = self._process(pid)
        image = process.images[-1]
        if image.users > 1:
            image.users -= 1
            image = process.images[-1] = image.copy()
            self._total += len(image)
        if len(image) < LIMITS.process_mappings:
            self._total -= len(image)
            image.add(new)
            self._total += len(image)
            self._forget()

    def ended(self, pid: int) -> None:
        """A process has ended."""
        if process := self._processes.get(pid):
            process.ended = True
            self._ended[pid] = None
            for image in process.images:
                if pid in image.readers:
                    image.readers.remove(pid)

    def missed(self) -> None:
        """Something was lost: processes that are there have to be looked at again."""
        for process in self._processes.values():
            process.stale = True

    def _process(self, pid: int) -> _Process:
        process = self._processes.get(pid)
        if process is None:
            image = Image(whole=False)
            image.readers.append(pid)
            process = _Process(image)
            self._keep(pid, process)
        return process

    def _keep(self, pid: int, process: _Process) -> None:
        self._processes[pid] = process
        self._forget()

    def _forget(self) -> None:
        while len(self._processes) > 1 and (
            len(self._processes) > LIMITS.stack_processes or self._total > LIMITS.stack_mappings
        ):
            self._drop(next(iter(self._ended or self._processes)))

    def _drop(self, pid: int) -> None:
        self._ended.pop(pid, None)
        if process := self._processes.pop(pid, None):
            for image in process.images:
                self._release(image)

    def _add(self, process: _Process, image: Image) -> None:
        process.images.append(image)
        while len(process.images) > LIMITS.stack_programs:
            self._release(process.images.pop(0))

    def _release(self, image: Image) -> None:
        image.users -= 1
        if not image.users:
            self._total -= len(image)

    def _read(self, process: _Process, pid: int, text: bytes) -> None:
        image = process.images[-1]
        if image.whole and image.digest != hash(text):
            image = Image(whole=True)
            self._add(process, image)
        if image.digest != hash(text):
            self._fill(image, pid, text)

    def _fill(self, image: Image, pid: int, text: bytes) -> None:
        root = self._root(pid)
        self._total -= len(image)
        for line in text.splitlines():
            if len(image) < LIMITS.process_mappings and (found := _mapping(line, root)):
                image.add(found)
        self._total += len(image)
        image.whole, image.digest = True, hash(text)
        image.readers.clear()

    def _root(self, pid: int) -> str:
        """Where the files of a process are found by the paths that /proc says.

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


def _mapping(line: bytes, root: str) -> Mapping | None:
    """One line of proc_pid_maps(5), None for what cannot be run."""
    columns = line.split(None, 5)
    if len(columns) < 5 or b"x" not in columns[1]:
        return None
    start, end = (int(address, 16) for address in columns[0].split(b"-"))
    name = columns[5] if len(columns) == 6 else None
    path = os.fsdecode(name) if name and name.startswith(b"/") else None
    file = MappedFile(
        name=None if name is None else name.decode(errors="replace"),
        path=path,
        root=root if path else None,
        inode=int(columns[4]),
    )
    return Mapping(start, end, int(columns[2], 16), file)
