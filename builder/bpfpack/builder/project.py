"""A project's sources, copied to where a compiler without privileges can read them."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bpfpack.builder.sandbox import Identity
from bpfpack.builder.temporary import private_directory
from bpfpack.spec.errors import LimitExceeded
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import valuetype

_SOURCE_SUFFIXES: Final = (".c", ".h", ".inc", ".def")
_NAME_LENGTH: Final = 128  # see `spec.config.check_name`


@valuetype
class Workspace:
    """A private directory: ``source`` is the project's copy, ``include`` ours.

    ``shown`` is what the user typed for the project, to stand for ``source`` in messages.
    """

    root: Path
    identity: Identity
    shown: str

    @property
    def source(self) -> Path:
        """The copy of the project."""
        return self.root / "src"

    @property
    def include(self) -> Path:
        """Headers that bpfpack brings."""
        return self.root / "include"

    def add_header(self, name: str, text: bytes) -> None:
        """Put a header where sources find it."""
        path = self.include / name
        path.write_bytes(text)
        path.chmod(0o644)

    def in_users_words(self, messages: str) -> str:
        """Return a tool's messages with the user's paths in place of the copy's."""
        return messages.replace(f"{self.source}/", self.shown).replace(f"{self.include}/", "")


def package_name(text: str) -> str:
    """Return what a package of a file or directory of that name is called.

    >>> package_name("My Tool")
    'my-tool'
    """
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    return plain[:_NAME_LENGTH] or "package"


def source_files(project: Path, *, deep: bool, also: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Return the names of the C sources and headers of a directory, relative and sorted.

    ``deep`` takes all below it, else those in it and below the directories ``also``.
    Hidden directories are left out; where links lead is for `ProjectFiles` to see, which
    reads them.  Raises LimitExceeded.
    """
    found: set[Path] = set()
    total = 0
    for path in _candidates(project, deep, also):
        if path.is_file() and path.relative_to(project) not in found:
            found.add(path.relative_to(project))
            total += path.stat().st_size
        if len(found) > LIMITS.source_files or total > LIMITS.source:
            raise LimitExceeded(
                f"more than {LIMITS.source_files} sources or {LIMITS.source} bytes of them",
                path=(str(project),),
            )
    return tuple(sorted(found))


def _candidates(project: Path, deep: bool, also: Sequence[Path]) -> Iterator[Path]:
    for top in (project, *(project / place for place in also)):
        for directory, names, files in os.walk(top):
            names[:] = sorted(n for n in names if not n.startswith("."))
            if top == project and not deep:
                names.clear()
            yield from (Path(directory, f) for f in sorted(files) if f.endswith(_SOURCE_SUFFIXES))


@contextmanager
def workspace(project: Path, files: Mapping[Path, bytes]) -> Iterator[Workspace]:
    """Write ``files`` of ``project`` to a private directory, removed at the end.

    The tools' user can read it and nobody else; only this process can write it.
    """
    identity = Identity.current()
    with private_directory() as root:
        made = Workspace(root=root, identity=identity, shown=_shown(project))
        if identity.uid != os.geteuid():
            os.chown(made.root, 0, identity.gid)
            made.root.chmod(0o750)
        made.include.mkdir()
        made.source.mkdir()
        for name, data in files.items():
            target = made.source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        for path in made.root.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield made


def _shown(project: Path) -> str:
    text = str(project)
    return "" if text == "." else f"{text.rstrip('/')}/"
