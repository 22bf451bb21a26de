"""Stores signatures beside what they sign, in both forms, never taking any away."""

import io
from typing import Final, Protocol, runtime_checkable

from bpfpack.registry.trust.check import load_public, verify
from bpfpack.registry.trust.sign import Signed
from bpfpack.spec import mediatypes, signature_writer
from bpfpack.spec.content import Sink, Source
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import NotFound, SpecError, TransportError, TrustError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.signature import candidate_from_layer, format_time, legacy_tag

# Another signer may write the tag between our reading and our writing it.
_ATTEMPTS: Final = 10
_PRECONDITION_FAILED: Final = 412


class Repository(Source, Sink, Protocol):
    """One repository, read and written."""


@runtime_checkable
class Conditional(Protocol):
    """A repository whose tags can be replaced under condition (RFC 9110, If-Match)."""

    def tagged(self, tag: str) -> tuple[Manifest | Index, str | None]:
        """Return what a tag names, and its entity tag."""
        ...

    def replace(self, manifest: Manifest | Index, tag: str, if_match: str | None) -> None:
        """Point a tag at ``manifest``, if it still has the entity tag."""
        ...


def attach(place: Repository, signed: Signed) -> None:
    """Write the bundle as a referrer and append to the ``.sig`` tag.

    The subject must be there already.  Raises TransportError, StoreError, and SpecError when
    the ``.sig`` tag holds something that is not a list of signatures.
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
    """Read, append, write, and read again: most registries protect the tag in no other way."""
    tag = legacy_tag(signed.subject.digest)
    layer = signature_writer.legacy_layer(signed.legacy_payload, signed.legacy_signature)
    _push(place, signed.legacy_payload, layer)
    for _ in range(_ATTEMPTS):
        held, mark = _held(place, tag)
        layers = held.layers if held else ()
        if any(_same(other, signed) for other in layers):
            return
        if len(layers) >= LIMITS.signature_candidates:
            raise SpecError(f"{tag} holds {len(layers)} signatures already")
        manifest = signature_writer.legacy_manifest(
            (*layers, layer), held.annotations if held else None
        )
        _push(place, signature_writer.legacy_config(manifest.layers), manifest.config)
        _put(place, manifest, tag, mark)
    held, _mark = _held(place, tag)
    if held is None or not any(_same(other, signed) for other in held.layers):
        raise TransportError(f"others keep replacing {tag}; the signature is not in it")


def _held(place: Source, tag: str) -> tuple[Manifest | None, str | None]:
    """Return the signatures under a tag, and the entity tag to replace them by."""
    try:
        if isinstance(place, Conditional):
            found, mark = place.tagged(tag)
        else:
            found, mark = place.resolve(tag), None
    except NotFound:
        return None, None
    if not isinstance(found, Manifest):
        raise SpecError(f"{tag} names an index, not signatures")
    return found, mark


def _put(place: Sink, manifest: Manifest, tag: str, mark: str | None) -> None:
    if mark is None or not isinstance(place, Conditional):
        place.put(manifest, tag)
        return
    try:
        place.replace(manifest, tag, mark)
    except TransportError as e:
        if e.status != _PRECONDITION_FAILED:
            raise


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
