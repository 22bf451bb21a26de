"""Keeps web pages out: an open server on loopback is in reach of every page in a browser.

A page reaches it by a cross-site request, or by a host name of its own that it lets resolve
to 127.0.0.1 (DNS rebinding).  The first announces itself in Origin or Sec-Fetch-Site, the
second in Host.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from bpfpack.registry.server.faults import Fault

HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Docker-Distribution-Api-Version": "registry/2.0",
    "Server": "bpfpack",
}

_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^][:]+))(?::[0-9]*)?")


def check(request: web.BaseRequest, hosts: frozenset[str]) -> None:
    """Raise the 403 fault for a request that a foreign page may have caused.

    Host must be an IP address, ``localhost`` or one of ``hosts`` (without port).
    """
    given = request.headers.getall("Host", [])
    if len(given) != 1:
        raise Fault(400, "DENIED", "exactly one Host header is needed")
    host = given[0].lower()
    if not _known(host, hosts):
        raise Fault(403, "DENIED", f"this registry is not called {host[:80]!r}")
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Fault(403, "DENIED", "a request from another site")
    origins = request.headers.getall("Origin", [])
    if any(_netloc(origin) != host for origin in origins):
        raise Fault(403, "DENIED", "a request from a page of another origin")


def _known(host: str, hosts: frozenset[str]) -> bool:
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1] or match[2]
    if name == "localhost" or name in hosts:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin.lower()).netloc
    except ValueError:
        return None
