"""A registry's refusal, read with care and told as one of our errors."""

from typing import Any, Final

from bpfpack.registry.client.wire import Head
from bpfpack.spec import strictjson
from bpfpack.spec.errors import Denied, NotFound, SpecError, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.safetext import printable

# Distribution spec 1.1, "Error Codes"; other codes are shown, never acted on.
_UNKNOWN: Final = frozenset({"BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"})
_DENIED: Final = frozenset({"UNAUTHORIZED", "DENIED"})
_SHOWN: Final = 3
_TEXT: Final = 300


def fault(head: Head, body: bytes, what: str, registry: str) -> TransportError:
    """Return the error for a response that was not wanted; ``what`` begins the message."""
    errors = _errors(body)
    codes = {code for code, _ in errors}
    said = "; ".join(f"{code}: {message}" if message else code for code, message in errors)
    text = f"{what}: HTTP {head.status}" + (f", {printable(said, _TEXT)}" if said else "")
    if head.status == 404 or (head.status == 400 and codes & _UNKNOWN):
        return NotFound(text, status=head.status)
    if head.status in (401, 403) or (head.status == 400 and codes & _DENIED):
        return Denied(text, status=head.status).with_hint(f"try `bpfpack login {registry}`")
    error = TransportError(text, status=head.status)
    if (asked := head.headers.get("retry-after")) is not None:
        error.hint = f"the registry says when to ask again: Retry-After {printable(asked, 40)}"
    return error


def token_fault(head: Head, body: bytes, what: str, registry: str) -> TransportError:
    """Return the error for a token that was not given: Denied, or a plain TransportError.

    It has no status and is never NotFound: those would be taken for the registry's word about
    what the token was for ("there is no signature").
    """
    said = fault(head, body, what, registry)
    error = Denied(str(said)) if isinstance(said, Denied) else TransportError(str(said))
    error.hint = said.hint
    return error


def _errors(body: bytes) -> list[tuple[str, str]]:
    """The codes and messages of an error body, none when it is something else."""
    try:
        data = strictjson.loads_object(body, LIMITS.error_body)
    except SpecError:
        return []  # a proxy's page, say: the status tells enough
    listed = data.get("errors")
    found = [_error(e) for e in listed[:_SHOWN]] if isinstance(listed, list) else []
    return [e for e in found if e[0]]


def _error(data: Any) -> tuple[str, str]:
    if not isinstance(data, dict):
        return "", ""
    code, message = data.get("code"), data.get("message")
    return (
        printable(code, 64) if isinstance(code, str) else "",
        printable(message, _TEXT) if isinstance(message, str) else "",
    )
