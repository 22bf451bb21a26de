"""What `run REF` names, read whole: from the store, a registry, a file, a URL, stdin, source.

Nothing here decides whether it may run; `admission` does.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bpfpack.cli.host import Caller, Host
from bpfpack.cli.platform import host_platform
from bpfpack.registry.fetch_package import read_artifact
from bpfpack.registry.store.disk import DiskStore, LocalRepository
from bpfpack.spec.content import Source
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import (
    BpfpackError,
    NotFound,
    SpecError,
    StoreError,
    UsageError,
)
from bpfpack.spec.origin import Origin, OriginKind
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import SignaturePlace
from bpfpack.spec.trust import RemoteArtifact
from bpfpack.spec.value import replace
from bpfpack.spec.versions import highest_release

if TYPE_CHECKING:
    from bpfpack.registry.store.layout import Layout
    from bpfpack.registry.trust.hostkey import BuiltRecords

_PATHS: Final = ("/", "./", "../", "~")
_SOURCES: Final = (".c", ".o")


def is_path(text: str) -> bool:
    """Say whether ``text`` is a path; everything else is a reference, whatever lies around.

    >>> is_path("./ghcr.io/x"), is_path("ghcr.io/x"), is_path("..")
    (True, False, True)
    """
    return text.startswith(_PATHS) or text in (".", "..")


def outside(text: str) -> str | None:
    """Return the path, the URL or ``-`` that ``text`` is; None for a reference.

    >>> outside("file:/srv/x.tar"), outside("./x"), outside("ghcr.io/x")
    ('/srv/x.tar', './x', None)
    """
    where = text.removeprefix("file:") if text.startswith("file:/") else text
    if is_path(where) or where.startswith(("https://", "http://")) or where == "-":
        return where
    return None


def obtain(
    host: Host,
    text: str,
    *,
    pull: str = "missing",
    judged_as: Reference | None = None,
    allow_downgrade: bool = False,
) -> RemoteArtifact:
    """Return the package that ``text`` names, for this platform, with all its signatures.

    Raises NotFound, TransportError, StoreError, ContentError, SpecError, TrustError for
    what a rule keeps out of the store, BuildError for source that does not compile.
    """
    if text == "-":
        return _from_stdin(host, judged_as)
    if text.startswith(("https://", "http://")):
        return _from_url(host, text, judged_as)
    if is_path(text):
        return _from_path(host, _path(text), judged_as)
    if judged_as is not None:
        raise UsageError("--as is for files, URLs and stdin: a reference is judged as itself")
    digest = _digest(text)
    try:
        reference = _holder(host, digest) if digest else Reference.parse(text)
    except SpecError as e:
        _hint_at_path(text, e)
        raise
    try:
        return _from_reference(host, reference, pull, allow_downgrade)
    except NotFound as e:
        _hint_at_path(text, e)
        raise


def _hint_at_path(text: str, error: BpfpackError) -> None:
    """Tell who typed the name of a file that is here how a path is told from a reference."""
    if os.path.exists(text):  # noqa: PTH110 - it takes any text, a Path raises for some
        error.hint = f"a path begins with ./: did you mean ./{text.rstrip('/')}?"


def _from_reference(
    host: Host, reference: Reference, pull: str, allow_downgrade: bool
) -> RemoteArtifact:
    implicit = reference.tag is None and reference.digest is None
    here_only = pull == "never" or reference.is_bare
    found = _held(host, reference, here_only=here_only) if pull != "always" else None
    if found is not None:
        effective, digest, store = found
    else:
        if here_only:
            raise not_here(reference, host.caller)
        from bpfpack.cli.pulling import pull_package

        pulled = pull_package(host, reference, allow_downgrade=allow_downgrade, to_run=True)
        # By digest: a tag that moves between pull and run changes nothing.
        effective, digest = pulled.reference, pulled.content.descriptor.digest
        store = host.store
    origin = Origin(kind="store", reference=effective, location=str(effective), implicit=implicit)
    return _read(host, store.repository(effective.name), digest, origin)


def _held(
    host: Host, reference: Reference, *, here_only: bool
) -> tuple[Reference, Digest, DiskStore] | None:
    """What is held on this host: in our store, otherwise in that of who called sudo."""
    if found := _local(host, host.store, reference, here_only=here_only):
        return (*found, host.store)
    if (caller := host.caller) is None:
        return None
    try:
        theirs = _local(host, caller.store, reference, here_only=here_only)
    except StoreError as e:
        if here_only:
            raise
        host.printer.warn(f"the store of {caller.user.name} is not used: {e}")
        return None
    if theirs is None:
        return None
    host.printer.info(f"{theirs[0]} is from the store of {caller.user.name}")
    return (*theirs, caller.store)


def _local(
    host: Host, store: DiskStore, reference: Reference, *, here_only: bool
) -> tuple[Reference, Digest] | None:
    """The effective reference and its digest, as a store has them; None for nothing.

    ``latest``, and otherwise the highest release, stands for a name without a tag.  Content
    that came with other repositories alone is none of this one, unless ``here_only``: what
    signs it here is in the registry.
    """
    found = store.find(reference)
    if found is None and reference.digest is not None:
        known = here_only or _knows(store, reference.name)
        holds = known and _holds(store, reference.digest)
        return (reference, reference.digest) if holds else None
    if found is None and reference.tag is None:
        try:
            tags = store.repository(reference.name).tags()
        except NotFound:
            return None
        if (tag := highest_release(tags)) is None:
            return None
        reference = reference.with_tag(tag)
        if not reference.is_bare:
            host.printer.info(f"{reference.name} has no tag latest here; running {tag}")
        found = store.find(reference)
    if found is None or reference.digest not in (None, found.descriptor.digest):
        return None
    if reference.tag is None and reference.digest is None:
        reference = reference.with_tag("latest")
    return reference, found.descriptor.digest


def _knows(store: DiskStore, repository: str) -> bool:
    try:
        store.repository(repository).tags()
    except NotFound:
        return False
    return True


def _holds(store: DiskStore, digest: Digest) -> bool:
    try:
        store.manifest(digest)
    except NotFound:
        return False
    return True


def _digest(text: str) -> Digest | None:
    if not text.startswith(("sha256:", "sha512:")):
        return None
    try:
        return Digest.parse(text)
    except SpecError:
        return None  # a repository may be called sha256


def _holder(host: Host, digest: Digest) -> Reference:
    """A bare digest is judged under the one name by which the store has it.

    With several the user says which: an archive can add a name, and so choose the rule.
    """
    stores = (host.store, *((host.caller.store,) if host.caller else ()))
    named: tuple[Reference, ...] = next(
        filter(None, (store.names_of(digest) for store in stores)), ()
    )
    names = {replace(name, tag=None, digest=digest) for name in named}
    if not names:
        raise NotFound(f"{digest} is not in the local store")
    if len(names) > 1:
        raise UsageError(
            f"{digest.short} has several names here, each with its own rule"
        ).with_hint(f"say which: {', '.join(map(str, sorted(names)))}")
    return names.pop()


def not_here(reference: Reference, looked_in: Caller | None = None) -> NotFound:
    """The error for a name that our store lacks, and so does the one ``looked_in`` besides."""
    error = NotFound(f"{reference} is not in the local store")
    if reference.is_bare and looked_in:
        return error.with_hint(
            f"root's store and that of {looked_in.user.name}, {looked_in.store.root},"
            " were looked through"
        )
    if reference.is_bare:
        return error.with_hint(
            "a name without a registry is looked for there only; a path begins with ./"
        )
    return error.with_hint(f"`bpfpack pull {reference}` fetches it")


def _path(text: str) -> Path:
    """Return a path that leads to something; raises NotFound, StoreError."""
    try:
        path = Path(text).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as e:
        raise NotFound(f"{text}: no such file or directory") from e
    except OSError as e:
        raise StoreError(f"{text}: {e.strerror}") from e
    except (RuntimeError, ValueError) as e:  # ~nobody, and a NUL
        raise NotFound(f"{text}: {e}") from e
    return path


def _from_path(host: Host, path: Path, judged_as: Reference | None) -> RemoteArtifact:
    if path.is_dir() and not (path / "oci-layout").exists():
        return _from_source(host, path)
    if path.name.endswith(_SOURCES):
        return _from_source(host, path)
    from bpfpack.registry.store.layout import Layout

    with Layout.open(path) as layout:
        # Where it really is, not where the path leads by now; what came by a pipe is nowhere.
        if layout.place is None:
            return _from_layout(host, layout, "stdin", "-", judged_as)
        return _from_layout(host, layout, "file", layout.place, judged_as)


def _from_source(host: Host, path: Path) -> RemoteArtifact:
    """Build it here and now; what comes of source, this host vouches for."""
    from bpfpack.builder.build import BuildOptions, build
    from bpfpack.registry.store.memory import MemoryStore

    result = build(path, BuildOptions(cache=host.dirs.cache))
    for warning in result.warnings:
        host.printer.warn_lines(warning)
    digest = result.package.manifest.descriptor.digest
    if result.from_source:
        host.host_key.endorse(digest)
    # Nothing but the host key can vouch for it, and for a prebuilt object not even that.
    origin = Origin(kind="source", reference=None, location=str(path.resolve()))
    return read_artifact(
        MemoryStore.of(result.package),
        digest,
        origin,
        platform=host_platform(),
        look=lambda s, d: look(host, s, d) if result.from_source else (),
    )


def _from_stdin(host: Host, judged_as: Reference | None) -> RemoteArtifact:
    if sys.stdin.isatty():
        raise UsageError("no archive comes from a terminal").with_hint(
            "pipe one in: bpfpack save REF | bpfpack run -"
        )
    from bpfpack.registry.store.layout import Layout

    with Layout.from_stream(sys.stdin.buffer, "stdin") as layout:
        return _from_layout(host, layout, "stdin", "-", judged_as)


def _from_url(host: Host, url: str, judged_as: Reference | None) -> RemoteArtifact:
    from bpfpack.registry.client.download import download
    from bpfpack.registry.store.layout import Layout

    with download(url, host.registries.settings) as stream, Layout.from_stream(stream, url) as it:
        return _from_layout(host, it, "https", url, judged_as)


def _from_layout(
    host: Host, layout: "Layout", kind: OriginKind, location: str, judged_as: Reference | None
) -> RemoteArtifact:
    """The one package of an archive; the name inside it is for display only."""
    origin = Origin(kind=kind, reference=judged_as, location=location)
    return _read(host, layout.repository(), layout.only().descriptor.digest, origin)


def _read(host: Host, source: Source, digest: Digest, origin: Origin) -> RemoteArtifact:
    return read_artifact(
        source, digest, origin, platform=host_platform(), look=lambda s, d: look(host, s, d)
    )


def look(host: Host, source: Source, subject: Descriptor) -> tuple[SignaturePlace, ...]:
    """Every place where a signature of ``subject`` can be, this host's own word included.

    What who called sudo says of builds is heard of the packages of their own store.
    """
    from bpfpack.registry.trust.collect import collect

    builders: list[BuiltRecords] = [host.host_key]
    if host.caller and isinstance(source, LocalRepository) and source.store is host.caller.store:
        builders.append(host.caller.builds)
    return (*collect(source, subject), *(b.place(subject.digest) for b in builders))
