"""The referrers fallback tag, kept up by the client where a registry has no referrers API.

Distribution spec 1.1, "Pushing Manifests with Subject": pull the index that the tag names,
append, push.
"""

from collections.abc import Callable
from typing import TypeAlias

from bpfpack.registry.tagging import Content, Place, change
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_index
from bpfpack.spec.signature import fallback_tag
from bpfpack.spec.value import replace

_Listing: TypeAlias = tuple[Descriptor, ...]


def entry(manifest: Manifest | Index) -> Descriptor:
    """Return how an index of referrers lists ``manifest``."""
    return replace(manifest.descriptor, annotations=manifest.annotations)


def remember(repository: Place, subject: Digest, referrer: Descriptor) -> None:
    """List ``referrer`` under the fallback tag of ``subject``, once; raises TransportError."""

    def add(entries: _Listing) -> _Listing:
        known = any(e.digest == referrer.digest for e in entries)
        return entries if known else (*entries, referrer)

    _change(repository, subject, add)


def forget(repository: Place, subject: Digest, referrer: Digest) -> None:
    """Take ``referrer`` off the fallback tag of ``subject``; raises TransportError."""
    _change(repository, subject, lambda found: tuple(e for e in found if e.digest != referrer))


def _change(repository: Place, subject: Digest, edit: Callable[[_Listing], _Listing]) -> None:
    tag = fallback_tag(subject)

    def wanted(held: Content | None) -> Content | None:
        if held is not None and not isinstance(held, Index):
            raise TransportError(f"{tag} does not name an index")
        entries = held.manifests if held else ()
        listed = edit(entries)
        if listed == entries:
            return None
        if len(listed) > LIMITS.index_children:
            raise TransportError(f"{tag} lists {len(entries)} referrers; there is no room for more")
        return build_index(
            listed,
            artifact_type=held.artifact_type if held else None,
            annotations=held.annotations if held else None,
        )

    change(repository, tag, wanted)
