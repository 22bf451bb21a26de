"""Records of the kernel, written down by hand: in order, out of order, lost, cut."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.runner.symbols.feed import TaskFeed, changes
from bpfpack.runner.symbols.mappings import Mappings
from tests.kit.taskrecords import (
    BUILD_ID,
    COMM,
    LOST,
    PARENT,
    PID,
    Told,
    ended,
    executed,
    fork,
    life,
    mapped,
    record,
)


def fed(*told: bytes, now: int = 1000) -> tuple[Mappings, TaskFeed, Told]:
    mappings, rings = Mappings(fed=True), Told(*told)
    feed = TaskFeed(rings, mappings, now=lambda: now)
    feed.drain()
    return mappings, feed, rings


def test_the_life_of_a_process() -> None:
    mappings, _, _ = fed(fork(1) + executed(2) + mapped(3, b"/bin/a", build_id=BUILD_ID) + ended(4))
    found = mappings.find(PID, 0x1800)
    assert found is not None
    assert (found.start, found.end, found.offset) == (0x1000, 0x2000, 0x400)
    assert (found.name, found.file.path, found.file.build_id) == ("/bin/a", "/bin/a", BUILD_ID)
    assert list(mappings.roots(PID)) == [f"/proc/{PARENT}/root", "/"]


def test_without_build_ids_files_are_told_by_their_inodes() -> None:
    mappings, _, _ = fed(executed(1) + mapped(2, b"/bin/a"))
    found = mappings.find(PID, 0x1000)
    assert found is not None
    assert (found.file.build_id, found.file.inode) == (b"", 77)


@pytest.mark.parametrize(
    ("name", "text", "path"),
    [(b"//anon", None, None), (b"[vdso]", "[vdso]", None), (b"/a\xff", "/a\ufffd", "/a\udcff")],
)
def test_names(name: bytes, text: str | None, path: str | None) -> None:
    mappings, _, _ = fed(executed(1) + mapped(2, name))
    found = mappings.find(PID, 0x1000)
    assert found is not None
    assert (found.file.name, found.file.path) == (text, path)


def test_threads_change_nothing() -> None:
    mappings, _, _ = fed(
        executed(1)
        + mapped(2, b"/bin/a")
        + fork(3, pid=PID, parent=PID, thread=PID + 5)
        + ended(4, thread=PID + 5)
    )
    assert mappings.find(PID, 0x1000)
    assert next(mappings.roots(PID)) == f"/proc/{PID}/root"


def test_a_process_that_moves_between_processors() -> None:
    """Each tells in its own order; together they are read in the order of time."""
    one = executed(10) + mapped(40, b"/bin/new")
    other = mapped(5, b"/bin/old", 0x8000) + executed(30)
    mappings, _, _ = fed(one, other)
    assert [getattr(mappings.find(PID, a), "name", None) for a in (0x1000, 0x8000)] == [
        "/bin/new",
        "/bin/old",
    ]
    assert len(mappings._processes[PID].images) == 3


def test_what_is_told_while_it_is_read_waits_for_what_came_before() -> None:
    mappings, feed, rings = fed(executed(1), mapped(2000, b"/bin/a"))
    assert mappings.find(PID, 0x1000) is None
    rings.told = [executed(1500)]
    feed._now = lambda: 3000
    feed.drain()
    found = mappings.find(PID, 0x1000)
    assert found is not None
    assert found.name == "/bin/a"


def test_losses_are_counted() -> None:
    lost = record(LOST, 3, struct.pack("=QQ", 1, 7))
    mappings, feed, _ = fed(executed(1) + lost + lost)
    assert feed.lost == 14
    assert mappings._processes[PID].stale


def test_losses_that_nothing_announces() -> None:
    mappings, feed, rings = fed(executed(1))
    rings.counted = 3
    feed.drain()
    assert feed.lost == 3
    assert mappings._processes[PID].stale
    rings.told = [record(LOST, 3, struct.pack("=QQ", 1, 3))]
    feed.drain()
    assert feed.lost == 3


def test_records_that_say_something_else() -> None:
    other = record(32, 1, bytes(24))
    name = record(COMM, 2, struct.pack("=2I8s", PID, PID, b"b"))
    mappings, _, _ = fed(other + executed(3) + name + mapped(4, b"/bin/a"))
    assert len(mappings._processes[PID].images) == 2
    assert mappings.find(PID, 0x1000)


@given(st.binary(max_size=400))
def test_any_bytes_are_records_or_none(data: bytes) -> None:
    fed(data)
    assert len(list(changes(data))) <= len(data) // 16


@given(st.data())
def test_damaged_records(data: st.DataObject) -> None:
    told = bytearray(life())
    for _ in range(data.draw(st.integers(1, 8))):
        told[data.draw(st.integers(0, len(told) - 1))] = data.draw(st.integers(0, 255))
    mappings, _, _ = fed(bytes(told))
    mappings.find(PID, 0x1800)
