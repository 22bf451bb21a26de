"""Private temporary directories, and the end of those whose owners ended without theirs."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bpfpack.builder.ending import Ending

_PREFIX: Final = "bpfpack-build-"
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def private_directory() -> Iterator[Path]:
    """Make a directory that only this user can enter, removed at the end.

    Signals that would end the process end the block first (`Ending`).  Whoever could not
    even do that leaves a directory that nobody has locked: the next one to come removes it.
    """
    # Root's own TMPDIR may lie where the tools' user cannot go.
    place = Path("/tmp" if os.geteuid() == 0 else tempfile.gettempdir())  # noqa: S108  # private
    made: tuple[Path, int] | None = None
    with Ending() as ending:
        try:
            with ending.held():
                _sweep(place)
                made = _make(place)
            yield made[0].resolve()
        finally:
            with ending.held():
                if made is not None:
                    shutil.rmtree(made[0], ignore_errors=True)
                    os.close(made[1])


def _make(place: Path) -> tuple[Path, int]:
    """Return a new directory and its lock, which the kernel gives back if nobody else does."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
        if (lock := _locked(path, fcntl.LOCK_EX)) is not None:
            return path, lock


def _sweep(place: Path) -> None:
    """Remove this user's directories that nobody has locked."""
    for path in place.glob(f"{_PREFIX}*-*"):
        if (lock := _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)) is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _locked(path: Path, how: int) -> int | None:
    """Lock a directory; None when it is not this user's, locked, or swept by now."""
    try:
        descriptor = os.open(path, _OPEN)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, how)
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and os.path.samestat(status, path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
