"""Everything about a package: inspect."""

from typing import Annotated, Any, Final

import typer

from bpfpack.cli.host import Host
from bpfpack.cli.judged import describe, judge_located
from bpfpack.cli.located import Located, locate
from bpfpack.cli.options import CaFile, DocumentFormat, PlainHttp
from bpfpack.cli.platform import host_platform
from bpfpack.cli.units import size
from bpfpack.registry.fetch_package import resolve_child
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.config import Config
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.package import PackageLayout
from bpfpack.spec.reference import Reference

EXAMPLES: Final = {
    "inspect": (
        "bpfpack inspect ghcr.io/x/opensnoop:1.0",
        "bpfpack inspect -o json ghcr.io/x/opensnoop | jq .config.params",
        "bpfpack inspect --readme ghcr.io/x/opensnoop",
    ),
}


def inspect(
    name: Annotated[str, typer.Argument(metavar="REF", help="What to show.")],
    output: DocumentFormat = "text",
    readme: Annotated[bool, typer.Option("--readme", help="Print its README only.")] = False,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
) -> None:
    """Show everything about a package: programs, options, outputs, signatures."""
    host = Host.here(plain_http=plain_http, ca_file=ca_file)
    found = locate(host, Reference.parse(name))
    layout = PackageLayout.of(_manifest(found))
    if readme:
        _print_readme(host, found, layout)
        return
    with found.place.fetch(layout.config) as stream:
        config = Config.from_bytes(read_exactly(stream, layout.config, LIMITS.config))
    document = _document(host, found, layout, config)
    if output != "text":
        host.printer.document(document, output)
        return
    for line in _lines(document):
        host.printer.result(line)


def _manifest(found: Located) -> Manifest:
    if isinstance(found.content, Manifest):
        return found.content
    child = resolve_child(found.place, found.content.select(host_platform()))
    return PackageLayout.of(child).manifest if isinstance(child, Manifest) else _no_package(child)


def _no_package(child: Index) -> Manifest:
    from bpfpack.spec.errors import SpecError

    raise SpecError(f"an index inside the index of a package: {child.descriptor.digest}")


def _print_readme(host: Host, found: Located, layout: PackageLayout) -> None:
    if layout.readme is None:
        host.printer.info("the package carries no README")
        return
    with found.place.fetch(layout.readme) as stream:
        data = read_exactly(stream, layout.readme, LIMITS.readme)
    host.printer.text(data.decode(errors="replace"))


def _document(host: Host, found: Located, layout: PackageLayout, config: Config) -> dict[str, Any]:
    judged = judge_located(host, found)
    return {
        "reference": str(found.reference),
        "digest": str(found.content.descriptor.digest),
        "local": found.local,
        "config": config.to_dict(),
        "layers": [layer.to_dict() for layer in layout.manifest.layers],
        "annotations": dict(layout.manifest.annotations),
        "trust": describe(found, judged),
    }


def _lines(document: dict[str, Any]) -> list[str]:
    config, trust = document["config"], document["trust"]
    lines = [
        f"{document['reference']} ({'local store' if document['local'] else 'registry'})",
        f"digest       {document['digest']}",
        f"package      {config['name']} {config.get('version', '')}".rstrip(),
    ]
    for key in ("description", "license", "homepage", "source"):
        if key in config:
            lines.append(f"{key:<12} {config[key]}")
    for program in config.get("programs", ()):
        note = "optional" if program.get("optional") else program.get("alternative", "")
        lines.append(f"program      {program['name']} ({program['section']}) {note}".rstrip())
    for output in config.get("outputs", ()):
        types = ", ".join(t["type"] for t in output.get("types", ()))
        lines.append(f"output       {output['name']}: {output['kind']} {types}".rstrip())
    for param in config.get("params", ()):
        help_ = f"  {param['help']}" if "help" in param else ""
        lines.append(f"option       --{param['option']} ({param['type']}){help_}")
    for layer in document["layers"]:
        lines.append(f"layer        {layer['mediaType']} {size(layer['size'])}")
    for signer in trust["signers"]:
        lines.append(f"signed by    {signer['name']} SHA256:{signer['fingerprint'][:16]}")
    verdict = "may run here" if trust["accepted"] else f"may not run here: {trust['reason']}"
    return [*lines, f"trust        {verdict}"]
