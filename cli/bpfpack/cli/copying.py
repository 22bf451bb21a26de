"""Copying packages from one registry to another, past the local store."""

from collections.abc import Iterator
from typing import Final

from bpfpack.cli.host import Host
from bpfpack.cli.progress import shown
from bpfpack.registry.client.pull import default_tag
from bpfpack.registry.client.remote import RemoteRepository
from bpfpack.registry.store.attached import check_name
from bpfpack.registry.transfer import Copied, copy
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import (
    BpfpackError,
    ContentError,
    NotFound,
    SpecError,
    TransportError,
    UsageError,
)
from bpfpack.spec.reference import Reference
from bpfpack.spec.value import replace, valuetype

# Of many that failed.
_NAMED: Final = 8


@valuetype
class Copy:
    """Something to copy: ``name`` in the source, and what it will be called."""

    name: str | Digest
    target: Reference


def copy_packages(
    host: Host, source: Reference, target: Reference, *, all_tags: bool = False
) -> Iterator[tuple[Reference, Copied]]:
    """Copy what ``source`` names, every tag of it with ``all_tags``, and yield each as it goes.

    Digests stay as they are, and so do signatures; none is added.  A name is given when all
    that belongs to it is there.  Raises NotFound, Denied, TransportError, ContentError,
    SpecError, and UsageError for names that do not go together; of several tags each is
    tried and told, and TransportError raised last.
    """
    for reference in (source, target):
        _ = reference.api_host  # a bare name is refused in its own words
    if target.digest is not None:
        raise UsageError("a copy keeps its digest: give the target a tag, or nothing")
    check_name(target)
    origin = _repository(host, source)
    # Linked where it can be: both may be one registry.
    same = (target.registry or "") == (source.registry or "")
    sink = _repository(host, target, source.repository if same else None)
    told: set[str] = set()
    failed: list[str] = []
    for one in _copies(host, origin, source, target, all_tags):
        tag = one.target.tag
        check_name(one.target)
        try:
            with shown(host.printer) as progress:
                copied = copy(
                    origin, sink, one.name, tag, progress=progress, verb="copy", whole=True
                )
        except (TransportError, ContentError, SpecError) as e:
            if not all_tags:
                raise
            failed.append(str(tag))
            said = BpfpackError(f"{one.target}: {e}")
            host.printer.error(said.with_hint(e.hint) if e.hint else said)
            continue
        for problem in (*copied.problems, *host.registries.warnings):
            if problem not in told:
                told.add(problem)
                host.printer.warn(problem)
        digest = copied.content.descriptor.digest
        yield one.target if tag else replace(one.target, digest=digest), copied
    if failed:
        raise TransportError(f"{len(failed)} tags were not copied: {', '.join(failed[:_NAMED])}")


def _repository(
    host: Host, reference: Reference, mount_from: str | None = None
) -> RemoteRepository:
    return host.registries.repository(
        reference.registry or "", reference.repository, mount_from=mount_from
    )


def _copies(
    host: Host, origin: RemoteRepository, source: Reference, target: Reference, all_tags: bool
) -> Iterator[Copy]:
    """Yield what to copy, a tag or digest each."""
    if not all_tags:
        yield _one(host, origin, source, target)
        return
    if any(reference.tag or reference.digest for reference in (source, target)):
        raise UsageError("--all-tags goes with repositories, without a tag or digest")
    tags = origin.tags()
    if not tags:
        raise NotFound(f"{source.name} has no tags")
    for tag in tags:
        yield Copy(name=tag, target=target.with_tag(tag))


def _one(host: Host, origin: RemoteRepository, source: Reference, target: Reference) -> Copy:
    if source.digest is not None:
        # The digest alone says what; a tag beside it is a name to keep.
        tag = target.tag or source.tag
        return Copy(name=source.digest, target=target.with_tag(tag) if tag else target)
    tag = source.tag
    if tag is None:
        tag = default_tag(origin)
        if tag != "latest":
            host.printer.info(f"{source} has no tag latest; took {tag}")
    return Copy(name=tag, target=target if target.tag else target.with_tag(tag))
