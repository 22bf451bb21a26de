"""A few inputs for each fuzzer, on every run: for hours of them there is ``scripts/fuzz``."""

import subprocess
import sys

import pytest

from tests.fuzz import engine
from tests.fuzz.targets import TARGETS, Target
from tests.kit.cli import REPO


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_value_or_one_of_our_errors_and_nothing_else(target: Target) -> None:
    fed = engine.blindly(target, "suite", count=400)
    assert fed.count == 400
    assert not fed.faults


def test_what_is_no_error_of_ours_is_seen() -> None:
    def broken(data: bytes) -> None:
        if data != b"good":
            raise KeyError(data)

    fed = engine.blindly(Target(run=broken, seeds=lambda: [b"good"]), "suite", count=20)
    assert len(fed.faults) == 1


@pytest.mark.kernel
def test_mutated_archives_give_an_exit_code_and_a_message() -> None:
    """No traceback, no signal, no hang, and no control character on a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "archives", "--count", "200", "--seed", "suite"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    codes = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert sum(int(n) for what, n in codes.items() if what.startswith("run ")) == 200
    # Damage of every depth: some is not seen, some is refused by each of the commands.
    assert {"load 0", "load 3", "inspect 0", "run 0", "run 125", "run 126"} <= set(codes)
