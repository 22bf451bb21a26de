"""runqlat builds with every clang and counts how long this test's threads wait."""

import json
import struct
import subprocess
from pathlib import Path

import pytest

from bpfpack.spec.config import Output
from tests.kit.exampleruns import attached, set_global, shown
from tests.kit.objects import CLANGS
from tests.kit.sources import EXAMPLES, example


@pytest.mark.parametrize("clang", CLANGS)
def test_it_builds(clang: str) -> None:
    result = example("runqlat", clang)
    assert result.warnings == ()
    assert result.config.outputs == (
        Output(
            name="latency",
            map="latency",
            kind="histogram",
            scale="log2",
            unit="us",
            slots="slots",
        ),
    )


@pytest.mark.kernel
@pytest.mark.parametrize("clang", CLANGS)
def test_it_counts_every_turn(clang: str) -> None:
    result = example("runqlat", clang)
    with attached(result) as session:
        for _ in range(20):
            subprocess.run(["/bin/true"], check=True)
        (everything,) = session.map("latency").items()
    assert everything[0] == bytes(16)
    slots = struct.unpack("=64Q", everything[1])
    # A new process has a first turn at least.
    assert sum(slots) >= 20
    assert not any(slots[40:])


@pytest.mark.kernel
def test_it_tells_commands_apart() -> None:
    result = example("runqlat")
    with attached(result, **set_global(result, "by_command", 1)) as session:
        subprocess.run(["/bin/sleep", "0.01"], check=True)
        commands = {key.split(b"\0")[0] for key, _ in session.map("latency").items()}
    assert b"sleep" in commands
    assert b"" not in commands


@pytest.mark.kernel
def test_the_command_shows_it(tmp_path: Path) -> None:
    samples = shown(
        tmp_path / "home",
        EXAMPLES / "runqlat",
        "--by-command",
        run=("--timeout=1s",),
        cause=lambda: subprocess.run(["/bin/sleep", "0.01"], check=True),
    )
    assert '"sleep"' in json.dumps(samples)
