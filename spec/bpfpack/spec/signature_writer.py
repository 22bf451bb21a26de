"""Byte-exact writers of cosign's two forms.

Compact JSON, this key order, and the characters that Go's encoder escapes, so that what we
write cannot be told from what cosign writes.  What cosign's readers refuse is never written:
a ``keyid``, a second DSSE signature, a field that the bundle does not define.
"""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from bpfpack.spec import mediatypes, strictjson
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.manifest import Manifest, parse
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import (
    CREATED,
    CRITICAL_TYPE,
    EXPIRES,
    LAYER_SIGNATURE,
    PAYLOAD_TYPE,
    REF,
    SIGN_PREDICATE,
    STATEMENT_TYPE,
    format_time,
)

#: The config of every bundle manifest (image-spec 1.1, "Guidance for an Empty Descriptor").
EMPTY_CONFIG: Final = b"{}"

# encoding/json, HTMLEscape; none of these bytes can begin inside another character.
_GO_ESCAPES: Final = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)
_ZERO_TIME: Final = "0001-01-01T00:00:00Z"


def go_json(value: object) -> bytes:
    """Return JSON as Go's encoding/json spells it, keys in the given order.

    >>> go_json({"a": "<&>é"}).decode()
    '{"a":"\\\\u003c\\\\u0026\\\\u003eé"}'
    """
    data = strictjson.dumps(value)
    for plain, escaped in _GO_ESCAPES:
        data = data.replace(plain, escaped)
    return data


def legacy_payload(digest: Digest, reference: str, optional: Mapping[str, Any] | None) -> bytes:
    """Return the simple-signing payload; ``optional`` is always there, null when empty.

    containers/image refuses payloads without it.
    """
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": str(digest)},
        "type": CRITICAL_TYPE,
    }
    return go_json(
        {"critical": critical, "optional": dict(sorted((optional or {}).items())) or None}
    )


def legacy_optional(creator: str, created: datetime, expires: datetime) -> dict[str, Any]:
    """Return the ``optional`` part: skopeo's two keys and ours."""
    return {
        "creator": creator,
        "timestamp": int(created.timestamp()),
        CREATED: format_time(created),
        EXPIRES: format_time(expires),
    }


def legacy_layer(payload: bytes, signature: bytes) -> Descriptor:
    """Return the layer that carries one signature."""
    return Descriptor.of(
        payload,
        mediatypes.SIMPLE_SIGNING,
        annotations={LAYER_SIGNATURE: base64.b64encode(signature).decode()},
    )


def legacy_config(layers: tuple[Descriptor, ...]) -> bytes:
    """Return the image config that cosign writes beside its layers."""
    return go_json(
        {
            "architecture": "",
            "created": _ZERO_TIME,
            "history": [{"created": _ZERO_TIME} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
            "config": {},
        }
    )


def legacy_manifest(
    layers: tuple[Descriptor, ...], annotations: Mapping[str, str] | None = None
) -> Manifest:
    """Return the manifest of a ``.sig`` tag, one layer for each signature."""
    config = Descriptor.of(legacy_config(layers), mediatypes.IMAGE_CONFIG)
    data: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": mediatypes.MANIFEST,
        "config": _go_descriptor(config),
        "layers": [_go_descriptor(layer) for layer in layers],
    }
    if annotations:
        data["annotations"] = dict(sorted(annotations.items()))
    return _manifest(go_json(data))


def statement(subject: Digest, repository: str, annotations: Mapping[str, str]) -> bytes:
    """Return the in-toto statement that signs ``subject`` under the name ``repository``."""
    named = {
        "name": repository,
        "digest": {subject.algorithm: subject.encoded},
        "annotations": dict(sorted(annotations.items())),
    }
    return go_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [named],
            "predicateType": SIGN_PREDICATE,
            "predicate": {},
        }
    )


def statement_annotations(
    reference: Reference, created: datetime, expires: datetime
) -> dict[str, str]:
    """Return what we say about the subject; all strings, as the bundle's readers require."""
    return {REF: str(reference), CREATED: format_time(created), EXPIRES: format_time(expires)}


def bundle(payload: bytes, signature: bytes, hint: str) -> bytes:
    """Return a Sigstore bundle v0.3 around a signed statement.

    ``hint`` is base64 of the SHA-256 of the public key's DER, which readers do not trust.
    """
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }
    return go_json(
        {
            "mediaType": mediatypes.SIGSTORE_BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": hint}},
            "dsseEnvelope": envelope,
        }
    )


def bundle_manifest(bundle_: bytes, subject: Descriptor, created: str) -> Manifest:
    """Return the referrer that carries one bundle; ``created`` is an RFC 3339 time."""
    layer = Descriptor.of(bundle_, mediatypes.SIGSTORE_BUNDLE)
    return _manifest(
        go_json(
            {
                "schemaVersion": 2,
                "mediaType": mediatypes.MANIFEST,
                "config": _go_descriptor(Descriptor.of(EMPTY_CONFIG, mediatypes.EMPTY)),
                "layers": [_go_descriptor(layer)],
                "annotations": {
                    "dev.sigstore.bundle.content": "dsse-envelope",
                    "dev.sigstore.bundle.predicateType": SIGN_PREDICATE,
                    mediatypes.CREATED: created,
                },
                "subject": {
                    "mediaType": subject.media_type,
                    "size": subject.size,
                    "digest": str(subject.digest),
                },
                "artifactType": mediatypes.SIGSTORE_BUNDLE,
            }
        )
    )


def _go_descriptor(descriptor: Descriptor) -> dict[str, Any]:
    """A descriptor in go-containerregistry's field order: type, size, digest."""
    found: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
        "digest": str(descriptor.digest),
    }
    if descriptor.annotations:
        found["annotations"] = dict(descriptor.annotations)
    return found


def _manifest(raw: bytes) -> Manifest:
    parsed = parse(raw)
    if not isinstance(parsed, Manifest):
        raise TypeError("wrote something other than a manifest")
    return parsed
