"""Faults of a disk and kills, at changes that commands make; all of them: ``scripts/faults``."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.faultcases import CASES, Case
from tests.kit.faultmatrix import FAULTS, Matrix, undurable
from tests.kit.faultpairs import PAIRS, Pair, Pairs
from tests.kit.faults import Boundary, FaultServer
from tests.kit.servers import bpfpack_registry

# About so many runs of a case with each fault; all of them take a quarter of an hour.
_RUNS = 2


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bpfpack_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running.host


@pytest.fixture(scope="module")
def matrix(server: FaultServer, registry: str, tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return Matrix(server, tmp_path_factory.mktemp("matrix"), registry)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_fault_loses_nothing_and_shows_nothing_half_written(matrix: Matrix, case: Case) -> None:
    explored = matrix.explore(case)
    changes = [i for i, b in enumerate(explored.boundaries, 1) if b.name != "flock"]
    step = max(len(changes) // _RUNS, 1)
    for number, name in enumerate(FAULTS):
        # Other changes for each fault, and the last one always.
        chosen = {*changes[number % step :: step], changes[-1]}
        report = explored.report([name], chosen)
        assert not report.faults, "\n".join(report.faults)


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.name for pair in PAIRS])
def test_two_commands_at_once_end_as_one_after_the_other(
    server: FaultServer, registry: str, tmp_path: Path, pair: Pair
) -> None:
    ran, faults = Pairs(server, tmp_path, registry).faults(pair, step=13)
    assert ran and not faults, "\n".join(faults)


_KINDS = ("fsync", "rename", "mkdir", "unlink")
_CALL = re.compile(r"(fsync|rename|mkdir|unlink)(?:at2?)?\((.*)\)\s+= (\S+)")


def test_every_change_that_the_kernel_sees_is_one_of_those(matrix: Matrix, tmp_path: Path) -> None:
    """Or a fault could never have been put there."""
    (case,) = (case for case in CASES if case.name == "load")
    explored = matrix.explore(case)
    host, argv = explored.fresh(), [sys.executable, "-m", "bpfpack", *case.argv]
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat"
    subprocess.run(
        ["strace", "-ff", "-y", "-o", trace, "-e", calls, *argv],
        cwd=host.root,
        env=host.environment,
        check=True,
    )
    # A file for each thread, so that no call is cut in two by another.
    lines = [line for part in tmp_path.iterdir() for line in part.read_text().splitlines()]
    found = (_CALL.search(line) for line in lines)
    seen = [match[1] for match in found if match and str(host.root) in match[2]]
    known = [b.name for b in explored.boundaries if b.name in _KINDS]
    assert sorted(seen) == sorted(known)


@pytest.mark.parametrize(
    ("boundaries", "lost"),
    [
        (["write /a/.t", "rename /a/.t\t/a/b", "fsync /a"], "/a/b had a name before"),
        (["write /a/.t", "fsync /a/.t", "rename /a/.t\t/a/b"], "/a/b is not on the disk"),
        (["mkdir /a/d", "fsync /a/d"], "/a/d is not on the disk"),
    ],
)
def test_what_a_power_cut_would_take_back_is_seen(boundaries: list[str], lost: str) -> None:
    changes = [Boundary(name=n, path=p) for n, p in (b.split(" ", 1) for b in boundaries)]
    assert any(lost in what for what in undurable(changes))
