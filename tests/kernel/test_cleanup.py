"""However a run ends, bpftool shows nothing of it two seconds later."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.test_session import ALL_KINDS, ME
from tests.kit.kernelobjects import EVENTS, eventually, held, in_kernel, opened

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
CHILD = """
import signal, sys
from tests.kernel.test_session import ALL_KINDS
from tests.kit.kernelobjects import EVENTS, opened
signal.signal(signal.SIGINT, signal.default_int_handler)
with opened(ALL_KINDS, outputs=(EVENTS,)) as session:
    session.attach()
    print("attached", flush=True)
    how = sys.stdin.readline().strip()
    if how == "raise":
        raise RuntimeError("a fault in the middle")
    if how == "exit":
        sys.exit(3)
"""
CLEAN_WITHIN = 2.0


@pytest.fixture
def child() -> Iterator["subprocess.Popen[str]"]:
    """A process with everything attached."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "attached\n"
            yield process
        finally:
            process.kill()


def _shown(pid: int) -> set[tuple[str, int]]:
    """What the process holds; bpftool has to show all of it."""
    mine = held(pid)
    assert {kind for kind, _ in mine} == {"prog", "map", "link"}
    assert mine <= in_kernel()
    return mine


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_leaves_nothing(child: "subprocess.Popen[str]", number: signal.Signals) -> None:
    mine = _shown(child.pid)
    child.send_signal(number)
    child.wait(timeout=10)
    assert eventually(lambda: not mine & in_kernel(), CLEAN_WITHIN)


@pytest.mark.parametrize(("how", "code"), [("raise", 1), ("exit", 3), ("end", 0)])
def test_an_exception_or_the_end_leaves_nothing(
    child: "subprocess.Popen[str]", how: str, code: int
) -> None:
    mine = _shown(child.pid)
    assert child.stdin is not None
    child.stdin.write(f"{how}\n")
    child.stdin.flush()
    assert child.wait(timeout=10) == code
    assert eventually(lambda: not mine & in_kernel(), CLEAN_WITHIN)


def test_close_leaves_nothing_while_the_process_goes_on() -> None:
    with opened(ALL_KINDS, outputs=(EVENTS,), values=ME) as session:
        session.attach()
        mine = _shown(os.getpid())
    assert held() == set()
    assert eventually(lambda: not mine & in_kernel(), CLEAN_WITHIN)


def test_an_exception_in_the_block_leaves_nothing() -> None:
    mine: set[tuple[str, int]] = set()

    def use() -> None:
        with opened(ALL_KINDS, outputs=(EVENTS,)) as session:
            session.attach()
            mine.update(held())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        use()
    assert mine
    assert eventually(lambda: not mine & in_kernel(), CLEAN_WITHIN)


def test_detaching_frees_the_links_and_keeps_the_rest() -> None:
    with opened(ALL_KINDS, outputs=(EVENTS,)) as session:
        session.attach()
        links = {item for item in held() if item[0] == "link"}
        session.detach()
        assert eventually(lambda: not links & in_kernel("link"), CLEAN_WITHIN)
        assert {kind for kind, _ in held()} == {"prog", "map"}
