"""OCI archives: save, load."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from bpfpack.cli.host import Host
from bpfpack.cli.located import held
from bpfpack.cli.options import Quiet
from bpfpack.cli.progress import shown
from bpfpack.registry import archiving
from bpfpack.registry.store.archive import ArchiveWriter
from bpfpack.registry.store.layout import Layout
from bpfpack.spec.errors import UsageError
from bpfpack.spec.reference import Reference

EXAMPLES: Final = {
    "save": (
        "bpfpack save -f opensnoop.tar ghcr.io/x/opensnoop:1.0",
        "bpfpack save ghcr.io/x/opensnoop:1.0 | ssh host bpfpack load",
    ),
    "load": ("bpfpack load -f opensnoop.tar", "bpfpack load -f tool.tar -t ghcr.io/x/tool:1.0"),
}


def save(
    names: Annotated[list[str], typer.Argument(metavar="REF...", help="What to save.")],
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", help="Where to; stdout if absent.", metavar="FILE"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write packages and their signatures to an OCI archive."""
    host = Host.here(quiet=quiet)
    if file is None and host.printer.on_terminal:
        raise UsageError("an archive is not for a terminal").with_hint("give -f FILE, or a pipe")
    with ArchiveWriter() as writer:
        with shown(host.printer) as progress:
            moved = archiving.save(
                host.store, [held(host, name) for name in names], writer, progress=progress
            )
        if file is None:
            with host.printer.writing() as out:
                writer.write(out.buffer)
        else:
            writer.save(file)
    _tell(host, "saved", moved)


def load(
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", help="Where from; stdin if absent.", metavar="FILE"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("-t", "--tag", help="The name it gets here.", metavar="REF")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Read packages and their signatures from an OCI archive."""
    host = Host.here(quiet=quiet)
    if file is None and sys.stdin.isatty():
        raise UsageError("no archive comes from a terminal").with_hint("give -f FILE, or a pipe")
    layout = Layout.open(file) if file else Layout.from_stream(sys.stdin.buffer, "stdin")
    wanted = Reference.parse(name) if name else None
    with layout, shown(host.printer) as progress:
        moved = archiving.load(layout, host.store, name=wanted, progress=progress)
    _tell(host, "loaded", moved)
    for one in moved:
        host.printer.result(f"{one.reference}@{one.copied.content.descriptor.digest}")


def _tell(host: Host, verb: str, moved: tuple[archiving.Moved, ...]) -> None:
    for one in moved:
        host.printer.info(f"{verb} {one.reference}, {one.copied.signatures} signature manifests")
        for problem in one.copied.problems:
            host.printer.warn(problem)
