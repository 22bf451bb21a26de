"""Keys: keygen, pubkey."""

import os
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from bpfpack.cli.host import Host
from bpfpack.cli.identity import has_identity, load_key, prompt_for
from bpfpack.cli.options import PasswordFd, PasswordFile
from bpfpack.registry.trust import keyfiles, keys, passwords
from bpfpack.spec.errors import NotFound
from bpfpack.spec.policy import fingerprint

EXAMPLES: Final = {
    "keygen": (
        "bpfpack keygen",
        "bpfpack keygen --output-key-prefix release",
        "bpfpack keygen --import old.pem --password-file secret.txt",
    ),
    "pubkey": ("bpfpack pubkey > me.pub", "bpfpack pubkey --key release.key"),
}


def keygen(
    prefix: Annotated[
        str | None,
        typer.Option(
            "--output-key-prefix",
            help="Write P.key and P.pub instead of your identity.",
            metavar="P",
        ),
    ] = None,
    type_: Annotated[
        Literal["ecdsa-p256", "rsa-2048", "rsa-3072", "rsa-4096"],
        typer.Option("--type", help="The kind of key."),
    ] = "ecdsa-p256",
    import_: Annotated[
        str | None,
        typer.Option(
            "--import", help="Take this unencrypted PEM key: a file, or env://VAR.", metavar="FILE"
        ),
    ] = None,
    password_file: PasswordFile = None,
    password_fd: PasswordFd = None,
) -> None:
    """Make a key pair to sign with.

    The private key is encrypted under a password, in cosign's format. Nothing trusts it yet:
    the last line says what to type for that.
    """
    host = Host.here()
    base = Path(prefix) if prefix else host.dirs.config / Path(keyfiles.IDENTITY).stem
    if import_:
        key = keys.import_key(keyfiles.read_private(import_, os.environ))
        if warning := keys.public_warning(key.public_pem):
            host.printer.warn(warning)
    else:
        key = keys.generate(type_)
    password = passwords.obtain(
        os.environ,
        file=password_file,
        fd=password_fd,
        prompt=prompt_for("Password for the new key", confirm=True),
        why="a new key needs a password",
    )
    private, public = keyfiles.write_pair(base, keys.lock(key, password), key.public_pem.encode())
    host.printer.result(f"private key  {private}")
    host.printer.result(f"public key   {public}")
    host.printer.result(f"fingerprint  SHA256:{fingerprint(key.public_pem)}")
    host.printer.info("To trust what it signs, choose a scope and type there:", "hint")
    host.printer.info(f"  bpfpack trust add ghcr.io/you --key {public}", "hint")


def pubkey(
    key: Annotated[
        str | None, typer.Option("--key", help="Of this private key.", metavar="FILE")
    ] = None,
    password_file: PasswordFile = None,
    password_fd: PasswordFd = None,
) -> None:
    """Print the public key of your identity, in PEM."""
    host = Host.here()
    if key is None:
        public = (host.dirs.config / keyfiles.IDENTITY).with_suffix(".pub")
        try:
            text = keyfiles.read_public(str(public), host.environ)
        except NotFound as e:
            if not has_identity(host):
                raise NotFound("you have no key yet").with_hint("bpfpack keygen makes one") from e
        else:
            host.printer.text(text)
            return
    unlocked = load_key(host, key, password_file=password_file, password_fd=password_fd)
    host.printer.text(unlocked.public_pem)
