"""Save packages of the local store into an OCI archive, and load them from one."""

from collections.abc import Iterable

from bpfpack.registry.store.archive import ArchiveWriter
from bpfpack.registry.store.attached import check_name
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.store.layout import Entry, Layout
from bpfpack.registry.store.record import Origin
from bpfpack.registry.transfer import Copied, copy
from bpfpack.spec.content import Progress
from bpfpack.spec.errors import SpecError
from bpfpack.spec.reference import Reference
from bpfpack.spec.value import valuetype


@valuetype
class Moved:
    """One package that was saved or loaded."""

    reference: Reference
    copied: Copied


def save(
    store: DiskStore,
    references: Iterable[Reference],
    writer: ArchiveWriter,
    *,
    progress: Progress | None = None,
) -> tuple[Moved, ...]:
    """Gather packages with their signatures in ``writer``; the caller writes it out.

    Raises NotFound, StoreError, ContentError.
    """
    moved = []
    for reference in references:
        content = store.resolve(reference)
        digest, tag = content.descriptor.digest, reference.tag or "latest"
        copied = copy(
            store.repository(reference.name),
            writer.repository(reference.name),
            digest,
            None if reference.digest else tag,
            progress=progress,
            verb="save",
        )
        if reference.digest:
            writer.add(content, f"{reference.name}@{digest}")
        moved.append(Moved(reference=reference, copied=copied))
    return tuple(moved)


def load(
    layout: Layout,
    store: DiskStore,
    *,
    name: Reference | None = None,
    progress: Progress | None = None,
) -> tuple[Moved, ...]:
    """Bring every package of a layout into the store, under its own name or ``name``.

    A name inside proves nothing: what runs under it is still judged by its signatures.
    Raises SpecError when ``name`` would stand for several packages, or a name holds the digest
    of other content, UsageError for a name that is kept for signatures; nothing is loaded then.
    """
    entries = (layout.only(),) if name else layout.packages()
    named = [(entry, _name(layout, entry, name)) for entry in entries]
    return tuple(_load_one(layout, store, entry, reference, progress) for entry, reference in named)


def _name(layout: Layout, entry: Entry, name: Reference | None) -> Reference:
    """Return what an entry will be called; raises SpecError, UsageError."""
    reference = name or entry.reference
    if reference is None:
        raise SpecError(
            f"{entry.name or entry.descriptor.digest.short} has no full name"
        ).with_hint("say which: `bpfpack load -t REF`")
    check_name(reference)
    content = layout.manifest(entry.descriptor.digest)
    if reference.digest and reference.digest.of(content.raw) != reference.digest:
        raise SpecError(f"{reference} is the name of {entry.descriptor.digest} in {layout.what}")
    return reference


def _load_one(
    layout: Layout,
    store: DiskStore,
    entry: Entry,
    reference: Reference,
    progress: Progress | None,
) -> Moved:
    copied = copy(
        layout.repository(),
        store.repository(reference.name, origin=Origin.LOADED),
        entry.descriptor.digest,
        None,
        progress=progress,
        verb="load",
    )
    store.record(reference, copied.content, Origin.LOADED)
    return Moved(reference=reference, copied=copied)
