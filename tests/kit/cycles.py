"""Runs and stops every example over and over, and counts what stays of it.

``python -m tests.kit.cycles CYCLES [COMMANDS]``, as root: so many sessions in this process,
and so many runs of the command.  Prints a table; what grew is marked, and the exit code 1.
Everything is counted by its number in the kernel, so that others may work beside it.
"""

import contextlib
import gc
import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bpfpack.runner.journal import Journal
from bpfpack.runner.kernel import LiveKernel
from bpfpack.runner.plan import plan
from bpfpack.runner.reaper import guarded
from bpfpack.runner.session import Session
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.trust import VerifiedArtifact
from tests.kit.cli import Host
from tests.kit.clsact import reapers
from tests.kit.kernelobjects import admitted, eventually, held, in_kernel
from tests.kit.network import network
from tests.kit.objects import run, tool
from tests.kit.oldkernel import BEFORE_TCX, BeforeTcx
from tests.kit.sources import EXAMPLES, example, object_of

#: Of memory, in KiB: what the allocator keeps in pieces comes and goes.
_SLACK: Final = 1024
_TARGETS: Final = {"tc-count": ("end0",), "xdp-count": ("end0",)}
_OLD: Final = "tc-count by clsact"
_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_PAGE_KIB: Final = os.sysconf("SC_PAGE_SIZE") // 1024


class Bench:
    """The examples, built; what they have been in the kernel; and where journals are."""

    def __init__(self, place: Path) -> None:
        self.names = (*sorted(p.name for p in EXAMPLES.iterdir() if p.is_dir()), _OLD)
        #: What was held of the kernel: in all, since it was last looked for, and what stayed.
        self.objects = 0
        self._recent: set[tuple[str, int]] = set()
        self._left: set[tuple[str, int]] = set()
        self._place = place
        self._host = Host(root=place)
        self._old = Host(root=place, prefix=BEFORE_TCX)
        self._packages = {name: _package(name) for name in self.names}

    def session(self, name: str) -> None:
        """Load, attach, read and close one example in this process."""
        artifact, targets = self._packages[name], _TARGETS.get(_directory(name), ())
        kernel = BeforeTcx() if name == _OLD else LiveKernel()
        spec = ObjectSpec.from_bytes(artifact.object)
        made = plan(spec, artifact.config, kernel, attach=targets)
        with self._journal(made.outlives) as journal:
            before = held()
            with Session.open(artifact, made, kernel, journal) as session:
                session.attach()
                self._recent |= held() - before
                for source in session.sources.values():
                    source.drain(4096)
                for output in made.outputs:
                    if output.kind in ("table", "histogram"):
                        list(itertools.islice(session.map(output.map).items(), 100))

    def build(self) -> None:
        """Put the examples into the store, for `command`."""
        for package in {_directory(name) for name in self.names}:
            self._host.run("build", "-q", "-t", f"{package}:1.0", EXAMPLES / package)

    def command(self, name: str, end: signal.Signals) -> None:
        """Run one example by the command, and end it."""
        host, package = self._old if name == _OLD else self._host, _directory(name)
        targets = [f"--attach={target}" for target in _TARGETS.get(package, ())]
        with host.started("run", "-o", "json", *targets, f"{package}:1.0") as running:
            running.until("^attached ", stderr=True)
            self._recent |= held(running.pid)
            code = running.end(end).code
        assert code == (-end if end == signal.SIGKILL else 128 + end), (name, code)

    def settle(self) -> None:
        """Give the kernel the time to free what was closed, and keep what it did not."""
        eventually(lambda: not self._recent & in_kernel(), 10)
        self._left |= self._recent & in_kernel()
        self.objects += len(self._recent)
        self._recent.clear()

    def count(self) -> Mapping[str, int]:
        """What there is by now."""
        self.settle()
        gc.collect()
        eventually(lambda: not reapers(self._journals), 2)
        left = self._left & in_kernel()
        shown = run(tool("tc"), "qdisc", "show")
        return {
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "programs": sum(kind == "prog" for kind, _ in left),
            "maps": sum(kind == "map" for kind, _ in left),
            "links": sum(kind == "link" for kind, _ in left),
            "qdiscs": len(shown.splitlines()),
            "pins": sum(1 for _ in Path("/sys/fs/bpf").rglob("*")),
            "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
            "reapers": len(reapers(self._journals)),
            "journals": len(list(self._journals.iterdir())),
            "memory, KiB": int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_KIB,
        }

    @property
    def _journals(self) -> Path:
        path = self._place / "run" / "journals"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def _journal(self, wanted: bool) -> Iterator[Journal | None]:
        if not wanted:
            yield None
            return
        fd = os.open(self._journals, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with guarded(fd) as journal:
                yield journal
        finally:
            os.close(fd)


def cycle(
    bench: Bench, sessions: int, commands: int, *, warm_up: int
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Count before and after so many sessions, and commands, of all examples in turn.

    ``warm_up`` sessions of each go before: what is made once is made then.
    """
    for name in bench.names * warm_up:
        bench.session(name)
    if commands:
        bench.build()
        bench.command(bench.names[0], signal.SIGINT)
    before = bench.count()
    for number, name in enumerate(itertools.islice(itertools.cycle(bench.names), sessions)):
        bench.session(name)
        if number % len(bench.names) == 0:
            bench.settle()
    ends = itertools.cycle(_ENDS)
    for name in itertools.islice(itertools.cycle(bench.names), commands):
        bench.command(name, next(ends))
    return before, bench.count()


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """What there is more of."""
    return [name for name in before if after[name] > before[name] + _SLACK * ("KiB" in name)]


def main(sessions: int, commands: int) -> int:
    """See above."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place, network():
        bench = Bench(Path(place))
        before, after = cycle(bench, sessions, commands, warm_up=2)
    faults = grown(before, after)
    seconds = time.monotonic() - started
    print(
        f"{sessions} sessions and {commands} commands of {len(bench.names)} examples, "
        f"{bench.objects} kernel objects, {seconds:.0f} s"
    )
    print(f"{'':14}{'before':>10}{'after':>10}")
    for name in before:
        mark = "  GREW" if name in faults else ""
        print(f"{name:14}{before[name]:>10}{after[name]:>10}{mark}")
    return bool(faults)


def _package(name: str) -> VerifiedArtifact:
    result = example(_directory(name))
    return admitted(object_of(result), result.config)


def _directory(name: str) -> str:
    return name.partition(" ")[0]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
