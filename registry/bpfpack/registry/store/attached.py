"""Attached tags: cosign's ``sha256-<hex>.sig`` and its siblings, and how two of them join.

They name what belongs to a digest in one repository; where two tags meet, as in an archive of
several, nobody's signature is taken away.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from bpfpack.spec import mediatypes
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import LimitExceeded, TransportError, UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_manifest
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import fallback_tag
from bpfpack.spec.value import valuetype

#: Signatures, attestations and bills of materials of cosign (its SIGNATURE_SPEC.md).
SUFFIXES: Final = (".sig", ".att", ".sbom")

_ATTACHED: Final = re.compile(r"sha256-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?")


@valuetype
class Joined:
    """What an attached tag shall name; ``config`` when a blob had to be made for it."""

    content: Manifest | Index
    config: bytes | None = None


def subject_of(tag: str) -> Digest | None:
    """Return the digest that an attached tag belongs to; None for any other tag.

    >>> subject_of("1.0") is None
    True
    """
    match = _ATTACHED.fullmatch(tag)
    return Digest("sha256", match[1]) if match else None


def tags_for(subject: Digest) -> tuple[str, ...]:
    """Return the attached tags that ``subject`` may have, without the referrers tag."""
    return tuple(fallback_tag(subject) + suffix for suffix in SUFFIXES)


def check_name(reference: Reference) -> None:
    """Raise UsageError for a name that is kept for signatures and the like, not for packages."""
    if reference.tag and subject_of(reference.tag):
        raise UsageError(
            f"{reference.tag} is the tag of what signs or describes a digest"
        ).with_hint("signatures go along by themselves: name the package")


def joined(old: Manifest | Index | None, new: Manifest | Index) -> Joined:
    """Return the layers of both, those of ``old`` first: for a place of our own.

    Where they are more than verification looks at, what both have stays, and each gets half of
    the room that is left: junk displaces nothing in the first half of ``old``, and old junk keeps
    no new signature out.
    """
    if not isinstance(old, Manifest) or not isinstance(new, Manifest):
        return Joined(content=new)
    added, missing = _lacking(old, new), _lacking(new, old)
    if not added:
        return Joined(content=old)
    if not missing and fits(new.layers):
        return Joined(content=new)
    layers = (*old.layers, *added)
    if not fits(layers):
        gone = {_key(layer) for layer in missing}
        layers = _shared(tuple(o for o in old.layers if _key(o) not in gone), missing, added)
    return _listing(layers, new)


def extended(old: Manifest | Index | None, new: Manifest | Index) -> Joined:
    """Return ``old`` and after it what only ``new`` has: for a place of others.

    Raises LimitExceeded when verification would not look at all of them: what is there is never
    taken away, nor hidden behind what comes.  Raises TransportError for what cannot be joined.
    """
    if old is None:
        return Joined(content=new)
    if not isinstance(old, Manifest) or not isinstance(new, Manifest):
        raise TransportError("an index is there, to which nothing can be added")
    added = _lacking(old, new)
    if not added:
        return Joined(content=old)
    layers = (*old.layers, *added)
    if not fits(layers):
        raise LimitExceeded(
            f"{len(old.layers)} signatures are there, and {len(added)} more would be too many"
        )
    return _listing(layers, new)


def _lacking(place: Manifest, other: Manifest) -> tuple[Descriptor, ...]:
    """Return the layers that only ``other`` has."""
    have = {_key(layer) for layer in place.layers}
    return tuple(layer for layer in other.layers if _key(layer) not in have)


def fits(layers: Sequence[Descriptor]) -> bool:
    """Whether verification looks at all of so many layers."""
    return len(layers) <= LIMITS.signature_candidates and _size(layers) <= LIMITS.signature_bytes


def _size(layers: Iterable[Descriptor]) -> int:
    return sum(layer.size for layer in layers)


def _shared(
    both: Sequence[Descriptor], old: Sequence[Descriptor], new: Sequence[Descriptor]
) -> tuple[Descriptor, ...]:
    """Return as many as verification looks at; what is not taken of the one the other may have."""
    both = _first(both, LIMITS.signature_candidates, LIMITS.signature_bytes)
    count = LIMITS.signature_candidates - len(both)
    size = LIMITS.signature_bytes - _size(both)
    # One of the largest always: it may be the signature that is being made.
    half = max(size // 2, min(size, LIMITS.signature_payload))
    new = _first(new, max(count - len(old), (count + 1) // 2), max(size - _size(old), half))
    return (*both, *_first(old, count - len(new), size - _size(new)), *new)


def _first(layers: Iterable[Descriptor], count: int, size: int) -> tuple[Descriptor, ...]:
    """Return the first that are within a number and so many bytes together."""
    taken: list[Descriptor] = []
    for layer in layers:
        if len(taken) < count and layer.size <= size:
            taken.append(layer)
            size -= layer.size
    return tuple(taken)


def _listing(layers: tuple[Descriptor, ...], like: Manifest) -> Joined:
    """Return a manifest of these layers that is otherwise as ``like``."""
    if all(layer.media_type == mediatypes.SIMPLE_SIGNING for layer in layers):
        # Here, since `run` reads signatures and never writes one.
        from bpfpack.spec import signature_writer

        # The image config lists the layers: containers/image wants as many as there are.
        return Joined(
            content=signature_writer.legacy_manifest(layers, like.annotations),
            config=signature_writer.legacy_config(layers),
        )
    whole = build_manifest(
        artifact_type=like.artifact_type,
        config=like.config,
        layers=layers,
        annotations=like.annotations,
    )
    return Joined(content=whole)


def _key(layer: Descriptor) -> tuple[Digest, tuple[tuple[str, str], ...]]:
    """One payload can bear several signatures, each in the annotations of its own layer."""
    return layer.digest, tuple(sorted(layer.annotations.items()))
