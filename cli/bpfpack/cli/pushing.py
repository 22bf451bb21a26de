"""Sending a package to its registry, signed where that is due."""

from functools import cached_property
from pathlib import Path

from bpfpack.cli.host import Host
from bpfpack.cli.identity import has_identity, load_key
from bpfpack.cli.progress import shown
from bpfpack.cli.signed import subjects
from bpfpack.registry.client.remote import RemoteRepository
from bpfpack.registry.store.attached import check_name
from bpfpack.registry.store.disk import LocalRepository
from bpfpack.registry.transfer import copy
from bpfpack.registry.trust import attach, keyfiles
from bpfpack.registry.trust import sign as signing
from bpfpack.registry.trust.collect import collect
from bpfpack.registry.trust.keys import PrivateKey
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import NotFound, TransportError, UsageError
from bpfpack.spec.policy import fingerprint
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import SignaturePlace
from bpfpack.spec.value import replace, valuetype


@valuetype(slots=False)
class Signing:
    """Whether and how to sign; ``wanted`` None means: what was built here or signed before."""

    host: Host
    wanted: bool | None = None
    key: str | None = None
    password_file: Path | None = None
    password_fd: int | None = None

    @cached_property
    def unlocked(self) -> PrivateKey:
        """The private key; its password is asked for once, however many tags are pushed."""
        return load_key(
            self.host, self.key, password_file=self.password_file, password_fd=self.password_fd
        )


def push_package(host: Host, reference: Reference, options: Signing) -> Digest:
    """Push what the store has under a name; return its digest.

    Raises NotFound, UsageError when it cannot be signed though it should be, TransportError.
    """
    check_name(reference)
    content = host.store.resolve(reference)
    subject = replace(content.descriptor, annotations={})
    place = host.store.repository(reference.name)
    if options.wanted is not False:
        _sign(host, reference, subjects(place, content).present, place, options)
    _ = reference.api_host
    target = host.registries.repository(reference.registry or "", reference.repository)
    with shown(host.printer) as progress:
        copied = copy(place, target, subject.digest, reference.tag, progress=progress, verb="push")
    for problem in (*copied.problems, *host.registries.warnings):
        host.printer.warn(problem)
    if copied.problems:
        _check_arrived(host, reference, subject, target, options)
    return subject.digest


def _check_arrived(
    host: Host,
    reference: Reference,
    subject: Descriptor,
    target: RemoteRepository,
    options: Signing,
) -> None:
    """Raise TransportError when a signature of ours was to go along, and did not."""
    public = options.unlocked.public_pem if options.key else _own_public(host)
    place = host.store.repository(reference.name)
    if options.wanted is False or public is None:
        return
    if not _signed(host, collect(place, subject), subject, reference, public):
        return
    if not _signed(host, collect(target, subject), subject, reference, public):
        raise TransportError(f"{reference} was pushed, but not your signature of it").with_hint(
            "see the warnings above; `bpfpack sign` adds it where the package is"
        )


def _sign(
    host: Host,
    reference: Reference,
    parts: tuple[Descriptor, ...],
    place: LocalRepository,
    options: Signing,
) -> None:
    """Add signatures of ours for this name, unless they are there or not ours to give.

    ``parts`` are what was named and, of an index, the packages in it.

    Foreign bytes are endorsed only when ``--sign`` says so: pulling evil/x, tagging and
    pushing it as corp/x must not.
    """
    named = options.unlocked if options.key else None
    public = named.public_pem if named else _own_public(host)
    subject, asked = parts[0], bool(options.wanted or options.key)
    built = host.host_key.built_here(subject.digest)
    if public is None:
        if asked:
            raise NotFound("you have no key to sign with").with_hint("bpfpack keygen makes one")
        if built:
            host.printer.warn(f"{reference} goes unsigned: you have no key (bpfpack keygen)")
        return
    due = [p for p in parts if not _signed(host, collect(place, p), p, reference, public)]
    if not due:
        return
    if subject in due and not (built or _signed_anywhere(host, subject, public)):
        if not asked:
            host.printer.warn(
                f"{reference} was neither built here nor signed by you, and gets no signature"
                " of yours; --sign adds one"
            )
            return
        host.printer.warn(f"signing what comes from elsewhere: {reference} is {subject.digest}")
    for part in due:
        key = named or options.unlocked
        attach.attach(place, signing.sign(part, reference, key, now=host.now))
    host.printer.info(f"signed {reference} by SHA256:{fingerprint(public)[:16]}")


def _signed_anywhere(host: Host, subject: Descriptor, public: str) -> bool:
    """Whether we signed this content under any name that the store has for it."""
    repositories = {reference.name for reference in host.store.names_of(subject.digest)}
    return any(
        _signed(host, collect(host.store.repository(name), subject), subject, None, public)
        for name in sorted(repositories)
    )


def _own_public(host: Host) -> str | None:
    """The public half of your identity, read where it stands beside the private one."""
    if not has_identity(host):
        return None
    identity = host.dirs.config / keyfiles.IDENTITY
    try:
        return keyfiles.read_public(str(identity.with_suffix(".pub")), host.environ)
    except NotFound as e:
        raise UsageError(f"{identity.with_suffix('.pub')} is missing beside your key").with_hint(
            f"bpfpack pubkey --key {identity} > {identity.with_suffix('.pub')}"
        ) from e


def _signed(
    host: Host,
    places: tuple[SignaturePlace, ...],
    subject: Descriptor,
    reference: Reference | None,
    public: str,
) -> bool:
    return signing.signed_by(places, subject.digest, reference, public, host.check, now=host.now)
