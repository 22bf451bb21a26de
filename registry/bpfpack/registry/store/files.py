"""The files of an OCI layout, in a directory or in a tar archive, read where they are."""

import errno
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Final, Protocol

from bpfpack.registry.owned import mapped
from bpfpack.registry.store import tar
from bpfpack.spec.bounded import CHUNK, Readable
from bpfpack.spec.errors import LimitExceeded, NotFound, SpecError, StoreError
from bpfpack.spec.limits import LIMITS, MIB

_MAGIC: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
}
_GZIP: Final = b"\x1f\x8b"
_ELF: Final = b"\x7fELF"
_LONGEST_MAGIC: Final = 5
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


class Files(Protocol):
    """Named files; a name is relative, with '/' between its parts.

    ``place`` is the path of what is open, as the kernel knows it; None for a pipe.
    """

    place: str | None

    def size(self, name: str) -> int | None:
        """Return a file's size, None when there is no such file."""
        ...

    def open(self, name: str) -> AbstractContextManager[Readable]:
        """Open a file; raises NotFound, StoreError."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Window:
    """A part of an open file as a stream of its own, whatever others read meanwhile."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd, self._offset, self._left = fd, offset, size

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes; raises StoreError."""
        data = pread(self._fd, min(size, self._left), self._offset)
        self._offset += len(data)
        self._left -= len(data)
        return data


class TarFiles:
    """A tar archive, read by seeking, from as many threads as like."""

    def __init__(self, archive: IO[bytes], place: str | None = None) -> None:
        """Take over an open regular file; raises SpecError, LimitExceeded, StoreError."""
        self._archive, self._fd, self.place = archive, archive.fileno(), place
        with _closed_on_error(archive):
            self._members = self._index(os.fstat(self._fd).st_size)

    def _index(self, total: int) -> Mapping[str, tar.Member]:
        if total > LIMITS.archive:
            raise LimitExceeded(f"an archive of {total} bytes, {LIMITS.archive} allowed")
        return tar.index(self, total)

    def read_at(self, offset: int, size: int) -> bytes:
        """See `tar.ReadsAt`."""
        return pread(self._fd, size, offset)

    def size(self, name: str) -> int | None:
        """See `Files.size`."""
        member = self._members.get(name)
        return member.size if member else None

    @contextmanager
    def open(self, name: str) -> Iterator[Readable]:
        """See `Files.open`."""
        member = self._members.get(name)
        if member is None:
            raise NotFound(f"no {name} in the archive")
        yield Window(self._fd, member.offset, member.size)

    def close(self) -> None:
        """See `Files.close`."""
        self._archive.close()


class DirectoryFiles:
    """A directory that the user named; links inside it are not followed."""

    def __init__(self, path: Path) -> None:
        """Open the directory; raises StoreError."""
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as e:
            raise StoreError(f"{path}: {e.strerror}") from e
        self.place: str | None = _path_of(self._fd)

    def size(self, name: str) -> int | None:
        """See `Files.size`."""
        fd = self._find(name)
        if fd is None:
            return None
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    @contextmanager
    def open(self, name: str) -> Iterator[Readable]:
        """See `Files.open`."""
        fd = self._find(name)
        if fd is None:
            raise NotFound(f"no {name} in {self._path}")
        try:
            yield Window(fd, 0, os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def close(self) -> None:
        """See `Files.close`."""
        os.close(self._fd)

    def _find(self, name: str) -> int | None:
        at = os.dup(self._fd)
        for part in name.split("/"):
            try:
                below = os.open(part, _OPEN, dir_fd=at)
            except OSError as e:
                if e.errno == errno.ENOENT:
                    return None
                reason = "a link" if e.errno == errno.ELOOP else e.strerror
                raise StoreError(f"{self._path / name}: {reason}") from e
            finally:
                os.close(at)
            at = below
        if not stat.S_ISREG(os.fstat(at).st_mode):
            os.close(at)
            raise StoreError(f"{self._path / name} is not a regular file")
        return at


def pread(fd: int, size: int, offset: int) -> bytes:
    """Read at a place; raises StoreError."""
    try:
        return os.pread(fd, size, offset)
    except OSError as e:
        raise StoreError(f"cannot read the archive: {e.strerror}") from e


def tar_from_path(path: Path) -> TarFiles:
    """Open an archive, which may be a pipe; raises SpecError, LimitExceeded, StoreError."""
    with mapped(str(path)):
        file = path.open("rb", buffering=0)
        with _closed_on_error(file):
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return _tar_and_close(file, None)
            # Asked of what is open: the path may lead elsewhere by now.
            place = _path_of(file.fileno())
            head = os.pread(file.fileno(), _LONGEST_MAGIC, 0)
            if head.startswith(_GZIP):
                return _tar_and_close(file, place)
            _refuse_other(head)
            return TarFiles(file, place)


def tar_from_stream(stream: Readable, place: str | None = None) -> TarFiles:
    """Read an archive to its end, into an unnamed file; raises what `tar_from_path` does."""
    with mapped("reading the archive"):
        copy: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        with _closed_on_error(copy):
            _copy_plain(stream, copy)
    return TarFiles(copy, place)


def _tar_and_close(file: IO[bytes], place: str | None) -> TarFiles:
    with file:
        return tar_from_stream(file, place)


def _path_of(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


def _copy_plain(stream: Readable, out: IO[bytes]) -> None:
    head = _head(stream)
    _refuse_other(head)
    gunzip = _Gunzip() if head.startswith(_GZIP) else None
    seen, written, chunk = 0, 0, head
    while chunk:
        seen += len(chunk)
        for plain in gunzip.feed(chunk) if gunzip else (chunk,):
            written += len(plain)
            if max(seen, written) > LIMITS.archive:
                raise LimitExceeded(f"an archive of more than {LIMITS.archive} bytes")
            if written > MIB + seen * LIMITS.archive_ratio:
                raise LimitExceeded(f"an archive compressed {LIMITS.archive_ratio} times and more")
            write_all(out, plain)
        chunk = stream.read(CHUNK)
    if gunzip and not gunzip.ended:
        raise SpecError("the archive is truncated")


class _Gunzip:
    """gzip members one after the other, as gzip(1) reads them, a chunk of output at a time."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def ended(self) -> bool:
        """True after the last byte of a member."""
        return self._inflate.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` adds; raises SpecError."""
        plain = b""
        # A full chunk may leave output inside zlib when no input is left.
        while data or len(plain) == CHUNK:
            if self._inflate.eof:
                data = data.lstrip(b"\0")  # gzip(1) allows padding
                if not data:
                    return
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                plain = self._inflate.decompress(data, CHUNK)
            except zlib.error as e:
                raise SpecError(f"not gzip: {e}") from e
            data = self._inflate.unused_data or self._inflate.unconsumed_tail
            yield plain


def _head(stream: Readable) -> bytes:
    """Enough to tell the format: a pipe may give one byte at a time."""
    head = b""
    while len(head) < _LONGEST_MAGIC and (chunk := stream.read(CHUNK)):
        head += chunk
    return head


def _refuse_other(head: bytes) -> None:
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            raise SpecError(f"an archive in {name}, which is not read").with_hint(
                "unpack it first; plain tar and gzip are read"
            )
    if head.startswith(_ELF):
        raise SpecError("an ELF file, not an OCI archive").with_hint(
            "`bpfpack build` makes a package of a BPF object; `bpfpack run` takes one as it is"
            " when its name ends in .o"
        )


def write_all(out: IO[bytes], data: bytes) -> None:
    """Write to a raw file, which may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]


@contextmanager
def _closed_on_error(file: IO[bytes]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        file.close()
        raise
