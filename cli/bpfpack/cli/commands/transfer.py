"""Between the local store and registries: pull, push."""

from typing import Annotated, Final

import typer

from bpfpack.cli.host import Host
from bpfpack.cli.options import CaFile, PasswordFd, PasswordFile, PlainHttp, Quiet
from bpfpack.cli.pulling import pull_package
from bpfpack.cli.pushing import Signing, push_package
from bpfpack.spec.errors import NotFound, UsageError
from bpfpack.spec.reference import Reference

EXAMPLES: Final = {
    "pull": ("bpfpack pull ghcr.io/x/opensnoop:1.0", "bpfpack pull -q ghcr.io/x/opensnoop"),
    "push": (
        "bpfpack push ghcr.io/x/opensnoop:1.0",
        "bpfpack push --all-tags ghcr.io/x/opensnoop",
        "bpfpack push --no-sign 127.0.0.1:5000/opensnoop:dev",
    ),
}


def pull(
    name: Annotated[str, typer.Argument(metavar="REF", help="What to fetch.")],
    all_platforms: Annotated[
        bool, typer.Option("--all-platforms", help="Take every child of an index.")
    ] = False,
    allow_downgrade: Annotated[
        bool, typer.Option("--allow-downgrade", help="Take an older release than seen before.")
    ] = False,
    quiet: Quiet = False,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
) -> None:
    """Fetch a package and its signatures from a registry.

    What a trust rule in scope refuses is not stored; what no rule covers is, and may not run.
    """
    host = Host.here(quiet=quiet, plain_http=plain_http, ca_file=ca_file)
    pulled = pull_package(
        host,
        Reference.parse(name),
        all_platforms=all_platforms,
        allow_downgrade=allow_downgrade,
    )
    host.printer.result(f"{pulled.reference}  {pulled.content.descriptor.digest}")


def push(
    name: Annotated[str, typer.Argument(metavar="REF", help="What to send.")],
    all_tags: Annotated[
        bool, typer.Option("-a", "--all-tags", help="Every tag of the repository.")
    ] = False,
    sign: Annotated[
        bool | None,
        typer.Option("--sign/--no-sign", help="Sign with your key; by default what you built."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Sign with this private key.", metavar="FILE")
    ] = None,
    password_file: PasswordFile = None,
    password_fd: PasswordFd = None,
    quiet: Quiet = False,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
) -> None:
    """Send a package and its signatures to a registry.

    What you built here, or signed before, gets your signature for each name it is pushed under.
    """
    host = Host.here(quiet=quiet, plain_http=plain_http, ca_file=ca_file)
    signing = Signing(
        host=host, wanted=sign, key=key, password_file=password_file, password_fd=password_fd
    )
    for reference in _references(host, Reference.parse(name), all_tags):
        digest = push_package(host, reference, signing)
        host.printer.result(f"{reference}  {digest}")


def _references(host: Host, named: Reference, all_tags: bool) -> list[Reference]:
    _ = named.api_host  # a bare name is refused in its own words
    if named.digest:
        raise UsageError("push a tag: a digest is the same wherever it is")
    if not all_tags:
        return [named if named.tag else named.with_tag("latest")]
    if named.tag:
        raise UsageError("--all-tags goes with a repository, without a tag")
    tags = host.store.repository(named.name).tags()
    if not tags:
        raise NotFound(f"{named.name} has no tags in the local store")
    return [named.with_tag(tag) for tag in tags]
