"""Stores signatures beside what they sign, in both forms, never taking any away."""

import io
from functools import partial
from typing import Protocol

from bpfpack.registry.store.attached import fits
from bpfpack.registry.tagging import change
from bpfpack.registry.trust.check import load_public, verify
from bpfpack.registry.trust.sign import Signed
from bpfpack.spec import mediatypes, signature_writer
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.content import Sink, Source
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import ContentError, NotFound, SpecError, TrustError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.signature import candidate_from_layer, claims, format_time, legacy_tag


class Repository(Source, Sink, Protocol):
    """One repository, read and written."""


def attach(place: Repository, signed: Signed) -> None:
    """Write the bundle as a referrer and append to the ``.sig`` tag.

    The subject must be there already.  A ``.sig`` tag that is full is rid of what nobody's key
    could have made a signature of it, so that junk alone keeps no signer out.  Raises
    TransportError, StoreError, and SpecError when the tag is full of what may be signatures,
    or holds something that is not a list of them.
    """
    _attach_bundle(place, signed)
    _append_legacy(place, signed)


def _attach_bundle(place: Sink, signed: Signed) -> None:
    manifest = signature_writer.bundle_manifest(
        signed.bundle, signed.subject, format_time(signed.created)
    )
    _push(place, signature_writer.EMPTY_CONFIG, manifest.config)
    _push(place, signed.bundle, manifest.layers[0])
    place.put(manifest)


def _append_legacy(place: Repository, signed: Signed) -> None:
    tag = legacy_tag(signed.subject.digest)
    layer = signature_writer.legacy_layer(signed.legacy_payload, signed.legacy_signature)
    may_sign = partial(_may_sign, place, signed.subject.digest)
    _push(place, signed.legacy_payload, layer)

    def wanted(held: Manifest | Index | None) -> Manifest | None:
        if isinstance(held, Index):
            raise SpecError(f"{tag} names an index, not signatures")
        layers = held.layers if held else ()
        if any(_same(other, signed) for other in layers):
            return None
        if not fits((*layers, layer)):
            layers = tuple(other for other in layers if may_sign(other))
        if not fits((*layers, layer)):
            raise SpecError(f"{tag} holds {len(layers)} signatures already").with_hint(
                "the bundle was stored, and counts; delete that tag where it is, and sign again"
            )
        manifest = signature_writer.legacy_manifest(
            (*layers, layer), held.annotations if held else None
        )
        _push(place, signature_writer.legacy_config(manifest.layers), manifest.config)
        return manifest

    change(place, tag, wanted)


def _may_sign(place: Source, subject: Digest, layer: Descriptor) -> bool:
    """Whether some key might verify a layer: what is not there, or says something else, never."""
    if layer.media_type != mediatypes.SIMPLE_SIGNING or layer.size > LIMITS.signature_payload:
        return False
    try:
        with place.fetch(layer) as stream:
            payload = read_exactly(stream, layer, LIMITS.signature_payload)
        claims(candidate_from_layer(layer, payload), (subject,))
    except (NotFound, ContentError, SpecError):
        return False
    return True


def _same(layer: Descriptor, signed: Signed) -> bool:
    """Say whether a layer is this payload signed by this key; ECDSA never signs alike twice."""
    if layer.media_type != mediatypes.SIMPLE_SIGNING:
        return False
    if layer.digest != Descriptor.of(signed.legacy_payload, layer.media_type).digest:
        return False
    try:
        candidate = candidate_from_layer(layer, signed.legacy_payload)
        verify(load_public(signed.key_pem), candidate.signed, candidate.signature)
    except (SpecError, TrustError):
        return False
    return True


def _push(place: Sink, data: bytes, want: Descriptor) -> None:
    if not place.has(want):
        place.push(want, io.BytesIO(data))
