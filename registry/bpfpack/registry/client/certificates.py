"""Which authorities vouch for a host, and what we show it of ourselves.

The order is fixed here since requests would let REQUESTS_CA_BUNDLE win over what the user
asked for and does not know SSL_CERT_FILE: --ca-file, a directory for the host, SSL_CERT_FILE,
REQUESTS_CA_BUNDLE, the system's store.  The directories are docker's: ``HOST[:PORT]/`` with
``ca.crt``, and ``NAME.cert`` with ``NAME.key`` for a client certificate; they count when
nobody else can have written them.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.urls import Origin
from bpfpack.registry.owned import OwnedDir
from bpfpack.spec.errors import UsageError

_CA: Final = "ca.crt"
_CERTIFICATE, _KEY = ".cert", ".key"


def authorities(settings: Settings, where: Origin, environ: Mapping[str, str]) -> str | None:
    """Return the bundle to trust for ``where``, None for requests' own.

    Raises UsageError when a file that was chosen cannot be read, StoreError when others can
    have written it.
    """
    if settings.ca_file is not None:
        return _readable(settings.ca_file, "--ca-file")
    if (found := _own_authority(settings, where)) is not None:
        return _readable(found, "the CA for this registry")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if value := environ.get(name):
            return _readable(Path(value), name)
    system = ssl.get_default_verify_paths()
    return next((f for f in (system.cafile, system.openssl_cafile) if f and _exists(f)), None)


def has_own_authority(settings: Settings, where: Origin) -> bool:
    """Say whether the user set up TLS for this very host."""
    return settings.ca_file is not None or _own_authority(settings, where) is not None


def client_certificate(settings: Settings, where: Origin) -> tuple[str, str] | None:
    """Return the certificate and key to show to ``where`` and to nobody else, None for none.

    Raises UsageError for one without the other, StoreError when others can have written it.
    """
    for directory in _directories(settings, where):
        names = sorted(os.listdir(directory))  # noqa: PTH208
        for name in names:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122
            if suffix != _CERTIFICATE:
                continue
            if f"{stem}{_KEY}" not in names:
                raise UsageError(f"{directory}: {name} without {stem}{_KEY}")
            files = (directory / name, directory / f"{stem}{_KEY}")
            certificate, key = (_readable(f, "our certificate for this registry") for f in files)
            return certificate, key
    return None


def _own_authority(settings: Settings, where: Origin) -> Path | None:
    found = (directory / _CA for directory in _directories(settings, where))
    return next((path for path in found if _exists(path)), None)


def _directories(settings: Settings, where: Origin) -> Iterator[Path]:
    """Yield the host's directories; docker names the port unless it is the usual one."""
    port = "" if where.port == 443 else f":{where.port}"
    names = dict.fromkeys((f"{where.host}{port}", f"{where.host}:{where.port}"))
    for root in settings.certificates:
        for name in names:
            if _exists(root / name):
                _check(root / name)
                yield root / name


def _check(directory: Path) -> None:
    """Raise StoreError unless only this user and root can have written what is inside.

    Links are followed, since Kubernetes mounts such files as links; where they lead is
    checked as well as where they lie.
    """
    for holder in (directory.parent, directory):
        OwnedDir.open(_real(holder)).close()
    for name in os.listdir(directory):  # noqa: PTH208
        if name.endswith((_CERTIFICATE, _KEY)) or name == _CA:
            real = _real(directory / name)
            with OwnedDir.open(real.parent) as holder_of_file:
                if (file := holder_of_file.find_file(real.name)) is not None:
                    file.close()


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _exists(path: str | Path) -> bool:
    return os.access(path, os.F_OK)


def _readable(path: Path, why: str) -> str:
    if not os.access(path, os.R_OK) or path.is_dir():
        raise UsageError(f"cannot read the certificates in {path} ({why})")
    return str(path)
