"""Names for processes that were there for a moment, and are gone when their stacks are shown."""

import json
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.runner._native.tasks import TaskRings
from bpfpack.runner.attach.events import online
from bpfpack.runner.symbols.feed import TaskFeed, open_feed
from bpfpack.runner.symbols.mappings import Mappings
from bpfpack.runner.symbols.user import UserSymbols
from tests.kit.exampleruns import environment
from tests.kit.objects import run, tool
from tests.kit.sources import EXAMPLES

pytestmark = pytest.mark.kernel

# Works for 50 ms in a function, says where that is, and forks once if it is told to.
SOURCE = """
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
volatile unsigned long sum;
namespace work {
__attribute__((noinline)) void hard(int times)
{
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    do {
        for (int i = 0; i < times; i++) sum += i;
        clock_gettime(CLOCK_MONOTONIC, &b);
    } while ((b.tv_sec - a.tv_sec) * 1000000000l + b.tv_nsec - a.tv_nsec < 50000000);
}
}
int main(int argc, char **argv)
{
    int pid = argc > 1 ? fork() : 0;
    if (pid) { wait(0); return 0; }
    printf("%d %lx\\n", getpid(), (long)work::hard);
    fflush(stdout);
    work::hard(10000);
    return 0;
}
"""

HARD = "work::hard(int)"


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    (folder / "a.cc").write_text(SOURCE)
    flags = ("-O0", "-fno-omit-frame-pointer", "-static", "-o", folder / "short")
    run(tool("c++"), *flags, folder / "a.cc")
    return folder / "short"


@pytest.fixture
def symbols() -> Iterator[UserSymbols]:
    made = UserSymbols(follow=True)
    assert made.feed
    yield made
    made.close()


def ended(*command: str | Path) -> tuple[int, int]:
    """Run a program to its end: the number that it had, and where its function was."""
    pid, address = run(*command).split()[-2:]
    assert not Path(f"/proc/{pid}").exists()
    return int(pid), int(address, 16)


@pytest.mark.parametrize("words", [(), ("fork",)])
def test_a_process_that_nobody_looked_at(
    symbols: UserSymbols, short: Path, words: tuple[str, ...]
) -> None:
    pid, address = ended(short, *words)
    symbols.catch_up()
    (frame,) = symbols.frames(pid, [address + 4])
    assert (frame.function, frame.offset, frame.file) == (HARD, 4, str(short))


CONTAINER = """
mount --bind "$1" "$1" && cd "$1" && mkdir -p old && pivot_root . old && /short && read line
"""


def test_in_a_container_that_is_still_there(
    symbols: UserSymbols, short: Path, tmp_path: Path
) -> None:
    """It has files of its own at its paths; what it was forked from has the same."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "short").write_bytes(short.read_bytes())
    (root / "short").chmod(0o755)
    command = ["unshare", "-m", "sh", "-c", CONTAINER, "sh", str(root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        pid, address = process.stdout.readline().split()
        symbols.catch_up()
        (frame,) = symbols.frames(int(pid), [int(address, 16)])
        assert (frame.function, frame.file) == (HARD, "/short")


def test_what_finds_no_room_is_counted(short: Path) -> None:
    """And processes that are there are asked again."""
    mappings = Mappings(fed=True)
    with TaskRings(online(), 4096) as rings:
        feed = TaskFeed(rings, mappings)
        for _ in range(200):
            subprocess.run(["/bin/true"], check=True)
        feed.drain()
        # Before Linux 6.0 losses are announced by the next record that finds room.
        for cpu in online():
            subprocess.run(["taskset", "-c", str(cpu), "/bin/true"], check=True)
        feed.drain()
        assert feed.lost > 0


def test_it_is_readable_before_there_is_no_room(short: Path) -> None:
    feed = open_feed(Mappings(fed=True), online())
    assert feed
    waiting = select.poll()
    waiting.register(feed.fd, select.POLLIN)
    assert not waiting.poll(0)
    runs = 0
    while not waiting.poll(0) and runs < 20_000:
        subprocess.run(["/bin/true"], check=True)
        runs += 1
    feed.drain()
    assert not waiting.poll(0)
    assert feed.lost == 0
    feed.close()


def test_profile_names_what_has_ended(tmp_path: Path, short: Path) -> None:
    words = ("-o", "json", f"{EXAMPLES}/profile/", "--name=short", "--user-only", "--rate=997hz")
    with subprocess.Popen(
        [sys.executable, "-m", "bpfpack", "run", *words],
        env=environment(tmp_path / "home"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        while (line := process.stderr.readline()) and not line.startswith("attached "):
            pass
        pids = [ended(short)[0] for _ in range(10)]
        process.send_signal(signal.SIGINT)
        out, said = process.communicate()
    assert process.returncode == 130, said
    sample = json.loads(out)
    assert "mappings_lost" not in sample
    found = {pid: set[str | None]() for pid in pids}
    for stack in sample["stacks"]:
        found[stack["key"]["pid"]] |= {frame.get("function") for frame in stack["user"]}
    assert len(found) == 10
    assert all({HARD, "main"} <= names for names in found.values()), found
