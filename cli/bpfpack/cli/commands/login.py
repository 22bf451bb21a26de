"""Credentials for registries: login, logout."""

import sys
from typing import Annotated, Final

import typer

from bpfpack.cli.host import Host
from bpfpack.cli.identity import can_ask, prompt_for
from bpfpack.cli.options import CaFile, PlainHttp
from bpfpack.registry.client import login as client
from bpfpack.registry.client import realmfile
from bpfpack.registry.client.wire import Credential
from bpfpack.spec.errors import UsageError
from bpfpack.spec.value import replace

EXAMPLES: Final = {
    "login": (
        "bpfpack login ghcr.io -u you",
        "echo $TOKEN | bpfpack login ghcr.io -u you --password-stdin",
        "bpfpack login registry.corp -u you --realm sso.example",
    ),
    "logout": ("bpfpack logout ghcr.io",),
}


def login(
    registry: Annotated[str, typer.Argument(help="The registry, such as ghcr.io.")],
    username: Annotated[
        str | None, typer.Option("-u", "--username", help="Whom to log in as.", metavar="NAME")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin.")
    ] = False,
    realm: Annotated[
        str | None,
        typer.Option(
            "--realm", help="Let this token service of another domain see it.", metavar="HOST"
        ),
    ] = None,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
) -> None:
    """Log in to a registry.

    The credential is tried first, then kept where docker keeps it, or in docker's helper.
    A registry that sends its users to another domain for a token must be allowed to, once,
    with --realm.

    Certificates lie in certs.d/HOST[:PORT] of the configuration directory or of /etc/docker:
    ca.crt is trusted for that registry, client.cert with client.key is shown to it.
    """
    host = Host.here(plain_http=plain_http, ca_file=ca_file)
    name = client.registry_name(registry)
    settings = host.registry_settings()
    if realm is not None:
        realm = realmfile.checked_host(realm)
        hosts = settings.realms.get(name, frozenset()) | {realm}
        settings = replace(settings, realms={**settings.realms, name: hosts})
    if username is None:
        if not can_ask():
            raise UsageError("nobody to ask for a username").with_hint("give -u NAME")
        username = typer.prompt("Username", err=True)
    kept = client.login(
        registry,
        Credential(username=username, secret=_password(password_stdin)),
        settings,
        host.environ,
    )
    if realm is not None:
        realmfile.allow(host.dirs.config, name, realm)
    where = f"helper {kept.helper}" if kept.helper else str(kept.path)
    host.printer.result(f"logged in to {kept.registry}; kept in {where}")


def logout(
    registry: Annotated[str, typer.Argument(help="The registry, such as ghcr.io.")],
) -> None:
    """Forget the credentials for a registry."""
    host = Host.here()
    gone = client.logout(registry, host.environ)
    realmfile.forget(host.dirs.config, client.registry_name(registry))
    host.printer.result(f"logged out of {registry}" if gone else f"not logged in to {registry}")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline(65536).rstrip("\r\n")
    ask = prompt_for("Password")
    if ask is None:
        raise UsageError("nobody to ask for a password").with_hint("give --password-stdin")
    return ask()
