"""The local store: list, tag, rmi, prune."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from bpfpack.cli.host import Host
from bpfpack.cli.identity import can_ask
from bpfpack.cli.located import held
from bpfpack.cli.options import ListingFormat
from bpfpack.cli.recovery import undo_dead
from bpfpack.cli.units import age, size
from bpfpack.registry.store.attached import check_name
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.store.prune import GRACE, Pruned
from bpfpack.registry.store.record import Origin, Record
from bpfpack.registry.transfer import copy
from bpfpack.registry.unfinished import Unfinished, sweep_path
from bpfpack.spec.errors import ContentError, NotFound, SpecError, UsageError
from bpfpack.spec.manifest import Manifest
from bpfpack.spec.package import children
from bpfpack.spec.reference import Reference
from bpfpack.spec.value import replace

EXAMPLES: Final = {
    "list": ("bpfpack list", "bpfpack list -o json", "bpfpack list ghcr.io/x/opensnoop"),
    "tag": ("bpfpack tag opensnoop:dev ghcr.io/x/opensnoop:1.0",),
    "rmi": ("bpfpack rmi ghcr.io/x/opensnoop:1.0", "bpfpack rmi old:1 old:2"),
    "prune": ("bpfpack prune --dry-run", "bpfpack prune --force"),
}

_COLUMNS: Final = {
    "REPOSITORY": lambda row: row["repository"],
    "TAG": lambda row: row["tag"] or "<none>",
    "DIGEST": lambda row: row["digest"].partition(":")[2][:12],
    "ORIGIN": lambda row: row["origin"],
    "ADDED": lambda row: age(datetime.fromisoformat(row["added"]), datetime.now(UTC)),
    "SIZE": lambda row: "damaged" if row["size"] is None else size(row["size"]),
}
_WIDE: Final = {**_COLUMNS, "DIGEST": lambda row: row["digest"]}


def list_(
    name: Annotated[str, typer.Argument(help="Only this repository.")] = "",
    output: ListingFormat = "table",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print digests only.")] = False,
) -> None:
    """List the packages in the local store."""
    host = Host.here()
    wanted = Reference.parse(name) if name else None
    rows = [
        _row(host.store, record)
        for record in host.store.records()
        if wanted is None
        or (record.reference.name == wanted.name and wanted.tag in (None, record.reference.tag))
    ]
    if quiet:
        for digest in dict.fromkeys(row["digest"] for row in rows):
            host.printer.result(digest)
        return
    host.printer.listing(rows, _WIDE if output == "wide" else _COLUMNS, output)


def tag(
    source: Annotated[str, typer.Argument(help="A reference in the local store.")],
    target: Annotated[str, typer.Argument(help="The name to add.")],
) -> None:
    """Give a package another name.

    Signatures of a package that came from elsewhere come along, for mirrors whose rule says
    `--signed-as`. What was built here is signed anew by `push`, for each name.
    """
    named = Reference.parse(target)
    if named.digest:
        raise UsageError("a new name has a tag, not a digest")
    check_name(named)
    host = Host.here()
    known = held(host, source)
    content, origin = host.store.resolve(known), host.store.origin(known)
    if origin is not Origin.BUILT and named.name != known.name:
        # Before the name: whoever finds it finds its signatures.
        copied = copy(
            host.store.repository(known.name),
            host.store.repository(named.name, origin=origin),
            content.descriptor.digest,
            None,
        )
        for problem in copied.problems:
            host.printer.warn(problem)
    host.store.record(named, content, origin)


def rmi(
    names: Annotated[list[str], typer.Argument(help="References to remove.")],
) -> None:
    """Remove names from the local store.

    The content goes with the next `bpfpack prune`, once no name reaches it.
    """
    host, missing = Host.here(), []
    for name in names:
        try:
            gone = host.store.remove(Reference.parse(name))
        except NotFound as e:
            missing.append(e)
        else:
            host.printer.result(f"removed {gone.reference}")
    if missing:
        raise missing[0]


def prune(
    force: Annotated[bool, typer.Option("-f", "--force", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing.")] = False,
) -> None:
    """Delete content that no name reaches.

    Files that killed commands left go too. What was touched within the last hour stays: a
    build or a pull may be about to name it. Programs that killed runs have left attached are
    detached.
    """
    host = Host.here()
    if not dry_run:
        undo_dead(host)
    found = _prune(host, dry_run=True)
    if dry_run or not (found.digests or found.unfinished):
        host.printer.result(f"{_told(found)} to delete")
        return
    if not force:
        if not can_ask():
            raise UsageError("nobody to ask whether to delete").with_hint("give --force")
        typer.confirm(f"Delete {_told(found)}?", abort=True)
    host.printer.result(f"deleted {_told(_prune(host, dry_run=False))}")


def _prune(host: Host, *, dry_run: bool) -> Pruned:
    """The store, and the files of killed commands in the other directories."""
    pruned = host.store.prune(dry_run=dry_run)
    deadline = time.time() - GRACE
    left = Unfinished()
    for path in (host.dirs.config, host.dirs.state, host.dirs.cache):
        left += sweep_path(path, deadline, dry_run=dry_run)
    begun = host.partials.clear(deadline, dry_run=dry_run)
    return replace(
        pruned,
        unfinished=pruned.unfinished + left.files + begun.count,
        size=pruned.size + left.size + begun.size,
    )


def _told(pruned: Pruned) -> str:
    files = f" and {pruned.unfinished} unfinished files" if pruned.unfinished else ""
    return f"{len(pruned.digests)} blobs{files}, {size(pruned.size)}"


def _row(store: DiskStore, record: Record) -> Mapping[str, Any]:
    return {
        "reference": str(record.reference),
        "repository": record.reference.name,
        "tag": record.reference.tag,
        "digest": str(record.descriptor.digest),
        "mediaType": record.descriptor.media_type,
        "artifactType": record.descriptor.artifact_type,
        "origin": record.origin.value,
        "added": record.added,
        "created": record.created,
        "size": _total(store, record),
    }


def _total(store: DiskStore, record: Record) -> int | None:
    """Bytes of the manifest and what it names; None when it is damaged: the others are shown."""
    try:
        content = store.manifest(record.descriptor.digest)
    except (NotFound, ContentError, SpecError):
        return None
    parts = children(content) if isinstance(content, Manifest) else content.manifests
    return record.descriptor.size + sum(part.size for part in parts)
