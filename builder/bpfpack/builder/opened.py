"""A project's files, read below a descriptor of its directory.

Who builds may read more than whoever wrote the project: no name in it, and no link, leads
out of it, even when it changes while it is read.
"""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final

from bpfpack.spec.errors import BuildError, LimitExceeded
from bpfpack.spec.limits import LIMITS

# A FIFO must not make the build wait for who writes to it.
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINKS: Final = 40  # path_resolution(7)


class ProjectFiles:
    """Reads files of ``directory``, which is what the user named: a link to it is followed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> "ProjectFiles":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._top)

    def read(self, name: Path, most: int) -> bytes:
        """Return a file of at most ``most`` bytes; links inside the project are followed.

        Raises BuildError for what leads out or is no file, LimitExceeded, OSError.
        """
        shown = self.directory / name
        descriptor = _Walk(self._top, shown).to(name)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BuildError(f"{shown}: not a file")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(most + 1)
        finally:
            os.close(descriptor)
        if len(data) > most:
            raise LimitExceeded(f"{shown}: larger than {most} bytes")
        return data

    def find(self, name: Path, most: int) -> bytes | None:
        """Return a file as `read` does, None when there is none."""
        try:
            return self.read(name, most)
        except FileNotFoundError:
            return None

    def read_sources(self, names: Iterable[Path]) -> dict[Path, bytes]:
        """Return files by name, together within the limit; raises as `read` does."""
        found: dict[Path, bytes] = {}
        left = LIMITS.source
        for name in names:
            found[name] = self.read(name, left)
            left -= len(found[name])
        return found


class _Walk:
    """One way down from ``top``: each part is opened in the directory before it.

    A link is read, not followed by the kernel, and what it says is walked like the rest.
    """

    def __init__(self, top: int, shown: Path) -> None:
        self._top, self._shown = top, shown
        self._opened: list[int] = []
        self._links = _LINKS

    def to(self, name: Path) -> int:
        """Return a descriptor of what the name leads to."""
        left = self._parts(str(name))
        try:
            while left:
                part = left.pop()
                if part == "..":
                    self._up()
                elif (link := self._open(part)) is not None:
                    left += self._parts(link)
            return self._opened.pop() if self._opened else os.dup(self._top)
        finally:
            for descriptor in self._opened:
                os.close(descriptor)

    def _open(self, part: str) -> str | None:
        """Open a part, or return what it says when it is a link."""
        here = self._opened[-1] if self._opened else self._top
        try:
            self._opened.append(os.open(part, _FLAGS, dir_fd=here))
        except OSError as e:
            self._links -= e.errno == errno.ELOOP
            if e.errno != errno.ELOOP or self._links < 0:
                raise OSError(e.errno, e.strerror, str(self._shown)) from e
            return os.readlink(part, dir_fd=here)
        return None

    def _parts(self, text: str) -> list[str]:
        """Return the parts of a path, the last one first."""
        path = Path(text)
        if path.is_absolute():
            raise self._leaves()
        return list(reversed(path.parts))

    def _up(self) -> None:
        if not self._opened:
            raise self._leaves()
        os.close(self._opened.pop())

    def _leaves(self) -> BuildError:
        return BuildError(f"{self._shown}: a link that leaves the project").with_hint(
            "put a copy of the file in its place, build where the link leads, or remove the link"
        )
