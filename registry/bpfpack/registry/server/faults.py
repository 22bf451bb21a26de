"""What the registry answers when it says no (distribution spec 1.1, "Error Codes")."""

import json
from collections.abc import Mapping

from aiohttp import web

from bpfpack.spec.errors import TransportError


class Fault(TransportError):
    """A refusal on its way to the client: HTTP status, the spec's code, one line of text."""

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, status=status)
        self.http_status, self.code, self.headers = status, code, dict(headers or {})

    def response(self) -> web.Response:
        """Return the error body that the specification prescribes."""
        error = {"code": self.code, "message": str(self), "detail": None}
        return web.Response(
            status=self.http_status,
            body=json.dumps({"errors": [error]}).encode(),
            content_type="application/json",
            headers=self.headers,
        )


def name_invalid(name: str) -> Fault:
    """Not a repository name; nothing can be stored under it."""
    return Fault(400, "NAME_INVALID", f"not a repository name: {name[:80]!r}")


def digest_invalid(why: str) -> Fault:
    """Malformed, of an unsupported algorithm, or not that of the bytes."""
    return Fault(400, "DIGEST_INVALID", why)


def blob_unknown(digest: object) -> Fault:
    """No such blob in this repository."""
    return Fault(404, "BLOB_UNKNOWN", f"no such blob in this repository: {digest}")


def manifest_unknown(reference: object) -> Fault:
    """No such tag or manifest in this repository."""
    return Fault(404, "MANIFEST_UNKNOWN", f"no such manifest in this repository: {reference}")


def upload_unknown() -> Fault:
    """No such upload here: finished, cancelled, timed out, or another repository's."""
    return Fault(404, "BLOB_UPLOAD_UNKNOWN", "no such upload in this repository")
