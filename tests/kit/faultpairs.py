"""Two commands at once: one stops before a change, the other runs as far as it can.

What comes of it, thing by thing, is what comes of one after the other, in either order.
"""

import os
import select
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bpfpack.spec.errors import BpfpackError
from tests.kit.cli import PASSWORD, Host
from tests.kit.faultcases import KEPT, MOVED, archive, facts, garbage, make_host, pushed
from tests.kit.faults import Command, Ended, Fault, FaultServer, Kind, Started

_FLOCK: Final = {"x86_64": "73", "aarch64": "32"}[os.uname().machine]
_POLL_SECONDS: Final = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two command lines; ``missing`` says that one may find nothing after the other."""

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    prepare: Callable[..., None] = lambda host, *registry: None
    environ: Mapping[str, str] = field(default_factory=dict)
    codes: tuple[int, ...] = (0,)

    def at(self, registry: str) -> "Pair":
        """The same pair, with the address of a registry for ``{registry}``."""
        first, second = (
            tuple(word.replace("{registry}", registry) for word in argv)
            for argv in (self.first, self.second)
        )
        if first == self.first:
            return self
        return replace(
            self, first=first, second=second, prepare=lambda host: self.prepare(host, registry)
        )


def _old_archive(host: Host) -> None:
    archive(host)
    garbage(host)


def _old_registry(host: Host, registry: str) -> None:
    pushed(host, registry)
    garbage(host)


_LOAD: Final = ("load", "-f", "in.tar")
_PRUNE: Final = ("prune", "--force")
_PULL: Final = ("pull", "{registry}/moved:1")
_SAVE: Final = ("save", "-f", "out.tar", str(KEPT), str(MOVED))
_SIGN: Final = ("sign", "--key", "signer.key", str(KEPT))
_ADD: Final = ("trust", "add", "--key", "alice.pub")
_MISSING: Final = (0, 4)
PAIRS: Final = (
    Pair(name="load+prune", first=_LOAD, second=_PRUNE, prepare=_old_archive),
    Pair(name="prune+load", first=_PRUNE, second=_LOAD, prepare=_old_archive),
    Pair(name="load+load", first=_LOAD, second=_LOAD, prepare=archive),
    Pair(name="pull+pull", first=_PULL, second=_PULL, prepare=pushed),
    Pair(name="pull+prune", first=_PULL, second=_PRUNE, prepare=_old_registry),
    Pair(name="load+rmi", first=_LOAD, second=("rmi", str(MOVED)), prepare=archive),
    Pair(
        name="tag+rmi",
        first=("tag", str(KEPT), "other.example/copy:1"),
        second=("rmi", str(KEPT)),
        codes=_MISSING,
    ),
    Pair(
        name="rmi+tag",
        first=("rmi", str(KEPT)),
        second=("tag", str(KEPT), "other.example/copy:1"),
        codes=_MISSING,
    ),
    Pair(name="save+rmi", first=_SAVE, second=("rmi", str(KEPT)), codes=_MISSING),
    Pair(name="save+prune", first=_SAVE, second=_PRUNE, prepare=garbage),
    Pair(name="rmi+rmi", first=("rmi", str(KEPT)), second=("rmi", str(KEPT)), codes=_MISSING),
    Pair(name="sign+sign", first=_SIGN, second=_SIGN),
    Pair(name="sign+prune", first=_SIGN, second=_PRUNE, prepare=garbage),
    Pair(name="trust+trust", first=(*_ADD, "r.example/a"), second=(*_ADD, "r.example/b")),
    Pair(
        name="logout+logout", first=("logout", "other.example"), second=("logout", "third.example")
    ),
    Pair(
        name="keygen+keygen",
        first=("keygen",),
        second=("keygen",),
        environ={"BPFPACK_PASSWORD": PASSWORD},
        codes=(0, 2),
    ),
)


class Pairs:
    """Runs pairs in a directory of its own."""

    def __init__(self, server: FaultServer, directory: Path, registry: str) -> None:
        self._server, self._registry = server, registry
        self._base, self._host = make_host(directory / "base"), Host(root=directory / "run")
        self._template = Host(root=directory / "template")

    def faults(self, pair: Pair, step: int = 1) -> tuple[int, list[str]]:
        """Stop the first at every ``step``-th change; returns how often, and what was wrong."""
        pair = pair.at(self._registry)
        shutil.rmtree(self._template.root, ignore_errors=True)
        shutil.copytree(self._base.root, self._template.root)
        pair.prepare(self._template)
        orders = [self._serial(pair, *both) for both in (("first", "second"), ("second", "first"))]
        found: list[str] = []
        ran, at = 0, 1
        while (ended := self._interleaved(pair, at)) is not None:
            ran += 1
            where = f"{pair.name}: stopped at {at}"
            found += [f"{where}: {problem}" for problem in self._judge(pair, ended, orders)]
            at += step
        return ran, found

    def _serial(self, pair: Pair, *order: str) -> dict[str, str]:
        self._fresh()
        for which in order:
            self._server.run(self._command(pair, getattr(pair, which)), Fault())
        return facts(self._host)

    def _interleaved(self, pair: Pair, at: int) -> tuple[Ended, Ended] | None:
        """None when the first ended without coming that far."""
        self._fresh()
        fault = Fault(kind=Kind.STOP, at=at)
        first = self._server.start(self._command(pair, pair.first), fault)
        if first.wait() is not None:
            return None
        second = self._server.start(self._command(pair, pair.second), Fault())
        _until_blocked(second)
        os.kill(first.pid, signal.SIGCONT)
        ended = first.wait(), second.wait()
        assert ended[0] and ended[1]
        return ended[0], ended[1]

    def _judge(
        self, pair: Pair, ended: tuple[Ended, Ended], orders: list[dict[str, str]]
    ) -> list[str]:
        problems = [
            f"{one.code}: {one.stderr.strip()}"
            for one in ended
            if one.code not in pair.codes or "Traceback" in one.stderr
        ]
        try:
            now = facts(self._host)
        except (BpfpackError, AssertionError) as e:
            return [*problems, f"what is there is not whole: {e}"]
        for what in sorted({*now, *orders[0], *orders[1]}):
            allowed = [order.get(what) for order in orders]
            if now.get(what) not in allowed:
                problems.append(f"{what} is {now.get(what)}, not one of {allowed}")
        return problems

    def _fresh(self) -> None:
        shutil.rmtree(self._host.root, ignore_errors=True)
        shutil.copytree(self._template.root, self._host.root)

    def _command(self, pair: Pair, argv: tuple[str, ...]) -> Command:
        environ = {**self._host.environment, **pair.environ}
        return Command(argv=argv, environ=environ, directory=self._host.root)


def _until_blocked(started: Started) -> None:
    """Wait until a command ended, or waits for a lock."""
    ended = os.pidfd_open(started.pid)
    try:
        while not select.select([ended], [], [], _POLL_SECONDS)[0]:
            if _FLOCK in _calls(started.pid):
                return
    finally:
        os.close(ended)


def _calls(pid: int) -> list[str]:
    """The system calls that the threads of a process are in, by number."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended
            found.append((task / "syscall").read_text().split()[0])
    return found
