"""Hosts and users for tests of the command line: the real command, as a process of its own.

Each has directories of its own and nothing of the environment that runs the tests.
"""

import codecs
import json
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

REPO: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = Path(sys.executable).with_name("bpfpack")
PASSWORD: Final = "correct horse"
_DIRECTORIES: Final = ("CONFIG", "DATA", "STATE", "CACHE", "RUN")
_SECONDS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Its output as one JSON document."""
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[Any]:
        """Its output as JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine or a user; ``prefix`` goes before the command (``nsenter ...``)."""

    root: Path
    prefix: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """All the variables its commands see."""
        home = self.root / "home"
        home.mkdir(parents=True, exist_ok=True)
        own = {f"BPFPACK_{n}_DIR": str(self.root / n.lower()) for n in _DIRECTORIES}
        return own | {
            "DOCKER_CONFIG": str(self.root / "docker"),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": f"{PROGRAM.parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            **self.extra,
        }

    def command(self, *argv: str | Path) -> list[str]:
        """The whole command line."""
        return [*self.prefix, str(PROGRAM), *map(str, argv)]

    def run(
        self,
        *argv: str | Path,
        stdin: bytes | None = None,
        cwd: Path | None = None,
        code: int | None = 0,
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command to its end, which must be ``code`` (None: any)."""
        done = subprocess.run(
            self.command(*argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            cwd=cwd or self.root,
            env=self.environment | dict(env or {}),
            timeout=_SECONDS,
            check=False,
        )
        told = Done(
            code=done.returncode,
            stdout=done.stdout.decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
        )
        assert code in (None, told.code), f"{argv} ended with {told.code}:\n{told.stderr}"
        return told

    @contextmanager
    def started(
        self, *argv: str | Path, stdin: int = subprocess.DEVNULL, cwd: Path | None = None
    ) -> Iterator["Running"]:
        """Run a command beside the block, which ends it if it did not end itself."""
        with subprocess.Popen(
            self.command(*argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or self.root,
            env=self.environment,
        ) as process:
            try:
                yield Running(process)
            finally:
                if process.poll() is None:
                    process.kill()

    def terminal(
        self,
        *argv: str | Path,
        cwd: Path | None = None,
        stdout: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> "Terminal":
        """Run a command on a terminal of its own, as a person would."""
        return Terminal(
            self.command(*argv),
            cwd or self.root,
            self.environment | {"TERM": "xterm-256color"} | dict(env or {}),
            stdout,
        )

    def keygen(self) -> Path:
        """Make this user's identity; returns the public key."""
        self.run("keygen", env={"BPFPACK_PASSWORD": PASSWORD})
        return self.root / "config" / "identity.pub"

    def push(self, *argv: str | Path, code: int | None = 0) -> Done:
        """Push with this user's key."""
        return self.run("push", *argv, code=code, env={"BPFPACK_PASSWORD": PASSWORD})


class Running:
    """A command under way, its output line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.seen: list[str] = []
        self._ahead: dict[int, bytes] = {}

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def until(self, pattern: str, *, stderr: bool = False) -> re.Match[str]:
        """Read lines until one matches."""
        stream = self.process.stderr if stderr else self.process.stdout
        assert stream is not None
        for line in iter(lambda: self._line(stream.fileno()), ""):
            self.seen.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"ended without {pattern!r}:\n{''.join(self.seen)}{self.rest()}")

    def end(self, number: int | None = None) -> Done:
        """Send a signal, read what is left, and return how it ended."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=_SECONDS)
        before = b"".join(self._ahead.pop(s, b"") for s in (1,))
        return Done(
            code=self.process.returncode,
            stdout=(before + out).decode(errors="replace"),
            stderr=err.decode(errors="replace"),
        )

    def rest(self) -> str:
        """What it said on stderr, once it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode(errors="replace")

    def _line(self, descriptor: int) -> str:
        """One line without reading ahead: `end` returns all that follows."""
        line = bytearray()
        end = time.monotonic() + _SECONDS
        while not line.endswith(b"\n"):
            if not select.select([descriptor], [], [], max(end - time.monotonic(), 0))[0]:
                raise AssertionError(f"nothing for {_SECONDS} s after:\n{''.join(self.seen)}")
            if not (byte := os.read(descriptor, 1)):
                break
            line += byte
        return line.decode(errors="replace")


class Terminal:
    """A command on a pseudo terminal that is its controlling one."""

    def __init__(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], stdout: int | None
    ) -> None:
        self.master, slave = os.openpty()
        termios.tcsetwinsize(slave, (40, 120))
        self.shown = ""
        self._seen = 0
        # A byte that is no UTF-8 stays one that can be told.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            cwd=cwd,
            env=dict(env),
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.hang_up()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(_SECONDS)

    def until(self, pattern: str) -> re.Match[str]:
        """Read until the screen has ``pattern`` after what was matched before."""
        while not (match := re.compile(pattern).search(self.shown, self._seen)):
            assert self._read(), f"no {pattern!r} in:\n{self.shown}"
        self._seen = match.end()
        return match

    def type(self, text: str) -> None:
        """Type text as it is; ``\\x03`` is Ctrl-C."""
        os.write(self.master, text.encode())

    def answer(self, prompt: str, text: str) -> None:
        """Wait for a prompt, and answer it with a line."""
        self.until(prompt)
        self.type(f"{text}\n")

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        return self.process.wait(_SECONDS)

    def hang_up(self) -> None:
        """Close the terminal's window."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def _read(self) -> bool:
        if not select.select([self.master], [], [], _SECONDS)[0]:
            raise AssertionError(f"nothing for {_SECONDS} s after:\n{self.shown}")
        with suppress(OSError):  # EIO: nobody has the other side any more
            if data := os.read(self.master, 65536):
                self.shown += self._decoder.decode(data)
                return True
        return False


def interrupt(running: Running) -> Done:
    """Ctrl-C for a command without a terminal."""
    return running.end(signal.SIGINT)
