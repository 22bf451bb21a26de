"""From a path to what it names (distribution spec 1.1, "Endpoints").

A repository may itself be called ``x/blobs/uploads``, so paths are read from the right.
"""

from enum import Enum

from bpfpack.registry.server.faults import Fault, name_invalid
from bpfpack.spec.reference import valid_repository
from bpfpack.spec.value import valuetype


class Kind(Enum):
    """What an endpoint is about."""

    BASE = "base"
    BLOB = "blob"
    UPLOADS = "uploads"
    UPLOAD = "upload"
    MANIFEST = "manifest"
    TAGS = "tags"
    REFERRERS = "referrers"


@valuetype(kw_only=False)
class Route:
    """An endpoint: its kind, its repository, and the last component where that varies."""

    kind: Kind
    repository: str = ""
    argument: str = ""


def parse_path(path: str) -> Route:
    """Return what ``path`` (already percent-decoded) names; raises Fault.

    >>> parse_path("/v2/x/y/manifests/latest")
    Route(kind=<Kind.MANIFEST: 'manifest'>, repository='x/y', argument='latest')
    """
    if path in ("/v2/", "/v2"):
        return Route(Kind.BASE)
    if not path.startswith("/v2/"):
        raise Fault(404, "UNSUPPORTED", "the API is below /v2/")
    match path.removeprefix("/v2/").split("/"):
        case [*name, "blobs", "uploads", ""] | [*name, "blobs", "uploads"]:
            route = Route(Kind.UPLOADS, "/".join(name))
        case [*name, "blobs", "uploads", upload]:
            route = Route(Kind.UPLOAD, "/".join(name), upload)
        case [*name, "tags", "list"]:
            route = Route(Kind.TAGS, "/".join(name))
        case [*name, "blobs", digest]:
            route = Route(Kind.BLOB, "/".join(name), digest)
        case [*name, "manifests", reference]:
            route = Route(Kind.MANIFEST, "/".join(name), reference)
        case [*name, "referrers", digest]:
            route = Route(Kind.REFERRERS, "/".join(name), digest)
        case _:
            raise Fault(404, "UNSUPPORTED", "no such endpoint")
    if not valid_repository(route.repository):
        raise name_invalid(route.repository)
    return route
