"""`login` and `logout`: where docker keeps credentials, the way docker keeps them."""

import base64
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bpfpack.registry.client import helpers
from bpfpack.registry.client.credentials import (
    docker_config,
    helper_for,
    load,
    same_registry,
    server_name,
)
from bpfpack.registry.client.remote import RegistryClient
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.wire import Credential
from bpfpack.registry.owned import mapped
from bpfpack.registry.replacing import replacing
from bpfpack.spec.errors import Denied, StoreError, UsageError
from bpfpack.spec.reference import Reference
from bpfpack.spec.value import valuetype


@valuetype
class LoggedIn:
    """Where a credential went: a file, or the helper that the file names."""

    registry: str
    path: Path
    helper: str | None


def login(
    registry: str, credential: Credential, settings: Settings, environ: Mapping[str, str]
) -> LoggedIn:
    """Try a credential, then keep it.

    ``settings`` say which token services may see it.  Raises Denied when the registry does
    not take it or could not be told safely, TransportError, StoreError, SpecError for what
    is no registry.
    """
    name = registry_name(registry)
    with RegistryClient(settings, lookup=lambda _registry, _repository: credential) as client:
        if not client.origin(Reference(name, "x").api_host).is_private:
            raise Denied(
                f"{name} is reached over plain http; a password would be readable"
            ).with_hint("let the registry serve TLS, or reach it through a loopback tunnel")
        client.ping(name)
    path = target(environ)
    with _alone(path):
        helper = _keep(path, name, credential, environ)
    return LoggedIn(registry=name, path=path, helper=helper)


def registry_name(text: str) -> str:
    """Return what a registry is called in references; raises SpecError for what is none."""
    return Reference(text, "x").name.removesuffix("/x")


def logout(registry: str, environ: Mapping[str, str]) -> bool:
    """Forget the credential for ``registry``; False when there was none.  Raises StoreError."""
    path = target(environ)
    with _alone(path):
        config = load(path)
        if helper := helper_for(config, registry):
            helpers.erase(helper, server_name(registry), environ)
        auths = _auths(config)
        gone = [key for key in auths if same_registry(key, registry)]
        for key in gone:
            del auths[key]
        if gone:
            write(path, config | {"auths": auths})
    return bool(gone or helper)


def target(environ: Mapping[str, str]) -> Path:
    """Return the file that `login` writes; raises UsageError without a home."""
    if named := environ.get("REGISTRY_AUTH_FILE"):
        return Path(named)
    if (found := docker_config(environ)) is None:
        raise UsageError("neither HOME nor DOCKER_CONFIG says where credentials go")
    return found


def write(path: Path, config: Mapping[str, Any]) -> None:
    """Replace a file, readable by its owner alone, at once and durably; raises StoreError.

    A link is followed, as docker does: people keep this file in a dotfiles repository.
    """
    data = json.dumps(config, indent="\t").encode() + b"\n"
    with mapped(f"cannot write {path}"):
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(Path(os.path.realpath(path)), 0o600) as file:
            file.write(data)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let a second command of ours read what the first has written, not lose it.

    The lock is on the directory: whoever else writes the file takes none.
    """
    try:
        fd = os.open(path.parent.resolve(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:  # nobody can be changing a file there
        yield
        return
    except OSError as e:
        raise StoreError(f"cannot open {path.parent}: {e.strerror}") from e
    try:
        with mapped(str(path.parent)):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _keep(
    path: Path, registry: str, credential: Credential, environ: Mapping[str, str]
) -> str | None:
    """Keep a credential; returns the helper that has it now."""
    config = load(path)
    auths = {k: v for k, v in _auths(config).items() if not same_registry(k, registry)}
    server = server_name(registry)
    if helper := helper_for(config, registry):
        helpers.store(helper, server, credential, environ)
        auths[server] = {}  # docker lists the servers of a helper so
    else:
        pair = f"{credential.username}:{credential.secret}".encode()
        auths[server] = {"auth": base64.b64encode(pair).decode()}
    write(path, config | {"auths": auths})
    return helper


def _auths(config: Mapping[str, Any]) -> dict[str, Any]:
    auths = config.get("auths")
    return dict(auths) if isinstance(auths, dict) else {}
