"""The one way by which bytes from outside come in: bounded, sized and hashed."""

from collections.abc import Iterator
from typing import Final, Protocol, runtime_checkable

from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import DigestMismatch, LimitExceeded, SizeMismatch

CHUNK: Final = 65536


class Readable(Protocol):
    """A stream of bytes; ``read(n)`` gives at most n, and b"" at its end."""

    def read(self, size: int, /) -> bytes: ...


@runtime_checkable
class Seekable(Readable, Protocol):
    """A stream that may be read again, as Python's files are; ``seekable`` says whether it can."""

    def seekable(self) -> bool: ...
    def seek(self, offset: int, /) -> int: ...
    def tell(self) -> int: ...


def read_exactly(source: Readable, want: Descriptor, limit: int) -> bytes:
    """Return exactly the bytes that ``want`` names.

    Raises LimitExceeded before the first read, SizeMismatch for a short or
    long stream, DigestMismatch for other bytes.
    """
    return b"".join(verified_chunks(source, want, limit))


def verified_chunks(source: Readable, want: Descriptor, limit: int) -> Iterator[bytes]:
    """Yield the bytes that ``want`` names, raising at the end when they were others.

    The caller must not use what it was given until the iterator is exhausted.
    Raises as `read_exactly` does.
    """
    check_size(want, limit)
    hasher, seen = want.digest.new_hash(), 0
    # One byte more than promised, so that trailing data is seen.
    while (left := want.size + 1 - seen) and (chunk := source.read(min(left, CHUNK))):
        seen += len(chunk)
        if seen > want.size:
            raise SizeMismatch(f"expected {want.size} bytes, got more")
        hasher.update(chunk)
        yield chunk
    if seen != want.size:
        raise SizeMismatch(f"expected {want.size} bytes, got {seen}")
    if (got := hasher.hexdigest()) != want.digest.encoded:
        raise DigestMismatch(f"expected {want.digest}, got {want.digest.algorithm}:{got}")


def read_at_most(source: Readable, limit: int, what: str) -> bytes:
    """Return all of a stream that has no descriptor; raises LimitExceeded past ``limit``."""
    data = bytearray()
    while chunk := source.read(min(limit + 1 - len(data), CHUNK)):
        data += chunk
        if len(data) > limit:
            raise LimitExceeded(f"{what} is larger than {limit} bytes")
    return bytes(data)


def check_bytes(data: bytes, want: Descriptor) -> bytes:
    """Return ``data`` when it is what ``want`` names; raises ContentError."""
    if len(data) != want.size:
        raise SizeMismatch(f"expected {want.size} bytes, got {len(data)}")
    if (got := want.digest.of(data)) != want.digest:
        raise DigestMismatch(f"expected {want.digest}, got {got}")
    return data


def check_size(want: Descriptor, limit: int) -> None:
    """Raise LimitExceeded when a descriptor promises more than is allowed."""
    if want.size > limit:
        raise LimitExceeded(f"{want.size} bytes declared, {limit} allowed")
