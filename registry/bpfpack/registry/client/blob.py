"""A blob on its way in, asked for again where it broke off."""

import re
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self

from bpfpack.registry.client.wire import Answer
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import Denied, SizeMismatch, TransportError

# Losing the connection so often without a MiB in between is no bad luck any more.
_PROGRESS: Final = 1024 * 1024
_CHUNK: Final = 65536
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


class Stream(Protocol):
    """An open response."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class BlobReader:
    """The bytes of ``want``, unverified, resumed by Range when they end early.

    ``open_at(offset)`` asks for the rest from there, ``pause(n)`` waits after the n-th
    failure in a row, ``start`` is how much of it the reader has already.  Never gives fewer
    bytes than ``want`` has without an error; one byte too many is given when the registry
    has it, for the caller to notice.
    """

    def __init__(
        self,
        want: Descriptor,
        open_at: Callable[[int], tuple[Answer, Stream]],
        pause: Callable[[int], None],
        attempts: int,
        start: int = 0,
    ) -> None:
        self._want, self._open_at, self._pause, self._attempts = want, open_at, pause, attempts
        self._offset = self._mark = self._start = start
        self._failures = 0
        # Asked for when it is first read: a blob that is linked at its target never is.
        self._stream: Stream | None = None

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, b"" at the end; raises TransportError, SizeMismatch."""
        if self._start == self._want.size:
            return b""  # there is no range to ask for
        while True:
            try:
                chunk = self._read(size)
            except TransportError as e:
                self._lost(e)
                continue
            if chunk or self._offset >= self._want.size:
                self._advance(len(chunk))
                return chunk
            self._lost(TransportError(f"{self._name}: ended after {self._offset} bytes"))

    def close(self) -> None:
        """Drop the connection, unless it is at its end."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _name(self) -> str:
        return f"blob {self._want.digest.short}"

    def _read(self, size: int) -> bytes:
        if self._stream is None:
            self._stream = self._open()
        return self._stream.read(size)

    def _advance(self, count: int) -> None:
        self._offset += count
        if self._offset - self._mark >= _PROGRESS:
            self._mark, self._failures = self._offset, 0

    def _lost(self, error: TransportError) -> None:
        """Close, wait and let the caller go on; raises ``error`` when that is enough."""
        self.close()
        self._failures += 1
        # A status is a verdict that the core has already asked for several times.
        verdict = error.status is not None or isinstance(error, Denied)
        if self._failures >= self._attempts or verdict:
            raise error
        self._pause(self._failures)

    def _open(self) -> Stream:
        answer, stream = self._open_at(self._offset)
        try:
            self._place(answer, stream)
        except BaseException:
            stream.close()
            raise
        return stream

    def _place(self, answer: Answer, stream: Stream) -> None:
        """Bring ``stream`` to our offset, whatever part the registry sent."""
        if answer.head.status == 206:
            match = _CONTENT_RANGE.fullmatch(answer.head.headers.get("content-range") or "")
            if match is None or int(match[1]) != self._offset:
                raise SizeMismatch(f"{self._name}: another part than was asked for")
            return
        length = answer.head.headers.get("content-length")
        if length is not None and length != str(self._want.size):
            raise SizeMismatch(
                f"{self._name}: expected {self._want.size} bytes, the registry has {length[:20]}"
            )
        # It does not know Range.  The beginning is the same or the digest will tell.
        left = self._offset
        while left:
            if not (chunk := stream.read(min(left, _CHUNK))):
                raise TransportError(f"{self._name}: ended {left} bytes before where it broke off")
            left -= len(chunk)
