"""Unlocking a private key for `sign` and `push`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bpfpack.cli.host import Host
from bpfpack.spec.errors import NotFound

if TYPE_CHECKING:
    from bpfpack.registry.trust.keys import PrivateKey


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
    from bpfpack.registry.trust import keyfiles, keys, passwords

    where = location or str(host.dirs.config / keyfiles.IDENTITY)
    try:
        data = keyfiles.read_private(where, host.environ)
    except NotFound as e:
        if location is None:
            raise NotFound("you have no key to sign with").with_hint(
                "bpfpack keygen makes one; --key FILE uses another"
            ) from e
        raise
    if not keys.is_locked(data):
        passwords.take(os.environ)
        return keys.import_key(data)
    password = passwords.obtain(
        os.environ, file=password_file, fd=password_fd, prompt=prompt_for(f"Password for {where}")
    )
    return keys.unlock(data, password)


def has_identity(host: Host) -> bool:
    """Say whether this user has a key of their own."""
    from bpfpack.registry.trust import keyfiles

    return (host.dirs.config / keyfiles.IDENTITY).exists()


def prompt_for(what: str, *, confirm: bool = False) -> Callable[[], str] | None:
    """Return a prompt, or None when there is no terminal to ask on."""
    if not os.isatty(0) or not os.isatty(2):
        return None

    def ask() -> str:
        import typer

        text: str = typer.prompt(
            what, hide_input=True, confirmation_prompt=confirm, err=True, default=""
        )
        return text

    return ask
