"""However a build ends, its compiler ends with it, and what was temporary goes."""

import os
import select
import signal
import tempfile
import time
from pathlib import Path

import pytest

from bpfpack.builder import temporary
from bpfpack.builder.ending import Ending
from bpfpack.builder.temporary import private_directory
from tests.kit.cli import Host, Running

PLACE = Path("/tmp" if os.geteuid() == 0 else tempfile.gettempdir())
#: It includes itself twice at each of 150 levels: no compiler comes to its end.
ENDLESS = (
    "#if __INCLUDE_LEVEL__ < 150\n#include __FILE__\n#include __FILE__\n#endif\n"
    'char LICENSE[] __attribute__((section("license"))) = "GPL";\n'
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with a project that compiles for ever."""
    made = Host(root=tmp_path)
    (tmp_path / "endless").mkdir()
    (tmp_path / "endless" / "x.bpf.c").write_text(ENDLESS)
    return made


def compiler_of(running: Running) -> int:
    """Wait until bpfpack has a compiler under way; returns a descriptor of it."""
    end = time.monotonic() + 60
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    while time.monotonic() < end:
        for child in children.read_text().split():
            if Path(f"/proc/{child}/comm").read_text().startswith("clang"):
                return os.pidfd_open(int(child))
        time.sleep(0.01)
    raise AssertionError(f"no compiler: {running.process.poll()}")


def has_ended(descriptor: int, *, within: int = 0) -> bool:
    """Say whether a process has ended, or does within so many seconds."""
    return bool(select.select([descriptor], [], [], within)[0])


def left_by(pid: int) -> list[Path]:
    return list(PLACE.glob(f"bpfpack-build-{pid}-*"))


@pytest.mark.parametrize("command", ["build", "run"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_build_quietly(command: str, number: int, code: int, host: Host) -> None:
    with host.started(command, "./endless") as running:
        compiler = compiler_of(running)
        assert left_by(running.pid)
        done = running.end(number)
    assert (done.code, done.stdout, done.stderr) == (code, "", "")
    assert has_ended(compiler)
    assert left_by(running.pid) == []


def test_a_signal_that_was_ignored_stays_ignored(host: Host) -> None:
    ignored = Host(root=host.root, prefix=("env", "--ignore-signal=HUP"))
    with ignored.started("build", "./endless") as running:
        compiler_of(running)
        running.process.send_signal(signal.SIGHUP)
        assert running.end(signal.SIGTERM).code == 143


def test_a_compiler_does_not_outlive_a_killed_build(host: Host) -> None:
    with host.started("build", "./endless") as running:
        compiler = compiler_of(running)
        running.end(signal.SIGKILL)
        assert left_by(running.pid)
    assert has_ended(compiler, within=60)
    with private_directory() as directory:
        assert left_by(running.pid) == []
        assert directory.is_dir()


def test_directories_in_use_stay() -> None:
    with private_directory() as one, private_directory() as other:
        temporary._sweep(PLACE)
        assert one.is_dir()
        assert other.is_dir()
    assert not one.exists()
    assert not other.exists()


def test_only_what_is_ours_is_swept(tmp_path: Path) -> None:
    for name in ("bpfpack-build-1-stale", "bpfpack-build-other", "mine"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / "file").write_text("")
    (tmp_path / "bpfpack-build-2-link").symlink_to(tmp_path / "mine")
    (tmp_path / "bpfpack-build-3-file").write_text("")
    (tmp_path / "bpfpack-build-4-theirs").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "bpfpack-build-4-theirs", 65534, 65534)
    temporary._sweep(tmp_path)
    left = {p.name for p in tmp_path.iterdir()} - {"bpfpack-build-1-stale"}
    assert not (tmp_path / "bpfpack-build-1-stale").exists()
    expected = {"bpfpack-build-other", "mine", "bpfpack-build-2-link", "bpfpack-build-3-file"}
    assert left == expected | ({"bpfpack-build-4-theirs"} if os.geteuid() == 0 else set())
    assert (tmp_path / "mine" / "file").exists()


def test_a_signal_waits_for_what_must_be_done_whole() -> None:
    went_on = False
    with pytest.raises(SystemExit) as caught, Ending() as ending, ending.held():
        signal.raise_signal(signal.SIGTERM)
        went_on = True
    assert went_on
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
