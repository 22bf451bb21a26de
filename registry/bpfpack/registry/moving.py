"""One blob on its way from a source to a sink: told to the progress, and tried again or not."""

import io
from typing import Final

from bpfpack.registry.partial import Resumed
from bpfpack.spec.bounded import Readable, Seekable
from bpfpack.spec.content import Progress
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import ContentError, Denied, NotFound, TransportError

# 429, and what a sink says that takes it in parts the next time.
_PASSES: Final = frozenset({405, 411, 413, 429})


class Moving:
    """One try to move a blob."""

    def __init__(self, want: Descriptor, progress: Progress | None) -> None:
        self._want, self._progress = want, progress
        self._counted: Counted | None = None

    def counted(self, stream: Readable) -> "Counted":
        self._counted = Counted(stream, self._want, self._progress)
        return self._counted

    def may_succeed(self, error: TransportError | ContentError) -> bool:
        """Whether another try is not in vain: source and sink make several of their own."""
        moved = self._counted
        if moved is None or moved.broken or isinstance(error, Denied | NotFound):
            return False
        if isinstance(error, ContentError):
            # A beginning that an earlier process left was not this blob's, and is gone.
            return isinstance(moved.stream, Resumed) and moved.stream.kept > 0
        passes = error.status is None or error.status in _PASSES or error.status >= 500
        return passes and not moved.seekable()

    def rewind(self) -> None:
        """Take back what was told: it will go by again."""
        if self._progress and self._counted:
            self._progress.advance(self._want, -self._counted.count)


class Counted:
    """Tells the progress what went by."""

    def __init__(self, stream: Readable, want: Descriptor, progress: Progress | None) -> None:
        self.stream, self._want, self._progress = stream, want, progress
        self.count, self.broken = 0, False

    def read(self, size: int, /) -> bytes:
        try:
            chunk = self.stream.read(size)
        except TransportError:
            self.broken = True
            raise
        self.count += len(chunk)
        if self._progress and chunk:
            self._progress.advance(self._want, len(chunk))
        return chunk

    # A sink that may begin anew, after a registry failed, does so only with what can seek.

    def seekable(self) -> bool:
        return isinstance(self.stream, Seekable) and self.stream.seekable()

    def tell(self) -> int:
        return self._seekable.tell()

    def seek(self, offset: int, /) -> int:
        return self._seekable.seek(offset)

    @property
    def _seekable(self) -> Seekable:
        if not isinstance(self.stream, Seekable):
            raise io.UnsupportedOperation("not seekable")
        return self.stream
