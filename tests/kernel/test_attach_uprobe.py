"""Functions of programs and libraries: by path, by name, in one process, in a container."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpfpack.spec.config import Program
from bpfpack.spec.errors import Unsupported, UsageError
from tests.kit.kernelobjects import count, descriptors, eventually, in_kernel, opened, prepared
from tests.kit.objects import run, tool

pytestmark = pytest.mark.kernel

CALLS = """
u64 count, last;
SEC("uprobe") int called(struct pt_regs *ctx) { __sync_fetch_and_add(&count, 1); return 0; }
"""
SLEEPS = CALLS.replace('SEC("uprobe")', 'SEC("uprobe.s")')
RETURNS = CALLS.replace('SEC("uprobe")', 'SEC("uretprobe")')
VICTIM = """
#include <stdio.h>
__attribute__((noinline)) int victim(int n) { __asm__ volatile(""); return n + 1; }
static __attribute__((noinline, used)) int hidden(int n) { __asm__ volatile(""); return n; }
int main(void)
{
    int c, n = 0;
    while ((c = getchar()) != EOF) { n = victim(n); hidden(n); putchar(c); fflush(stdout); }
    return 0;
}
"""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with functions to probe."""
    folder = tmp_path_factory.mktemp("victim")
    (folder / "victim.c").write_text(VICTIM)
    run(tool("cc"), "-O1", "-o", folder / "victim", folder / "victim.c")
    return folder / "victim"


@contextmanager
def _started(*command: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process


def _poke(process: "subprocess.Popen[bytes]") -> None:
    """Make it call its functions once, and wait until it has."""
    assert process.stdin and process.stdout
    process.stdin.write(b"x")
    process.stdin.flush()
    assert process.stdout.read(1) == b"x"


@pytest.mark.parametrize("source", [CALLS, SLEEPS, RETURNS], ids=["entry", "sleepable", "return"])
@pytest.mark.parametrize("function", ["victim", "hidden", "main+0"])
def test_a_path_chosen_at_run_time(victim: Path, source: str, function: str) -> None:
    target = f"{victim}:{function}"
    with opened(source, attach=(target,)) as session, _started(victim) as process:
        _poke(process)
        session.attach()
        before = count(session)
        _poke(process)
        _poke(process)
        assert count(session) - before == (0 if function == "main+0" else 2)
        session.detach()
        _poke(process)
        assert count(session) - before == (0 if function == "main+0" else 2)


def test_an_offset_beyond_the_function_is_refused_before_loading(victim: Path) -> None:
    with pytest.raises(UsageError) as caught:
        prepared(CALLS, attach=(f"{victim}:victim+0x100000",))
    assert f"{victim} has " in str(caught.value)
    assert "bytes of 'victim', and +0x100000 is beyond them" in str(caught.value)


def test_a_function_by_two_paths_is_the_same_target(victim: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(UsageError, match=r"link:victim': called is already attached to "):
        prepared(CALLS, attach=(f"{victim}:victim", f"{tmp_path}/link:victim"))
    pids = (f"{victim}:victim,pid={os.getpid()}", f"{victim}:victim")
    assert len(prepared(CALLS, attach=pids)[1].programs[0].attachments) == 2


def test_a_relative_path(victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(victim.parent)
    with opened(CALLS, attach=("./victim:victim",)) as session, _started(victim) as process:
        session.attach()
        _poke(process)
        assert count(session) == 1


@pytest.mark.parametrize("name", ["libc", "c", "libc.so.6"])
def test_a_library_by_its_name(name: str) -> None:
    with opened(CALLS, attach=(f"{name}:getppid,pid={os.getpid()}",)) as session:
        session.attach()
        os.getppid()
        os.getppid()
        assert count(session) == 2


def test_a_library_by_its_name_in_every_process() -> None:
    with opened(CALLS, attach=("libc:getppid",)) as session:
        session.attach()
        subprocess.run([sys.executable, "-c", "import os; os.getppid()"], check=True, timeout=30)
        assert count(session) >= 1


def test_a_program_by_its_name() -> None:
    with opened(CALLS, attach=("bash:main",)) as session:
        session.attach()
        subprocess.run(["bash", "-c", ":"], check=True, timeout=30)
        assert count(session) >= 1


def test_one_process_of_two(victim: Path) -> None:
    with (
        _started(victim) as one,
        _started(victim) as other,
        opened(CALLS, attach=(f"{victim}:victim,pid={one.pid}",)) as session,
    ):
        session.attach()
        _poke(one)
        _poke(other)
        assert count(session) == 1


CONTAINER = """
set -e
mount -t tmpfs none "$1"
mkdir "$1/usr" "$1/lib" "$1/lib64" "$1/opt"
mount --bind /usr "$1/usr"; mount --bind /lib "$1/lib"; mount --bind /lib64 "$1/lib64"
cp "$2" "$1/opt/real"
ln -s /opt/real "$1/opt/link"
exec chroot "$1" /opt/link
"""


@pytest.fixture
def contained(victim: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The same program in a mount namespace and root of its own, behind an absolute link."""
    command = ["unshare", "-m", "sh", "-c", CONTAINER, "sh", str(tmp_path), str(victim)]
    with _started(*command) as process:
        _poke(process)
        yield process


@pytest.mark.parametrize(
    "target", ["/proc/{pid}/root/opt/link:victim", "/opt/link:victim,pid={pid}"]
)
def test_a_file_of_a_container(contained: "subprocess.Popen[bytes]", target: str) -> None:
    assert not Path("/opt/real").exists()
    with opened(CALLS, attach=(target.format(pid=contained.pid),)) as session:
        session.attach()
        _poke(contained)
        assert count(session) == 1


def test_a_library_of_a_process_by_its_name(contained: "subprocess.Popen[bytes]") -> None:
    with opened(CALLS, attach=(f"libc:fflush,pid={contained.pid}",)) as session:
        session.attach()
        _poke(contained)
        assert count(session) == 1


def test_the_section_s_function_in_another_file(victim: Path) -> None:
    source = CALLS.replace('"uprobe"', '"uprobe//bin/false:victim"')
    with opened(source, attach=(str(victim),)) as session, _started(victim) as process:
        session.attach()
        _poke(process)
        assert count(session) == 1


def test_the_package_s_own_target(victim: Path) -> None:
    programs = (Program(name="called", section="uprobe", attach=(f"{victim}:victim",)),)
    with opened(CALLS, programs=programs) as session, _started(victim) as process:
        session.attach()
        _poke(process)
        assert count(session) == 1


def test_two_places_for_one_program(victim: Path) -> None:
    attach = (f"{victim}:victim", f"called={victim}:hidden")
    with pytest.raises(UsageError, match="takes a target"):
        prepared(CALLS, attach=attach)
    attach = (f"{victim}:victim", f"{victim}:hidden")
    with opened(CALLS, attach=attach) as session, _started(victim) as process:
        session.attach()
        _poke(process)
        assert count(session) == 2


def test_a_file_that_was_replaced_meanwhile_is_not_broken_into(
    victim: Path, tmp_path: Path
) -> None:
    path = tmp_path / "program"
    path.write_bytes(victim.read_bytes())
    with opened(CALLS, attach=(f"{path}:victim",)) as session:
        path.unlink()
        path.write_bytes(victim.read_bytes() + b"x")
        with pytest.raises(Unsupported, match="changed"):
            session.attach()


@pytest.mark.parametrize(
    ("target", "told", "cure"),
    [
        ("{victim}", "not of the form", "FILE:FUNCTION"),
        ("{victim}:victm", "has no function 'victm'", "victim"),
        ("{source}:main", r"\.c is not an ELF file", ""),
        ("/nowhere/x:main", "No such file", ""),
        ("/:main", "not a file", ""),
        ("libnowhere:main", "no library or program is called 'libnowhere'", "path"),
        ("libc:memcpy", "indirect function", "variant"),
        ("bash:getppid", "another file has it", "library"),
        ("libc:getppid,pid=4000000", "no process 4000000", ""),
    ],
)
def test_a_wrong_target_is_told_before_anything_is_loaded(
    victim: Path, target: str, told: str, cure: str
) -> None:
    text = target.format(victim=victim, source=victim.with_suffix(".c"))
    with pytest.raises(UsageError, match=told) as caught:
        prepared(CALLS, attach=(text,))
    assert cure in (caught.value.hint or "")


def test_a_default_that_is_not_here_is_no_mistake_of_the_user_s() -> None:
    programs = (Program(name="called", section="uprobe", attach=("/nowhere/x:main",)),)
    with pytest.raises(Unsupported, match="/nowhere/x"):
        prepared(CALLS, programs=programs)
    other = CALLS + 'SEC("raw_tp/sys_enter") int always(void *ctx) { return 0; }'
    optional = Program(name="called", section="uprobe", attach=("/nowhere/x:main",), optional=True)
    _, made = prepared(other, programs=(optional,))
    assert [p.name for p in made.loaded] == ["always"]


def test_nothing_is_left_behind(victim: Path) -> None:
    before, open_before = in_kernel(), descriptors()
    with opened(CALLS, attach=(f"{victim}:victim", f"{victim}:hidden")) as session:
        session.attach()
    assert descriptors() == open_before
    assert eventually(lambda: in_kernel() <= before)
