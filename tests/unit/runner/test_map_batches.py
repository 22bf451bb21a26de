"""Batches of maps against kernels that refuse, run out of room or lose their place."""

import errno
from collections.abc import Sequence
from typing import Any

import pytest

from bpfpack.runner._native import maps as native
from bpfpack.runner._native.libbpf import ENOTSUPP
from bpfpack.runner.maps import Map
from bpfpack.spec.errors import KernelError

HASH, ARRAY, LPM_TRIE = 1, 2, 11


class Table:
    """A map as a dictionary, of keys of 1 byte and values of 2."""

    name, fd = "table", -1

    def __init__(self, kind: int = HASH, count: int = 10) -> None:
        self.shape = (kind, 1, 2, max(count, 1))
        self.data = {bytes([i]): bytes([i, 1]) for i in range(count)}


class Kernel:
    """Answers batches from a table: ``answers`` are errnos to give first, None for none."""

    def __init__(self, table: Table, answers: Sequence[int | None] = (), bucket: int = 1) -> None:
        self.table, self.answers, self.bucket = table, list(answers), bucket
        self.chunks: list[int] = []
        self.deleting: list[bool] = []
        self.place = 0

    def buffers(self, key_size: int, value_size: int, chunk: int) -> "Kernel":
        assert (key_size, value_size) == (1, 2)
        self.grow(chunk)
        return self

    def grow(self, chunk: int) -> None:
        self.chunk = chunk
        self.chunks.append(chunk)

    def rewind(self) -> None:
        self.place = 0

    def call(self, fd: int, *, delete: bool) -> tuple[int, int]:
        self.deleting.append(delete)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            return 0, answer
        if self.chunk < self.bucket:
            return 0, errno.ENOSPC
        keys = list(self.table.data)
        part = keys[self.place : self.place + self.chunk]
        if delete:
            part = keys[: self.chunk]
        self.keys = memoryview(b"".join(part))
        self.values = memoryview(b"".join(self.table.data[key] for key in part))
        last = self.place + len(part) >= len(keys) if not delete else len(part) == len(keys)
        if delete:
            for key in part:
                del self.table.data[key]
        else:
            self.place += len(part)
        return len(part), errno.ENOENT if last else 0


def _map(monkeypatch: pytest.MonkeyPatch, table: Table, kernel: Kernel, *, chunk: int = 4) -> Map:
    """A map of at most ``chunk`` elements at once."""
    monkeypatch.setattr("bpfpack.runner.maps._BATCH_BYTES", 3 * chunk)

    def next_key(fd: int, key: bytes | None, size: int) -> bytes | None:
        keys = list(table.data)
        if key not in keys:
            return keys[0] if keys else None
        return keys[keys.index(key) + 1] if key != keys[-1] else None

    def update(fd: int, key: bytes, value: bytes) -> None:
        table.data[key] = value

    one: dict[str, Any] = {
        "next_key": next_key,
        "lookup": lambda fd, key, size: table.data.get(key),
        "take": lambda fd, key, size: table.data.pop(key, None),
        "update": update,
    }
    for name, function in one.items():
        monkeypatch.setattr(native, name, function)
    return Map(table, kernel.buffers)  # type: ignore[arg-type]  # the part of it that is used


def test_a_map_is_read_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    kernel = Kernel(table)
    made = _map(monkeypatch, table, kernel)
    for _ in range(2):
        assert [c.elements for c in made.chunks()] == [4, 4, 2]
    assert dict(made.items()) == table.data
    assert kernel.chunks == [4]  # made once


def test_two_readers_do_not_share_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    made = _map(monkeypatch, table, Kernel(table))
    monkeypatch.setattr(made, "_make_buffers", lambda *sizes: Kernel(table).buffers(*sizes))
    assert sum(len(list(made.items())) for _ in made.items()) == 100


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EINTR, errno.EOPNOTSUPP, ENOTSUPP])
@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("take", [False, True])
def test_where_batches_end_the_walk_goes_on(
    monkeypatch: pytest.MonkeyPatch, code: int, before: int, take: bool
) -> None:
    table = Table()
    everything = dict(table.data)
    made = _map(monkeypatch, table, Kernel(table, [*[None] * before, code]))
    found = list(made.take() if take else made.items())
    assert len(found) == 10
    assert dict(found) == everything
    assert table.data == ({} if take else everything)


@pytest.mark.parametrize("take", [False, True])
def test_a_bucket_that_is_larger_than_the_chunk(
    monkeypatch: pytest.MonkeyPatch, take: bool
) -> None:
    table = Table()
    everything = dict(table.data)
    kernel = Kernel(table, bucket=7)
    made = _map(monkeypatch, table, kernel, chunk=1)
    assert dict(made.take() if take else made.items()) == everything
    assert kernel.chunks == [1, 2, 4, 8]
    assert set(kernel.deleting) == {take}


def test_room_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    made = _map(monkeypatch, table, Kernel(table, bucket=10**9))
    with pytest.raises(KernelError) as caught:
        list(made.items())
    assert caught.value.errno == errno.ENOSPC


def test_another_error_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    made = _map(monkeypatch, table, Kernel(table, [None, errno.EPERM]))
    with pytest.raises(KernelError, match="table") as caught:
        list(made.items())
    assert caught.value.errno == errno.EPERM


def test_a_type_whose_batches_lose_their_place_is_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(LPM_TRIE)
    kernel = Kernel(table)
    assert dict(_map(monkeypatch, table, kernel).items()) == table.data
    assert kernel.deleting == []


def test_an_array_is_set_to_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(ARRAY)
    before = dict(table.data)
    kernel = Kernel(table)
    assert dict(_map(monkeypatch, table, kernel).take()) == before
    assert set(table.data.values()) == {b"\0\0"}
    assert not any(kernel.deleting)


def test_a_walk_survives_what_is_deleted_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(count=200)
    made = _map(monkeypatch, table, Kernel(table, [ENOTSUPP]), chunk=1)
    seen = []
    for key, _ in made.items():
        seen.append(key)
        del table.data[key]
        table.data.pop(bytes([199 - key[0]]), None)
    assert len(seen) == len(set(seen)) == 100


def test_a_walk_ends_though_another_adds_and_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    made = _map(monkeypatch, table, Kernel(table, [ENOTSUPP]), chunk=1)
    steps = 0
    for steps, (key, value) in enumerate(made.items(), 1):
        del table.data[key]
        table.data[bytes([(key[0] + 128) % 256 if steps % 2 else steps % 256])] = value
    assert steps <= 4 * 10 + 64
