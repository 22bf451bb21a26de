"""Token services at other domains that the user allows a registry: ``realms.json``.

``{"registry.corp": ["sso.example"]}``, in the configuration directory; `login --realm` adds
to it, `logout` takes out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bpfpack.registry.client.urls import origin
from bpfpack.registry.owned import OwnedDir
from bpfpack.spec import fields, strictjson
from bpfpack.spec.errors import TransportError, UsageError
from bpfpack.spec.limits import LIMITS

_NAME: Final = "realms.json"
_MOST: Final = 16


def read(config: Path) -> Mapping[str, frozenset[str]]:
    """Return the hosts by registry; raises StoreError, SpecError."""
    return {name: frozenset(hosts) for name, hosts in _load(config).items()}


def allow(config: Path, registry: str, host: str) -> None:
    """Let ``registry`` send its users' credentials to ``host``; raises StoreError, SpecError."""
    found = _load(config)
    hosts = dict.fromkeys((*found.get(registry, ()), host))
    _save(config, {**found, registry: tuple(hosts)})


def forget(config: Path, registry: str) -> None:
    """Take back all that ``registry`` was allowed; raises StoreError, SpecError."""
    found = _load(config)
    if found.pop(registry, None) is not None:
        _save(config, found)


def checked_host(text: str) -> str:
    """Return a host name as it is compared; raises UsageError for anything else."""
    try:
        found = origin(f"https://{text}").host
    except TransportError as e:
        raise UsageError(f"--realm is a host, such as auth.example.com: {text!r}") from e
    if found != text.lower():
        raise UsageError(f"--realm is a host without port or path: {text!r}")
    return found


def _load(config: Path) -> dict[str, tuple[str, ...]]:
    directory = OwnedDir.find(config)
    if directory is None:
        return {}
    with directory:
        data = directory.read(_NAME, LIMITS.key_file)
    if data is None:
        return {}
    table: dict[str, Any] = strictjson.loads_object(data, LIMITS.key_file)
    return {name: fields.strings(table, name, most=_MOST) for name in table}


def _save(config: Path, table: Mapping[str, tuple[str, ...]]) -> None:
    with OwnedDir.open(config, create=True) as directory:
        directory.write(_NAME, strictjson.dumps({k: list(v) for k, v in table.items()}))
