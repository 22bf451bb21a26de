"""Blobs on their way out: whole, in part, or only asked for."""

import asyncio
import logging
from typing import Final

from aiohttp import web

from bpfpack.registry.server.call import Call, content_headers
from bpfpack.registry.server.faults import blob_unknown
from bpfpack.registry.server.ranges import Span, parse_range
from bpfpack.registry.server.storage import Blob
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import StoreError

_LOG: Final = logging.getLogger(__name__)
_CHUNK: Final = 256 * 1024


async def get(call: Call) -> web.StreamResponse:
    """Answer GET and HEAD of a blob, with Range and If-None-Match."""
    digest = call.digest
    blob = await call.storage.open_blob(call.repository, digest)
    if blob is None:
        raise blob_unknown(digest)
    try:
        if call.fresh(digest):
            return web.Response(status=304, headers=content_headers(digest))
        return await _send(call, blob, digest)
    finally:
        await blob.close()


async def delete(call: Call) -> web.StreamResponse:
    """Take a blob out of the repository."""
    if not await call.storage.delete_blob(call.repository, call.digest):
        raise blob_unknown(call.digest)
    return web.Response(status=202)


async def _send(call: Call, blob: Blob, digest: Digest) -> web.StreamResponse:
    headers = content_headers(digest) | {
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
    }
    span = _wanted(call, blob, digest)
    if span:
        headers["Content-Range"] = f"bytes {span.start}-{span.last}/{blob.size}"
    response = web.StreamResponse(status=206 if span else 200, headers=headers)
    part = span or Span(0, blob.size)
    response.content_length = part.count
    await response.prepare(call.request)
    if call.request.method == "HEAD" or await _copy(call, response, blob, part):
        await response.write_eof()
    elif (transport := call.request.transport) is not None:
        # The promised length cannot be kept; only a cut connection says so now.
        transport.abort()
    return response


def _wanted(call: Call, blob: Blob, digest: Digest) -> Span | None:
    condition = call.request.headers.get("If-Range")
    if call.request.method != "GET" or (condition and condition != f'"{digest}"'):
        return None
    return parse_range(call.request.headers.get("Range"), blob.size)


async def _copy(call: Call, response: web.StreamResponse, blob: Blob, span: Span) -> bool:
    """Send a part of a blob, by the kernel where it can; say whether all of it went out."""
    transport = call.request.transport
    if transport is None:
        return False
    try:
        if blob.file is None or transport.get_extra_info("ssl_object") or not span.count:
            return await _copy_chunks(response, blob, span)
        loop = asyncio.get_running_loop()
        return await loop.sendfile(transport, blob.file, span.start, span.count) == span.count
    except ConnectionError as e:
        _LOG.debug("a reader went away: %s", e)
        return False
    except StoreError:
        _LOG.exception("reading a blob")
        return False


async def _copy_chunks(response: web.StreamResponse, blob: Blob, span: Span) -> bool:
    position, end = span.start, span.start + span.count
    while position < end:
        chunk = await blob.read(position, min(_CHUNK, end - position))
        if not chunk:
            return False
        await response.write(chunk)
        position += len(chunk)
    return True
