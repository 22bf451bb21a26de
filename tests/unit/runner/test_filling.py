"""The memory that a batch is copied into: bounded, aligned, nothing lost."""

import ctypes

import pytest

from bpfpack.runner._native.buffers import Filling


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
