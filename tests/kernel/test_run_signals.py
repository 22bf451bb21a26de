"""``bpfpack run`` and Ctrl-C at any moment, and readers that have stopped."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.kit import bell
from tests.kit.bell import ME
from tests.kit.cli import Host
from tests.kit.kernelobjects import eventually, held, in_kernel

pytestmark = pytest.mark.kernel
_SECONDS = 20


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    root = tmp_path_factory.mktemp("host")
    made = Host(root=root)
    made.run("build", "-q", "-t", "bell:1.0", bell.write(root / "bell"))
    return made


@pytest.mark.parametrize("seed", range(40))
def test_a_signal_during_the_start_is_never_lost(host: Host, seed: int) -> None:
    """From the first import to the last attach, one Ctrl-C ends it, without a traceback."""
    moment = random.Random(seed).uniform(0.03, 0.2)
    code, told = _interrupted(host, moment)
    while b"init_import_site" in told:
        # A busy machine: Python had not come to anything of ours.
        moment += 0.05
        code, told = _interrupted(host, moment)
    assert code in (130, -signal.SIGINT), told
    assert b"Traceback" not in told
    assert b"Exception ignored" not in told


def _interrupted(host: Host, moment: float) -> tuple[int, bytes]:
    """Send Ctrl-C so many seconds after the start; return how it ended and what it said."""
    with subprocess.Popen(
        host.command("run", "bell:1.0", ME),
        env=host.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        # Not a wait for anything: the moment is what is drawn.
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=_SECONDS)
    return process.returncode, told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("shared", [True, False], ids=["both", "stderr"])
def test_messages_that_nobody_reads_hold_nothing_up(
    host: Host, number: signal.Signals, shared: bool
) -> None:
    """A full pipe on stderr, and perhaps on stdout too: one signal ends it all the same."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    try:
        with subprocess.Popen(
            host.command("run", "bell:1.0", ME),
            env=host.environment,
            stdin=subprocess.DEVNULL,
            stdout=writing if shared else subprocess.DEVNULL,
            stderr=writing,
        ) as process:
            assert eventually(lambda: any(kind == "link" for kind, _ in held(process.pid)))
            mine = held(process.pid)
            bell.ring(50)
            process.send_signal(number)
            assert process.wait(_SECONDS) == 128 + number
    finally:
        os.close(reading)
        os.close(writing)
    assert eventually(lambda: not mine & in_kernel())


@pytest.mark.parametrize("closed", ["2>/dev/full", "2>&-"])
def test_messages_that_cannot_be_written_change_nothing(
    host: Host, closed: str, tmp_path: Path
) -> None:
    command = " ".join(host.command("run", "--timeout", "0.3s", "-o", "json", "bell:1.0", ME))
    with subprocess.Popen(
        ["bash", "-c", f"{command} {closed} >{tmp_path / 'out'}"], env=host.environment
    ) as process:
        assert process.wait(_SECONDS) == 0


def test_events_that_nobody_gets_are_no_success(host: Host) -> None:
    command = " ".join(host.command("run", "--timeout", "0.3s", "-o", "json", "bell:1.0", ME))
    done = subprocess.run(
        ["bash", "-c", f"{command} >&-"],
        env=host.environment,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        125,
        "error: cannot write the output: Bad file descriptor\n",
    )


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (("--timeout", "bogus"), "duration"),
        (("--timeout", ""), "duration"),
        (("--timeout", "\N{ARABIC-INDIC DIGIT ONE}s"), "duration"),
        (("--max-events", "0"), "positive"),
        (("--max-events", ""), "positive"),
    ],
)
def test_a_dry_run_refuses_what_a_run_would(host: Host, argv: tuple[str, ...], word: str) -> None:
    for dry in ((), ("--dry-run",)):
        done = host.run("run", *dry, *argv, "bell:1.0", ME, code=125)
        assert word in done.stderr
