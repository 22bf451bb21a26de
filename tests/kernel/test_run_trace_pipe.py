"""``bpfpack run --trace-pipe``: what bpf_printk prints, and nothing left in tracefs."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.kit import chimes
from tests.kit.bell import ME
from tests.kit.cli import Host, Running
from tests.kit.kernelobjects import eventually

pytestmark = pytest.mark.kernel
PRINTS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const volatile int target_pid;
SEC("raw_tp/sys_enter") int hello(struct bpf_raw_tracepoint_args *ctx)
{
	char title[] = "\\x1b]0;7"; /* a format itself may hold no control character */

	if (bpf_get_current_pid_tgid() >> 32 == target_pid && ctx->args[1] == @)
		bpf_printk("hello%s\\n", title);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host that built the chimes, and a program that declares no output."""
    root = tmp_path_factory.mktemp("host")
    made = chimes.built(root)
    number = chimes.NUMBERS[os.uname().machine][0]
    (root / "hello.bpf.c").write_text(PRINTS.replace("@", str(number)))
    made.run("build", "-q", "-t", "hello:1", root / "hello.bpf.c")
    return made


@pytest.fixture(autouse=True)
def nothing_is_left() -> None:
    """Instances are the whole host's: what a test leaves the next one would see."""
    assert instances() == set()


def instances() -> set[str]:
    """Those of tracefs that are ours, seen from a namespace that has it mounted."""
    script = "mountpoint -q /sys/kernel/tracing || mount -t tracefs t /sys/kernel/tracing; "
    listing = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script + "ls /sys/kernel/tracing/instances"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return {name for name in listing.split() if name.startswith("bpfpack-")}


def rung(running: Running, notes: str) -> None:
    running.until("^attached ", stderr=True)
    chimes.ring(notes)


def test_a_program_that_only_prints(host: Host) -> None:
    assert "--trace-pipe" in host.run("run", "hello:1", ME, code=125).stderr
    with host.started("run", "--trace-pipe", "--max-events=2", "hello:1", ME) as running:
        rung(running, "hh")
        done = running.end()
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    # What programs print cannot drive a terminal either.
    assert all(line.endswith("bpf_trace_printk: hello\\x1b]0;7") for line in lines)
    assert instances() == set()


def test_as_json_beside_events(host: Host) -> None:
    argv = ("run", "-o", "bells:json", "--trace-pipe", "--timeout=500ms", "chimes:1", ME)
    with host.started(*argv) as running:
        rung(running, "hl")
        lines = running.end().lines
    printed = [line for line in lines if line["output"] == "trace-pipe"]
    assert [(p["pid"], p["message"]) for p in printed] == [(os.getpid(), "high 1")]
    assert [line["number"] for line in lines if line["output"] == "bells"] == [1, 2]


def test_a_line_is_shown_at_once(host: Host) -> None:
    """Nothing waits until half of a buffer is full, which is tracefs's own way."""
    with host.started("run", "--trace-pipe", "hello:1", ME) as running:
        rung(running, "h")
        running.until("hello")
        assert running.end(signal.SIGINT).code == 130
    assert instances() == set()


def test_two_runs_see_the_same_lines(host: Host) -> None:
    """Reading the host's own trace_pipe, one would take them from the other."""
    argv = ("run", "--trace-pipe", "--max-events=1", "hello:1")
    with host.started(*argv, ME) as one, host.started(*argv, "--pid=1") as other:
        other.until("^attached ", stderr=True)
        rung(one, "h")
        for running in (one, other):
            assert "hello" in running.end().stdout


def test_a_killed_run_leaves_no_instance(host: Host) -> None:
    with host.started("run", "--trace-pipe", "hello:1", ME) as killed:
        killed.until("^attached ", stderr=True)
        assert len(instances()) == 1
        killed.process.kill()
        killed.process.wait()
    assert eventually(lambda: instances() == set(), 2)


def test_what_even_the_reaper_left_the_next_run_removes(host: Host) -> None:
    with host.started("run", "--trace-pipe", "hello:1", ME) as killed:
        killed.until("^attached ", stderr=True)
        mine = instances()
        children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children")
        (reaper,) = children.read_text().split()
        os.kill(int(reaper), signal.SIGKILL)
        killed.process.kill()
        killed.process.wait()
    assert instances() == mine
    # Any run, and one that is in use stays.
    with host.started("run", "--trace-pipe", "hello:1", ME) as running:
        running.until("^attached ", stderr=True)
        (others,) = instances()
        host.run("run", "-o", "bells:json", "--timeout=50ms", "chimes:1", ME)
        assert instances() == {others} != mine
        running.end(signal.SIGINT)


def test_a_second_signal_leaves_no_instance(host: Host) -> None:
    with host.started("run", "--trace-pipe", "hello:1", ME) as running:
        running.until("^attached ", stderr=True)
        running.process.send_signal(signal.SIGSTOP)
        running.process.send_signal(signal.SIGINT)
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGCONT)
        assert running.process.wait(30) in (130, 143)
    assert eventually(lambda: instances() == set(), 2)
