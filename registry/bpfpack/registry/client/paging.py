"""Listings that come in pages: Link headers and what a page of tags says."""

import re
import time
from collections.abc import Callable
from typing import Final

from bpfpack.registry.client.urls import origin, resolve
from bpfpack.registry.client.wire import Answer
from bpfpack.registry.redact import redact_url
from bpfpack.spec import fields, strictjson
from bpfpack.spec.errors import LimitExceeded, SpecError, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.reference import valid_tag

# RFC 8288: <target>; parameters, several separated by commas.
_LINK: Final = re.compile(r"<([^<>]*)>([^<]*)")
_REL: Final = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)
_LONGEST: Final = 16384


class Budget:
    """What all pages of one listing may cost together, from now on: each alone is bounded."""

    def __init__(self, what: str, now: Callable[[], float] = time.monotonic) -> None:
        self._what, self._now = what, now
        self._left, self._ends = LIMITS.listing_bytes, now() + LIMITS.listing_seconds

    def spend(self, answer: Answer) -> None:
        """Count one page; raises LimitExceeded for bytes, TransportError for time."""
        self._left -= len(answer.body or b"")
        if self._left < 0:
            raise LimitExceeded(
                f"{self._what}: a listing of more than {LIMITS.listing_bytes} bytes"
            )
        if self._now() > self._ends:
            most = LIMITS.listing_seconds
            raise TransportError(f"{self._what}: the listing takes more than {most} seconds")


def next_page(answer: Answer) -> str | None:
    """Return the URL of the page after this one, None for the last.

    Raises TransportError when it lies at another origin: a listing is one registry's word.
    """
    head = answer.head
    for target, parameters in _LINK.findall(", ".join(head.headers.all("link"))[:_LONGEST]):
        rel = _REL.search(parameters)
        if rel and "next" in (rel[1] or rel[2] or "").lower().split():
            url = resolve(head.url, target)
            if origin(url) != origin(head.url):
                raise TransportError(f"the next page is at another host: {redact_url(url)}")
            return url
    return None


def parse_tags(body: bytes) -> tuple[str, ...]:
    """Return the tags of one page; raises SpecError.

    ``null`` is how some registries spell an empty list.
    """
    data = strictjson.loads_object(body, LIMITS.listing_body)
    if data.get("tags") is None:
        return ()
    found = fields.strings(data, "tags", most=LIMITS.listing_tags)
    for tag in found:
        if not valid_tag(tag):
            raise SpecError(f"not a tag: {tag[:80]!r}", path=("tags",))
    return found
