"""A run that attaches through clsact and waits: ``python -m tests.kit.journalrun DIR PLACE...``.

A place is ``INTERFACE:DIRECTION``.  Says what it attached as a line of JSON, then detaches
and ends when its standard input does.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

from bpfpack.runner import capabilities
from bpfpack.runner.attach.clsact import Direction, attach_clsact
from bpfpack.runner.reaper import guarded
from tests.kit.clsact import Loaded, ours

_ROOT: Final = Path(__file__).parents[2]


class Run(subprocess.Popen[str]):
    """The process, and what it said."""

    told: dict[str, Any]

    def finish(self) -> None:
        """Let it end by itself, which must go well."""
        _, said = self.communicate(timeout=30)
        assert self.returncode == 0, said


@contextlib.contextmanager
def running(directory: Path, *places: str, prefix: tuple[str, ...] = ()) -> Iterator[Run]:
    """Start one, attached when this returns; ended with the block, if not before."""
    directory.mkdir(mode=0o700, exist_ok=True)
    with Run(
        (*prefix, sys.executable, "-m", "tests.kit.journalrun", str(directory), *places),
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            assert run.stdout and run.stderr
            line = run.stdout.readline()
            assert line, run.stderr.read()
            run.told = json.loads(line)
            yield run
        finally:
            if run.poll() is None:
                run.kill()


def main(directory: Path, places: list[str]) -> int:
    """See above."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    with guarded(fd) as journal, Loaded(ours()) as program:
        entries = []
        for place in places:
            name, _, direction = place.partition(":")
            index, to = socket.if_nametoindex(name), cast("Direction", direction)
            entries.append(attach_clsact(program.fd, program.id, index, to, journal).entry)
        capabilities.drop()
        told = {"pid": os.getpid(), "entries": [entry.to_dict() for entry in entries]}
        print(json.dumps(told), flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
