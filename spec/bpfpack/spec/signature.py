"""Signatures as cosign stores them, read in two steps: check the bytes, then believe them.

A `Candidate` is exact signed bytes beside a signature, and says nothing yet.  Only after a
trusted key has verified it may `claims` look inside.  Three forms:

 * legacy: the "simple signing" payload, a layer under the tag ``sha256-<hex>.sig``
   (sigstore/cosign, specs/SIGNATURE_SPEC.md);
 * bundle: an in-toto statement in a DSSE envelope in a Sigstore bundle v0.3, a referrer
   (secure-systems-lab/dsse, protocol.md; sigstore/protobuf-specs, sigstore_bundle.proto);
 * host: the endorsement of the host that built it, kept beside the store, never inside.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from bpfpack.spec import fields, strictjson
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.reference import Reference
from bpfpack.spec.value import field, valuetype

Form = Literal["bundle", "legacy", "host"]
PlaceName = Literal["referrers", "referrers-tag", "sig-tag", "host", "user"]
PlaceState = Literal["present", "absent", "unsupported", "failed"]

CRITICAL_TYPE: Final = "cosign container image signature"
SIGN_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
LAYER_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
REF: Final = "dev.bpfpack.ref"
CREATED: Final = "dev.bpfpack.created"
EXPIRES: Final = "dev.bpfpack.expires"

_STATEMENT_TYPES: Final = (STATEMENT_TYPE, "https://in-toto.io/Statement/v0.1")
_BUNDLE_TYPES: Final = (
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
)
_PAE: Final = re.compile(rb"DSSEv1 (\d{1,4}) ([!-~]+) (\d{1,8}) ")
_HOST_PREFIX: Final = b"bpfpack built on this host 1\n"
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}")


@valuetype
class Candidate:
    """Bytes that somebody may have signed; nothing in them is true yet.

    ``digest`` names the blob it came in, ``hint`` the key it claims (SHA-256 of the SPKI in
    hex); both are for messages only.
    """

    form: Form
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    digest: Digest | None = None
    hint: str | None = None


@valuetype
class Claims:
    """What a signature says: which content, under which name, from when until when."""

    digest: Digest
    reference: Reference | None
    created: datetime | None
    expires: datetime | None


@valuetype
class SignaturePlace:
    """One place where a signature can be, and what became of looking there.

    ``absent`` is an answer, ``failed`` is none; ``reason`` tells about unsupported and failed.
    ``faults`` are things found there that are no signature, one line each.
    """

    name: PlaceName
    state: PlaceState
    reason: str | None = None
    candidates: tuple[Candidate, ...] = ()
    faults: tuple[str, ...] = ()


def legacy_tag(digest: Digest) -> str:
    """Return the tag that holds cosign's legacy signatures of ``digest``.

    >>> legacy_tag(Digest.parse("sha256:" + "0" * 64))[:10], legacy_tag(Digest.sha256(b""))[-4:]
    ('sha256-000', '.sig')
    """
    return f"{digest.algorithm}-{digest.encoded}.sig"


def fallback_tag(digest: Digest) -> str:
    """Return the referrers tag of ``digest`` (distribution spec 1.1, "Referrers Tag Schema")."""
    return f"{digest.algorithm[:32]}-{digest.encoded[:64]}"


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return what DSSE signs; lengths are of bytes.

    >>> pae(b"hello world", "http://example.com/HelloWorld")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def host_statement(digest: Digest) -> bytes:
    """Return what the host key signs for content that was built here."""
    return _HOST_PREFIX + str(digest).encode()


def candidate_from_layer(layer: Descriptor, payload: bytes) -> Candidate:
    """Read one layer of a ``.sig`` manifest whose blob is ``payload``; raises SpecError."""
    with fields.inside("annotations"):
        text = fields.string(layer.annotations, LAYER_SIGNATURE)
        with fields.inside(LAYER_SIGNATURE):
            signature = decode_base64(text)
    return Candidate(form="legacy", signed=payload, signature=signature, digest=layer.digest)


def candidate_from_bundle(raw: bytes) -> Candidate:
    """Read a Sigstore bundle v0.3 as far as needed to check it; raises SpecError.

    Refused are what cosign refuses too: unknown fields, a ``keyid``, other than one signature.
    """
    data = strictjson.loads_object(raw, LIMITS.signature_payload)
    fields.only(data, "mediaType", "verificationMaterial", "dsseEnvelope")
    if fields.string(data, "mediaType") not in _BUNDLE_TYPES:
        raise SpecError("not a Sigstore bundle v0.3", path=("mediaType",))
    hint = _hint(fields.mapping(data, "verificationMaterial"))
    fields.required(data, "dsseEnvelope")
    payload, signature = fields.nested(data, "dsseEnvelope", _envelope)
    return Candidate(
        form="bundle",
        signed=pae(payload),
        signature=signature,
        digest=Digest.sha256(raw),
        hint=hint,
    )


def claims(candidate: Candidate, wanted: tuple[Digest, ...]) -> Claims:
    """Return what a **verified** candidate says about one of ``wanted``; raises SpecError.

    The content comes from the signed bytes alone.
    """
    if candidate.form == "legacy":
        return _legacy_claims(candidate.signed, wanted)
    if candidate.form == "bundle":
        return _statement_claims(_payload_of(candidate.signed), wanted)
    return _host_claims(candidate.signed, wanted)


def decode_base64(text: str) -> bytes:
    """Decode base64 of either alphabet, padded or not, as protobuf's JSON allows it.

    >>> decode_base64("-_8"), decode_base64("+/8=")
    (b'\\xfb\\xff', b'\\xfb\\xff')
    """
    plain = text.translate(str.maketrans("-_", "+/"))
    if not _BASE64.fullmatch(plain):
        raise SpecError("not base64")
    stripped = plain.rstrip("=")
    try:
        return base64.b64decode(stripped + "=" * (-len(stripped) % 4), validate=True)
    except (binascii.Error, ValueError) as e:
        raise SpecError("not base64") from e


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time; raises SpecError."""
    if not _TIME.fullmatch(text):
        raise SpecError(f"not an RFC 3339 time: {text[:40]!r}")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as e:
        raise SpecError(f"not a time: {text[:40]!r}") from e


def format_time(moment: datetime) -> str:
    """Return RFC 3339 in UTC with milliseconds.

    >>> format_time(datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC))
    '2026-01-02T03:04:05.678Z'
    """
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _hint(material: Mapping[str, Any]) -> str | None:
    """Read which key the bundle claims; it decides nothing (GHSA-fx35-mq7g-6g98)."""
    with fields.inside("verificationMaterial"):
        fields.only(material, "publicKey", "tlogEntries", "timestampVerificationData")
        fields.required(material, "publicKey")
        key = fields.mapping(material, "publicKey")
        with fields.inside("publicKey"):
            fields.only(key, "hint")
            text = fields.optional_string(key, "hint")
    try:
        return decode_base64(text).hex() if text else None
    except SpecError:  # cosign accepts any text here, and nobody looks it up
        return None


def _envelope(data: Mapping[str, Any]) -> tuple[bytes, bytes]:
    fields.only(data, "payload", "payloadType", "signatures")
    if fields.string(data, "payloadType") != PAYLOAD_TYPE:
        raise SpecError("not an in-toto statement", path=("payloadType",))
    payload = _decoded(data, "payload")
    signatures = fields.objects(
        data, "signatures", most=LIMITS.signature_candidates, parse=_one_signature
    )
    if len(signatures) != 1:
        raise SpecError(f"{len(signatures)} signatures, exactly one required", path=("signatures",))
    return payload, signatures[0]


def _one_signature(data: Mapping[str, Any]) -> bytes:
    fields.only(data, "sig")
    return _decoded(data, "sig")


def _decoded(data: Mapping[str, Any], key: str) -> bytes:
    text = fields.string(data, key)
    with fields.inside(key):
        return decode_base64(text)


def _legacy_claims(payload: bytes, wanted: tuple[Digest, ...]) -> Claims:
    data = strictjson.loads_object(payload, LIMITS.signature_payload)
    fields.only(data, "critical", "optional")
    fields.required(data, "critical")
    digest, reference = fields.nested(data, "critical", _critical)
    if digest not in wanted:
        raise SpecError(f"signs other content: {digest}")
    extra = fields.mapping(data, "optional") if data.get("optional") is not None else {}
    with fields.inside("optional"):
        fields.optional_string(extra, "creator")
        stamp = fields.optional_integer(extra, "timestamp", low=-(2**62), high=2**62)
        return _claims(digest, reference, extra, stamp)


def _critical(data: Mapping[str, Any]) -> tuple[Digest, Reference]:
    fields.only(data, "type", "image", "identity")
    if fields.string(data, "type") != CRITICAL_TYPE:
        raise SpecError("not a signature of an image", path=("type",))
    image, identity = fields.mapping(data, "image"), fields.mapping(data, "identity")
    with fields.inside("image"):
        fields.only(image, "docker-manifest-digest")
        digest = Digest.parse(fields.string(image, "docker-manifest-digest"))
    with fields.inside("identity"):
        fields.only(identity, "docker-reference")
        reference = Reference.parse(fields.string(identity, "docker-reference"))
    if reference.digest not in (None, digest):
        raise SpecError("the reference names other content", path=("identity",))
    return digest, reference


def _payload_of(signed: bytes) -> bytes:
    """Return the payload inside a DSSE PAE; raises SpecError."""
    match = _PAE.match(signed)
    payload = signed[match.end() :] if match else b""
    if not match or pae(payload) != signed:
        raise SpecError("not a DSSE pre-authentication encoding of an in-toto statement")
    return payload


def _statement_claims(payload: bytes, wanted: tuple[Digest, ...]) -> Claims:
    data = strictjson.loads_object(payload, LIMITS.signature_payload)
    if fields.string(data, "_type") not in _STATEMENT_TYPES:
        raise SpecError("not an in-toto statement", path=("_type",))
    # An attestation never counts as a signature (GHSA-w6c6-c85g-mmv6).
    if (kind := fields.string(data, "predicateType")) != SIGN_PREDICATE:
        raise SpecError(f"an attestation, not a signature: {kind[:80]}", path=("predicateType",))
    subjects = fields.objects(data, "subject", most=LIMITS.index_children, parse=_subject)
    for digest in wanted:
        found = [subject for name, subject in subjects if name == digest]
        if len(found) > 1:
            raise SpecError("the same content twice", path=("subject",))
        if found:
            return _subject_claims(digest, found[0])
    raise SpecError("signs other content", path=("subject",))


def _subject(data: Mapping[str, Any]) -> tuple[Digest | None, Mapping[str, Any]]:
    digests = fields.string_map(data, "digest", most=16)
    with fields.inside("digest"):
        found = Digest("sha256", digests["sha256"]) if "sha256" in digests else None
    return found, data


def _subject_claims(digest: Digest, subject: Mapping[str, Any]) -> Claims:
    """Use name and annotations only of the subject whose digest matched."""
    notes = fields.string_map(subject, "annotations", most=LIMITS.annotations)
    name = fields.optional_string(subject, "name") or None
    with fields.inside("name"):
        named = Reference.parse(name) if name else None
    with fields.inside("annotations"):
        full = Reference.parse(notes[REF]) if REF in notes else None
        if named and full and named.name != full.name:
            raise SpecError("not in the repository that the subject names", path=(REF,))
        return _claims(digest, full or named, notes, None)


def _claims(
    digest: Digest, reference: Reference | None, notes: Mapping[str, Any], stamp: int | None
) -> Claims:
    created, expires = _time(notes, CREATED), _time(notes, EXPIRES)
    if created is None and stamp is not None:
        created = _from_seconds(stamp)
    return Claims(digest=digest, reference=reference, created=created, expires=expires)


def _time(notes: Mapping[str, Any], key: str) -> datetime | None:
    text = fields.optional_string(notes, key)
    with fields.inside(key):
        return parse_time(text) if text is not None else None


def _from_seconds(stamp: int) -> datetime:
    try:
        return datetime.fromtimestamp(stamp, UTC)
    except (ValueError, OverflowError, OSError) as e:
        raise SpecError("not a time", path=("timestamp",)) from e


def _host_claims(signed: bytes, wanted: tuple[Digest, ...]) -> Claims:
    for digest in wanted:
        if signed == host_statement(digest):
            return Claims(digest=digest, reference=None, created=None, expires=None)
    raise SpecError("endorses other content")
