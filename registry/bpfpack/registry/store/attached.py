"""Attached tags: cosign's ``sha256-<hex>.sig`` and its siblings, and how two of them join.

They name what belongs to a digest in one repository; where two tags meet, as in an archive of
several, nobody's signature is taken away.
"""

import re
from typing import Final

from bpfpack.spec import mediatypes
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_manifest
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


def joined(old: Manifest | Index | None, new: Manifest | Index) -> Joined:
    """Return ``new`` with the layers that only ``old`` has: signatures are never replaced.

    More than one verification looks at is too much to be honest: then ``new`` stands
    alone, so that one good pull mends what a bad one left.
    """
    if not isinstance(old, Manifest) or not isinstance(new, Manifest):
        return Joined(content=new)
    have = {_key(layer) for layer in new.layers}
    missing = tuple(layer for layer in old.layers if _key(layer) not in have)
    if not missing or len(new.layers) + len(missing) > LIMITS.signature_candidates:
        return Joined(content=new)
    if len(missing) + len(new.layers) == len(old.layers):
        return Joined(content=old)
    layers = (*new.layers, *missing)
    if all(layer.media_type == mediatypes.SIMPLE_SIGNING for layer in layers):
        # Here, since `run` reads signatures and never writes one.
        from bpfpack.spec import signature_writer

        # The image config lists the layers: containers/image wants as many as there are.
        return Joined(
            content=signature_writer.legacy_manifest(layers, new.annotations),
            config=signature_writer.legacy_config(layers),
        )
    whole = build_manifest(
        artifact_type=new.artifact_type,
        config=new.config,
        layers=layers,
        annotations=new.annotations,
    )
    return Joined(content=whole)


def _key(layer: Descriptor) -> tuple[Digest, tuple[tuple[str, str], ...]]:
    """One payload can bear several signatures, each in the annotations of its own layer."""
    return layer.digest, tuple(sorted(layer.annotations.items()))
