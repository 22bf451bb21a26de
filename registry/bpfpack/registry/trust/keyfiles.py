"""Key files on the disk and in the environment.

A private key file is 0600 and never overwritten; one that others can read is refused.
"""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

from bpfpack.registry.owned import OwnedDir, Pending
from bpfpack.spec.bounded import read_at_most
from bpfpack.spec.errors import BpfpackError, NotFound, SpecError, StoreError, UsageError
from bpfpack.spec.limits import LIMITS

#: Where your identity is, below the configuration directory.
IDENTITY: Final = "identity.key"
_ENVIRONMENT: Final = "env://"


def read_private(location: str, environ: MutableMapping[str, str]) -> bytes:
    """Return a private key file, from a path or from ``env://VARIABLE``.

    The variable is removed from the environment, so that no child process inherits it.
    Raises NotFound, StoreError when others can read or write it, LimitExceeded.
    """
    if location.startswith(_ENVIRONMENT):
        name = location.removeprefix(_ENVIRONMENT)
        try:
            return _from_environment(name, environ)
        finally:
            environ.pop(name, None)
    path = _absolute(Path(location))
    directory = OwnedDir.find(path.parent)
    if directory is None:
        raise NotFound(f"no key file {path}")
    with directory:
        data = find_private(directory, path.name)
    if data is None:
        raise NotFound(f"no key file {path}").with_hint("bpfpack keygen makes one")
    return data


def find_private(directory: OwnedDir, name: str) -> bytes | None:
    """Return a private key file in ``directory``, or None when there is none.

    Raises StoreError when others can read or write it, LimitExceeded.
    """
    file = directory.find_file(name)
    if file is None:
        return None
    with file:
        path = directory.path / name
        if file.status.st_mode & 0o077:
            raise StoreError(f"others can read {path}").with_hint(f"chmod 600 {path}")
        return read_at_most(file, LIMITS.key_file, str(path))


def read_public(location: str, environ: Mapping[str, str]) -> str:
    """Return a public key file, from a path or from ``env://VARIABLE``.

    Anyone may be able to read or write it: the user names it now, and its content is copied.
    Raises NotFound, StoreError, LimitExceeded, SpecError.
    """
    if location.startswith(_ENVIRONMENT):
        data = _from_environment(location.removeprefix(_ENVIRONMENT), environ)
    else:
        data = _read_any(Path(location))
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as e:
        raise SpecError(f"{location} is no PEM file") from e
    if "PRIVATE KEY" in text:
        raise _private(location)
    return text


def _private(location: str) -> SpecError:
    error = SpecError(f"{location} is a private key, where a public key belongs")
    if location.startswith(_ENVIRONMENT):
        return error.with_hint(f"`bpfpack pubkey --key {location}` prints its public half")
    public = Path(location).with_suffix(".pub")
    if public.exists():
        return error.with_hint(f"its public half is {public}")
    return error.with_hint(f"`bpfpack pubkey --key {location} > {public}` writes its public half")


def write_pair(base: Path, private: bytes, public: bytes) -> tuple[Path, Path]:
    """Write ``base``.key, 0600, and ``base``.pub, neither of which exists yet; durably.

    Both are on the disk before one has its name.  Raises UsageError when there is one already,
    StoreError.
    """
    base = _absolute(base)
    key, pub = base.with_name(f"{base.name}.key"), base.with_name(f"{base.name}.pub")
    with (
        OwnedDir.open(base.parent, create=True) as directory,
        directory.pending() as secret,
        directory.pending(mode=0o644) as open_,
    ):
        open_.write(public)
        open_.sync()
        secret.write(private)
        _name(secret, key, pub)
        try:
            _name(open_, pub, pub)
        except BpfpackError:
            directory.remove(key.name)  # half a pair would only be in the way
            raise
    return key, pub


def _name(file: Pending, path: Path, public: Path) -> None:
    if file.commit_new(path.name):
        return
    hint = "name another file, or move that one away first"
    if not public.exists():
        hint = f"`bpfpack pubkey --key {path} > {public}` writes its public half"
    raise UsageError(f"{path} exists, and a key is never overwritten").with_hint(hint)


def _from_environment(name: str, environ: Mapping[str, str]) -> bytes:
    if name not in environ:
        raise NotFound(f"the environment has no {name}")
    data = environ[name].encode()
    if len(data) > LIMITS.key_file:
        raise SpecError(f"a key file of more than {LIMITS.key_file} bytes")
    return data


def _read_any(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return read_at_most(file, LIMITS.key_file, str(path))
    except FileNotFoundError as e:
        raise NotFound(f"no key file {path}") from e
    except OSError as e:
        raise StoreError(f"{path}: {e.strerror}") from e


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - links are judged, not resolved
