"""The user's credentials: docker's and podman's files and credential helpers.

Files are asked in this order: REGISTRY_AUTH_FILE, docker's ``config.json`` (in
DOCKER_CONFIG, else ``~/.docker``), ``$XDG_RUNTIME_DIR/containers/auth.json``,
``~/.config/containers/auth.json``.  In a file the helper for the registry comes first, then
its store, then what is written in it.  An entry that cannot be read is passed over with a
warning; it never hides the others.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bpfpack.registry.client import _oras, helpers
from bpfpack.registry.client.wire import Credential
from bpfpack.spec import strictjson
from bpfpack.spec.errors import BpfpackError, SpecError, StoreError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.safetext import printable
from bpfpack.spec.value import valuetype

_log: Final = logging.getLogger(__name__)
# What docker calls its own hub, in files and to helpers.
DOCKER_HUB: Final = "https://index.docker.io/v1/"


@valuetype(kw_only=False)
class CredentialStore:
    """Reads the files of ``environ`` anew each time; helpers run in that environment."""

    environ: Mapping[str, str]

    @classmethod
    def of_user(cls) -> "CredentialStore":
        """Return the store of the user that runs this process."""
        return cls(dict(os.environ))

    def get(self, registry: str, repository: str = "") -> Credential | None:
        """Return the credential for ``registry`` as the user calls it, None for none.

        Podman's files may name one repository or a prefix of it; the longest wins.
        Raises Denied when Amazon's tools refuse one for an ECR registry.
        """
        for path in files(self.environ):
            if (found := self._from_file(path, registry, repository)) is not None:
                return found
        return _oras.ecr_credential(registry) if _oras.is_ecr(registry) else None

    def _from_file(self, path: Path, registry: str, repository: str) -> Credential | None:
        try:
            config = load(path)
        except BpfpackError as e:
            _log.warning("%s", printable(f"{path}: {e}"))
            return None
        if helper := helper_for(config, registry):
            try:
                found = helpers.get(helper, server_name(registry), self.environ)
            except BpfpackError as e:
                _log.warning("%s", printable(str(e)))
            else:
                if found is not None:
                    return found
        return _from_entries(config, path, registry, repository)


def files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files that may hold credentials, the first to be asked first."""
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    if (docker := docker_config(environ)) is not None:
        yield docker
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers/auth.json"
    if home := environ.get("HOME"):
        yield Path(environ.get("XDG_CONFIG_HOME") or f"{home}/.config") / "containers/auth.json"


def docker_config(environ: Mapping[str, str]) -> Path | None:
    """Return docker's configuration file, None without a home."""
    if directory := environ.get("DOCKER_CONFIG"):
        return Path(directory) / "config.json"
    home = environ.get("HOME")
    return Path(home) / ".docker/config.json" if home else None


def load(path: Path) -> dict[str, Any]:
    """Return the object in a file, empty when there is none; raises SpecError, StoreError."""
    try:
        with path.open("rb") as file:
            data = file.read(LIMITS.key_file * 16 + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as e:
        raise StoreError(f"cannot read {path}: {e.strerror}") from e
    return strictjson.loads_object(data, LIMITS.key_file * 16) if data.strip() else {}


def helper_for(config: Mapping[str, Any], registry: str) -> str | None:
    """Return the name of the helper that a file wants asked about ``registry``."""
    chosen = config.get("credHelpers")
    named: object = None
    if isinstance(chosen, dict):
        named = next((v for k, v in chosen.items() if _host(k) == _host(registry)), None)
    named = named or config.get("credsStore")
    return named if isinstance(named, str) else None


def server_name(registry: str) -> str:
    """Return what docker's files and helpers call ``registry``."""
    return DOCKER_HUB if _host(registry) == "docker.io" else registry


def same_registry(key: str, registry: str) -> bool:
    """Say whether a key of ``auths`` means the whole of ``registry``."""
    return _host(key) == _host(registry)


def _from_entries(
    config: Mapping[str, Any], path: Path, registry: str, repository: str
) -> Credential | None:
    auths = config.get("auths")
    if not isinstance(auths, dict):
        return None
    keys = [k for k in auths if same_registry(k, registry)]
    parts = f"{registry}/{repository}".split("/")
    prefixes = ["/".join(parts[:n]) for n in range(len(parts), 1, -1)]
    for key in [*(p for p in prefixes if p in auths), *keys]:
        try:
            found = _entry(auths[key])
        except SpecError as e:
            _log.warning("%s", printable(f"{path}: the credentials for {key} cannot be read: {e}"))
            continue
        if found is not None:
            return found
    return None


def _entry(entry: object) -> Credential | None:
    """Parse one value of ``auths``, None for the empty one of a helper; raises SpecError."""
    if not isinstance(entry, dict):
        raise SpecError("not an object")
    if any(not isinstance(v, str) for k, v in entry.items() if k in _MEMBERS):
        raise SpecError("not a string")
    auth = entry.get("auth")
    basic = Credential.from_basic(auth) if auth else None
    found = Credential(
        username=basic.username if basic else entry.get("username", ""),
        secret=basic.secret if basic else entry.get("password", ""),
        identity_token=entry.get("identitytoken", ""),
        registry_token=entry.get("registrytoken", ""),
    )
    return found if found.secret or found.identity_token or found.registry_token else None


_MEMBERS: Final = frozenset({"auth", "username", "password", "identitytoken", "registrytoken"})


def _host(key: str) -> str:
    """The registry that a key means: docker also writes ``https://HOST/v1/``."""
    bare = key.removeprefix("https://").removeprefix("http://")
    host, _, rest = bare.partition("/")
    if rest.strip("/") not in ("", "v1", "v2"):
        return key
    return "docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host
