"""Tags of a repository and referrers of a manifest, in pages."""

import json
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from bpfpack.registry.server.call import Call, parse_digest
from bpfpack.registry.server.faults import Fault
from bpfpack.spec import mediatypes

_TAGS_PER_PAGE: Final = 1000


async def tags(call: Call) -> web.StreamResponse:
    """List tags in byte order, ``n`` at most, after ``last``."""
    wanted = _count(call.query("n"))
    page = await call.storage.tags(call.repository, call.query("last") or "", wanted)
    if page is None:
        raise Fault(404, "NAME_UNKNOWN", f"no such repository: {call.repository}")
    body = {"name": call.repository, "tags": list(page.entries)}
    response = web.Response(body=json.dumps(body).encode(), content_type="application/json")
    if page.more and wanted:
        _link_next(call, response, "tags/list", {"n": str(wanted), "last": page.last})
    return response


async def referrers(call: Call) -> web.StreamResponse:
    """List what refers to a manifest, whether or not that is here; never 404."""
    wanted = call.query("artifactType") or None
    last = call.query("last")
    after = str(parse_digest(last)) if last else ""
    page = await call.storage.referrers(call.repository, call.digest, wanted, after)
    body = (
        f'{{"schemaVersion":2,"mediaType":"{mediatypes.INDEX}","manifests":'
        f"[{','.join(page.entries)}]}}"
    )
    response = web.Response(body=body.encode(), content_type=mediatypes.INDEX)
    if wanted:
        response.headers["OCI-Filters-Applied"] = "artifactType"
    if page.more:
        query = {"artifactType": wanted} if wanted else {}
        _link_next(call, response, f"referrers/{call.digest}", query | {"last": page.last})
    return response


def _count(text: str | None) -> int:
    if text is None:
        return _TAGS_PER_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Fault(400, "UNSUPPORTED", "n is not a number of tags")
    return min(int(text), _TAGS_PER_PAGE)


def _link_next(call: Call, response: web.Response, path: str, query: dict[str, str]) -> None:
    response.headers["Link"] = f'<{call.path(path)}?{urlencode(query)}>; rel="next"'
