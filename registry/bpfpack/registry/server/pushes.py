"""Blobs on their way in (distribution spec 1.1, "Pushing blobs").

One POST, POST and PUT, or POST, PATCH and PUT; a chunk may say where it belongs.  What came
before a connection broke stays, and the client goes on from the offset that GET tells it.
"""

import hashlib
from typing import Final

from aiohttp import web

from bpfpack.registry.server.call import Call, content_headers, parse_digest
from bpfpack.registry.server.faults import Fault, digest_invalid, upload_unknown
from bpfpack.registry.server.ranges import held, parse_chunk
from bpfpack.registry.server.storage import Upload
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import DigestMismatch
from bpfpack.spec.reference import valid_repository

# Few hops to another thread, and a hash over pieces that size runs without the GIL.
_BATCH: Final = 256 * 1024
_ALGORITHMS: Final = frozenset({"sha256", "sha512"}) & hashlib.algorithms_available


async def start(call: Call) -> web.StreamResponse:
    """Open an upload, or do without: mount a blob, or take it whole from this one request."""
    mount, single = call.query("mount"), call.query("digest")
    if mount is not None and await _mount(call, parse_digest(mount)):
        return _created(call, parse_digest(mount))
    digest = parse_digest(single) if single is not None and mount is None else None
    algorithm = digest.algorithm if digest else (call.query("digest-algorithm") or "sha256")
    if algorithm not in _ALGORITHMS:
        raise digest_invalid(f"unsupported digest algorithm {algorithm[:32]!r}")
    upload_id = await call.storage.create_upload(call.repository, algorithm)
    if digest is None:
        return _progress(call, upload_id, 0, status=202)
    async with call.storage.upload(call.repository, upload_id) as upload:
        if upload is None:
            raise upload_unknown()
        try:
            await _receive(call, upload, None)
        except BaseException:
            await upload.abort()  # nobody was told its name
            raise
        await _commit(upload, digest)
    return _created(call, digest)


async def status(call: Call) -> web.StreamResponse:
    """Say how much of an upload is here."""
    async with call.storage.upload(call.repository, call.argument) as upload:
        if upload is None:
            raise upload_unknown()
        return _progress(call, call.argument, upload.offset, status=204)


async def append(call: Call) -> web.StreamResponse:
    """Take one more chunk."""
    async with call.storage.upload(call.repository, call.argument) as upload:
        if upload is None:
            raise upload_unknown()
        await _append(call, upload)
        return _progress(call, call.argument, upload.offset, status=202)


async def finish(call: Call) -> web.StreamResponse:
    """Take what is left and make the upload a blob."""
    wanted = call.query("digest")
    if wanted is None:
        raise digest_invalid("the digest is missing from the query")
    digest = parse_digest(wanted)
    async with call.storage.upload(call.repository, call.argument) as upload:
        if upload is None:
            raise upload_unknown()
        await _append(call, upload)
        await _commit(upload, digest)
    return _created(call, digest)


async def cancel(call: Call) -> web.StreamResponse:
    """Forget an upload."""
    async with call.storage.upload(call.repository, call.argument) as upload:
        if upload is None:
            raise upload_unknown()
        await upload.abort()
    return web.Response(status=204)


async def _mount(call: Call, digest: Digest) -> bool:
    source = call.query("from")
    if source is not None and not valid_repository(source):
        return False
    return await call.storage.mount(call.repository, digest, source)


async def _append(call: Call, upload: Upload) -> None:
    """Add the body to an upload; one that is not what Content-Range says leaves no trace."""
    span = parse_chunk(call.request.headers.get("Content-Range"))
    begin, length = upload.offset, call.request.content_length
    if span is None:
        await _receive(call, upload, None)
        return
    if span.start != begin:
        raise Fault(
            416,
            "BLOB_UPLOAD_INVALID",
            f"the chunk begins at {span.start}, the upload goes on at {begin}",
            headers=_where(call, call.argument, begin),
        )
    if length is None or length == span.count:
        await _receive(call, upload, span.count)
        if upload.offset == begin + span.count:
            return
        await upload.truncate(begin)
    raise Fault(400, "SIZE_INVALID", f"the body has not the {span.count} bytes of Content-Range")


async def _receive(call: Call, upload: Upload, most: int | None) -> None:
    """Move the body into an upload, stopping early once it exceeds ``most`` bytes."""
    batch: list[bytes] = []
    waiting, taken = 0, 0
    try:
        while chunk := await call.read():
            batch.append(chunk)
            waiting, taken = waiting + len(chunk), taken + len(chunk)
            if waiting >= _BATCH:
                full, batch, waiting = batch, [], 0
                await upload.write(full)
            if most is not None and taken > most:
                break
    finally:
        if batch:
            await upload.write(batch)


async def _commit(upload: Upload, digest: Digest) -> None:
    try:
        await upload.commit(digest)
    except DigestMismatch as e:
        raise digest_invalid(str(e)) from e


def _where(call: Call, upload_id: str, offset: int) -> dict[str, str]:
    return {
        "Location": call.path("blobs/uploads", upload_id),
        "Range": held(offset),
        "Docker-Upload-UUID": upload_id,
    }


def _progress(call: Call, upload_id: str, offset: int, *, status: int) -> web.Response:
    return web.Response(status=status, headers=_where(call, upload_id, offset))


def _created(call: Call, digest: Digest) -> web.Response:
    headers = content_headers(digest) | {"Location": call.path("blobs", digest)}
    return web.Response(status=201, headers=headers)
