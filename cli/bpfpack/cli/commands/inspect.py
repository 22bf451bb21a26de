"""Everything about a package: inspect."""

from typing import Annotated, Any, Final

import typer

from bpfpack.cli.host import Host
from bpfpack.cli.judged import describe, described, judge_evidence, judge_located
from bpfpack.cli.located import Located, locate
from bpfpack.cli.obtaining import obtain, outside
from bpfpack.cli.options import CaFile, DocumentFormat, PlainHttp
from bpfpack.cli.platform import host_platform
from bpfpack.cli.units import size
from bpfpack.registry.fetch_package import resolve_child
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.config import Config
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.package import PackageLayout
from bpfpack.spec.reference import Reference
from bpfpack.spec.trust import RemoteArtifact

EXAMPLES: Final = {
    "inspect": (
        "bpfpack inspect ghcr.io/x/opensnoop:1.0",
        "bpfpack inspect -o json ghcr.io/x/opensnoop | jq .config.params",
        "bpfpack inspect --readme ghcr.io/x/opensnoop",
        "bpfpack inspect ./opensnoop.tar",
    ),
}


def inspect(
    name: Annotated[
        str, typer.Argument(metavar="REF", help="What to show: a reference, path or URL.")
    ],
    output: DocumentFormat = "text",
    readme: Annotated[bool, typer.Option("--readme", help="Print its README only.")] = False,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
) -> None:
    """Show everything about a package: programs, options, outputs, signatures."""
    host = Host.here(plain_http=plain_http, ca_file=ca_file)
    if (where := outside(name)) is not None:
        if readme:
            raise UsageError("--readme is for references").with_hint("`bpfpack load` gives it one")
        document = _outside(host, obtain(host, where))
    else:
        found = locate(host, Reference.parse(name))
        layout = PackageLayout.of(_manifest(found))
        if readme:
            _print_readme(host, found, layout)
            return
        document = _document(host, found, layout)
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
    raise SpecError(f"an index inside the index of a package: {child.descriptor.digest}")


def _print_readme(host: Host, found: Located, layout: PackageLayout) -> None:
    if layout.readme is None:
        host.printer.info("the package carries no README")
        return
    with found.place.fetch(layout.readme) as stream:
        data = read_exactly(stream, layout.readme, LIMITS.readme)
    host.printer.text(data.decode(errors="replace"))


def _document(host: Host, found: Located, layout: PackageLayout) -> dict[str, Any]:
    with found.place.fetch(layout.config) as stream:
        config = read_exactly(stream, layout.config, LIMITS.config)
    trust = describe(found, judge_located(host, found))
    return _described(trust, layout.manifest, config, "local store" if found.local else "registry")


def _outside(host: Host, artifact: RemoteArtifact) -> dict[str, Any]:
    """The same of what came from a file, a URL or stdin."""
    digest = (artifact.index or artifact.manifest).descriptor.digest
    trust = described(artifact.origin, digest, judge_evidence(host, artifact.evidence))
    return _described(trust, artifact.manifest, artifact.config, artifact.origin.kind)


def _described(
    trust: dict[str, Any], manifest: Manifest, config: bytes, place: str
) -> dict[str, Any]:
    return {
        "reference": trust["reference"],
        "digest": trust["digest"],
        "local": place != "registry",
        "place": place,
        "config": Config.from_bytes(config).to_dict(),
        "layers": [layer.to_dict() for layer in manifest.layers],
        "annotations": dict(manifest.annotations),
        "trust": trust,
    }


def _lines(document: dict[str, Any]) -> list[str]:
    config, trust = document["config"], document["trust"]
    lines = [
        f"{document['reference']} ({document['place']})",
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
