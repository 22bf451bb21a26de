"""The reaper of a process that attached nothing: started, asked, and ended with it."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.kit.kernelobjects import eventually

#: In a process of its own: it forks.
CHILD: Final = """
import os, signal, sys
from bpfpack.runner.attach.clsact import ClsactEntry
from bpfpack.runner.netns import Namespace
from bpfpack.runner.reaper import guarded

entry = ClsactEntry(namespace=Namespace(inode=1, cookie=2), ifindex=3, direction="ingress",
                    priority=49152, handle=4, program_id=5)
directory = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
descriptors = sorted(os.listdir("/proc/self/fd"))

def children():
    return open(f"/proc/self/task/{os.getpid()}/children").read().split()

def use(body):
    with guarded(directory) as journal:
        number = journal.record(entry)
        (reaper,) = map(int, children())
        body(journal, number, reaper)
    assert os.listdir(directory) == [], os.listdir(directory)
    assert children() == []
    assert sorted(os.listdir("/proc/self/fd")) == descriptors

match sys.argv[2]:
    case "plain":
        use(lambda journal, number, reaper: None)
    case "twice":
        use(lambda journal, number, reaper: (journal.undo(number), journal.undo(number)))
    case "wrong":
        # A number that the journal does not have is an error, and no more than that.
        def body(journal, number, reaper):
            try:
                journal.undo(7)
            except OSError as e:
                print(e)
        use(body)
    case "killed":
        def body(journal, number, reaper):
            os.kill(reaper, signal.SIGKILL)
            os.waitid(os.P_PID, reaper, os.WEXITED | os.WNOWAIT)
            journal.undo(number)
        use(body)
    case "nobody-waits":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        use(lambda journal, number, reaper: journal.undo(number))
    case "raises":
        def body(journal, number, reaper):
            raise RuntimeError("a fault in the block")
        try:
            use(body)
        except RuntimeError as e:
            assert os.listdir(directory) == []
            print(e)
    case "handlers":
        # What the parent does on a signal, the child must not do.
        signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"handled in the child"))
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        def body(journal, number, reaper):
            os.kill(reaper, signal.SIGTERM)
            os.kill(reaper, signal.SIGUSR1)
            journal.undo(number)
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
        use_before, descriptors = descriptors, sorted(os.listdir("/proc/self/fd"))
        use(body)
    case "dies":
        with guarded(directory) as journal:
            journal.record(entry)
            os.kill(os.getpid(), signal.SIGKILL)
"""


def run(directory: Path, how: str) -> "subprocess.CompletedProcess[str]":
    directory.chmod(0o700)
    # Its output ends when the last process that holds it does: the reaper holds none of it.
    return subprocess.run(
        (sys.executable, "-c", CHILD, directory, how), capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("how", ["plain", "twice", "killed", "nobody-waits", "handlers"])
def test_all_is_undone_and_nothing_stays(tmp_path: Path, how: str) -> None:
    done = run(tmp_path, how)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_what_cannot_be_undone_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, "wrong")
    assert (done.returncode, done.stdout) == (0, "detach: Invalid argument\n"), done.stderr


def test_an_error_of_the_block_is_the_one_that_is_raised(tmp_path: Path) -> None:
    done = run(tmp_path, "raises")
    assert (done.returncode, done.stdout) == (0, "a fault in the block\n"), done.stderr


def test_the_end_of_the_parent_is_enough(tmp_path: Path) -> None:
    done = run(tmp_path, "dies")
    assert done.returncode == -signal.SIGKILL
    assert eventually(lambda: not list(tmp_path.iterdir()))
