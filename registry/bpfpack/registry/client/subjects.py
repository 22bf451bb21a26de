"""The referrers fallback tag, kept up by the client where a registry has no referrers API.

Distribution spec 1.1, "Pushing Manifests with Subject": pull the index that the tag names,
append, push.  Two writers can overtake each other, so what was written is read again, and
If-Match guards it where the registry knows entity tags.
"""

from collections.abc import Callable
from typing import Final, Protocol

from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import NotFound, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_index
from bpfpack.spec.signature import fallback_tag
from bpfpack.spec.value import replace

_TRIES: Final = 4
_PRECONDITION_FAILED: Final = 412
Change = Callable[[tuple[Descriptor, ...]], tuple[Descriptor, ...]]


class Tagged(Protocol):
    """A repository whose manifests can be replaced under condition."""

    def tagged(self, tag: str) -> tuple[Manifest | Index, str | None]:
        """Return what a tag names, and its entity tag."""

    def replace(self, manifest: Index, tag: str, if_match: str | None) -> None:
        """Point a tag at ``manifest``, if it still has the entity tag."""


def entry(manifest: Manifest | Index) -> Descriptor:
    """Return how an index of referrers lists ``manifest``."""
    return replace(manifest.descriptor, annotations=manifest.annotations)


def remember(repository: Tagged, subject: Digest, referrer: Descriptor) -> None:
    """List ``referrer`` under the fallback tag of ``subject``, once; raises TransportError."""

    def add(entries: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
        known = any(e.digest == referrer.digest for e in entries)
        return entries if known else (*entries, referrer)

    _change(repository, subject, add)


def forget(repository: Tagged, subject: Digest, referrer: Digest) -> None:
    """Take ``referrer`` off the fallback tag of ``subject``; raises TransportError."""
    _change(repository, subject, lambda found: tuple(e for e in found if e.digest != referrer))


def _change(repository: Tagged, subject: Digest, change: Change) -> None:
    """Apply ``change`` until the index is found to be as it would leave it."""
    tag = fallback_tag(subject)
    for _ in range(_TRIES):
        index, mark = _read(repository, tag)
        entries = index.manifests if index else ()
        wanted = change(entries)
        if wanted == entries:
            return
        if len(wanted) > LIMITS.index_children:
            raise TransportError(f"{tag} lists {len(entries)} referrers; there is no room for more")
        _write(repository, tag, index, wanted, mark)
    raise TransportError(f"others keep changing {tag}")


def _write(
    repository: Tagged,
    tag: str,
    before: Index | None,
    entries: tuple[Descriptor, ...],
    mark: str | None,
) -> None:
    changed = build_index(
        entries,
        artifact_type=before.artifact_type if before else None,
        annotations=before.annotations if before else None,
    )
    try:
        repository.replace(changed, tag, mark)
    except TransportError as e:
        if e.status != _PRECONDITION_FAILED:
            raise


def _read(repository: Tagged, tag: str) -> tuple[Index | None, str | None]:
    try:
        found, mark = repository.tagged(tag)
    except NotFound:
        return None, None
    if not isinstance(found, Index):
        raise TransportError(f"{tag} does not name an index")
    return found, mark
