"""The one way in: exactly the bytes that were promised, and never more than allowed."""

import io

import pytest

from bpfpack.spec.bounded import (
    CHUNK,
    check_bytes,
    read_at_most,
    read_exactly,
    verified_chunks,
)
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import DigestMismatch, LimitExceeded, SizeMismatch

DATA = bytes(range(256)) * 1024
WANT = Descriptor.of(DATA, "application/octet-stream")


class Counting(io.BytesIO):
    """Counts what is taken from it; never gives more than ``most`` at once."""

    def __init__(self, data: bytes, most: int = 1 << 30) -> None:
        super().__init__(data)
        self.taken, self._most = 0, most

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None and size > 0
        found = super().read(min(size, self._most))
        self.taken += len(found)
        return found


class Endless:
    """Zeros without end."""

    def __init__(self) -> None:
        self.taken = 0

    def read(self, size: int, /) -> bytes:
        self.taken += size
        return bytes(size)


@pytest.mark.parametrize("most", [1, 4095, CHUNK, 1 << 30])
def test_a_stream_may_come_in_any_pieces(most: int) -> None:
    small = Descriptor.of(DATA[:5000], "a/b")
    assert read_exactly(Counting(DATA[:5000], most), small, 5000) == DATA[:5000]


def test_nothing_is_read_of_what_is_too_large() -> None:
    stream = Counting(DATA)
    with pytest.raises(LimitExceeded, match="262144 bytes declared, 262143 allowed"):
        read_exactly(stream, WANT, WANT.size - 1)
    assert stream.taken == 0


def test_an_endless_stream_is_left_after_one_byte_too_many() -> None:
    stream = Endless()
    with pytest.raises(SizeMismatch, match="expected 262144 bytes, got more"):
        read_exactly(stream, WANT, WANT.size)
    assert stream.taken == WANT.size + 1


def test_what_was_given_before_the_end_is_not_yet_right() -> None:
    given = verified_chunks(io.BytesIO(DATA[:-1] + b"\0"), WANT, WANT.size)
    assert next(given) == DATA[:CHUNK]
    with pytest.raises(DigestMismatch):
        list(given)


def test_bytes_at_hand() -> None:
    assert check_bytes(DATA, WANT) is DATA
    with pytest.raises(SizeMismatch):
        check_bytes(DATA[1:], WANT)
    with pytest.raises(DigestMismatch):
        check_bytes(DATA[1:] + b"\0", WANT)


def test_a_stream_without_a_descriptor() -> None:
    assert read_at_most(Counting(DATA, 1000), len(DATA), "it") == DATA
    stream = Endless()
    with pytest.raises(LimitExceeded, match="it is larger than 10 bytes"):
        read_at_most(stream, 10, "it")
    assert stream.taken == 11
