"""``bpfpack registry``: the embedded registry."""

from pathlib import Path
from typing import Annotated

import typer

from bpfpack.cli.app import epilog, new_app
from bpfpack.cli.host import Host
from bpfpack.spec.errors import UsageError

app = new_app(
    "Serve a registry.",
    ("bpfpack registry serve", "bpfpack registry serve --listen 127.0.0.1:0 --data ./registry"),
)


@app.callback()
def _registry() -> None:
    """Serve a registry."""


@app.command(
    epilog=epilog(
        (
            "bpfpack registry serve",
            "bpfpack registry serve --listen 127.0.0.1:5001 --data /srv/registry",
            "bpfpack registry serve --listen 0.0.0.0:443 --allow-remote"
            " --tls-cert r.crt --tls-key r.key",
        )
    )
)
def serve(
    listen: Annotated[
        str,
        typer.Option("--listen", help="Where to listen; port 0 takes any.", metavar="HOST:PORT"),
    ] = "127.0.0.1:5000",
    data: Annotated[
        Path | None, typer.Option("--data", help="Where content is kept.", metavar="DIR")
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen beyond loopback, without authentication.")
    ] = False,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", help="A name by which clients call it; repeatable.", metavar="NAME"),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--tls-cert", help="Certificate chain, PEM.", metavar="FILE")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--tls-key", help="Its key, PEM.", metavar="FILE")
    ] = None,
) -> None:
    """Serve an OCI registry until Ctrl-C."""
    from bpfpack.registry.server.serve import Tls, run_server

    if (certificate is None) != (key is None):
        raise UsageError("--tls-cert and --tls-key go together")
    host = Host.here()
    place = data or host.dirs.data / "registry"

    def ready(url: str) -> None:
        host.printer.info(f"serving {url} from {place}; Ctrl-C ends it")

    run_server(
        listen,
        data=place,
        tls=Tls(certificate=certificate, key=key) if certificate and key else None,
        ready=ready,
        allow_remote=allow_remote,
        hosts=frozenset(hosts or ()),
    )
