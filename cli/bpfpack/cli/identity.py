"""Unlocking a private key for `sign` and `push`."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bpfpack.cli.host import Host
from bpfpack.cli.printer import Printer
from bpfpack.spec.errors import BpfpackError, NotFound, UsageError
from bpfpack.spec.safetext import printable
from bpfpack.spec.value import field, valuetype

if TYPE_CHECKING:
    from bpfpack.registry.trust.keys import PrivateKey
    from bpfpack.spec.judging import OwnKey


def load_key(
    host: Host,
    location: str | None = None,
    *,
    password_file: Path | None = None,
    password_fd: int | None = None,
) -> "PrivateKey":
    """Return a private key, yours unless ``location`` names another, unlocked.

    Raises NotFound when you have none, UsageError when nobody can be asked for the password,
    TrustError when it is wrong.
    """
    found = read_key(host, location)
    return unlock_key(found, password_file=password_file, password_fd=password_fd)


@valuetype
class KeyFile:
    """A private key as it is kept, and where that was."""

    where: str
    data: bytes = field(repr=False)


def read_key(host: Host, location: str | None = None) -> KeyFile:
    """Read a private key and take it out of the environment, before any child could see it.

    Raises as `load_key`, and asks for nothing.
    """
    from bpfpack.registry.trust import keyfiles

    where = location or str(host.dirs.config / keyfiles.IDENTITY)
    try:
        return KeyFile(where=where, data=keyfiles.read_private(where, os.environ))
    except NotFound as e:
        if location is None:
            raise NotFound("you have no key to sign with").with_hint(
                "bpfpack keygen makes one; --key FILE uses another"
            ) from e
        raise


def unlock_key(
    key: KeyFile, *, password_file: Path | None = None, password_fd: int | None = None
) -> "PrivateKey":
    """Unlock what `read_key` found; raises as `load_key`."""
    from bpfpack.registry.trust import keys, passwords

    if not keys.is_locked(key.data):
        passwords.take(os.environ)
        return keys.import_key(key.data)
    prompt = prompt_for(f"Password for {key.where}")
    password = passwords.obtain(os.environ, file=password_file, fd=password_fd, prompt=prompt)
    return keys.unlock(key.data, password)


def key_name(location: str) -> str:
    """What a key is called after its file.

    >>> key_name("/srv/keys/release.pub"), key_name("env://KEY")
    ('release', 'KEY')
    """
    return Path(location).stem[:128] or "key"


def has_identity(host: Host) -> bool:
    """Say whether this user has a key of their own."""
    from bpfpack.registry.trust import keyfiles

    return (host.dirs.config / keyfiles.IDENTITY).exists()


def own_key(host: Host) -> "OwnKey | None":
    """Return the public half of this user's identity; None when there is none that is usable."""
    from bpfpack.registry.trust import keyfiles
    from bpfpack.spec.judging import OwnKey
    from bpfpack.spec.policy import public_der

    path = str((host.dirs.config / keyfiles.IDENTITY).with_suffix(".pub"))
    try:
        pem = keyfiles.read_public(path, {})
        public_der(pem)
    except BpfpackError:  # whoever signs or asks for it is told what is wrong with it
        return None
    return OwnKey(location=shlex.quote(path), pem=pem)


def can_ask() -> bool:
    """Say whether there is a person to ask."""
    return os.isatty(0) and os.isatty(2)


def prompt_for(what: str, *, confirm: bool = False) -> Callable[[], str] | None:
    """Return a prompt for a secret, or None when there is no terminal to ask on.

    getpass turns the echo off before it asks, so that nothing typed ahead is ever shown.
    """
    if not can_ask():
        return None

    def ask() -> str:
        secret = _secret(what)
        while confirm and _secret("The same again") != secret:
            Printer.standard().warn("the two differ; once more")
            secret = _secret(what)
        return secret

    return ask


def _secret(what: str) -> str:
    from getpass import getpass

    try:
        return getpass(f"{printable(what)}: ")
    except EOFError as e:
        raise UsageError("no password given") from e
