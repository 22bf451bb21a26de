"""``bpfpack run`` as a user meets it: what it shows, how it ends, what it leaves behind."""

import json
import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from tests.kit import bell
from tests.kit.bell import ME
from tests.kit.cli import PROGRAM, Host, Running
from tests.kit.kernelobjects import eventually, held, in_kernel

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host that built the bell."""
    root = tmp_path_factory.mktemp("host")
    made = Host(root=root)
    made.run("build", "-q", "-t", "bell:1.0", bell.write(root / "bell"))
    return made


def attached(running: Running) -> set[tuple[str, int]]:
    """Wait until it is, and return what it holds in the kernel."""
    running.until("^attached ", stderr=True)
    mine = held(running.pid)
    assert {kind for kind, _ in mine} == {"prog", "map", "link"}
    return mine


def test_max_events_is_exact(host: Host) -> None:
    with host.started("run", "-o", "json", "--max-events=3", "bell:1.0", ME) as running:
        attached(running)
        bell.ring(20)
        done = running.end()
    assert (done.code, [e["number"] for e in done.lines]) == (0, [1, 2, 3])
    assert "3 events" in done.stderr


@pytest.mark.parametrize("library", ["/nope.so", "libc.so.6"])
def test_a_missing_libbpf_is_not_blamed_on_the_package(host: Host, library: str) -> None:
    done = host.run("run", "bell:1.0", ME, code=None, env={"BPFPACK_LIBBPF": library})
    assert done.code == 126
    assert library in done.stderr and "libbpf" in done.stderr
    assert "cannot read the object" not in done.stderr
    assert "apt" in done.stderr or "install" in done.stderr


def test_an_event_is_shown_before_the_next_happens(host: Host) -> None:
    """Nothing is held back for want of more: each line is read before the next event."""
    with host.started("run", "-o", "json", "bell:1.0", ME) as running:
        attached(running)
        for number in (1, 2, 3):
            bell.ring()
            assert json.loads(running.until("number").string) == {"number": number}
        assert running.end(signal.SIGINT).code == 130


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("json", '{"number":1}\n{"number":2}\n'),
        ("csv", "number\n1\n2\n"),
        ("raw", (1).to_bytes(8, "little").decode() + (2).to_bytes(8, "little").decode()),
    ],
)
def test_the_formats(host: Host, shape: str, expected: str) -> None:
    with host.started("run", "-o", shape, "--max-events=2", "bell:1.0", ME) as running:
        attached(running)
        bell.ring(2)
        done = running.end()
    assert (done.code, done.stdout.replace("\r\n", "\n")) == (0, expected)


def test_the_table(host: Host) -> None:
    with host.started("run", "--max-events=2", "bell:1.0", ME) as running:
        attached(running)
        bell.ring(2)
        done = running.end()
    assert [line.split() for line in done.stdout.splitlines()] == [["NUMBER"], ["1"], ["2"]]


def test_timeout_ends_with_zero(host: Host) -> None:
    done = host.run("run", "--timeout=50ms", "bell:1.0", ME)
    assert "0 events, 0 lost" in done.stderr


def test_quiet_says_nothing_of_its_own(host: Host) -> None:
    done = host.run("run", "-q", "-o", "json", "--timeout=50ms", "bell:1.0", ME)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_signal_leaves_nothing(host: Host, number: signal.Signals, code: int) -> None:
    with host.started("run", "-o", "json", "bell:1.0", ME) as running:
        mine = attached(running)
        bell.ring(5)
        done = running.end(number)
    assert done.code == code
    if number != signal.SIGKILL:
        # What had happened is shown, though nobody read until now.
        assert [e["number"] for e in done.lines] == [1, 2, 3, 4, 5]
        assert done.stderr == "5 events, 0 lost\n"
    assert eventually(lambda: not mine & in_kernel(), 2)


def test_sigint_ok(host: Host) -> None:
    with host.started("run", "--sigint-ok", "bell:1.0", ME) as running:
        attached(running)
        assert running.end(signal.SIGINT).code == 0


def test_a_closed_terminal_leaves_nothing(host: Host) -> None:
    with host.terminal("run", "bell:1.0", ME) as screen:
        screen.until("attached ")
        mine = held(screen.process.pid)
        assert mine
        screen.hang_up()
        assert screen.process.wait(30) == 129
    assert eventually(lambda: not mine & in_kernel(), 2)


def test_ctrl_c_on_a_terminal(host: Host) -> None:
    with host.terminal("run", "bell:1.0", ME) as screen:
        screen.until("attached ")
        bell.ring()
        screen.until("NUMBER")
        screen.type("\x03")
        assert screen.end() == 130
    assert "Traceback" not in screen.shown
    assert "1 event, 0 lost" in screen.shown


def test_head_ends_it_quietly(host: Host) -> None:
    read, write = os.pipe()
    with subprocess.Popen(
        host.command("run", "-q", "-o", "json", "bell:1.0", ME),
        stdout=write,
        stderr=subprocess.PIPE,
        env=host.environment,
    ) as process:
        os.close(write)
        assert eventually(lambda: any(kind == "link" for kind, _ in held(process.pid)), 30)
        mine = held(process.pid)
        bell.ring()
        assert os.read(read, 100) == b'{"number":1}\n'
        os.close(read)
        bell.ring(3)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (0, b"")
    assert eventually(lambda: not mine & in_kernel(), 2)


def test_a_reader_that_stopped_does_not_keep_it(host: Host) -> None:
    """Ctrl-C with a full pipe ends it, says what was not written, and cleans."""
    with host.started("run", "-o", "json", "bell:1.0", ME) as running:
        mine = attached(running)
        out = running.process.stdout
        assert out is not None
        while not _full(running.pid):
            bell.ring(100)
        for _ in range(20):  # more than the last page of the pipe takes
            assert eventually(lambda: _sleeps(running.pid), 30)
            bell.ring(100)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 130
        assert "not written: the reader had stopped" in running.rest()
    assert eventually(lambda: not mine & in_kernel(), 2)


def _sleeps(pid: int) -> bool:
    """Whether a process waits for something."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def _full(pid: int) -> bool:
    """Whether less than a page of the pipe that is a process's stdout is free."""
    with open(f"/proc/{pid}/fd/1", "wb", opener=_nonblocking) as pipe:
        return not select.select([], [pipe], [], 0)[1]


def _nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def test_losses_are_exact(host: Host) -> None:
    """A ring of 170 events and a reader that sleeps: shown and lost make what happened."""
    times = 60_000
    with host.started("run", "-o", "json", "bell:1.0", ME) as running:
        attached(running)
        bell.ring(times)
        running.process.send_signal(signal.SIGINT)
        done = running.end()
    events, lost = _counted(done.stderr)
    numbers = [e["number"] for e in done.lines]
    assert lost > 0
    assert events + lost == times
    assert numbers == sorted(set(numbers))
    dropped = int(done.stderr.split(", ")[2].split()[0]) if "not written" in done.stderr else 0
    assert len(numbers) == events - dropped


def _counted(stderr: str) -> tuple[int, int]:
    words = stderr.splitlines()[-1].replace(",", "").split()
    return int(words[0]), int(words[2])


def test_raw_on_a_terminal_needs_force(host: Host) -> None:
    with host.terminal("run", "-o", "raw", "bell:1.0", ME) as screen:
        assert screen.end() == 125
    assert "--force" in screen.shown
    with host.terminal("run", "--force", "-o", "raw", "--timeout=50ms", "bell:1.0", ME) as screen:
        assert screen.end() == 0


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        ((), 125, "bpfpack run REF"),
        (("--no-such", "bell:1.0"), 125, "no such option of run: --no-such"),
        (("--timout=1s", "bell:1.0"), 125, "did you mean --timeout?"),
        (("-o", "xml", "bell:1.0"), 125, "not one of table, json, json-array, csv"),
        (("--max-events=0", "bell:1.0"), 125, "not a positive whole number"),
        (("--timeout=soon", "bell:1.0"), 125, "not a duration"),
        (("bell:1.0", "--no-such"), 125, "--no-such"),
        (("bell:1.0", "--pid", "me"), 125, "--pid"),
        (("nothing:1.0",), 127, "not in the local store"),
        (("./nothing.tar",), 127, "no such file"),
        (("sha256:" + "0" * 64,), 127, "not in the local store"),
        (("UPPER/Case",), 125, "a repository is lower case"),
    ],
)
def test_what_cannot_be_run(host: Host, argv: tuple[str, ...], code: int, told: str) -> None:
    done = host.run("run", *argv, code=code)
    assert told in done.stderr
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)


def test_under_sudo_a_missing_package_may_be_the_users(host: Host) -> None:
    done = host.run("run", "mine:1", env={"SUDO_UID": "65534"}, code=127)
    assert "root's store and that of nobody" in done.stderr


def test_dry_run_loads_nothing(host: Host) -> None:
    shown = host.run("run", "--dry-run", "bell:1.0", ME).stdout
    assert "program on_call (raw_tp/sys_enter): load" in shown
    assert "CAP_BPF" in shown
    document = host.run("run", "--dry-run", "-o", "json", "bell:1.0", ME).json
    assert document["package"] == "bell"
    assert [p["name"] for p in document["programs"]] == ["on_call"]


def test_dry_run_needs_no_privilege(host: Host, tmp_path: Path) -> None:
    done = _as_nobody(host, tmp_path, "run", "--dry-run", "bell:1.0", ME)
    assert done.returncode == 0, done.stderr
    assert "program on_call" in done.stdout


def test_without_root_the_missing_capabilities_are_named(host: Host, tmp_path: Path) -> None:
    done = _as_nobody(host, tmp_path, "run", "bell:1.0", ME)
    assert done.returncode == 126
    assert "CAP_BPF" in done.stderr
    assert "CAP_PERFMON" in done.stderr
    assert "sudo" in done.stderr
    assert "Traceback" not in done.stderr


def _as_nobody(host: Host, scratch: Path, *argv: str) -> "subprocess.CompletedProcess[str]":
    """Run as a user without privileges who built the bell themself."""
    nobody = Host(root=Path("/tmp") / f"bpfpack-nobody-{os.getpid()}-{scratch.name}")
    nobody.root.mkdir()
    try:
        for path in (
            nobody.root,
            bell.write(nobody.root / "bell"),
            Path(nobody.environment["HOME"]),
        ):
            os.chown(path, 65534, 65534)
        for command in (("build", "-q", "-t", "bell:1.0", nobody.root / "bell"), argv):
            done = subprocess.run(
                [
                    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
                    *nobody.command(*command),
                ],
                env=nobody.environment,
                cwd=nobody.root,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert command is argv or done.returncode == 0, done.stderr
        return done
    finally:
        subprocess.run(["rm", "-rf", nobody.root], check=True)


def test_help_of_the_package(host: Host) -> None:
    for option in ("--help", "-h"):
        shown = host.run("run", "bell:1.0", option).stdout
        assert "--pid" in shown
        assert "whose calls" in shown


def test_python_m_is_the_same(host: Host) -> None:
    done = subprocess.run(
        [PROGRAM.with_name("python"), "-m", "bpfpack", "run", "--dry-run", "bell:1.0", ME],
        env=host.environment,
        cwd=host.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == host.run("run", "--dry-run", "bell:1.0", ME).stdout
