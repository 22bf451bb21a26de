"""Manifests and indexes: kept byte for byte, answered as they came."""

import asyncio
import json
from typing import Any, Final

from aiohttp import web

from bpfpack.registry.server.call import Call, content_headers, parse_digest
from bpfpack.registry.server.faults import Fault, digest_invalid, manifest_unknown
from bpfpack.registry.server.storage import NewManifest, Overtaken
from bpfpack.spec import mediatypes
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, parse
from bpfpack.spec.reference import valid_tag

# Distribution spec 1.1+dev, end-7b: ten SHOULD work, and 414 says that it was too many.
_TAGS_AT_ONCE: Final = 100
# Referenced by manifests and never pushed (image-spec 1.1, "Non-Distributable Layers").
_FOREIGN: Final = (
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)


async def get(call: Call) -> web.StreamResponse:
    """Answer GET and HEAD of a manifest."""
    found = await call.storage.manifest(call.repository, _reference(call.argument))
    if found is None:
        raise manifest_unknown(call.argument)
    headers = content_headers(found.digest)
    if call.fresh(found.digest):
        return web.Response(status=304, headers=headers)
    return web.Response(body=found.raw, headers=headers | {"Content-Type": found.media_type})


async def put(call: Call) -> web.StreamResponse:
    """Keep a manifest under a tag, or under its digest and the tags of the query."""
    reference = _reference(call.argument, unknown=False)
    tags = _tags(call) if isinstance(reference, Digest) else [reference]
    media_type = _media_type(call)
    raw = await _body(call)
    digest = reference.of(raw) if isinstance(reference, Digest) else Digest.sha256(raw)
    if isinstance(reference, Digest) and digest != reference:
        raise digest_invalid(f"the manifest is {digest}, not {reference}")
    # Four megabytes of JSON take long enough to keep other clients waiting.
    new = await asyncio.to_thread(_described, raw, media_type, digest)
    condition = call.condition(reference)
    try:
        missing = await call.storage.put_manifest(call.repository, new, tags, condition)
    except Overtaken as e:
        raise Fault(412, "PRECONDITION_FAILED", str(e)) from e
    if missing:
        names = ", ".join(sorted(map(str, missing))[:3])
        raise Fault(404, "MANIFEST_BLOB_UNKNOWN", f"push the blobs first: {names}")
    response = web.Response(status=201, headers=content_headers(digest))
    response.headers["Location"] = call.path("manifests", digest)
    if new.subject:
        response.headers["OCI-Subject"] = str(new.subject)
    if isinstance(reference, Digest):
        response.headers.extend([("OCI-Tag", tag) for tag in tags])
    return response


async def delete(call: Call) -> web.StreamResponse:
    """Delete a tag alone, or a manifest with every tag on it."""
    reference = _reference(call.argument)
    if isinstance(reference, Digest):
        done = await call.storage.delete_manifest(call.repository, reference)
    else:
        done = await call.storage.delete_tag(call.repository, reference)
    if not done:
        raise manifest_unknown(call.argument)
    return web.Response(status=202)


def _reference(text: str, *, unknown: bool = True) -> Digest | str:
    """Return a digest or tag; what is neither is unknown to a reader, invalid to a writer."""
    if ":" in text:
        return parse_digest(text)
    if valid_tag(text):
        return text
    raise (
        manifest_unknown(text[:80])
        if unknown
        else Fault(400, "MANIFEST_INVALID", f"not a tag: {text[:80]!r}")
    )


def _tags(call: Call) -> list[str]:
    tags = list(dict.fromkeys(call.request.query.getall("tag", [])))
    if len(tags) > _TAGS_AT_ONCE:
        raise Fault(414, "UNSUPPORTED", f"more than {_TAGS_AT_ONCE} tags at once")
    for tag in tags:
        if not valid_tag(tag):
            raise Fault(400, "MANIFEST_INVALID", f"not a tag: {tag[:80]!r}")
    return tags


def _media_type(call: Call) -> str:
    """Return the type that the client states, one that no browser would render or run."""
    # aiohttp's own property reads a missing header as application/octet-stream.
    stated = call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if stated not in mediatypes.MANIFESTS | mediatypes.INDEXES:
        raise Fault(400, "MANIFEST_INVALID", f"not a manifest's Content-Type: {stated[:80]!r}")
    return stated


async def _body(call: Call) -> bytes:
    raw = bytearray()
    too_large = Fault(413, "SIZE_INVALID", f"a manifest has at most {LIMITS.manifest} bytes")
    if (call.request.content_length or 0) > LIMITS.manifest:
        raise too_large
    while chunk := await call.read():
        raw += chunk
        if len(raw) > LIMITS.manifest:
            raise too_large
    return bytes(raw)


def _described(raw: bytes, media_type: str, digest: Digest) -> NewManifest:
    try:
        parsed = parse(raw, media_type=media_type)
    except SpecError as e:
        raise Fault(400, "MANIFEST_INVALID", str(e)) from e
    kind = parsed.kind if isinstance(parsed, Manifest) else parsed.artifact_type
    descriptor: dict[str, Any] = {
        "mediaType": media_type,
        "digest": str(digest),
        "size": len(raw),
    }
    if kind:
        descriptor["artifactType"] = kind
    if parsed.annotations:
        descriptor["annotations"] = dict(parsed.annotations)
    return NewManifest(
        digest=digest,
        media_type=media_type,
        raw=raw,
        needs=_needs(parsed),
        subject=parsed.subject.digest if parsed.subject else None,
        artifact_type=kind,
        descriptor=json.dumps(descriptor, separators=(",", ":")),
    )


def _needs(parsed: Manifest | Index) -> frozenset[Digest]:
    """Return the blobs without which a manifest is refused.

    An index may be sparse (some platforms copied, the signed digest unchanged), so its
    children are not asked for, nor is a subject.
    """
    if isinstance(parsed, Index):
        return frozenset()
    return frozenset(
        blob.digest for blob in (parsed.config, *parsed.layers) if not _is_foreign(blob)
    )


def _is_foreign(blob: Descriptor) -> bool:
    return blob.media_type.startswith(_FOREIGN)
