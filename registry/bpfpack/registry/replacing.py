"""Takes the place of a file that may be anywhere, whole or not at all."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

# Longer than anything of ours writes one file.
_OLD_SECONDS: Final = 3600.0


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Give a file that takes the place of ``path`` when the block ends well; durably.

    What killed writers of the same file left beside it goes.  Raises OSError.
    """
    stem = f".{path.name[:64]}."
    temporary = path.with_name(f"{stem}{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, mode)
    try:
        with os.fdopen(fd, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)
    _sweep(path.parent, re.compile(re.escape(stem) + "[0-9a-f]{16}"))


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sweep(directory: Path, left: re.Pattern[str]) -> None:
    deadline, me = time.time() - _OLD_SECONDS, os.geteuid()
    with os.scandir(directory) as entries:
        for entry in (entry for entry in entries if left.fullmatch(entry.name)):
            status = entry.stat(follow_symlinks=False)
            if status.st_uid == me and status.st_mtime < deadline:
                Path(entry.path).unlink(missing_ok=True)
