"""Every fault at every change that a command makes, and what must hold after each.

After a fault the host opens; each thing on it is what it was or what the command makes of it,
and the latter when the command said so; the message names the cause; the same command, without
the fault, then does its work; and what a killed one left goes with the next `prune`.
"""

import errno
import os
import re
import shutil
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bpfpack.spec.errors import BpfpackError
from tests.kit.cli import Host
from tests.kit.faultcases import Case, age, facts, files, make_host
from tests.kit.faults import Boundary, Command, Ended, Fault, FaultServer, Kind

#: The faults by the names that a report gives them.
FAULTS: Final = {
    "kill": Fault(kind=Kind.KILL),
    "torn": Fault(kind=Kind.TORN),
    "short": Fault(kind=Kind.SHORT),
    "ENOSPC": Fault(kind=Kind.ERROR, error=errno.ENOSPC),
    "full": Fault(kind=Kind.FULL, error=errno.ENOSPC),
    "EIO": Fault(kind=Kind.ERROR, error=errno.EIO),
    "EINTR": Fault(kind=Kind.ERROR, error=errno.EINTR),
}
_KILLS: Final = (Kind.KILL, Kind.TORN)
_DONE: Final = Ended(code=0, stdout="", stderr="", boundaries=())
#: Where a fault that is passed over would be a lie.
_MUST_FAIL: Final = ("write", "fsync", "rename", "link")
_CAUSES: Final = {
    errno.ENOSPC: ("No space left on device", "free some space"),
    errno.EIO: ("Input/output error",),
    errno.EINTR: ("Interrupted system call",),
}


@dataclass(kw_only=True)
class Report:
    """What came of one case."""

    case: str
    boundaries: tuple[Boundary, ...]
    ran: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Matrix:
    """Explores cases in a directory of its own."""

    def __init__(self, server: FaultServer, directory: Path, registry: str) -> None:
        """``registry`` is the host and port of one that takes everything."""
        self._server, self._directory, self._registry = server, directory, registry
        self._base = make_host(directory / "base")

    def explore(self, case: Case) -> "Explored":
        """Run a case once without a fault; it can be run with one until the next is explored."""
        return Explored(self._server, self._directory, self._base, case.at(self._registry))


def _applies(fault: Fault, boundary: Boundary) -> bool:
    return boundary.name == "write" or fault.kind not in (Kind.SHORT, Kind.TORN)


def _must_fail(boundary: Boundary) -> bool:
    """A command does without Python's try of a directory, and the beginning of a download."""
    tried = "/run/tmp/" in boundary.path and not boundary.path.endswith(" (deleted)")
    return boundary.name in _MUST_FAIL and not tried and "/run/cache" not in boundary.path


def undurable(boundaries: Iterable[Boundary]) -> Iterator[str]:
    """Say what a power cut after the last of these changes could take back.

    Bytes are synced before the file gets its name, and the directory after that.
    """
    dirty: set[str] = set()
    unsynced: dict[str, str] = {}
    for boundary in boundaries:
        path = boundary.path
        if boundary.name == "fsync":
            dirty.discard(path)
            unsynced.pop(path, None)
        elif boundary.name == "write":
            dirty.add(path)
        elif boundary.name == "rename":
            old, new = path.split("\t")
            if old in dirty:
                yield f"{new} had a name before its bytes were on the disk"
            dirty.discard(old)
            unsynced[str(Path(new).parent)] = new
        elif boundary.name in ("mkdir", "link"):
            unsynced[str(Path(path).parent)] = path
    yield from (f"the name {path} is not on the disk" for path in unsynced.values())


class Explored:
    """One case: what there was before it, and what it makes of that."""

    def __init__(self, server: FaultServer, directory: Path, base: Host, case: Case) -> None:
        self._server, self._case = server, case
        self._template, self._host = Host(root=directory / "template"), Host(root=directory / "run")
        shutil.rmtree(self._template.root, ignore_errors=True)
        shutil.copytree(base.root, self._template.root)
        case.prepare(self._template, *case.registry)
        self._before, self._files = facts(self._template), files(self._template)
        self.fresh()
        ended = self._run(Fault())
        assert ended.code == 0, ended.stderr
        self.boundaries = ended.boundaries
        self._after = facts(self._host)
        self._files |= files(self._host)
        self._settle()
        self._settled = files(self._host)

    def report(self, names: Iterable[str], chosen: Container[int]) -> Report:
        """Run with each of some faults at each of the chosen changes, counted from 1."""
        case = self._case.name
        report = Report(case=case, boundaries=self.boundaries)
        report.faults += [f"{case}: {what}" for what in undurable(self.boundaries)]
        for name in names:
            for at, boundary in enumerate(self.boundaries, 1):
                if at not in chosen or not _applies(FAULTS[name], boundary):
                    continue
                report.ran += 1
                fault = Fault(kind=FAULTS[name].kind, at=at, error=FAULTS[name].error)
                ended, problems = self.at(fault, boundary)
                report.ended[f"{name} {ended.code}"] += 1
                where = f"{case}: {name} at {at}, {boundary.name} {boundary.path}"
                report.faults += [f"{where}: {problem}" for problem in problems]
        return report

    def at(self, fault: Fault, boundary: Boundary) -> tuple[Ended, list[str]]:
        """Run the case with a fault, and say what does not hold after it."""
        self.fresh()
        ended = self._run(fault)
        # Threads may have come to it in another order, or a network made fewer pieces.
        reached = dict(enumerate(ended.boundaries, 1)).get(fault.at)
        if reached is None:
            fault = Fault()
        boundary = reached or boundary
        problems = [*self._told(fault, boundary, ended), *self._seen(ended)]
        if ended.code > 0 and boundary.name != "unlink":
            problems += [f"left {path}" for path in self._strange(self._files)]
        age(self._host)
        again = self._run(Fault())
        if again.code not in self._case.again:
            problems.append(f"again: {again.code}: {again.stderr.strip()}")
        if self._case.repeats:
            killed = fault.kind in _KILLS
            problems += self._seen(_DONE, self._case.apart if killed else frozenset())
        problems += self._settle()
        problems += [f"prune leaves {path}" for path in self._strange(self._settled)]
        return ended, problems

    def fresh(self) -> Host:
        """Make the host what it was before the case."""
        shutil.rmtree(self._host.root, ignore_errors=True)
        shutil.copytree(self._template.root, self._host.root)
        return self._host

    def _run(self, fault: Fault) -> Ended:
        case, root = self._case, self._host.root
        environ = {**self._host.environment, **case.environ, "TMPDIR": str(root / "tmp")}
        stdin = str(root / case.stdin) if case.stdin else os.devnull
        command = Command(argv=case.argv, environ=environ, directory=root, stdin=stdin)
        return self._server.run(command, fault)

    def _settle(self) -> list[str]:
        """An hour later, somebody prunes."""
        age(self._host)
        root = self._host.root
        command = Command(argv=("prune", "--force"), environ=self._host.environment, directory=root)
        ended = self._server.run(command, Fault())
        return [] if ended.code == 0 else [f"prune: {ended.code}: {ended.stderr.strip()}"]

    def _strange(self, known: set[str]) -> Iterator[str]:
        """Files that are neither known nor the system's to remove."""
        for path in sorted(files(self._host) - known):
            content = re.search("/[0-9a-f]{64}$|/sha256-[0-9a-f]{64}$", path)
            if not path.startswith(("tmp/", "cache/downloads/")) and (
                self._case.repeats or not content
            ):
                yield path

    def _told(self, fault: Fault, boundary: Boundary, ended: Ended) -> Iterator[str]:
        if "Traceback" in ended.stderr or "internal error" in ended.stderr:
            yield ended.stderr.strip()
        if fault.kind in _KILLS:
            if ended.code not in (0, -9):
                yield f"not killed: {ended.code}: {ended.stderr.strip()}"
        elif fault.kind is Kind.SHORT:
            if ended.code != 0:
                yield f"a short write is no error: {ended.stderr.strip()}"
        elif fault.kind is Kind.COUNT or ended.code == 0:
            if ended.code != 0:
                yield f"{ended.code} without a fault: {ended.stderr.strip()}"
            if fault.error not in (0, errno.EINTR) and _must_fail(boundary):
                yield "the fault was passed over"
        elif missing := [text for text in _CAUSES[fault.error] if text not in ended.stderr]:
            yield f"{missing} not in: {ended.stderr.strip()}"

    def _seen(self, ended: Ended, apart: frozenset[str] = frozenset()) -> Iterator[str]:
        """Each thing is as before or as after; after, when the command said that it is done."""
        try:
            now = facts(self._host)
        except (BpfpackError, AssertionError) as e:
            yield f"what is there is not whole: {e}"
            return
        for what in sorted({*self._before, *self._after, *now} - apart):
            before, after = self._before.get(what), self._after.get(what)
            if now.get(what) != after and (ended.code == 0 or now.get(what) != before):
                yield f"{what} is {now.get(what)}, was {before}, becomes {after}"
