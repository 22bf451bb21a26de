"""The two kinds of range: of a download (RFC 9110 section 14) and of an uploaded chunk."""

import re
from typing import Final

from bpfpack.registry.server.faults import Fault
from bpfpack.spec.value import valuetype

# Enough for any file, and far below what Python refuses to convert.
_DIGITS: Final = r"[0-9]{1,19}"
_BYTES: Final = re.compile(rf"bytes=({_DIGITS})?-({_DIGITS})?", re.IGNORECASE)
_CHUNK: Final = re.compile(rf"({_DIGITS})-({_DIGITS})")


@valuetype(kw_only=False)
class Span:
    """``count`` bytes from ``start``."""

    start: int
    count: int

    @property
    def last(self) -> int:
        """The position of its last byte."""
        return self.start + self.count - 1


def parse_range(text: str | None, size: int) -> Span | None:
    """Return the part of ``size`` bytes that a Range header asks for, None for all of it.

    Other units, several ranges and nonsense are ignored, as RFC 9110 allows.  A range that
    no byte satisfies raises the 416 fault, an inverted one too.

    >>> parse_range("bytes=-10", 100)
    Span(start=90, count=10)
    """
    match = _BYTES.fullmatch(text.strip()) if text else None
    if match is None or (match[1] is None and match[2] is None):
        return None
    if match[1] is None:
        count = min(int(match[2]), size)
        start, last = size - count, size - 1
    else:
        start = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] is not None else size - 1
    if start > last or start >= size:
        raise Fault(
            416,
            "SIZE_INVALID",
            f"no byte of {size} is in the range",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return Span(start, last - start + 1)


def parse_chunk(text: str | None) -> Span | None:
    """Return what a chunk's Content-Range says (``0-1023``, no unit), None when absent.

    >>> parse_chunk("0-1023")
    Span(start=0, count=1024)
    """
    if text is None:
        return None
    match = _CHUNK.fullmatch(text.strip())
    if match is None or int(match[2]) < int(match[1]):
        raise Fault(400, "BLOB_UPLOAD_INVALID", "Content-Range is not <first>-<last>")
    return Span(int(match[1]), int(match[2]) - int(match[1]) + 1)


def held(offset: int) -> str:
    """Return the Range header that says how much of an upload is here.

    Nothing at all is ``0-0``: the header has no spelling for an empty range.
    """
    return f"0-{max(offset - 1, 0)}"
