"""bashreadline builds with every clang and shows the lines that this test types into a bash."""

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit.exampleruns import attached_to, events, set_global, shown
from tests.kit.objects import CLANGS, tool
from tests.kit.sources import EXAMPLES, example


def type_into(shell: str, *lines: str) -> int:
    """Type lines and ``exit`` into an interactive shell on a terminal; returns its pid."""
    master, slave = pty.openpty()
    try:
        command = [shell, "--norc", "--noprofile", "-i"]
        with subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        ) as process:
            os.close(slave)
            for line in (*lines, "exit"):
                os.write(master, f"{line}\n".encode())
            while process.poll() is None:
                try:
                    os.read(master, 4096)
                except OSError:  # EIO: nobody has the other end open any more
                    break
        return process.pid
    finally:
        os.close(master)


@pytest.fixture
def shell(tmp_path: Path) -> str:
    """A bash that nobody else on this host types into."""
    return str(shutil.copy(tool("bash"), tmp_path / "shell"))


@pytest.mark.parametrize("clang", CLANGS)
def test_it_builds(clang: str) -> None:
    result = example("bashreadline", clang)
    assert result.warnings == ()
    assert {(p.option, p.role) for p in result.config.params} == {("pid", "target-pid")}
    (program,) = result.config.programs
    assert (program.section, program.option) == ("uretprobe//bin/bash:readline", "shell")


@pytest.mark.kernel
@pytest.mark.parametrize("clang", CLANGS)
def test_it_shows_what_is_typed(clang: str, shell: str) -> None:
    result = example("bashreadline", clang)
    with attached_to((shell,), result) as session:
        pid = type_into(shell, "echo one", "", ": two")
        seen = events(session, result)
    assert [e["line"] for e in seen] == ["echo one", "", ": two", "exit"]
    assert {(e["pid"], e["comm"], e["uid"]) for e in seen} == {(pid, "shell", os.getuid())}


@pytest.mark.kernel
def test_one_process_alone(shell: str) -> None:
    result = example("bashreadline")
    with attached_to((shell,), result, **set_global(result, "target_pid", 1)) as session:
        type_into(shell, "echo one")
        assert events(session, result) == []


@pytest.mark.kernel
@pytest.mark.parametrize("chosen", [False, True], ids=["default", "chosen"])
def test_the_command_shows_it(tmp_path: Path, shell: str, chosen: bool) -> None:
    bash = shell if chosen else "/bin/bash"
    seen = shown(
        tmp_path / "home",
        EXAMPLES / "bashreadline",
        *((f"--shell={shell}",) if chosen else ()),
        run=("--timeout=500ms",),
        cause=lambda: type_into(bash, f"echo {tmp_path}"),
    )
    mine = [e for e in seen if str(tmp_path) in e["line"]]
    assert [e["line"] for e in mine] == [f"echo {tmp_path}"]
    assert mine[0]["comm"] == Path(bash).name
