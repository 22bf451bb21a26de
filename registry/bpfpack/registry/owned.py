"""Directories and files that only this user, or root, can have written.

Everything is reached from a checked directory descriptor, one component at a time and
never through a link inside ours, so that nothing can be exchanged between the check and
the use.  Foreign errors become StoreError; what is not there becomes None.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bpfpack.spec.errors import LimitExceeded, StoreError

_WALK: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for a writer.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_MAKE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
# The kernel's own MAXSYMLINKS.
_LINKS: Final = 40
#: Files being written; a name that begins so is never looked up.
TEMPORARY: Final = ".tmp-"

_HINTS: Final = {
    errno.ENOSPC: "free some space; `bpfpack prune` removes what no name refers to",
    errno.EDQUOT: "free some space; `bpfpack prune` removes what no name refers to",
    errno.EROFS: "BPFPACK_{CONFIG,DATA,STATE,CACHE,RUN}_DIR put files where they can be written",
    errno.EACCES: "run as the user that owns it",
}


class OwnedFile:
    """An open file of ours; ``read(n)`` is what `bounded` asks of a stream."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd, self._path = fd, path

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes; raises StoreError."""
        with mapped(self._path):
            return os.read(self.fd, size)

    @property
    def status(self) -> os.stat_result:
        """What fstat says."""
        with mapped(self._path):
            return os.fstat(self.fd)

    def close(self) -> None:
        """Give the descriptor back; a second time does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class Pending:
    """A file that nobody sees until `commit`."""

    def __init__(self, directory: "OwnedDir", fd: int, name: str) -> None:
        self._directory, self._fd, self._name = directory, fd, name
        self.committed = False

    def write(self, data: bytes) -> None:
        """Append; raises StoreError."""
        view = memoryview(data)
        with mapped(str(self._directory.path)):
            while view:
                view = view[os.write(self._fd, view) :]

    def sync(self) -> None:
        """Have the bytes on the disk, before anything names them."""
        with mapped(str(self._directory.path)):
            os.fsync(self._fd)

    def commit(self, name: str) -> None:
        """Make it ``name``, in place of what had that name; durable on return."""
        fd = self._directory.fd
        self.sync()
        with mapped(str(self._directory.path)):
            os.rename(self._name, _component(name), src_dir_fd=fd, dst_dir_fd=fd)
            self.committed = True
            os.fsync(fd)

    def commit_new(self, name: str) -> bool:
        """Make it ``name``; False when something has that name already.  Durable on return."""
        fd = self._directory.fd
        self.sync()
        with mapped(str(self._directory.path)):
            try:
                os.link(self._name, _component(name), src_dir_fd=fd, dst_dir_fd=fd)
            except FileExistsError:
                return False
            try:
                os.fsync(fd)
            except OSError:
                os.unlink(name, dir_fd=fd)
                raise
        return True  # the name that it was written under goes with the block


class OwnedDir:
    """An open directory; ``owners`` are the user ids whose content counts."""

    def __init__(self, fd: int, path: Path, owners: frozenset[int]) -> None:
        self.fd, self.path, self._owners = fd, path, owners

    @classmethod
    def open(
        cls, path: Path, *, create: bool = False, owners: frozenset[int] | None = None
    ) -> "OwnedDir":
        """Open an absolute path, checking every directory on the way; raises StoreError.

        ``create`` makes what is missing, 0700.
        """
        found = cls.find(path, create=create, owners=owners)
        if found is None:
            raise StoreError(f"{path} does not exist")
        return found

    @classmethod
    def find(
        cls, path: Path, *, create: bool = False, owners: frozenset[int] | None = None
    ) -> "OwnedDir | None":
        """Like `open`, and None for a path that does not exist."""
        accepted = owners or frozenset({0, os.geteuid()})
        with mapped(str(path)):
            fd = _walk(path, accepted, create)
        return None if fd is None else cls(fd, path, accepted)

    def close(self) -> None:
        """Give the descriptor back; a second time does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def find_child(self, name: str, *, create: bool = False) -> "OwnedDir | None":
        """Open a directory inside; None when it is missing; raises StoreError for a link."""
        path = self.path / name
        with mapped(str(path)):
            fd = _step(self.fd, _component(name), _LIST, create=create)
            if fd is None:
                return None
            with _closed_on_error(fd):
                _check(os.fstat(fd), path, self._owners)
        return OwnedDir(fd, path, self._owners)

    @contextmanager
    def below(self, *names: str) -> Iterator["OwnedDir | None"]:
        """Open a directory some levels down; None when one of them is missing."""
        with ExitStack() as opened:
            directory: OwnedDir | None = self
            for name in names:
                directory = directory.find_child(name) if directory else None
                if directory is not None:
                    opened.enter_context(directory)
            yield directory

    def child(self, name: str) -> "OwnedDir":
        """Open a directory inside, made when missing; raises StoreError."""
        found = self.find_child(name, create=True)
        if found is None:  # removed again between mkdir and open
            raise StoreError(f"{self.path / name} disappeared")
        return found

    def find_file(self, name: str) -> OwnedFile | None:
        """Open a regular file of ours; None when missing; raises StoreError."""
        path = self.path / name
        with mapped(str(path)):
            try:
                fd = os.open(_component(name), _READ, dir_fd=self.fd)
            except FileNotFoundError:
                return None
            with _closed_on_error(fd):
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode):
                    raise StoreError(f"{path} is not a regular file")
                _check(status, path, self._owners)
        return OwnedFile(fd, str(path))

    def read(self, name: str, limit: int) -> bytes | None:
        """Return a file's content; None when missing; raises StoreError, LimitExceeded."""
        file = self.find_file(name)
        if file is None:
            return None
        with file:
            data = bytearray()
            while chunk := file.read(limit + 1 - len(data)):
                data += chunk
                if len(data) > limit:
                    raise LimitExceeded(f"{self.path / name} is larger than {limit} bytes")
        return bytes(data)

    def write(self, name: str, data: bytes, *, mode: int = 0o600) -> None:
        """Put a whole file there, or leave what was there; durable on return."""
        with self.pending(mode=mode) as file:
            file.write(data)
            file.commit(name)

    @contextmanager
    def pending(self, *, mode: int = 0o600) -> Iterator[Pending]:
        """Give a file to fill and commit; what was not committed is removed."""
        name = f"{TEMPORARY}{os.urandom(8).hex()}"
        with mapped(str(self.path)):
            fd = os.open(name, _MAKE, mode, dir_fd=self.fd)
        file = Pending(self, fd, name)
        try:
            yield file
        finally:
            os.close(fd)
            if not file.committed:
                with mapped(str(self.path)), suppress(FileNotFoundError):
                    self._unlink(name)

    @contextmanager
    def locked(self, name: str, *, exclusive: bool = False) -> Iterator[None]:
        """Hold an advisory lock on a file of that name, made when missing; waits for it."""
        path = str(self.path / name)
        with mapped(path):
            fd = os.open(_component(name), _LOCK, 0o600, dir_fd=self.fd)
            with _closed_on_error(fd):
                fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        try:
            yield
        finally:
            os.close(fd)

    def status(self, name: str) -> os.stat_result | None:
        """Return what lstat says of a name; None when there is none."""
        with mapped(str(self.path / name)):
            try:
                return os.stat(_component(name), dir_fd=self.fd, follow_symlinks=False)
            except FileNotFoundError:
                return None

    def touch(self, name: str) -> bool:
        """Set a file's times to now; False when there is none."""
        with mapped(str(self.path / name)):
            try:
                os.utime(_component(name), dir_fd=self.fd, follow_symlinks=False)
            except FileNotFoundError:
                return False
        return True

    def remove(self, name: str) -> bool:
        """Remove a file durably; False when there was none."""
        with mapped(str(self.path / name)):
            try:
                self._unlink(_component(name))
            except FileNotFoundError:
                return False
            os.fsync(self.fd)
        return True

    def remove_child(self, name: str) -> bool:
        """Remove an empty directory; False when it is missing or holds something."""
        with mapped(str(self.path / name)):
            try:
                os.rmdir(_component(name), dir_fd=self.fd)
            except OSError as e:
                if e.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                    return False
                raise
        return True

    def names(self) -> list[str]:
        """List what is inside, sorted, without files that are being written."""
        return [name for name in self._all_names() if not name.startswith(TEMPORARY)]

    def unfinished(self, deadline: float) -> dict[str, int]:
        """Return the files that killed writers left, last written before ``deadline``: sizes."""
        found = (
            (name, self.status(name)) for name in self._all_names() if name.startswith(TEMPORARY)
        )
        return {name: s.st_size for name, s in found if s is not None and s.st_mtime <= deadline}

    def _all_names(self) -> list[str]:
        with mapped(str(self.path)):
            return sorted(os.listdir(self.fd))  # noqa: PTH208

    def _unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self.fd)


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Turn the OSErrors of a block into StoreErrors that name ``what``."""
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENOTDIR):
            raise StoreError(f"{what} is a link or not a directory").with_hint(
                "put the real directory or file there; links are not followed"
            ) from e
        error = StoreError(f"{what}: {e.strerror or e}")
        error.hint = _HINTS.get(e.errno or 0)
        raise error from e


def _component(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise StoreError(f"not a file name: {name[:80]!r}")
    return name


@contextmanager
def _closed_on_error(fd: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(fd)
        raise


def _walk(path: Path, owners: frozenset[int], create: bool) -> int | None:
    """Open ``path`` from the root down; links are followed above its last component only.

    A link counts when the directory that holds it passed the check, so that only we or
    root can have put it there (``/home -> /var/home``).
    """
    if not path.is_absolute():
        raise StoreError(f"{path} is not absolute")
    todo, seen, links = list(reversed(path.parts[1:])), Path("/"), 0
    fd = os.open("/", _WALK)
    while True:
        try:
            _check(os.fstat(fd), seen, owners, parent=bool(todo))
            if not todo:
                break
            name = todo.pop()
            try:
                below = _step(fd, name, _WALK if todo else _LIST, create=create)
            except NotADirectoryError:
                target = Path(_read_link(fd, name, seen / name, owners, last=not todo))
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
                todo += reversed(target.parts[1:] if target.is_absolute() else target.parts)
                if not target.is_absolute():
                    continue
                below, seen, name = os.open("/", _WALK), Path("/"), ""
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        if below is None:
            return None
        fd, seen = below, seen / name
    return fd


def _step(at: int, name: str, flags: int, *, create: bool) -> int | None:
    try:
        return os.open(name, flags, dir_fd=at)
    except FileNotFoundError:
        if not create:
            return None
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=at)
        holder = os.open(".", _LIST, dir_fd=at)
        try:
            os.fsync(holder)
        finally:
            os.close(holder)
    try:
        return os.open(name, flags, dir_fd=at)
    except FileNotFoundError:
        return None


def _read_link(at: int, name: str, path: Path, owners: frozenset[int], *, last: bool) -> str:
    status = os.stat(name, dir_fd=at, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        raise StoreError(f"{path} is not a directory")
    if last:
        raise StoreError(f"{path} is a symbolic link").with_hint(
            "name the directory that it points to"
        )
    if status.st_uid not in owners:
        raise StoreError(f"the link {path} belongs to user {status.st_uid}")
    return os.readlink(name, dir_fd=at)


def _check(
    status: os.stat_result, path: Path, owners: frozenset[int], *, parent: bool = False
) -> None:
    """Raise unless only ``owners`` can have changed what ``status`` describes."""
    if status.st_uid not in owners:
        if os.geteuid() not in owners:  # we read what is another user's
            whose = " or ".join(map(str, sorted(owners)))
            raise StoreError(f"{path} belongs to user {status.st_uid}, not to user {whose}")
        raise StoreError(
            f"{path} belongs to user {status.st_uid}, neither to you nor to root"
        ).with_hint(f"chown -R {os.geteuid()} {path}, or use another directory")
    # In a sticky directory others can add names, not exchange ours.
    sticky = parent and status.st_mode & stat.S_ISVTX
    if status.st_mode & 0o022 and not sticky:
        raise StoreError(f"others can write {path}").with_hint(f"chmod go-w {path}")
