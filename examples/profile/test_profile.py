"""profile builds with every clang and finds the functions that this test's processes run."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bpfpack.spec.config import Output
from tests.kit.exampleruns import attached_to, environment, set_global, shown
from tests.kit.kernelobjects import eventually
from tests.kit.objects import CLANGS, run, tool
from tests.kit.sources import EXAMPLES, example

# It works until its input ends, or for a while.
BUSY = """
#include <fcntl.h>
#include <unistd.h>
volatile unsigned long sum;
static char zeros[1 << 20];
void innermost(void) { for (int i = 0; i < 100000; i++) sum += i; }
static void outer(void) { innermost(); }
int main(int argc, char **argv)
{
    char c;
    int zero = open("/dev/zero", O_RDONLY);
    fcntl(0, F_SETFL, O_NONBLOCK);
    if (argc > 1)
        for (int i = 0; i < 2000; i++) outer();
    else
        while (read(0, &c, 1)) { outer(); read(zero, zeros, sizeof(zeros)); }
    return 0;
}
"""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that works, in functions whose names are known."""
    folder = tmp_path_factory.mktemp("busy")
    (folder / "busy.c").write_text(BUSY)
    flags = ("-O0", "-fno-omit-frame-pointer", "-o", folder / "busy")
    run(tool("cc"), *flags, folder / "busy.c")
    return folder / "busy"


@contextmanager
def working(program: Path) -> Iterator[int]:
    """The number of a process that works."""
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        yield process.pid


def command(home: Path, *words: str) -> str:
    """What ``bpfpack run`` prints, of the words behind it."""
    done = subprocess.run(
        [sys.executable, "-m", "bpfpack", "run", "-q", *words],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def functions(stack: list[dict[str, Any]]) -> list[str | None]:
    """The functions that are known, the innermost first."""
    return [frame.get("function") for frame in stack]


@pytest.mark.parametrize("clang", CLANGS)
def test_it_builds(clang: str) -> None:
    result = example("profile", clang)
    assert result.warnings == ()
    assert result.config.outputs == (
        Output(
            name="counts",
            map="counts",
            kind="stacks",
            traces="stacks",
            kernel="kernel_stack_id",
            user="user_stack_id",
            process="pid",
        ),
    )
    (program,) = result.config.programs
    assert (program.attach, program.option) == (("cpu-clock:99hz",), "rate")


@pytest.mark.kernel
@pytest.mark.parametrize("clang", CLANGS)
def test_it_samples_who_works(clang: str, busy: Path) -> None:
    result = example("profile", clang)
    with working(busy) as pid:
        given = set_global(result, "target_pid", pid)
        with attached_to(("cpu-clock:999hz",), result, **given) as session:
            assert eventually(lambda: any(session.map("counts").items()))
            keys = [key for key, _ in session.map("counts").items()]
    assert {int.from_bytes(key[:4], sys.byteorder) for key in keys} == {pid}
    assert {key[4:20].rstrip(b"\0") for key in keys} == {b"busy"}


@pytest.mark.kernel
def test_names_of_functions(tmp_path: Path, busy: Path) -> None:
    """Of the program, of its library and of the kernel, as JSON."""
    with working(busy) as pid:
        (sample,) = shown(
            tmp_path / "home",
            EXAMPLES / "profile",
            f"--pid={pid}",
            "--rate=999hz",
            run=("--timeout=1s",),
            cause=lambda: None,
        )
    stacks = sample["stacks"]
    assert {(s["key"]["pid"], s["key"]["comm"]) for s in stacks} == {(pid, "busy")}
    # Of a sample before the frame is set up the caller is left out, so not all are whole.
    whole = ["innermost", "outer", "main"]
    in_user = [s["user"] for s in stacks if functions(s["user"])[:3] == whole]
    assert in_user, [functions(s["user"]) for s in stacks]
    assert {frame["file"] for stack in in_user for frame in stack[:3]} == {str(busy)}
    assert all(int(frame["address"], 16) > frame["offset"] for frame in in_user[0][:3])
    in_kernel = {f for s in stacks for f in functions(s["kernel"])}
    assert any(name and "read" in name for name in in_kernel), in_kernel


@pytest.mark.kernel
def test_lines_for_flame_graphs(tmp_path: Path, busy: Path) -> None:
    """Also of a program that has ended when they are shown."""
    words = ("-o", "folded", "-c", f"{busy} once", f"{EXAMPLES}/profile/", "--rate=999hz")
    lines = command(tmp_path / "home", *words).splitlines()
    parted = [line.rpartition(" ") for line in lines]
    stacks = {stack: int(count) for stack, _, count in parted}
    assert any(s.startswith("busy;") and s.endswith("main;outer;innermost") for s in stacks), lines
    assert len(stacks) == len(lines)
    assert all(count > 0 for count in stacks.values())


@pytest.mark.kernel
def test_a_flame_graph(tmp_path: Path, busy: Path) -> None:
    picture = tmp_path / "profile.svg"
    words = ("-o", "flamegraph.svg", "-f", str(picture), "-c", f"{busy} once")
    command(tmp_path / "home", *words, f"{EXAMPLES}/profile/", "--rate=999hz")
    titles = {t.text or "" for t in ElementTree.parse(picture).iter() if t.tag.endswith("title")}
    names = {title.partition(" (")[0] for title in titles}
    assert {"all", "busy", "main", "outer", "innermost"} <= names


@pytest.mark.kernel
@pytest.mark.parametrize("option", ["--user-only", "--kernel-only"])
def test_one_half(tmp_path: Path, busy: Path, option: str) -> None:
    with working(busy) as pid:
        out = command(
            tmp_path / "home",
            *("-o", "json", "--timeout=500ms", f"{EXAMPLES}/profile/"),
            *(f"--pid={pid}", "--rate=999hz", option),
        )
    stacks = json.loads(out)["stacks"]
    empty, full = ("kernel", "user") if option == "--user-only" else ("user", "kernel")
    assert all(s[empty] == [] for s in stacks)
    assert any(s[full] for s in stacks)
