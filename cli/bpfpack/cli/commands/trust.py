"""``bpfpack trust``: the rules of policy.toml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bpfpack.cli import builders
from bpfpack.cli.app import epilog, new_app
from bpfpack.cli.host import Host
from bpfpack.cli.identity import key_name
from bpfpack.cli.judged import described, judge_evidence, judge_located
from bpfpack.cli.located import locate
from bpfpack.cli.obtaining import obtain, outside
from bpfpack.cli.options import CaFile, DocumentFormat, ListingFormat, PlainHttp
from bpfpack.registry.trust import keyfiles, keys, policyfile
from bpfpack.spec.bounded import read_at_most
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import UsageError
from bpfpack.spec.judgement import Judgement
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.origin import Origin
from bpfpack.spec.policy import Key, Scope, canonical_scope, format_age
from bpfpack.spec.reference import Reference

app = new_app(
    "Say whose signatures count for which packages.",
    ("bpfpack trust add ghcr.io/x --key x.pub", "bpfpack trust test ghcr.io/x/opensnoop"),
)

#: "SHA256:" and as much of a fingerprint as people compare.
_SHORT = 23
_COLUMNS = {
    "SCOPE": lambda row: row["scope"],
    "KEY": lambda row: row["key"],
    "FINGERPRINT": lambda row: (row["fingerprint"] or "-")[:_SHORT],
    "LEVEL": lambda row: row["level"],
    "FROM": lambda row: row["source"],
}
_WIDE = {
    **_COLUMNS,
    "FINGERPRINT": lambda row: row["fingerprint"] or "-",
    "OPTIONS": lambda row: ", ".join(_options(row)) or "-",
}


@app.command(
    epilog=epilog(
        (
            "bpfpack trust add ghcr.io/x --key x.pub",
            "bpfpack trust add mirror.corp/x --key x.pub --signed-as ghcr.io/x",
            "bpfpack trust add file:/srv/packages --key ops.pub",
            "sudo bpfpack trust add --local-builds alice",
        )
    )
)
def add(
    scope: Annotated[
        str | None, typer.Argument(help="Registry, repository, prefix or transport.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="A public key to trust there.", metavar="PUB")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What to call the key.", metavar="NAME")
    ] = None,
    host_: Annotated[
        bool, typer.Option("--host", help="Also take what was built on this host.")
    ] = False,
    signed_as: Annotated[
        str | None,
        typer.Option("--signed-as", help="The prefix copies were signed under.", metavar="PREFIX"),
    ] = None,
    unnamed: Annotated[
        bool, typer.Option("--unnamed", help="Take signatures that name no reference.")
    ] = False,
    level: Annotated[
        Literal["enforce", "warn"] | None, typer.Option("--level", help="What a refusal does.")
    ] = None,
    max_age: Annotated[
        str | None, typer.Option("--max-age", help="Oldest signature to take.", metavar="AGE")
    ] = None,
    local_builds: Annotated[
        str | None,
        typer.Option(
            "--local-builds",
            help="For root: take what this user built on this host as built here.",
            metavar="USER",
        ),
    ] = None,
) -> None:
    """Trust a key for a scope; a second key is added to the first.

    Where the scope has keys, --key may be left out: then only its options change, for all of
    its keys.
    """
    host = Host.here()
    if local_builds is not None:
        if scope or key or name or host_ or signed_as or unnamed or level or max_age:
            raise UsageError("--local-builds stands alone: it is about no scope")
        builders.add(host, local_builds)
        return
    if scope is None:
        raise UsageError("trust add takes a scope").with_hint(
            "bpfpack trust add ghcr.io/x --key x.pub"
        )
    trusted = None
    if key is not None:
        pem = keyfiles.read_public(key, host.environ)
        trusted = Key(name=name or key_name(key), pem=pem)
        if warning := keys.public_warning(pem):
            host.printer.warn(warning)
    before = policyfile.read(host.dirs.config).scopes.get(canonical_scope(scope))
    rule = policyfile.add(
        host.dirs.config,
        policyfile.NewRule(
            scope=scope,
            key=trusted,
            host=host_,
            signed_as=signed_as,
            unnamed=unnamed or None,
            level=level,
            max_age=max_age,
        ),
    )
    host.printer.result(("already trusted: " if rule == before else "") + _told(rule))
    if rule.options and len(_names(rule)) > 1:
        host.printer.warn(f"{', '.join(rule.options)}: holds for every key of {rule.name}")


@app.command("ls", epilog=epilog(("bpfpack trust ls", "bpfpack trust ls -o wide")))
def ls(output: ListingFormat = "table") -> None:
    """List the rules in force."""
    host = Host.here()
    if host.policy.problem:
        host.printer.warn(f"everything is refused: {host.policy.problem}")
    rows = [
        {
            "scope": scope.name,
            "key": key.name if key else "this host",
            "fingerprint": f"SHA256:{key.fingerprint}" if key else None,
            "level": scope.level,
            "signedAs": scope.signed_as,
            "unnamed": scope.unnamed,
            "maxAge": format_age(scope.max_age) if scope.max_age else None,
            "host": scope.host,
            "source": scope.source,
        }
        for scope in host.policy.scopes.values()
        for key in (*scope.keys, *((None,) if scope.host else ()))
    ]
    rows += builders.rows(host)
    host.printer.listing(rows, _WIDE if output == "wide" else _COLUMNS, output)


@app.command(epilog=epilog(("bpfpack trust rm ghcr.io/x", "bpfpack trust rm ghcr.io/x --key old")))
def rm(
    scope: Annotated[str | None, typer.Argument(help="The scope, as `trust ls` shows it.")] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="Only this key, by name or fingerprint.", metavar="KEY"),
    ] = None,
    local_builds: Annotated[
        str | None,
        typer.Option(
            "--local-builds", help="What this user builds counts no more.", metavar="USER"
        ),
    ] = None,
) -> None:
    """Remove a rule, or one key of it."""
    host = Host.here()
    if local_builds is not None:
        if scope or key:
            raise UsageError("--local-builds stands alone: it is about no scope")
        builders.remove(host, local_builds)
        return
    if scope is None:
        raise UsageError("trust rm takes a scope").with_hint("bpfpack trust ls shows the rules")
    policyfile.remove(host.dirs.config, scope, key)
    host.printer.result(f"removed {key + ' from ' if key else ''}{scope}")


@app.command(
    "test",
    epilog=epilog(
        (
            "bpfpack trust test ghcr.io/x/opensnoop:1.0",
            "bpfpack trust test ./opensnoop.tar",
            "bpfpack trust test file:/srv/packages/opensnoop.tar",
        )
    ),
)
def test(
    name: Annotated[
        str, typer.Argument(metavar="REF", help="What would be run: a reference, path or URL.")
    ],
    output: DocumentFormat = "text",
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
) -> None:
    """Explain what the policy says about a package, and what would change it."""
    host = Host.here(plain_http=plain_http, ca_file=ca_file)
    reference, digest, judged = _judged(host, name)
    if output != "text":
        host.printer.document(described(reference, digest, judged), output)
        return
    say = host.printer.result
    say(f"{reference} ({digest})")
    say(f"scope    {judged.scope or 'none covers it'}")
    for place in judged.places:
        say(
            f"place    {place.name}: {place.state}" + (f" ({place.reason})" if place.reason else "")
        )
    for verdict in judged.verdicts:
        say(f"verdict  {verdict}" + (f" [{verdict.key}]" if verdict.key else ""))
    say("result   accepted" if judged.accepted else f"result   refused: {judged.reason}")
    if judged.hint:
        say(f"to change it: {judged.hint}")


def _judged(host: Host, name: str) -> tuple[Reference | Origin, Digest, Judgement]:
    """What was meant by a reference, a path or a transport, as `run` would judge it."""
    if (where := outside(name)) is not None:
        artifact = obtain(host, where)
        digest = (artifact.index or artifact.manifest).descriptor.digest
        return artifact.origin, digest, judge_evidence(host, artifact.evidence)
    found = locate(host, Reference.parse(name))
    return found.reference, found.content.descriptor.digest, judge_located(host, found)


@app.command("import", epilog=epilog(("bpfpack trust import /etc/containers/policy.json",)))
def import_(
    file: Annotated[Path, typer.Argument(help="A policy.json of podman, skopeo or CRI-O.")],
) -> None:
    """Take over the sigstoreSigned rules of a containers policy.json."""
    from bpfpack.registry.trust.podman import import_policy

    host = Host.here()
    try:
        with file.open("rb") as stream:
            data = read_at_most(stream, LIMITS.policy, str(file))
    except OSError as e:
        raise UsageError(f"cannot read {file}: {e.strerror}") from e
    found = import_policy(data, lambda path: keyfiles.read_public(path, host.environ))
    for rule in found.rules:
        if rule.key and (warning := keys.public_warning(rule.key.pem)):
            host.printer.warn(f"{rule.scope}: {warning}")
        made = policyfile.add(host.dirs.config, rule)
        host.printer.result(_told(made))
    for scope, reason in found.skipped:
        host.printer.info(f"left out {scope}: {reason}")


def _told(rule: Scope) -> str:
    """A rule in one line: its keys, and what holds for them."""
    options = f" ({', '.join(rule.options)})" if rule.options else ""
    return f"{rule.name}: {', '.join(_names(rule))}{options}"


def _options(row: Mapping[str, Any]) -> list[str]:
    said = {"signed-as": row["signedAs"], "max-age": row["maxAge"]}
    flags = [name for name in ("unnamed", "host") if row[name]]
    return [*(f"{name} {value}" for name, value in said.items() if value), *flags]


def _names(rule: Scope) -> list[str]:
    return [*(str(key) for key in rule.keys), *(["this host"] if rule.host else [])]
