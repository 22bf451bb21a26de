"""Finding what a reference names, here or in a registry, with all its signatures."""

from typing import TYPE_CHECKING

from bpfpack.cli.host import Host
from bpfpack.cli.obtaining import not_here
from bpfpack.spec.errors import NotFound
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.origin import Origin
from bpfpack.spec.reference import Reference
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from bpfpack.registry.client.remote import RemoteRepository
    from bpfpack.registry.store.disk import DiskStore, LocalRepository


@valuetype(slots=False)
class Located:
    """Content under its effective name, in the store or in a registry."""

    reference: Reference
    content: Manifest | Index
    place: "LocalRepository | RemoteRepository"
    local: bool
    implicit: bool = False

    @property
    def origin(self) -> Origin:
        """Where it came from, as trust sees it."""
        return Origin(
            kind="store" if self.local else "registry",
            reference=self.reference,
            location=str(self.reference),
            implicit=self.implicit,
        )


def locate_local(
    host: Host, reference: Reference, store: "DiskStore | None" = None
) -> Located | None:
    """Return what a store has under a name, with the tag that was meant; None for nothing."""
    from bpfpack.registry.client.pull import default_tag

    held = store or host.store
    place, implicit = held.repository(reference.name), _is_implicit(reference)
    try:
        if implicit:
            reference = reference.with_tag(default_tag(place))
        content = held.resolve(reference)
    except NotFound:
        return None
    return Located(reference=reference, content=content, place=place, local=True, implicit=implicit)


def locate_remote(host: Host, reference: Reference) -> Located:
    """Return what a registry has under a name; raises NotFound, TransportError."""
    from bpfpack.registry.client.pull import default_tag

    _ = reference.api_host  # a bare name is refused in its own words
    place = host.registries.repository(reference.registry or "", reference.repository)
    if implicit := _is_implicit(reference):
        reference = reference.with_tag(default_tag(place))
    content = place.resolve(reference.digest or reference.tag or "")
    return Located(
        reference=reference, content=content, place=place, local=False, implicit=implicit
    )


def locate(host: Host, reference: Reference, *, to_change: bool = False) -> Located:
    """Return what the store has under a name, otherwise what the registry has.

    The store of who called sudo comes in between, unless it is ``to_change`` something.
    """
    found = locate_local(host, reference)
    if found is None and host.caller and not to_change:
        found = locate_local(host, reference, host.caller.store)
    if found is None and reference.is_bare:
        raise NotFound(f"{reference} is not in the local store").with_hint(
            "`bpfpack list` shows what is here; a name with a registry would be looked up there"
        )
    return found or locate_remote(host, reference)


def _is_implicit(reference: Reference) -> bool:
    return reference.tag is None and reference.digest is None


def held(host: Host, text: str) -> Reference:
    """Return the effective name of what the store has under ``text``; raises NotFound."""
    reference = Reference.parse(text)
    found = locate_local(host, reference)
    if found is None:
        raise not_here(reference)
    return found.reference
