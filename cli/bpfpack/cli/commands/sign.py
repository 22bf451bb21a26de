"""Signatures: sign, verify."""

from typing import Annotated, Final

import typer

from bpfpack.cli.admission import policy_for
from bpfpack.cli.host import Host
from bpfpack.cli.identity import can_ask, read_key, unlock_key
from bpfpack.cli.judged import check_content, describe, judge_located, judgement_rows
from bpfpack.cli.located import Located, locate
from bpfpack.cli.options import CaFile, DocumentFormat, PasswordFd, PasswordFile, PlainHttp
from bpfpack.cli.signed import subjects
from bpfpack.cli.units import lifetime as lifetime_of
from bpfpack.registry.trust import attach
from bpfpack.registry.trust import sign as signing
from bpfpack.spec.errors import UsageError
from bpfpack.spec.reference import Reference

EXAMPLES: Final = {
    "sign": (
        "bpfpack sign ghcr.io/x/opensnoop:1.0",
        "bpfpack sign --key release.key ghcr.io/x/opensnoop:1.0@sha256:...",
        "bpfpack sign --as ghcr.io/x/opensnoop:1.0 opensnoop:dev",
        "bpfpack sign --no-recursive ghcr.io/x/opensnoop:1.0",
    ),
    "verify": (
        "bpfpack verify ghcr.io/x/opensnoop:1.0",
        "bpfpack verify --key x.pub ghcr.io/x/opensnoop:1.0",
        "bpfpack verify -o json ghcr.io/x/opensnoop",
    ),
}


def sign(
    name: Annotated[str, typer.Argument(metavar="REF", help="What to sign.")],
    key: Annotated[
        str | None, typer.Option("--key", help="Sign with this private key.", metavar="FILE")
    ] = None,
    as_: Annotated[
        str | None, typer.Option("--as", help="The name to sign it under.", metavar="REF")
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", help="How long it counts.", metavar="AGE")
    ] = "400d",
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive/--no-recursive", help="Of an index, sign each package too (the default)."
        ),
    ] = True,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    password_file: PasswordFile = None,
    password_fd: PasswordFd = None,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
) -> None:
    """Sign a package where it is: in the local store, otherwise in its registry.

    With --as a package of the local store gets that name too, ready to be pushed.
    """
    host = Host.here(plain_http=plain_http, ca_file=ca_file)
    wanted, lifetime = Reference.parse(name), lifetime_of(expires, "--expires")
    held = read_key(host, key)  # first: a credential helper is a child of ours
    found = locate(host, wanted, to_change=True)
    target = Reference.parse(as_) if as_ is not None else found.reference
    if not found.local and wanted.digest is None and not yes:
        _confirm(found)
    elsewhere = found.local and target.name != found.reference.name
    if elsewhere:
        _check_free(host, found, target)
    wanted_ones = subjects(found.place, found.content, recursive=recursive)
    unlocked = unlock_key(held, password_file=password_file, password_fd=password_fd)
    for subject in wanted_ones.present:
        signed = signing.sign(subject, target, unlocked, now=host.now, lifetime=lifetime)
        attach.attach(found.place, signed)
        if elsewhere:  # where a push under that name looks
            attach.attach(host.store.repository(target.name), signed)
        host.printer.result(f"signed {signed.reference} ({subject.digest})")
    if elsewhere:
        # Last: what belongs to a name that is not there would be pruned one day.
        host.store.tag(found.reference, target)
    if wanted_ones.absent:
        host.printer.info(
            f"{wanted_ones.absent} packages of the index are not here and got no signature of"
            " their own; that of the index counts for them where it is asked for"
        )


def verify(
    name: Annotated[str, typer.Argument(metavar="REF", help="What to check.")],
    key: Annotated[
        str | None,
        typer.Option("--key", help="By this public key instead of the policy.", metavar="PUB"),
    ] = None,
    output: DocumentFormat = "text",
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
) -> None:
    """Check a package's signatures, as `run` would, without running it.

    Of a package in the local store everything it names is hashed too; of one in a registry
    `pull` and `run` do that when they fetch it.

    `-o json` gives reference, digest, accepted, policy, reason, hint, signers, places and
    candidates, each with its verdict and reason; nothing of it is ever renamed.
    """
    host = Host.here(plain_http=plain_http, ca_file=ca_file)
    found = locate(host, Reference.parse(name))
    policy = policy_for(host, key)
    judged = judge_located(host, found, policy=policy)
    if found.local and judged.accepted:
        check_content(found)
    if output != "text":
        host.printer.document(describe(found, judged), output)
    elif judged.accepted:
        for line in judgement_rows(found.reference, judged):
            host.printer.result(line)
    if not judged.accepted:
        raise judged.error()


def _check_free(host: Host, found: Located, target: Reference) -> None:
    """Raise UsageError when the name to sign under stands for other content here."""
    named = host.store.find(target)
    if named is not None and named.descriptor.digest != found.content.descriptor.digest:
        raise UsageError(f"{target} is other content here: {named.descriptor.digest}").with_hint(
            f"when that is to change: bpfpack tag {found.reference} {target}"
        )


def _confirm(found: Located) -> None:
    digest = found.content.descriptor.digest
    if not can_ask():
        raise UsageError(
            f"{found.reference} is not in the local store, and names {digest} right now"
        ).with_hint(f"sign {found.reference}@{digest}, or say --yes")
    typer.confirm(f"Sign {found.reference}, which is {digest} right now?", abort=True, err=True)
