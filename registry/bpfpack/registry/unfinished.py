"""Files that writers who were killed left behind: under a name of their own, never looked up."""

import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from bpfpack.registry.owned import OwnedDir
from bpfpack.spec.errors import StoreError
from bpfpack.spec.value import valuetype

# Deeper than any directory of ours: a referrer is five levels below the store.
_DEPTH: Final = 8


@valuetype
class Unfinished:
    """How many files, and their bytes."""

    files: int = 0
    size: int = 0

    def __add__(self, other: "Unfinished") -> "Unfinished":
        return Unfinished(files=self.files + other.files, size=self.size + other.size)


def sweep(directory: OwnedDir, deadline: float, *, dry_run: bool, depth: int = 0) -> Unfinished:
    """Remove, or only count, what was last written before ``deadline``; raises StoreError."""
    left = directory.unfinished(deadline)
    total = Unfinished(files=len(left), size=sum(left.values()))
    for name in left if not dry_run else ():
        directory.remove(name)
    for name in directory.names() if depth < _DEPTH else ():
        status = directory.status(name)
        if status is None or not stat.S_ISDIR(status.st_mode):
            continue
        # What others could have put there is not ours to clear up.
        with suppress(StoreError):
            below = directory.find_child(name)
            if below is not None:
                with below:
                    total += sweep(below, deadline, dry_run=dry_run, depth=depth + 1)
    return total


def sweep_path(path: Path, deadline: float, *, dry_run: bool) -> Unfinished:
    """The same for a directory that need not exist; raises StoreError."""
    directory = OwnedDir.find(path)
    if directory is None:
        return Unfinished()
    with directory:
        return sweep(directory, deadline, dry_run=dry_run)
