"""URLs without secrets, for messages."""

from urllib.parse import urlsplit

from bpfpack.spec.safetext import printable

_SHOWN = 300


def redact_url(url: str) -> str:
    """Return ``url`` without user information and without the values of its query.

    >>> redact_url("https://u:p@cdn.example/a?X-Amz-Signature=abc")
    'https://cdn.example/a?…'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(malformed URL)"
    host = parts.netloc.rpartition("@")[2]
    query = "?…" if parts.query else ""
    return printable(f"{parts.scheme}://{host}{parts.path}{query}", _SHOWN)
