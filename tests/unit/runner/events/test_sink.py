import fcntl
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.runner.events.sink import FULL, Sink, refuse_raw_terminal
from bpfpack.spec.errors import BpfpackError, UsageError

REPO = Path(__file__).parents[4]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ends = pty.openpty()
    yield ends
    for fd in ends:
        os.close(fd)


def _lines(count: int) -> bytes:
    return b"".join(b"line %d\n" % i for i in range(count))


def _waiting(fd: int) -> bytes:
    os.set_blocking(fd, False)
    found = b""
    while True:
        try:
            found += os.read(fd, 1 << 20)
        except BlockingIOError:
            return found


def _past() -> float:
    return time.monotonic() - 1


def test_what_is_written_arrives_with_the_flush(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1])
    sink.write(b"a\n")
    assert (_waiting(pipe[0]), sink.waiting) == (b"", 2)
    assert sink.flush()
    assert (_waiting(pipe[0]), sink.waiting) == (b"a\n", 0)
    sink.close()


def test_much_output_arrives_whole_and_in_order(pipe: tuple[int, int]) -> None:
    data, found = _lines(100_000), bytearray()

    def read() -> None:
        while len(found) < len(data):
            found.extend(os.read(pipe[0], 65536))

    reader = threading.Thread(target=read)
    reader.start()
    sink = Sink(pipe[1])
    sink.write(data)
    assert sink.due
    assert sink.flush()
    reader.join()
    sink.close()
    assert (bytes(found), sink.dropped) == (data, 0)


@pytest.mark.parametrize("days", [None, 60])
def test_a_reader_that_stopped_leaves_whole_lines_and_a_count(
    pipe: tuple[int, int], days: int | None
) -> None:
    deadline = None if days is None else time.monotonic() + days * 86400
    woken, wake = os.pipe()
    os.write(wake, b"x")
    sink = Sink(pipe[1], wake_fd=woken)
    sink.write(_lines(50_000))
    assert not sink.flush(deadline)
    assert not sink.finish(0)
    taken = _waiting(pipe[0])
    sink.drop()
    sink.close()
    assert taken.endswith(b"\n")
    assert _lines(50_000).startswith(taken)
    assert taken.count(b"\n") + sink.dropped == 50_000
    os.close(woken)
    os.close(wake)


def test_a_deadline_ends_a_flush_and_a_later_one_goes_on(pipe: tuple[int, int]) -> None:
    data = _lines(50_000)
    sink = Sink(pipe[1])
    sink.write(data)
    assert not sink.flush(_past())
    found = _waiting(pipe[0])
    while not sink.flush(_past()):
        found += _waiting(pipe[0])
    assert found + _waiting(pipe[0]) == data
    sink.close()


def test_a_line_longer_than_the_pipe_takes_at_once_arrives(pipe: tuple[int, int]) -> None:
    data = b"x" * 10_000 + b"\nshort\n"
    sink = Sink(pipe[1])
    sink.write(data)
    assert sink.flush()
    assert _waiting(pipe[0]) == data
    sink.close()


def test_raw_output_that_is_dropped_is_counted_in_bytes(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1], lines=False)
    sink.write(b"\n" * 1_000_000)
    assert not sink.flush(_past())
    taken = _waiting(pipe[0])
    sink.close()
    assert len(taken) + sink.dropped == 1_000_000


def test_what_is_sent_arrives_whole_and_in_order(pipe: tuple[int, int]) -> None:
    data, found = _lines(1_000_000), bytearray()

    def read() -> None:
        while len(found) < len(data):
            # Now a page, now a lot: what is free in the pipe is always another number of pages.
            found.extend(os.read(pipe[0], 1 + len(found) % 300_000))

    reader = threading.Thread(target=read)
    reader.start()
    sink = Sink(pipe[1])
    for start in range(0, len(data), 777_777):
        sink.send(memoryview(data)[start : start + 777_777])
    assert sink.flush()
    reader.join()
    sink.close()
    assert (bytes(found), sink.dropped) == (data, 0)


def test_a_pipe_is_made_large_for_much_and_holds_whole_lines(pipe: tuple[int, int]) -> None:
    before = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    sink = Sink(pipe[1])
    data = _lines(300_000)
    sink.send(b"small\n")
    assert fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ) == before
    sink.send(memoryview(data), _past())
    assert fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ) == 1 << 20
    taken = _waiting(pipe[0])
    # All but a page or two, of which the last line takes a part.
    assert len(taken) > (1 << 20) - 3 * 4096
    assert taken.endswith(b"\n")
    assert (b"small\n" + data).startswith(taken)
    sink.close()
    assert taken.count(b"\n") + sink.dropped == 300_001


def test_a_reader_who_takes_a_little_finds_whole_lines(pipe: tuple[int, int]) -> None:
    sink, data, found = Sink(pipe[1]), _lines(200_000), b""
    sink.send(memoryview(data), _past())
    while not sink.flush(_past()):
        assert sink.waiting
        found += os.read(pipe[0], 10_000)
    while len(found) < len(data):
        found += os.read(pipe[0], 1 << 20)
    assert found == data
    sink.close()


def test_what_is_sent_may_change_afterwards(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1])
    memory = bytearray(b"a" * 3_999_999 + b"\n")
    sink.send(memoryview(memory), _past())
    memory[:] = b"b" * len(memory)
    found = bytearray()
    while not sink.flush(_past()):
        found += _waiting(pipe[0])
    found += _waiting(pipe[0])
    assert found.count(b"a") == 3_999_999
    sink.close()


def test_a_reader_who_goes_away_ends_what_is_sent(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1])
    reading = os.dup(pipe[0])
    os.dup2(os.open(os.devnull, os.O_RDONLY), pipe[0])
    os.close(reading)
    sink.send(memoryview(_lines(100_000)))
    assert sink.closed
    assert not sink.waiting
    sink.close()


@pytest.mark.parametrize("place", ["file", "null"])
def test_a_file_takes_what_is_sent_in_one_piece(tmp_path: Path, place: str) -> None:
    data, path = _lines(100_000), tmp_path / "out"
    with Path(os.devnull if place == "null" else path).open("wb") as file:
        sink = Sink(file.fileno())
        sink.write(b"title\n")
        sink.send(memoryview(data))
        assert not sink.waiting
        sink.close()
    if place == "file":
        assert path.read_bytes() == b"title\n" + data


def test_output_is_due_when_it_is_much(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1])
    due = [sink.due]
    for data in (b"x" * (FULL - 1), b"x"):
        sink.write(data)
        due.append(sink.due and sink.waiting >= FULL)
    assert due == [False, False, True]
    sink.close()


def test_a_closed_pipe_is_no_error() -> None:
    reading, writing = os.pipe()
    sink = Sink(writing)
    os.close(reading)
    sink.write(b"a\n")
    assert sink.flush()
    assert sink.closed
    sink.write(b"b\n")
    assert (sink.waiting, sink.dropped) == (0, 0)
    sink.close()
    os.close(writing)


def test_what_is_open_for_reading_only_is_not_written_to() -> None:
    """Such as what stands for a stdout that was closed."""
    fd = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(BpfpackError, match="cannot write the output: Bad file descriptor"):
        Sink(fd)
    os.close(fd)


def test_a_hung_up_terminal_is_a_closed_pipe() -> None:
    ours, theirs = pty.openpty()
    sink = Sink(theirs)
    os.close(ours)
    sink.write(b"a\n")
    assert sink.flush()
    assert sink.closed
    sink.close()
    os.close(theirs)


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_a_shared_descriptor_keeps_its_flags(kind: str, request: pytest.FixtureRequest) -> None:
    fd = request.getfixturevalue(kind)[1]
    before = fcntl.fcntl(fd, fcntl.F_GETFL)
    sink = Sink(fd)
    # Not only afterwards: the shell writes there while we do, and we may be killed.
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == before
    sink.close()
    sink.close()
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == before


_WITHOUT_PROC = """
import fcntl, os
from bpfpack.runner.events.sink import Sink
reading, writing = os.pipe()
before = fcntl.fcntl(writing, fcntl.F_GETFL)
sink = Sink(writing)
sink.write(b"x" * 1000000)
assert fcntl.fcntl(writing, fcntl.F_GETFL) == before | os.O_NONBLOCK
assert not sink.flush(0)
sink.close()
assert fcntl.fcntl(writing, fcntl.F_GETFL) == before
"""


@pytest.mark.kernel
def test_without_proc_the_flag_is_changed_and_restored() -> None:
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc; exec "$@"', "sh",
         sys.executable, "-c", _WITHOUT_PROC],
        check=True,
        cwd=REPO,
    )  # fmt: skip


def test_a_socket_is_never_waited_for() -> None:
    ours, theirs = socket.socketpair()
    sink = Sink(theirs.fileno())
    sink.write(_lines(500_000))
    assert not sink.flush(_past())
    assert theirs.getblocking()
    ours.close()
    assert sink.flush(_past())
    assert sink.closed
    sink.close()
    theirs.close()


def test_a_file_takes_everything(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        sink = Sink(file.fileno())
        sink.write(_lines(50_000))
        assert sink.flush(_past())
        sink.close()
    assert (tmp_path / "out").read_bytes() == _lines(50_000)


def test_raw_records_reach_a_terminal_only_by_force(
    pipe: tuple[int, int], terminal: tuple[int, int]
) -> None:
    with pytest.raises(UsageError) as refused:
        refuse_raw_terminal(terminal[1], force=False)
    assert refused.value.hint == "-f FILE writes to a file; or add --force"
    refuse_raw_terminal(terminal[1], force=True)
    refuse_raw_terminal(pipe[1], force=False)
