"""One request on its way through a handler, and what all handlers ask of it."""

import asyncio
import re
from typing import Final

from aiohttp import web

from bpfpack.registry.server.condition import Condition, condition_of
from bpfpack.registry.server.faults import Fault, digest_invalid
from bpfpack.registry.server.storage import Storage
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError
from bpfpack.spec.value import valuetype

# A client that sends nothing for so long is gone.
_IDLE_SECONDS: Final = 60
_ETAG: Final = re.compile(r'(?:W/)?"([^"]*)"')


@valuetype
class Call:
    """A request, the repository it is about, and the last component of its path."""

    request: web.BaseRequest
    storage: Storage
    repository: str
    argument: str

    @property
    def digest(self) -> Digest:
        """The last component, which is to be a digest; raises Fault."""
        return parse_digest(self.argument)

    def query(self, key: str) -> str | None:
        """Return a query parameter that may be there once; raises Fault for more."""
        found = self.request.query.getall(key, [])
        if len(found) > 1:
            raise Fault(400, "UNSUPPORTED", f"more than one {key!r} in the query")
        return found[0] if found else None

    def path(self, *parts: object) -> str:
        """Return a path below this repository; nothing in it ever needs quoting."""
        return "/".join(("/v2", self.repository, *map(str, parts)))

    def fresh(self, digest: Digest) -> bool:
        """Say whether the client has these bytes already (If-None-Match)."""
        wanted = self.request.headers.get("If-None-Match", "")
        return wanted.strip() == "*" or str(digest) in _ETAG.findall(wanted)

    def condition(self, name: Digest | str) -> Condition | None:
        """Return what must be so before ``name`` is written (If-Match, If-None-Match)."""
        headers = self.request.headers
        fields = ("If-Match", "If-None-Match")
        return condition_of(name, {field: headers.getall(field, []) for field in fields})

    async def read(self) -> bytes:
        """Return the next bytes of the body, b"" at its end.

        Raises the 408 fault when the client stalls, and the 400 fault when it is gone.
        """
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                return await self.request.content.readany()
        except TimeoutError as e:
            raise Fault(408, "BLOB_UPLOAD_INVALID", "nothing came for too long") from e
        except (ConnectionError, web.RequestPayloadError) as e:
            raise Fault(400, "BLOB_UPLOAD_INVALID", "the body ended early") from e


def parse_digest(text: str) -> Digest:
    """Parse a digest from a path or query; raises the 400 fault."""
    try:
        return Digest.parse(text)
    except SpecError as e:
        raise digest_invalid(str(e)) from e


def content_headers(digest: Digest) -> dict[str, str]:
    """Return the headers of every answer that is, or names, some content."""
    return {"Docker-Content-Digest": str(digest), "ETag": f'"{digest}"'}
