"""Which token services may see a user's credentials.

The realm of a challenge is chosen by whoever answers for the registry, so credentials go
there only over TLS and only to the registry's own host, its own registrable domain, or a
host that the user configured.
"""

import ipaddress
from typing import Final

from bpfpack.registry.client.urls import Origin, origin
from bpfpack.registry.redact import redact_url
from bpfpack.spec.errors import Denied, TransportError

# Second-level labels under which country domains are handed out (`co.uk`, `com.cn`).
_SECOND_LEVEL: Final = frozenset(
    {"ac", "co", "com", "edu", "go", "gob", "gov", "ne", "net", "nom", "or", "org"}
)
# Domains whose children belong to strangers (the private part of publicsuffix.org, as far
# as registries are found there).  A host below one has no relatives.
_SHARED: Final = frozenset(
    {
        "amazonaws.com",
        "appspot.com",
        "azure.com",
        "azurecr.io",
        "azurewebsites.net",
        "cloudapp.net",
        "cloudfront.net",
        "cluster.local",
        "digitaloceanspaces.com",
        "duckdns.org",
        "dyndns.org",
        "firebaseapp.com",
        "fly.dev",
        "github.io",
        "gitlab.io",
        "herokuapp.com",
        "jfrog.io",
        "netlify.app",
        "ngrok-free.app",
        "ngrok.io",
        "nip.io",
        "onrender.com",
        "pages.dev",
        "pkg.dev",
        "r2.dev",
        "railway.app",
        "run.app",
        "sslip.io",
        "vercel.app",
        "web.app",
        "windows.net",
        "workers.dev",
        "xip.io",
    }
)


def check(realm: str, registry: Origin) -> Origin:
    """Return where ``realm`` leads; raises Denied when nothing at all may be asked there."""
    try:
        found = origin(realm)
    except TransportError as e:
        raise Denied(f"{registry}: its token service is not usable: {e}") from e
    plain_both = found.scheme == "http" == registry.scheme and found.host == registry.host
    if found.scheme != "https" and not ((found.is_loopback and registry.is_loopback) or plain_both):
        raise Denied(f"{registry}: its token service is not https: {redact_url(realm)}")
    return found


def trusted(realm: Origin, registry: Origin, configured: frozenset[str]) -> bool:
    """Say whether ``realm`` may be given the credentials of ``registry``.

    >>> docker = origin("https://registry-1.docker.io")
    >>> trusted(origin("https://auth.docker.io/token"), docker, frozenset())
    True
    """
    if not realm.is_private:
        return False
    if realm.host == registry.host or realm.host in configured:
        return True
    domain = registrable(registry.host)
    return domain is not None and domain == registrable(realm.host)


def registrable(host: str) -> str | None:
    """Return the domain that one owner registered, None where that cannot be told.

    >>> registrable("auth.registry.example.co.uk"), registrable("x.azurecr.io")
    ('example.co.uk', None)
    """
    labels = host.split(".")
    if len(labels) < 2 or not all(labels) or _is_address(host):
        return None
    country = len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL
    own = 3 if country else 2
    domain = ".".join(labels[-own:])
    return None if len(labels) < own or domain in _SHARED else domain


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
