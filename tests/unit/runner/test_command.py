"""A command that is held, let go, waited for and ended; a process that is somebody else's."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bpfpack.runner.command import Command
from bpfpack.runner.target import Process
from bpfpack.spec.errors import KernelError, NotFound, UsageError
from tests.kit.kernelobjects import eventually

DEAF = f"""{sys.executable} -Sc "import os, signal
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)
open('@', 'w').close()
while True: signal.pause()"
"""


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize(
    ("text", "code"),
    [("true", 0), ("false", 1), ("sh -c 'exit 42'", 42), ("sh -c 'kill -TERM $$'", 143)],
)
def test_its_exit_code(text: str, code: int) -> None:
    before = descriptors()
    with Command(text) as command:
        command.release()
        assert command.finish(None) == code
    assert descriptors() == before


def test_it_is_held(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with Command(f"touch {made}") as command:
        assert Path(f"/proc/{command.pid}").exists()
    assert not made.exists()
    assert not Path(f"/proc/{command.pid}").exists()


def test_it_gets_words_environment_and_directory(tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = f"""sh -c 'printf "%s|" "$0" "$@" "$HERE" "$PWD" >{out}' "a b" 'c"d' """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HERE", "we are")
        with Command(text) as command:
            command.release()
            assert command.finish(None) == 0
    assert out.read_text() == f'a b|c"d|we are|{Path.cwd()}|'


def test_it_meets_a_closed_pipe_as_any_command() -> None:
    """Python ignores SIGPIPE; what it starts must not."""
    with Command("sh -c 'kill -PIPE $$; exit 0'") as command:
        command.release()
        assert command.finish(None) == 128 + signal.SIGPIPE


def test_the_deaf_are_ended_all_the_same(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with Command(DEAF.replace("@", str(ready)), patience=0.05) as command:
        command.release()
        assert eventually(ready.exists)
        assert command.finish(signal.SIGTERM) == 137


def test_a_signal_may_end_it_while_it_is_held() -> None:
    with Command("sleep 60") as command:
        os.kill(command.pid, signal.SIGTERM)
        os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
        command.release()
        assert command.finish(None) == 128 + signal.SIGTERM


def test_closing_ends_it() -> None:
    with Command("sleep 60") as command:
        command.release()
    assert not Path(f"/proc/{command.pid}").exists()


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("no-such-command x", NotFound, "not in any directory of PATH"),
        ("./no-such-file", NotFound, "no such file"),
        ("/etc/passwd", KernelError, "Permission denied"),
        ("/", NotFound, "no such file"),
        ("'open", UsageError, "No closing quotation"),
        ("  ", UsageError, "no command"),
    ],
)
def test_what_is_no_command(text: str, kind: type[Exception], told: str) -> None:
    before = descriptors()
    with pytest.raises(kind, match=told):
        Command(text)
    assert descriptors() == before


def test_what_the_kernel_does_not_execute(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with Command(str(script)) as command, pytest.raises(KernelError, match="cannot execute"):
        command.release()


def test_too_few_descriptors_leave_nothing() -> None:
    """Each may be the one that is missing; none leaks, and no child stays."""
    program = """
import os, resource, sys
from bpfpack.runner.command import Command
import signal, shlex
def children(): return open("/proc/self/task/%d/children" % os.getpid()).read().split()
used = len(os.listdir("/proc/self/fd")) - 1
for spare in range(7):
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, 4096))
    try:
        with Command("/bin/true") as command:
            command.release()
            assert command.finish(None) == 0
    except OSError as e:
        assert e.errno == 24, e
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    assert len(os.listdir("/proc/self/fd")) - 1 == used, (spare, os.listdir("/proc/self/fd"))
    assert not children(), spare
print("clean")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "clean\n", done.stderr


def test_a_process_that_ends_is_seen() -> None:
    with (
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other,
        Process(other.pid) as process,
    ):
        assert os.get_inheritable(process.fd) is False
        other.communicate()
        assert process.finish(signal.SIGINT) == 0
    assert other.returncode == 0


def test_there_is_no_process_of_a_number_that_is_free() -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    with pytest.raises(UsageError, match=f"there is no process {gone.pid}"):
        Process(gone.pid)
