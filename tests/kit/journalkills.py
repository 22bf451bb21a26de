"""Kills runs at random lines, and looks what is left on the interfaces that they used.

Run as ``unshare -n python -m tests.kit.journalkills DIRECTORY COUNT SEED`` by root.  Each
run attaches to four places, beside filters and qdiscs of others, detaches one and ends; it
is killed before a line of `bpfpack.runner` that is drawn by chance, in every third run its
reaper as well, at a line of its own.  What others have must stay as it was, and what is
ours must be gone: within two seconds, or, where the reaper was killed too, after the next
start.  Prints how many kills were survived, and how.
"""

import mmap
import os
import random
import signal
import socket
import struct
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Final

import bpfpack.runner.recovery
from bpfpack.runner.attach.clsact import attach_clsact
from bpfpack.runner.reaper import guarded
from bpfpack.runner.recovery import recover
from tests.kit.clsact import Loaded, furnish, ours, reapers, snapshot
from tests.kit.kernelobjects import eventually

_RUNNER: Final = str(Path(bpfpack.runner.recovery.__file__).parent)
_WITHIN: Final = 2.0
_COUNT: Final = struct.Struct("=q")


class Fuse:
    """Kills a run before one line of the runner, and its reaper before one of its own."""

    def __init__(self, runner: int, reaper: int) -> None:
        self._at = (runner, reaper)
        self._who = 0
        # Shared with what is forked.
        self._burnt = mmap.mmap(-1, _COUNT.size * 2)

    def light(self) -> None:
        """Begin to count the lines of this process, and those of its child apart from them."""
        os.register_at_fork(after_in_child=self._in_child)
        sys.settrace(self._burn)

    def burnt(self) -> tuple[int, int]:
        """How many lines the run has seen, and its reaper."""
        return self._read(0), self._read(1)

    def _in_child(self) -> None:
        self._who = 1

    def _read(self, who: int) -> int:
        return int(_COUNT.unpack_from(self._burnt, who * _COUNT.size)[0])

    def _burn(self, frame: FrameType, event: str, argument: Any) -> Any:
        """A trace function (sys.settrace)."""
        if not frame.f_code.co_filename.startswith(_RUNNER):
            return None
        if event == "line":
            now = self._read(self._who) + 1
            _COUNT.pack_into(self._burnt, self._who * _COUNT.size, now)
            if now == self._at[self._who]:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._burn


def main(directory: Path, count: int, seed: int) -> int:
    """Kill ``count`` runs; fails with an AssertionError that names the seed and the lines."""
    chance = random.Random(seed)
    furnish()
    before = snapshot()
    directory.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    whole = Fuse(0, 0)
    assert not _killed(fd, whole)
    lines, reaping = whole.burnt()
    ends: Counter[str] = Counter()
    for number in range(count):
        at = chance.randint(1, lines)
        too = chance.randint(1, reaping) if number % 3 == 2 else None
        told = f"seed {seed}, kill {number}, line {at} of {lines}, reaper's {too} of {reaping}"
        assert _killed(fd, Fuse(at, too or 0)), told
        if too is None:
            assert eventually(lambda: snapshot() == before, _WITHIN), told
            ends["clean within two seconds"] += 1
        assert eventually(lambda: not reapers(directory), _WITHIN), told
        was_clean = snapshot() == before
        problems = recover(fd).problems
        assert not problems, f"{told}: {problems}"
        assert snapshot() == before, told
        assert not list(directory.iterdir()), told
        if too is not None:
            ends[
                "reaper killed too, clean " + ("before" if was_clean else "at the next start")
            ] += 1
    os.close(fd)
    print(
        f"{count} kills at {lines} lines, {reaping} of the reaper: "
        + "; ".join(f"{number} {how}" for how, number in sorted(ends.items()))
    )
    return 0


def _run(fd: int) -> None:
    """What a run does, from its start to its end."""
    recover(fd)
    with guarded(fd) as journal, Loaded(ours()) as program:
        first = attach_clsact(program.fd, program.id, _index("shared"), "ingress", journal)
        attach_clsact(program.fd, program.id, _index("bare"), "ingress", journal)
        attach_clsact(program.fd, program.id, _index("bare"), "egress", journal)
        attach_clsact(program.fd, program.id, _index("empty"), "egress", journal)
        first.close()


def _killed(fd: int, fuse: Fuse) -> bool:
    """Whether a run was killed."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    status = 1
    try:
        fuse.light()
        _run(fd)
        sys.settrace(None)
        status = 0
    finally:
        if status:
            sys.excepthook(*sys.exc_info())
        os._exit(status)  # this process must not go on with what its parent does


def _index(name: str) -> int:
    return socket.if_nametoindex(name)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
