"""``bpfpack run`` in an interactive shell: pagers, Ctrl-C, and windows that change."""

import fcntl
import shlex
import signal
import termios
from collections.abc import Iterator

import pytest

from tests.kit import bell
from tests.kit.bell import ME
from tests.kit.cli import Host, Terminal
from tests.kit.kernelobjects import eventually, held, in_kernel

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    root = tmp_path_factory.mktemp("host")
    made = Host(root=root)
    made.run("build", "-q", "-t", "bell:1.0", bell.write(root / "bell"))
    return made


@pytest.fixture
def shell(host: Host) -> Iterator[Terminal]:
    """An interactive bash with job control, whose prompt is "ready>"."""
    settings = {"TERM": "xterm", "PS1": "ready> ", "LESS": "", "HISTFILE": ""}
    command = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
    with Terminal(command, host.root, host.environment | settings, None) as screen:
        screen.until("ready> ")
        yield screen


def piped(host: Host, *argv: str, into: str = "") -> str:
    """A command line as it is typed."""
    return shlex.join(host.command("run", *argv, "bell:1.0", ME)) + into + "\n"


def modes(screen: Terminal) -> list[object]:
    """What the terminal does with what is typed."""
    return list(termios.tcgetattr(screen.master))


def status(screen: Terminal, of: str) -> str:
    screen.type(f"echo end=${of}\n")
    return screen.until(r"end=(\d+)")[1]


def test_ctrl_c_in_a_pipeline_leaves_the_pager_and_the_terminal(
    host: Host, shell: Terminal
) -> None:
    before = modes(shell)
    shell.type(piped(host, into=" | less"))
    shell.until("attached 1 program")
    bell.ring(3)
    shell.until("NUMBER")
    shell.type("\x03")
    # It ends, and less goes on to show what came.
    shell.until("3 events, 0 lost")
    shell.type("q")
    shell.until("ready> ")
    assert modes(shell) == before
    assert status(shell, "{PIPESTATUS[0]}") == "130"


def test_the_end_of_the_pager_ends_it_quietly(host: Host, shell: Terminal) -> None:
    before = modes(shell)
    shell.type(piped(host, "-o", "json", into=" | less"))
    shell.until("attached 1 program")
    bell.ring(50)  # until its screen is full it listens to nobody
    shell.until('"number":30')
    shell.type("q")
    shell.until("ready> ")
    assert modes(shell) == before
    assert status(shell, "{PIPESTATUS[0]}") == "0"
    assert "Traceback" not in shell.shown and "Broken pipe" not in shell.shown


def test_the_reader_may_take_its_time_after_the_last_event(host: Host) -> None:
    """More than its pipe holds is kept for a reader that comes after the programs have gone."""
    argv = ("run", "-o", "json", "--max-events=2000", "--buffer-size=1M", "bell:1.0", ME)
    with host.started(*argv) as running:
        assert running.process.stdout is not None
        fcntl.fcntl(running.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        running.until("^attached ", stderr=True)
        running.process.send_signal(signal.SIGSTOP)
        bell.ring(2000)
        running.process.send_signal(signal.SIGCONT)
        assert eventually(lambda: not any(kind == "link" for kind, _ in held(running.pid)))
        done = running.end()
    assert (done.code, len(done.lines)) == (0, 2000)
    assert "not written" not in done.stderr


def test_ctrl_c_twice_ends_it_at_once(host: Host, shell: Terminal) -> None:
    before = in_kernel()
    shell.type(piped(host, "-o", "json", into=" | (trap '' INT; sleep 0.2; cat >/dev/null)"))
    shell.until("attached 1 program")
    shell.type("\x03\x03")
    shell.until("ready> ")
    assert status(shell, "{PIPESTATUS[0]}") == "130"
    assert eventually(lambda: not in_kernel() - before, 2)


def test_a_table_follows_the_size_of_the_window(host: Host) -> None:
    with host.terminal("run", "-q", "bell:1.0", ME) as screen:
        termios.tcsetwinsize(screen.master, (24, 4))
        assert eventually(lambda: any(k == "link" for k, _ in held(screen.process.pid)))
        bell.ring()
        screen.until("…\r\n *…\r\n")
        termios.tcsetwinsize(screen.master, (24, 80))
        bell.ring()
        screen.until(" 2\r\n")
        screen.type("\x03")
        assert screen.end() == 130


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(host: Host, env: dict[str, str]) -> None:
    with host.terminal("run", "nothing:1", env=env) as screen:
        assert screen.end() == 127
    assert "\x1b" not in screen.shown
    with host.terminal("run", "nothing:1") as screen:
        assert screen.end() == 127
    assert "\x1b[31;1merror:" in screen.shown
    assert "\x1b" not in host.run("run", "nothing:1", code=127).stderr
