"""The memory that a batch is copied into: bounded, aligned, nothing lost."""

import ctypes

import pytest

from bpfpack.runner._native.buffers import Filling, Merge


def _add(filling: Filling, record: bytes) -> bool:
    source = ctypes.create_string_buffer(record, len(record))
    return filling.add(ctypes.addressof(source), len(record))


def _records(filling: Filling) -> list[bytes]:
    return [bytes(filling.memory[at : at + size]) for at, size in filling.records]


def test_records_lie_at_multiples_of_eight() -> None:
    filling = Filling(64)
    filling.begin(10)
    assert _add(filling, b"abc")
    assert _add(filling, b"0123456789")
    assert filling.records == [(0, 3), (8, 10)]
    assert _records(filling) == [b"abc", b"0123456789"]


def test_no_more_than_was_asked_for() -> None:
    filling = Filling(64)
    filling.begin(2)
    assert _add(filling, b"a")
    assert not _add(filling, b"b")
    assert not filling.wants_more


def test_what_finds_no_room_comes_first_in_the_next_batch() -> None:
    filling = Filling(16)
    filling.begin(10)
    assert _add(filling, b"x" * 12)
    assert not _add(filling, b"y" * 9)
    assert _records(filling) == [b"x" * 12]
    assert not filling.wants_more
    filling.begin(10)
    assert _records(filling) == [b"y" * 9]


def test_a_record_larger_than_the_memory_is_delivered_alone() -> None:
    filling = Filling(16)
    filling.begin(10)
    assert not _add(filling, b"z" * 100)
    held = memoryview(filling.memory)
    filling.begin(10)
    assert _records(filling) == [b"z" * 100]
    assert len(held) == 16


def test_several_that_wait_keep_their_order_and_the_bound() -> None:
    filling = Filling(16)
    filling.begin(1)
    for record in (b"1", b"2", b"3", b"4"):
        _add(filling, record)
    seen = [_records(filling)]
    while filling.pending:
        filling.begin(2)
        seen.append(_records(filling))
    assert seen == [[b"1"], [b"2", b"3"], [b"4"]]


def test_what_a_callback_caught_is_raised_once() -> None:
    filling = Filling(16)
    filling.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        filling.raise_kept()
    filling.raise_kept()


def _held(merge: Merge, *records: tuple[int, bytes]) -> list[bool]:
    more = []
    for when, record in records:
        source = ctypes.create_string_buffer(record, len(record))
        more.append(merge.add(when, ctypes.addressof(source), len(record)))
    return more


def _given(merge: Merge, until: float, most: int = 100, capacity: int = 64) -> list[bytes]:
    filling = Filling(capacity)
    filling.begin(most)
    merge.give(filling, until)
    return _records(filling)


def test_records_of_several_rings_come_by_time_and_those_of_one_moment_as_they_came() -> None:
    merge = Merge(64)
    _held(merge, (2, b"b"), (9, b"z"), (1, b"a"), (2, b"a"))
    assert _given(merge, until=2) == [b"a", b"b", b"a"]
    assert merge
    _held(merge, (3, b"c"))
    assert _given(merge, until=9) == [b"c", b"z"]
    assert not merge


def test_what_is_held_is_bounded_and_what_is_given_makes_room() -> None:
    merge = Merge(8)
    assert _held(merge, (1, b"abcd"), (2, b"efgh")) == [True, False]
    assert not merge.has_room
    assert _given(merge, until=1) == [b"abcd"]
    assert merge.has_room


def test_no_more_is_given_than_asked_for_or_fits_and_nothing_is_lost() -> None:
    merge = Merge(1000)
    _held(merge, *((n, bytes([n]) * 12) for n in range(6)))
    assert _given(merge, until=9, most=2) == [bytes(12), b"\1" * 12]
    assert _given(merge, until=9, capacity=32) == [b"\2" * 12, b"\3" * 12]
    assert _given(merge, until=9, capacity=8) == [b"\4" * 12]
    assert _given(merge, until=9) == [b"\5" * 12]


def test_records_stand_in_another_memory_as_in_a_ring_buffer() -> None:
    memory = bytearray(64)
    filling = Filling(64, memoryview(memory))
    filling.begin(10)
    assert _add(filling, b"abc")
    assert filling.put(b"0123456789")
    assert bytes(memory[:40]) == (
        b"\3\0\0\0" + bytes(4) + b"abc" + bytes(5) + b"\x0a\0\0\0" + bytes(4) + b"0123456789"
    ) + bytes(6)
    assert filling.used == 40
    assert not filling.put(bytes(17))
