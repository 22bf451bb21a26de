"""The registry as an aiohttp application: which handler answers what."""

import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from bpfpack.registry.server import blobs, guard, listings, manifests, pushes
from bpfpack.registry.server.call import Call
from bpfpack.registry.server.drain import Drain
from bpfpack.registry.server.faults import Fault
from bpfpack.registry.server.routes import Kind, parse_path
from bpfpack.registry.server.storage import Storage
from bpfpack.spec.errors import StoreError
from bpfpack.spec.safetext import printable

_LOG: Final = logging.getLogger(__name__)
Handler = Callable[[Call], Awaitable[web.StreamResponse]]


async def _base(call: Call) -> web.StreamResponse:
    """Say that this is a registry."""
    return web.json_response({})


_HANDLERS: Final[Mapping[Kind, Mapping[str, Handler]]] = {
    Kind.BASE: {"GET": _base, "HEAD": _base},
    Kind.BLOB: {"GET": blobs.get, "HEAD": blobs.get, "DELETE": blobs.delete},
    Kind.UPLOADS: {"POST": pushes.start},
    Kind.UPLOAD: {
        "GET": pushes.status,
        "PATCH": pushes.append,
        "PUT": pushes.finish,
        "DELETE": pushes.cancel,
    },
    Kind.MANIFEST: {
        "GET": manifests.get,
        "HEAD": manifests.get,
        "PUT": manifests.put,
        "DELETE": manifests.delete,
    },
    Kind.TAGS: {"GET": listings.tags},
    Kind.REFERRERS: {"GET": listings.referrers},
}


def make_app(storage: Storage, hosts: frozenset[str], drain: Drain) -> web.Application:
    """Return the application over ``storage``; it may also be called by ``hosts``."""

    async def handle(request: web.Request) -> web.StreamResponse:
        with drain.request():
            try:
                return await _answer(request, storage, hosts)
            except Fault as e:
                return e.response()
            except StoreError as e:
                _LOG.exception("%s %s", request.method, printable(request.path))
                return _storage_fault(e).response()

    async def prepare(request: web.BaseRequest, response: web.StreamResponse) -> None:
        response.headers.update(guard.HEADERS)
        if drain.ending:
            response.force_close()

    # The handlers read bodies by themselves, each with its own bound.
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    app.on_response_prepare.append(prepare)
    return app


async def _answer(
    request: web.BaseRequest, storage: Storage, hosts: frozenset[str]
) -> web.StreamResponse:
    guard.check(request, hosts)
    route = parse_path(request.path)
    handlers = _HANDLERS[route.kind]
    if (handler := handlers.get(request.method)) is None:
        allowed = {"Allow": ", ".join(handlers)}
        raise Fault(405, "UNSUPPORTED", "not a method of this endpoint", headers=allowed)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Fault(415, "UNSUPPORTED", "content is stored as it is: no Content-Encoding")
    call = Call(
        request=request, storage=storage, repository=route.repository, argument=route.argument
    )
    return await handler(call)


def _storage_fault(error: StoreError) -> Fault:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return Fault(507, "DENIED", "the registry's disk is full")
    return Fault(500, "UNSUPPORTED", "the registry's storage failed; its log says why")
