"""Beginnings of blobs, kept from one process to the next so that a download goes on.

They are a hint and nothing more: what was kept is read as if it had just come, so that
whoever takes the blob hashes all of it; what turns out to be another blob is thrown away.
A file belongs to one download at a time, and to whoever runs this alone.
"""

import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bpfpack.registry.owned import OwnedDir, mapped
from bpfpack.spec.bounded import Readable
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import ContentError, StoreError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import valuetype

_log: Final = logging.getLogger(__name__)
_SUFFIX: Final = ".part"
# O_NONBLOCK: opening a FIFO must not wait for a writer.
_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DAYS: Final = 7
_SECONDS_OF_DAY: Final = 86400


@valuetype
class Cleared:
    """What `Partials.clear` removed, or would."""

    count: int
    size: int


class Partial:
    """The beginning of one blob, held by this download alone."""

    def __init__(self, fd: int, limit: int) -> None:
        """``limit`` is the size of the whole; what is longer is none of it."""
        self._fd, self._limit = fd, limit
        self.held = os.fstat(fd).st_size
        if self.held > limit:
            with mapped("beginning a download anew"):
                os.ftruncate(fd, 0)
            self.held = 0

    def read(self, offset: int, size: int) -> bytes:
        """Return kept bytes from ``offset``, b"" after the last; raises StoreError."""
        try:
            return os.pread(self._fd, min(size, self.held - offset), offset)
        except OSError as e:
            raise StoreError(f"cannot read the beginning of a download: {e.strerror}") from e

    def append(self, data: bytes) -> None:
        """Keep more, or give up what cannot be kept: the download itself goes on."""
        if self._fd < 0 or self.held + len(data) > self._limit:
            return
        try:
            written = os.pwrite(self._fd, data, self.held)
        except OSError as e:
            _log.debug("the beginning of a download is not kept: %s", e.strerror)
            self._fd = -1
            return
        self.held += written
        if written < len(data):
            self._fd = -1


class Resumed:
    """A blob whose beginning was kept: that, then the rest as it comes."""

    def __init__(self, partial: Partial, rest: Readable) -> None:
        """``rest`` begins where ``partial`` ends now."""
        self._partial, self._rest = partial, rest
        self._offset, self.kept = 0, partial.held

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, b"" at the end; raises what ``rest`` does, StoreError."""
        if self._offset < self.kept and size > 0:
            chunk = self._partial.read(self._offset, min(size, self.kept - self._offset))
            self._offset += len(chunk)
            if not chunk:
                raise ContentError("the beginning of a download has become shorter")
            return chunk
        chunk = self._rest.read(size)
        self._partial.append(chunk)
        return chunk


class Partials:
    """The directory of them, made when first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def hold(self, want: Descriptor) -> Iterator[Partial | None]:
        """Give what was kept of a blob; None for one too small, too large, or held by others.

        It stays after an error of the connection, and when the process dies; it goes when
        the block ends well, or by a ContentError.
        """
        if not LIMITS.partial_least <= want.size <= LIMITS.layer:
            yield None
            return
        directory = self._open(create=True)
        if directory is None:
            yield None
            return
        name = f"{want.digest.algorithm}-{want.digest.encoded}{_SUFFIX}"
        with directory:
            self._make_room(directory, want.size, name)
            fd = _locked(directory, name, create=True)
            if fd is None:
                yield None
                return
            try:
                with _gone_when_done(directory, name):
                    yield Partial(fd, want.size)
            finally:
                os.close(fd)

    def clear(self, deadline: float, *, dry_run: bool = False) -> Cleared:
        """Remove what was last written before ``deadline`` and no download holds.

        Raises StoreError.
        """
        directory = self._open(create=False)
        count = size = 0
        if directory is not None:
            with directory:
                for name, status in _listed(directory):
                    if status.st_mtime <= deadline and (dry_run or _removed(directory, name)):
                        count += 1
                        size += status.st_size
        return Cleared(count=count, size=size)

    def _open(self, *, create: bool) -> OwnedDir | None:
        try:
            return OwnedDir.find(self._path, create=create)
        except StoreError as e:
            # A download does without; `prune` has nothing of ours to remove there.
            _log.debug("beginnings of downloads are not kept: %s", e)
            return None

    def _make_room(self, directory: OwnedDir, size: int, name: str) -> None:
        """Remove what is old, and the oldest of what would be too much."""
        files = [f for f in _listed(directory) if f[0] != name]
        files.sort(key=lambda f: f[1].st_mtime)
        total = size + sum(status.st_size for _, status in files)
        deadline = time.time() - _DAYS * _SECONDS_OF_DAY
        for old, status in files:
            if status.st_mtime > deadline and total <= LIMITS.partials:
                break
            if _removed(directory, old):
                total -= status.st_size


@contextmanager
def _gone_when_done(directory: OwnedDir, name: str) -> Iterator[None]:
    """Remove a file after a block that ended well or found its content wrong."""
    try:
        yield
    except ContentError:
        directory.remove(name)
        raise
    directory.remove(name)


def _listed(directory: OwnedDir) -> list[tuple[str, os.stat_result]]:
    names = [name for name in directory.names() if name.endswith(_SUFFIX)]
    found = [(name, directory.status(name)) for name in names]
    return [(name, status) for name, status in found if status is not None]


def _removed(directory: OwnedDir, name: str) -> bool:
    """Remove a file unless a download holds it."""
    fd = _locked(directory, name)
    if fd is None:
        return False
    try:
        return directory.remove(name)
    finally:
        os.close(fd)


def _locked(directory: OwnedDir, name: str, *, create: bool = False) -> int | None:
    """Open and lock a file of ours; None for one that is held, or not one of ours."""
    try:
        fd = os.open(name, _OPEN | (os.O_CREAT if create else 0), 0o600, dir_fd=directory.fd)
    except OSError as e:
        _log.debug("%s: %s", name, e.strerror)
        return None
    with suppress(OSError):  # held, or on a file system that has no locks
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_ours(os.fstat(fd)):
            return fd
    os.close(fd)
    return None


def _is_ours(status: os.stat_result) -> bool:
    """Whether a file is a plain one of this user, under this name alone, and not yet removed."""
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid == os.geteuid()
        and status.st_nlink == 1
        and not status.st_mode & 0o077
    )
