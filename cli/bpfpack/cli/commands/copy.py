"""Between registries: copy."""

from typing import Annotated, Final

import typer

from bpfpack.cli.copying import copy_packages
from bpfpack.cli.host import Host
from bpfpack.cli.options import CaFile, PlainHttp, Quiet
from bpfpack.spec.reference import Reference

EXAMPLES: Final = {
    "copy": (
        "bpfpack copy ghcr.io/x/opensnoop:1.0 registry.corp/tools/opensnoop:1.0",
        "bpfpack copy ghcr.io/x/opensnoop:1.0 ghcr.io/x/opensnoop:stable",
        "bpfpack copy --all-tags ghcr.io/x/opensnoop 127.0.0.1:5000/x/opensnoop",
    ),
}


def copy(
    source: Annotated[str, typer.Argument(metavar="SRC", help="What to copy.")],
    target: Annotated[
        str, typer.Argument(metavar="DST", help="Where to; the tag of SRC unless it has one.")
    ],
    all_tags: Annotated[
        bool, typer.Option("-a", "--all-tags", help="Every tag of the repository.")
    ] = False,
    quiet: Quiet = False,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
) -> None:
    """Copy a package and its signatures between registries.

    Nothing is kept in the local store, and nothing changes: every platform, every signature
    and whatever else refers to it goes along, under the same digests.  Signatures still name
    where they were made: `bpfpack trust add DST --signed-as SRC` lets them count there.
    """
    host = Host.here(quiet=quiet, plain_http=plain_http, ca_file=ca_file)
    copied = copy_packages(
        host, Reference.parse(source), Reference.parse(target), all_tags=all_tags
    )
    for reference, what in copied:
        digest = what.content.descriptor.digest
        host.printer.result(f"{reference}" if reference.digest else f"{reference}  {digest}")
