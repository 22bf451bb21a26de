"""Functions that a process makes as it runs, and writes down."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.runner.symbols.frame import Frame
from bpfpack.runner.symbols.jit import JitMap
from bpfpack.runner.symbols.user import UserSymbols
from bpfpack.spec.limits import LIMITS
from tests.kit.objects import run, tool

# Writes code to memory, says where, and waits until its input ends.
SOURCE = """
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void)
{
    char name[64], *code = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char c;
    snprintf(name, sizeof(name), "/tmp/perf-%d.map", getpid());
    unlink(name);
    FILE *file = fopen(name, "w");
    fprintf(file, "%lx 40 first made\\n%lx 80 second:%s\\n", (long)code, (long)code + 0x40, name);
    fclose(file);
    printf("%lx\\n", (long)code);
    fflush(stdout);
    read(0, &c, 1);
    unlink(name);
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jit")
    (folder / "a.c").write_text(SOURCE)
    run(tool("cc"), "-O0", "-w", "-static", "-o", folder / "jit", folder / "a.c")
    return folder / "jit"


@contextmanager
def working(*command: str) -> "Iterator[tuple[subprocess.Popen[str], int]]":
    """A process, and where its code is; it ends with the block."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process, int(process.stdout.readline(), 16)


def test_names_that_a_process_wrote_down(program: Path) -> None:
    with working(str(program)) as (process, code):
        frames = UserSymbols().frames(process.pid, [code, code + 0x41, code + 0x40, code + 0x200])
    assert frames == (
        Frame(code, "first made", 0, "[jit]"),
        Frame(code + 0x41, f"second:/tmp/perf-{process.pid}.map", 1, "[jit]"),
        Frame(code + 0x40, "first made", 0x40, "[jit]"),
        Frame(code + 0x200),
    )


def test_in_the_namespaces_of_a_container(program: Path, tmp_path: Path) -> None:
    """Its own /tmp, and its own number for itself."""
    script = f"mount -t tmpfs none /tmp && cp {program} /tmp/jit && exec /tmp/jit"
    words = ("unshare", "-m", "-p", "-f", "--kill-child", "sh", "-c")
    if str(program).startswith("/tmp/"):
        kept = Path("/var/tmp") / f"bpfpack-{os.getpid()}-jit"
        kept.write_bytes(program.read_bytes())
        kept.chmod(0o755)
        script = script.replace(str(program), str(kept))
    try:
        with working(*words, script) as (process, code):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            (frame,) = UserSymbols().frames(int(children.split()[0]), [code])
    finally:
        if str(program).startswith("/tmp/"):
            kept.unlink()
    assert frame.function == "first made"


def test_what_others_write_is_not_believed(program: Path) -> None:
    with working(str(program)) as (process, code):
        path = Path(f"/tmp/perf-{process.pid}.map")
        os.chown(path, 65534, 65534)
        assert UserSymbols().frames(process.pid, [code]) == (Frame(code),)
        content = path.read_text()
        path.unlink()
        elsewhere = path.with_suffix(".elsewhere")
        elsewhere.write_text(content)
        path.symlink_to(elsewhere)
        assert UserSymbols().frames(process.pid, [code]) == (Frame(code),)
        elsewhere.unlink()


def test_code_that_is_made_anew() -> None:
    found = JitMap(b"1000 100 old\n1000 80 new\n1200 10 other\n")
    assert [found.find(a) for a in (0x1000, 0x107F, 0x1080, 0x1200, 0x1210, 0xFFF)] == [
        ("new", 0),
        ("new", 0x7F),
        None,
        ("other", 0),
        None,
        None,
    ]


def test_lines_that_say_nothing() -> None:
    found = JitMap(b"x\n\n10 0 empty\n0x20 0x10 py::f:/a b.py\nffffffffffffffff 2 high\n30 10 cut")
    assert found.find(0x10) is None
    assert found.find(0x20) == ("py::f:/a b.py", 0)
    assert found.find(0x30) == ("cut", 0)
    assert found.find((1 << 64) - 1) is None


def test_names_are_bounded() -> None:
    name, _ = JitMap(b"10 10 " + b"x" * 5000).find(0x10) or ("", 0)
    assert len(name) == LIMITS.elf_name


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_any_bytes_are_functions_or_none(data: bytes, address: int) -> None:
    JitMap(data).find(address)


numbers = st.integers(0, 2**64 - 1).map("{:x}".format)


@given(st.lists(st.tuples(numbers, numbers), max_size=20), st.integers(0, 2**64 - 1))
def test_any_numbers(rows: list[tuple[str, str]], address: int) -> None:
    found = JitMap("\n".join(f"{a} {b} f" for a, b in rows).encode())
    found.find(address)
    for start, _ in rows:
        found.find(int(start, 16))
