"""Undoing the journals of processes that ended without doing it themselves."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import Final

from bpfpack.runner import journal
from bpfpack.spec.errors import KernelError, SpecError, StoreError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import field, valuetype

# O_NONBLOCK: opening a FIFO must not wait for a writer.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@valuetype(frozen=False)
class Recovered:
    """What was found and undone: attachments, and in words what could not be or looked wrong."""

    undone: int = 0
    problems: list[str] = field(default_factory=list)


def recover(directory: int) -> Recovered:
    """Undo the journals in an open directory whose owners are dead.

    What cannot be undone stays for the next time.  ``directory`` must be one that only its
    owner can write; it stays the caller's.  Raises StoreError when it cannot be listed.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError as e:
        raise StoreError(f"journals: {e.strerror}") from e
    found = Recovered()
    for name in [n for n in names if n.endswith(journal.SUFFIX)][: LIMITS.journals]:
        try:
            _recover(directory, name, found)
        except (KernelError, SpecError, StoreError) as e:
            found.problems.append(f"journal {name}: {e}")
        except OSError as e:
            found.problems.append(f"journal {name}: {e.strerror}")
    return found


def undo_own(directory: int, name: str) -> None:
    """Undo a journal whose owner is known to be done with it; raises BpfpackError, OSError."""
    with _locked(directory, name, wait=True) as fd:
        if fd is not None:
            _content(fd).undo()
            os.unlink(name, dir_fd=directory)


def read_entries(directory: int, name: str) -> tuple[journal.Entry, ...]:
    """The entries of a journal whose owner lives; raises BpfpackError, OSError."""
    fd = _open(directory, name)
    try:
        return _content(fd).entries
    finally:
        os.close(fd)


def _recover(directory: int, name: str, found: Recovered) -> None:
    with _locked(directory, name, wait=False) as fd:
        if fd is None:
            return
        try:
            content = _content(fd)
        except journal.Newer:
            raise
        except SpecError as e:
            # Nothing will ever be got out of it.
            os.unlink(name, dir_fd=directory)
            found.problems.append(f"journal {name} was damaged and is removed: {e}")
            return
        owner = content.owner
        if owner is not None and owner.lives:
            return
        # Without an owner it may be of an earlier boot, whose attachments are gone; then none
        # of the entries is found.
        if owner is None or owner.is_of_this_boot:
            found.undone += content.undo()
        os.unlink(name, dir_fd=directory)
        if content.faults:
            told = "; ".join(str(fault) for fault in content.faults[:3])
            found.problems.append(f"journal {name} was damaged and is removed: {told}")


@contextlib.contextmanager
def _locked(directory: int, name: str, *, wait: bool) -> Iterator[int | None]:
    """Open a journal and hold its lock; None when it is gone, or in use and not waited for."""
    try:
        fd = _open(directory, name)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            # Somebody may have undone and removed it while we waited.
            yield fd if os.fstat(fd).st_nlink else None
    finally:
        os.close(fd)


def _open(directory: int, name: str) -> int:
    fd = os.open(name, _READ, dir_fd=directory)
    try:
        _check(os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StoreError("not a regular file")
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise StoreError("others can have written it")


def _content(fd: int) -> journal.Content:
    data = bytearray()
    while len(data) <= LIMITS.journal and (piece := os.pread(fd, 65536, len(data))):
        data += piece
    return journal.parse(bytes(data))
