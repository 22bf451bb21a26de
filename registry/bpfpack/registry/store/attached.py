"""Attached tags: cosign's ``sha256-<hex>.sig`` and its siblings, and how two of them join.

They name what belongs to a digest, whatever repository it was found in, so that a store
keeps one of each for all repositories.
"""

import re
from typing import Final

from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_manifest

#: Signatures, attestations and bills of materials of cosign (its SIGNATURE_SPEC.md).
SUFFIXES: Final = (".sig", ".att", ".sbom")

_ATTACHED: Final = re.compile(r"sha256-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?")


def subject_of(tag: str) -> Digest | None:
    """Return the digest that an attached tag belongs to; None for any other tag.

    >>> subject_of("1.0") is None
    True
    """
    match = _ATTACHED.fullmatch(tag)
    return Digest("sha256", match[1]) if match else None


def tag_for(subject: Digest, suffix: str = "") -> str:
    """Return the attached tag; without ``suffix`` it is the referrers fallback tag.

    The truncation is the distribution specification's, for sha512.
    """
    return f"{subject.algorithm[:32]}-{subject.encoded[:64]}{suffix}"


def joined(old: Manifest | Index | None, new: Manifest | Index) -> Manifest | Index:
    """Return ``new`` with the layers that only ``old`` has: signatures are never replaced.

    More than can be candidates of one verification is too much to be honest: then ``new``
    stands alone, so that one good pull mends what a bad one left.
    """
    if not isinstance(old, Manifest) or not isinstance(new, Manifest):
        return new
    have = {_key(layer) for layer in new.layers}
    missing = tuple(layer for layer in old.layers if _key(layer) not in have)
    if not missing or len(new.layers) + len(missing) > LIMITS.signature_candidates:
        return new
    if len(missing) + len(new.layers) == len(old.layers):
        return old
    return build_manifest(
        artifact_type=new.artifact_type,
        config=new.config,
        layers=(*new.layers, *missing),
        annotations=new.annotations,
    )


def _key(layer: Descriptor) -> tuple[Digest, tuple[tuple[str, str], ...]]:
    """One payload can bear several signatures, each in the annotations of its own layer."""
    return layer.digest, tuple(sorted(layer.annotations.items()))
