"""Which authorities vouch for a host.

The order is fixed here since requests would let REQUESTS_CA_BUNDLE win over what the user
asked for and does not know SSL_CERT_FILE: --ca-file, docker's certs.d for the host,
SSL_CERT_FILE, REQUESTS_CA_BUNDLE, the system's store.
"""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.urls import Origin
from bpfpack.spec.errors import UsageError


def authorities(settings: Settings, where: Origin, environ: Mapping[str, str]) -> str | None:
    """Return the bundle to trust for ``where``, None for requests' own.

    Raises UsageError when a file that was chosen cannot be read.
    """
    if settings.ca_file is not None:
        return _readable(settings.ca_file, "--ca-file")
    if (found := _docker_file(settings, where)) is not None:
        return _readable(found, "docker's CA for this registry")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if value := environ.get(name):
            return _readable(Path(value), name)
    system = ssl.get_default_verify_paths()
    return next((f for f in (system.cafile, system.openssl_cafile) if f and _exists(f)), None)


def has_own_authority(settings: Settings, where: Origin) -> bool:
    """Say whether the user set up TLS for this very host."""
    return settings.ca_file is not None or _docker_file(settings, where) is not None


def _docker_file(settings: Settings, where: Origin) -> Path | None:
    """Docker names the directory by host, with the port unless it is the usual one."""
    port = "" if where.port == 443 else f":{where.port}"
    for name in dict.fromkeys((f"{where.host}{port}", f"{where.host}:{where.port}")):
        path = settings.certificates / name / "ca.crt"
        if _exists(path):
            return path
    return None


def _exists(path: str | Path) -> bool:
    return os.access(path, os.F_OK)


def _readable(path: Path, why: str) -> str:
    if not os.access(path, os.R_OK) or path.is_dir():
        raise UsageError(f"cannot read the certificates in {path} ({why})")
    return str(path)
