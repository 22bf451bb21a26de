"""``bpfpack run`` with either engine, and where the compiled one cannot be had."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit import bell
from tests.kit.bell import ME
from tests.kit.cli import Host
from tests.kit.kernelobjects import eventually

pytestmark = pytest.mark.kernel

#: PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN (linux/prctl.h): systemd's MemoryDenyWriteExecute.
DENYING = (
    sys.executable,
    "-c",
    "import ctypes, os, sys; assert not ctypes.CDLL(None).prctl(65, 1, 0, 0, 0);"
    " os.execv(sys.argv[1], sys.argv[1:])",
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host that built the bell."""
    root = tmp_path_factory.mktemp("host")
    made = Host(root=root)
    made.run("build", "-q", "-t", "bell:1.0", bell.write(root / "bell"))
    return made


def shown(host: Host, *options: str, code: int = 0) -> tuple[str, str]:
    """What a run shows of two rings, and what it says."""
    arguments = ("run", *options, "-o", "json", "--max-events=2", "bell:1.0", ME)
    with host.started(*arguments) as running:
        if not code:
            running.until("^attached ", stderr=True)
            bell.ring(2)
        done = running.end()
        before = "".join(running.seen)
    assert done.code == code
    return done.stdout, before + done.stderr


@pytest.mark.parametrize("engine", ["auto", "wasm", "reference"])
def test_every_engine_shows_the_same_without_a_word(host: Host, engine: str) -> None:
    stdout, stderr = shown(host, "--engine", engine)
    assert stdout == '{"number":1}\n{"number":2}\n'
    assert "warning" not in stderr


def test_compiled_code_is_kept_in_the_cache(host: Host) -> None:
    shown(host)
    (kept,) = (Path(host.environment["BPFPACK_CACHE_DIR"]) / "engine").iterdir()
    before = kept.stat()
    assert before.st_mode & 0o777 == 0o600
    shown(host)
    assert kept.stat().st_ino == before.st_ino


def test_where_no_memory_may_become_code_plain_python_shows_it(host: Host) -> None:
    denied = Host(root=host.root, prefix=DENYING)
    stdout, stderr = shown(denied)
    assert stdout == '{"number":1}\n{"number":2}\n'
    (warning,) = (line for line in stderr.splitlines() if "warning" in line)
    assert "executable" in warning and "plain Python" in warning
    assert "warning" not in shown(denied, "--engine=reference")[1]
    stdout, stderr = shown(denied, "--engine=wasm", code=125)
    assert not stdout
    assert "executable" in stderr and "attached" not in stderr


def test_idle_it_is_one_thread_without_privileges(host: Host) -> None:
    with host.started("run", "-o", "json", "bell:1.0", ME) as running:
        running.until("^attached ", stderr=True)
        tasks = list(Path(f"/proc/{running.pid}/task").iterdir())
        assert len(tasks) == 1
        assert eventually(lambda: "CapEff:\t0000008000000000" in (tasks[0] / "status").read_text())
        running.end(signal.SIGINT)


@pytest.mark.parametrize("engine", ["wasm", "reference"])
def test_stats_are_the_last_line_of_json_and_account_for_every_event(
    host: Host, engine: str
) -> None:
    made = 5 * bell.RECORDS
    arguments = ("--stats", "-o", "json", f"--engine={engine}", "bell:1.0", ME)
    with host.started("run", *arguments) as running:
        running.until("^attached ", stderr=True)
        os.kill(running.pid, signal.SIGSTOP)
        bell.ring(made)
        os.kill(running.pid, signal.SIGCONT)
        done = running.end(signal.SIGINT)
    *events, last = done.lines
    stats = last["stats"]
    assert (stats["reason"], stats["events"]) == ("sigint", len(events))
    assert stats["events"] + stats["lost"] == made
    assert 0 < stats["lost"] < made
    assert stats["dropped"] == stats["unwritten"] == stats["filtered"] == 0


def test_stats_of_what_is_no_json_are_told_beside_it(host: Host) -> None:
    with host.started("run", "--stats", "--max-events=2", "bell:1.0", ME) as running:
        running.until("^attached ", stderr=True)
        bell.ring(2)
        done = running.end()
    assert "reason" not in done.stdout
    stats = json.loads(done.stderr.splitlines()[0])
    assert (stats["reason"], stats["events"], stats["lost"]) == ("max-events", 2, 0)


@pytest.mark.parametrize("engine", ["wasm", "reference"])
def test_what_a_slow_reader_misses_is_counted_where_it_may_be_dropped(
    host: Host, engine: str
) -> None:
    """Nobody reads a pipe, and more is made than it and what is kept have room for."""
    made = 120_000
    arguments = ("--on-slow=drop", "--stats", "--buffer-size=4M", "-o", "json")
    with host.started("run", *arguments, f"--engine={engine}", "bell:1.0", ME) as running:
        running.until("^attached ", stderr=True)
        bell.ring(made)
        assert eventually(rested(running.pid), 60)
        done = running.end(signal.SIGINT)
    *events, last = done.lines
    stats = last["stats"]
    assert (stats["events"], stats["lost"]) == (made, 0)
    assert stats["dropped"] > 0
    assert len(events) == stats["events"] - stats["dropped"] - stats["unwritten"]
    assert f"{stats['dropped']} dropped: the reader was slow" in done.stderr


def rested(pid: int) -> Callable[[], bool]:
    """Say, asked again and again, whether a process has had nothing to do for some times."""
    seen: list[str] = []

    def ask() -> bool:
        seen.append(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    return ask
