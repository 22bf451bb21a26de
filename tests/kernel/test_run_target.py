"""``bpfpack run -c COMMAND`` and ``-p PID``: a run about one process, and its end."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit import bell
from tests.kit.bell import ME
from tests.kit.cli import REPO, Host
from tests.kit.kernelobjects import eventually, held, in_kernel

pytestmark = pytest.mark.kernel
RINGS = f"{sys.executable} -Sc \"import os; os.getpgid(0); os.getpgid(0); os._exit(int('@'))\""
#: What it does with a signal is put in the place of "@".
WAITS = f"""{sys.executable} -Sc "import os, signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, @)
print('ready', os.getpid(), flush=True)
while True: signal.pause()"
"""
TALKS = "lambda *_: (os.write(1, b'got it' + os.linesep.encode()), os._exit(9))"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host with the bell, one that has no option for a process, and execsnoop."""
    root = tmp_path_factory.mktemp("host")
    made = Host(root=root)
    made.run("build", "-q", "-t", "bell:1.0", bell.write(root / "bell"))
    other = bell.write(root / "other") / "bell.bpf.c"
    other.write_text(bell.SOURCE.replace("target_pid", "only_pid").replace("short(p), ", ""))
    made.run("build", "-q", "-t", "other:1.0", root / "other")
    made.run("build", "-q", "-t", "execsnoop:1", REPO / "examples" / "execsnoop")
    return made


def alive(text: str) -> bool:
    """Whether a process with these words in its command line runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in path.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_is_traced_and_gives_its_exit_code(host: Host, code: int) -> None:
    bell.ring(3)  # somebody else's
    command = RINGS.replace("@", str(code))
    done = host.run("run", "-o", "json", "-c", command, "bell:1.0", code=code)
    assert [e["number"] for e in done.lines] == [1, 2]
    assert done.stderr.splitlines()[-1] == "2 events, 0 lost"


def test_a_command_is_held_until_the_programs_are_attached(host: Host) -> None:
    """Its very execve(2) is seen, and its children are, where the package follows them."""
    command = "sh -c '/bin/true; /bin/echo said'"
    done = host.run("run", "-f", "events", "-o", "json", "-c", command, "execsnoop:1")
    events = (host.root / "events").read_text()
    assert [name for name in ("sh", "true", "echo") if f'"comm":"{name}"' in events] == [
        "sh", "true", "echo"
    ]  # fmt: skip
    assert done.stdout == "said\n"


def test_a_command_that_a_signal_ends(host: Host) -> None:
    host.run("run", "-c", "sh -c 'kill -9 $$'", "bell:1.0", code=137)


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("no-such-command", 127, "not in any directory of PATH"),
        ("./nothing", 127, "no such file"),
        ("/etc/passwd", 126, "cannot execute '/etc/passwd': Permission denied"),
        ("@/lost", 126, "what its first line (#!) names"),
        ("@/text", 126, "a script must begin with #!"),
        ("'", 125, "No closing quotation"),
        ("", 125, "no command"),
    ],
)
def test_a_command_that_cannot_be_executed(
    host: Host, command: str, code: int, told: str, tmp_path: Path
) -> None:
    for name, text in (("lost", "#!/no/such/shell\n"), ("text", "echo\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    done = host.run("run", "-c", command.replace("@", str(tmp_path)), "bell:1.0", code=code)
    assert told in done.stderr
    assert ("attached" in done.stderr) == command.startswith("@")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [("--buffer-size", "nope=1M"), ("--dry-run",), ("-o", "nope:json")],
)
def test_a_command_does_not_run_unless_traced(
    host: Host, words: tuple[str, ...], tmp_path: Path
) -> None:
    made = tmp_path / "made"
    host.run("run", *words, "-c", f"touch {made}", "bell:1.0", code=None)
    assert not made.exists()
    host.run("run", "-c", f"touch {made}", "bell:1.0")
    assert made.exists()


@pytest.mark.parametrize("words", [("--timeout=100ms",), ("--max-events=1",)])
def test_what_ends_the_run_ends_the_command(host: Host, words: tuple[str, ...]) -> None:
    program = "import os, time; os.getpgid(0); time.sleep(77.25)"
    host.run("run", *words, "-c", f"{sys.executable} -Sc '{program}'", "bell:1.0")
    assert not alive("time.sleep(77.25)")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_command(host: Host, number: signal.Signals) -> None:
    with host.started("run", "-c", WAITS.replace("@", TALKS), "bell:1.0") as running:
        running.until("ready")
        mine = held(running.pid)
        done = running.end(number)
    assert (done.code, done.stdout) == (128 + number, "got it\n")
    assert eventually(lambda: not mine & in_kernel(), 2)


def test_a_second_signal_ends_even_a_deaf_command(host: Host) -> None:
    with host.started("run", "-c", WAITS.replace("@", "signal.SIG_IGN"), "bell:1.0") as running:
        command = int(running.until(r"ready (\d+)")[1])
        mine = held(running.pid)
        # Both are pending when it continues.
        running.process.send_signal(signal.SIGSTOP)
        running.process.send_signal(signal.SIGINT)
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGCONT)
        assert running.process.wait(30) in (130, 143)
    assert eventually(lambda: not Path(f"/proc/{command}").exists(), 2)
    assert eventually(lambda: not mine & in_kernel(), 2)


def test_the_command_has_the_terminal(host: Host) -> None:
    command = "sh -c 'read word; echo said $word'"
    with host.terminal("run", "-q", "-o", "json", "-c", command, "bell:1.0") as screen:
        screen.type("hello\n")
        screen.until("said hello")
        assert screen.end() == 0


def test_ctrl_c_on_a_terminal_ends_both(host: Host) -> None:
    with host.terminal("run", "-c", "sleep 66.75", "bell:1.0") as screen:
        screen.until("attached ")
        assert eventually(lambda: alive("sleep 66.75\0".rstrip("\0")), 30)
        screen.type("\x03")
        assert screen.end() == 130
    assert not alive("sleep 66.75")


@contextmanager
def ringing(code: int) -> Iterator["subprocess.Popen[str]"]:
    """A process that rings once for each line it reads, and ends with ``code``."""
    program = f"import os, sys\nfor line in sys.stdin: os.getpgid(0)\nos._exit({code})"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, text=True) as one:
        yield one


def test_a_process_is_traced_to_its_end(host: Host) -> None:
    with (
        ringing(7) as one,
        host.started("run", "-o", "json", "-p", str(one.pid), "bell:1.0") as running,
    ):
        running.until("^attached ", stderr=True)
        bell.ring(2)
        _, _ = one.communicate("ring\nring\nring\n")
        done = running.end()
    assert [e["number"] for e in done.lines] == [1, 2, 3]
    # Since Linux 6.15 the kernel tells those who are not its parent.
    assert done.code == (7 if _kernel() >= (6, 15) else 0)


def _kernel() -> tuple[int, ...]:
    return tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])


def test_a_process_is_left_alone(host: Host) -> None:
    with ringing(0) as one:
        host.run("run", "--timeout=50ms", f"-p{one.pid}", "bell:1.0")
        assert one.poll() is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-p", "4194304"), "there is no process 4194304"),
        (("-p", "me"), "not a positive whole number"),
        (("-p", "0"), "not a positive whole number"),
        (("-p", "1", "-c", "true"), "one of them"),
    ],
)
def test_a_process_that_is_none(host: Host, words: tuple[str, ...], told: str) -> None:
    done = host.run("run", *words, "bell:1.0", code=125)
    assert told in done.stderr


def test_a_thread_is_no_process(host: Host) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        done = host.run("run", "-p", str(thread.native_id), "bell:1.0", code=125)
    finally:
        end.set()
        thread.join()
    assert f"its process is {os.getpid()}" in done.stderr


def test_a_number_inside_a_container_is_translated(host: Host) -> None:
    """The first process of a PID namespace starts many; one has a number that is free here."""
    free = 4_000_003
    inside = f"echo {free - 1} >/proc/sys/kernel/ns_last_pid; sleep 99.5 & read end; kill $!"
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", inside],
        stdin=subprocess.PIPE,
    ) as container:
        assert eventually(lambda: alive("sleep 99.5") and _numbered(free), 30)
        done = host.run("run", "-p", str(free), "bell:1.0", code=125)
        container.communicate(b"\n")
    assert f"{free} inside a container is, here, -p " in done.stderr
    assert "(sleep)" in done.stderr


def _numbered(inside: int) -> bool:
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"\t{inside}\n" in path.read_text().split("NSpid:")[1].splitlines(keepends=True)[0]:
                return True
        except OSError:
            continue
    return False


def test_numbers_of_another_namespace_are_refused(host: Host) -> None:
    inside = Host(root=host.root, prefix=("unshare", "--pid", "--fork", "--mount-proc"))
    for words in (("-p", "1"), ("-c", "true")):
        done = inside.run("run", *words, "bell:1.0", code=126)
        assert "PID namespace of its own" in done.stderr


def test_a_package_without_such_an_option_says_what_it_has(host: Host) -> None:
    for words in (("-c", "true"), ("-p", str(os.getpid()))):
        done = host.run("run", *words, "other:1.0", code=125)
        assert "other has no option that chooses a process" in done.stderr
        assert "--only-pid" in done.stderr


def test_two_ways_to_say_it_are_one_too_many(host: Host) -> None:
    done = host.run("run", "-c", "true", "bell:1.0", ME, code=125)
    assert "-c and --pid each say what to trace" in done.stderr


def test_the_command_does_not_outlive_a_run_that_is_killed(host: Host) -> None:
    with host.started("run", "-c", WAITS.replace("@", "signal.SIG_IGN"), "bell:1.0") as running:
        command = int(running.until(r"ready (\d+)")[1])
        mine = held(running.pid)
        running.process.kill()
        running.process.wait(30)
    assert eventually(lambda: not Path(f"/proc/{command}").exists(), 5)
    assert eventually(lambda: not mine & in_kernel(), 2)


def test_nothing_is_left_of_a_command_when_the_run_is_killed_while_it_is_held(host: Host) -> None:
    """The held child sees the end of its pipe, and never becomes the command."""
    reader = host.root / "fifo"
    os.mkfifo(reader)
    # Opening a FIFO waits for its reader: the command is held by then.
    argv = host.command("run", "-f", reader, "-c", "touch held-and-run", "bell:1.0")
    with subprocess.Popen(argv, cwd=host.root, env=host.environment) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        assert eventually(lambda: children.read_text().strip() != "", 30)
        child = int(children.read_text().split()[0])
        process.kill()
        process.wait()
    assert eventually(lambda: not Path(f"/proc/{child}").exists(), 5)
    assert not (host.root / "held-and-run").exists()
