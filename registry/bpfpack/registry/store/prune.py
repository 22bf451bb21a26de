"""Remove from the local store what nothing names any more: mark, then sweep.

The caller holds the store's lock exclusively, so no writer is between two steps.  A pull
that runs meanwhile is between *locks*, and is safe because whatever it stored or found
already there is younger than the grace period.
"""

import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from bpfpack.registry.owned import OwnedDir
from bpfpack.registry.store import attached
from bpfpack.registry.store.record import RECORD_LIMIT, descriptor_from, directory_of
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import ContentError, LimitExceeded, NotFound, SpecError, StoreError
from bpfpack.spec.manifest import Index
from bpfpack.spec.package import children
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from bpfpack.registry.store.disk import DiskStore

#: Seconds that an unnamed blob is kept: longer than a pull takes from one blob to the name.
GRACE: Final = 3600.0

# Something that a repository, by the name of its directory, has.
_Held: TypeAlias = tuple[str, Digest]


@valuetype
class Pruned:
    """What was removed, or would have been: blobs, files of killed writers, all their bytes."""

    digests: tuple[Digest, ...]
    size: int
    unfinished: int = 0


def prune(store: "DiskStore", root: OwnedDir, *, grace: float, dry_run: bool) -> Pruned:
    """Sweep what no reference reaches and nobody touched for ``grace`` seconds.

    Raises StoreError and removes nothing when a named package is damaged: what belongs to
    it is unknown then.
    """
    from bpfpack.registry.unfinished import sweep  # `run` imports this module for its types

    reached, deadline = _reached(store, root), time.time() - grace
    kept, dead = {digest for _, digest in reached}, dict[Digest, int]()
    for digest, modified, size in _blobs(root):
        if digest not in kept and modified > deadline:
            kept.add(digest)
        elif digest not in kept:
            dead[digest] = size
    if not dry_run:
        _sweep_descriptors(root, reached, kept, deadline)  # names go before what they name
        _sweep_blobs(root, dead)
    left = sweep(root, deadline, dry_run=dry_run)
    if not dry_run:
        _sweep_empty(root)
    size = sum(dead.values()) + left.size
    return Pruned(digests=tuple(sorted(dead)), size=size, unfinished=left.files)


def _reached(store: "DiskStore", root: OwnedDir) -> set[_Held]:
    attachments = _attachments(root)
    todo = [(directory_of(r.reference.name), r.descriptor.digest) for r in store.records()]
    named, reached = set(todo), set[_Held]()
    while todo:
        held = todo.pop()
        if held in reached:
            continue
        reached.add(held)
        repository, digest = held
        try:
            content = store.manifest(digest)
        except NotFound:  # a child for another platform, or a name whose content is gone
            continue
        except (ContentError, SpecError, StoreError) as e:
            if held not in named:
                continue
            raise StoreError(f"the manifest {digest} is damaged: {e}").with_hint(
                "pull or build that package again, or `bpfpack rmi` it"
            ) from e
        below = [(repository, child.digest) for child in children(content)]
        if isinstance(content, Index):
            todo += below
        else:
            reached.update(below)
        beside = _named(root, "referrers", repository, digest.algorithm, digest.encoded).values()
        todo += [(repository, found) for found in (*attachments.get(held, ()), *beside)]
    return reached


def _attachments(root: OwnedDir) -> dict[_Held, list[Digest]]:
    found: dict[_Held, list[Digest]] = {}
    for repository in _directories(root, "attached"):
        for tag, digest in _named(root, "attached", repository).items():
            if subject := attached.subject_of(tag):
                found.setdefault((repository, subject), []).append(digest)
    return found


def _named(root: OwnedDir, *names: str) -> dict[str, Digest]:
    """Return what the descriptor files of a directory name; a damaged one names nothing."""
    with root.below(*names) as directory:
        if directory is None:
            return {}
        found = {name: _target(directory, name) for name in directory.names()}
    return {name: digest for name, digest in found.items() if digest}


def _target(directory: OwnedDir, name: str) -> Digest | None:
    with suppress(StoreError, LimitExceeded):
        raw = directory.read(name, RECORD_LIMIT)
        return descriptor_from(raw, name).digest if raw is not None else None
    return None


def _blobs(root: OwnedDir) -> Iterator[tuple[Digest, float, int]]:
    for algorithm in _names(root, "blobs"):
        with root.below("blobs", algorithm) as directory:
            for name in directory.names() if directory else ():
                digest, status = _digest(algorithm, name), directory and directory.status(name)
                if digest and status:
                    yield digest, status.st_mtime, status.st_size


def _digest(algorithm: str, encoded: str) -> Digest | None:
    """None for a file that is no blob, and so not ours to remove."""
    try:
        return Digest(algorithm, encoded)
    except SpecError:
        return None


def _sweep_blobs(root: OwnedDir, dead: dict[Digest, int]) -> None:
    for digest in dead:
        with root.below("blobs", digest.algorithm) as directory:
            if directory:
                directory.remove(digest.encoded)


def _sweep_descriptors(
    root: OwnedDir, reached: set[_Held], kept: set[Digest], deadline: float
) -> None:
    """Remove what names nothing, and what belongs to a package that its repository lost.

    The young stay: what belongs to a package is stored before the name for it.
    """
    for place, name, subject in _beside(root):
        with root.below(*place) as directory:
            status = directory.status(name) if directory else None
            if directory is None or status is None:
                continue
            owned = (place[1], subject) in reached or status.st_mtime > deadline
            if not owned or _target(directory, name) not in kept:
                directory.remove(name)


def _beside(root: OwnedDir) -> Iterator[tuple[tuple[str, ...], str, Digest | None]]:
    """Every file that says what belongs to something: its place, its name, to what."""
    for repository in _directories(root, "attached"):
        for tag in _names(root, "attached", repository):
            yield ("attached", repository), tag, attached.subject_of(tag)
    for repository in _directories(root, "referrers"):
        for algorithm in _names(root, "referrers", repository):
            for encoded in _names(root, "referrers", repository, algorithm):
                place = ("referrers", repository, algorithm, encoded)
                for name in _names(root, *place):
                    yield place, name, _digest(algorithm, encoded)


def _sweep_empty(root: OwnedDir) -> None:
    """Remove directories with nothing in them.

    Those for blobs stay: a push fills its file there without holding the lock.
    """
    for top in ("refs", "referrers", "attached"):
        _sweep_tree(root, (top,))


def _sweep_tree(root: OwnedDir, place: tuple[str, ...]) -> None:
    with root.below(*place) as directory:
        if directory is None:
            return
        for name in directory.names():
            status = directory.status(name)
            if status is not None and stat.S_ISDIR(status.st_mode):
                _sweep_tree(root, (*place, name))
                directory.remove_child(name)


def _directories(root: OwnedDir, top: str) -> list[str]:
    """The repositories below a directory; a stray file there is nobody's."""
    with root.below(top) as directory:
        if directory is None:
            return []
        found = ((name, directory.status(name)) for name in directory.names())
        return [name for name, status in found if status and stat.S_ISDIR(status.st_mode)]


def _names(root: OwnedDir, *names: str) -> list[str]:
    with root.below(*names) as directory:
        return directory.names() if directory else []
