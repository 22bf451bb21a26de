"""Faults of a disk, put under our own commands: see `faults.c` and `faultserver`."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

REPO: Final = Path(__file__).resolve().parents[2]
_FLAGS: Final = ("-O1", "-Wall", "-Wextra", "-Werror", "-Wno-format-truncation", "-fPIC", "-shared")


class Kind(IntEnum):
    """What happens at the chosen boundary; the values are those of `faults.c`."""

    COUNT = 0
    #: SIGKILL before it.
    KILL = 1
    #: This one fails.
    ERROR = 2
    #: This one and all later ones that need space fail.
    FULL = 3
    #: A write takes half of what it is given.
    SHORT = 4
    #: A write takes half, and then SIGKILL.
    TORN = 5
    #: SIGSTOP before it.
    STOP = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong, and at which change, counted from 1."""

    kind: Kind = Kind.COUNT
    at: int = 0
    error: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line, or ``module:function`` and its arguments, and where it runs."""

    argv: Sequence[str]
    environ: Mapping[str, str]
    directory: Path
    stdin: str = os.devnull


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """One change that a command made, by the libc function and the path."""

    name: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended; ``code`` is negative for a signal."""

    code: int
    stdout: str
    stderr: str
    boundaries: tuple[Boundary, ...]


class Started:
    """A command under way; ``scratch`` takes its output."""

    def __init__(self, server: "FaultServer", pid: int, scratch: Path) -> None:
        self._server, self.pid, self._scratch = server, pid, scratch

    def wait(self) -> Ended | None:
        """Wait for its end; None when it stopped instead."""
        status = int(self._server.ask({"wait": self.pid}))
        if os.WIFSTOPPED(status):
            return None
        return Ended(
            code=os.waitstatus_to_exitcode(status),
            stdout=self._text("stdout"),
            stderr=self._text("stderr"),
            boundaries=tuple(self._boundaries()),
        )

    def _text(self, name: str) -> str:
        return (self._scratch / name).read_text(errors="replace")

    def _boundaries(self) -> list[Boundary]:
        # Threads write their lines in any order; the number is that of the change.
        lines = sorted(
            (int(number), name, path)
            for number, name, path in (
                line.split(" ", 2) for line in self._text("log").splitlines()
            )
        )
        return [Boundary(name=name, path=path) for _, name, path in lines]


class FaultServer:
    """A warm process whose forks run commands; a context manager."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="faults-")
        self._scratch, self._number = Path(self._temporary.name), 0
        library = self._scratch / "faults.so"
        source = Path(__file__).with_name("faults.c")
        subprocess.run(["cc", *_FLAGS, "-o", str(library), str(source), "-ldl"], check=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kit.faultserver"],
            cwd=REPO,
            env={**os.environ, "LD_PRELOAD": str(library)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._process.communicate()
        self._temporary.cleanup()

    def start(self, command: Command, fault: Fault) -> Started:
        """Start a command; the fault is about what is below its directory."""
        self._number = (self._number + 1) % 4  # that many may be under way at once
        scratch = self._scratch / str(self._number)
        scratch.mkdir(exist_ok=True)
        pid = self.ask(
            {
                "argv": list(command.argv),
                "environ": dict(command.environ),
                "directory": str(command.directory),
                "stdin": command.stdin,
                "kind": fault.kind,
                "at": fault.at,
                "error": fault.error,
                **{name: str(scratch / name) for name in ("stdout", "stderr", "log")},
            }
        )
        return Started(self, int(pid), scratch)

    def run(self, command: Command, fault: Fault) -> Ended:
        """The same, to its end."""
        ended = self.start(command, fault).wait()
        assert ended is not None, "it stopped"
        return ended

    def ask(self, request: Mapping[str, object]) -> str:
        """Send one request and return the answer."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the server of faults ended"
        return answer
