"""URLs that servers hand out: origins, and resolution that keeps every byte of the query."""

import ipaddress
import re
from typing import Final
from urllib.parse import urljoin, urlsplit

from bpfpack.registry.redact import redact_url
from bpfpack.spec.errors import TransportError
from bpfpack.spec.safetext import printable
from bpfpack.spec.value import valuetype

_PORTS: Final = {"http": 80, "https": 443}
# RFC 3986: what a URL may hold at all.  Anything else would be altered on its way out.
_LEGAL: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_LONGEST: Final = 16384
# RFC 3986, 3.2, without user information, and with names that DNS can hold (RFC 1123; "_" is
# for the likes of compose): what else a resolver, a proxy or a library makes of a host is
# their guess, and credentials are bound to it.
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_AUTHORITY: Final = re.compile(
    rf"(?:\[(?P<six>[0-9a-f:.]{{2,45}})\]|(?P<name>{_LABEL}(?:\.{_LABEL})*\.?))(?::(?P<port>[0-9]{{0,5}}))?",
    re.IGNORECASE,
)
_LONGEST_NAME: Final = 253


@valuetype(kw_only=False)
class Origin:
    """Scheme, host and port: what credentials are bound to (RFC 6454)."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """True when no other machine can be listening."""
        return is_loopback(self.host)

    @property
    def is_private(self) -> bool:
        """True when what is sent there can be read by nobody on the way."""
        return self.scheme == "https" or self.is_loopback

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if _PORTS[self.scheme] == self.port else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def origin(url: str) -> Origin:
    """Return where ``url`` leads; raises TransportError unless it is plain http or https.

    >>> origin("https://ghcr.io/v2/") == origin("https://GHCR.io:443/token?a=")
    True
    """
    if not _LEGAL.fullmatch(url):  # urlsplit would drop what it does not like
        raise TransportError(f"a malformed URL: {redact_url(url)}")
    try:
        parts = urlsplit(url)
    except ValueError as e:
        raise TransportError(f"a malformed URL: {redact_url(url)}") from e
    if parts.scheme not in _PORTS or not parts.netloc:
        raise TransportError(f"not an http or https URL: {redact_url(url)}")
    if "@" in parts.netloc:
        raise TransportError(f"a URL with user information: {redact_url(url)}")
    match = _AUTHORITY.fullmatch(parts.netloc)
    port = int((match and match["port"]) or _PORTS[parts.scheme])
    if match is None or not _is_host(match["six"], match["name"]) or not 0 < port < 65536:
        raise TransportError(f"a URL without a usable host: {redact_url(url)}")
    return Origin(parts.scheme, (match["six"] or match["name"]).rstrip(".").lower(), port)


def _is_host(six: str | None, name: str | None) -> bool:
    """Say whether an authority's host is an address or a name.

    A name that ends in a number is an IPv4 address or nothing, whatever `inet_aton` thinks.
    """
    try:
        if six is not None:
            ipaddress.IPv6Address(six)
        elif name is not None and name.rstrip(".").rpartition(".")[2].isdigit():
            ipaddress.IPv4Address(name)  # with a dot behind it, a name that DNS is asked for
    except ValueError:
        return False
    return name is None or len(name) <= _LONGEST_NAME


def resolve(base: str, target: str) -> str:
    """Return ``target``, as a response of ``base`` named it, as a whole URL (RFC 3986, 5.2).

    The query stays as it is, blank and repeated keys included; a fragment is dropped.
    Raises TransportError for anything that is no URL of http or https.

    >>> resolve("https://r.io/v2/x/blobs/uploads/", "abc?_state=&a=1&a=2")
    'https://r.io/v2/x/blobs/uploads/abc?_state=&a=1&a=2'
    """
    if len(target) > _LONGEST or not _LEGAL.fullmatch(target):
        raise TransportError(f"a malformed URL from the registry: {printable(target, 120)}")
    address, _, query = target.partition("#")[0].partition("?")
    try:
        # Without the query: urljoin drops a lone "?" and would have to be trusted with the rest.
        found = urljoin(base.partition("?")[0], address)
    except ValueError as e:
        raise TransportError(f"a malformed URL from the registry: {printable(target, 120)}") from e
    origin(found)
    return f"{found}?{query}" if "?" in target.partition("#")[0] else found


def with_parameter(url: str, parameter: str) -> str:
    """Return ``url`` with ``key=value`` behind whatever query it has, untouched.

    >>> with_parameter("https://r.io/u?_state=", "digest=sha256:00")
    'https://r.io/u?_state=&digest=sha256:00'
    """
    if "?" not in url:
        return f"{url}?{parameter}"
    return f"{url}{'' if url[-1] in '?&' else '&'}{parameter}"


def is_loopback(host: str) -> bool:
    """Say whether ``host`` (no port) is 127.0.0.0/8, ::1 or localhost.

    >>> [is_loopback(h) for h in ("127.0.0.2", "::1", "localhost", "127.0.0.1.evil.com")]
    [True, True, True, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
