"""From source to package: build."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from bpfpack.builder.build import BuildOptions, BuildResult
from bpfpack.builder.build import build as build_path
from bpfpack.cli.host import Host
from bpfpack.cli.options import Quiet
from bpfpack.registry.store.archive import ArchiveWriter
from bpfpack.registry.store.memory import MemoryStore
from bpfpack.registry.store.record import Origin
from bpfpack.registry.transfer import copy
from bpfpack.spec.bounded import read_at_most
from bpfpack.spec.errors import UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.reference import Reference

_STDOUT: Final = Path("-")

EXAMPLES: Final = {
    "build": (
        "bpfpack build",
        "bpfpack build -t ghcr.io/x/opensnoop:1.0 examples/opensnoop",
        "bpfpack build -f tool.tar tool.bpf.o",
        "bpfpack build --vmlinux /usr/src/vmlinux.h tool.bpf.c",
        "bpfpack build --container bpfpack-build examples/opensnoop",
    ),
}


def build(
    path: Annotated[
        Path, typer.Argument(help="A directory, a .bpf.c or an object; here if absent.")
    ] = Path(),
    tags: Annotated[
        list[str] | None,
        typer.Option("-t", "--tag", help="Its name in the local store; repeatable.", metavar="REF"),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f", "--file", help="Write an OCI archive as well, - to stdout.", metavar="FILE"
        ),
    ] = None,
    vmlinux: Annotated[
        str | None,
        typer.Option("--vmlinux", help="A vmlinux.h or BTF file, - for stdin.", metavar="FILE"),
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", help="Build for this architecture.", metavar="ARCH")
    ] = None,
    clang: Annotated[str, typer.Option("--clang", help="Which clang.", metavar="NAME")] = "clang",
    container: Annotated[
        str | None,
        typer.Option(
            "--container", help="Build in a container of this docker image.", metavar="IMAGE"
        ),
    ] = None,
    source: Annotated[
        bool, typer.Option("--with-source", help="Carry the source in the package.")
    ] = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show the compiler's whole log.")
    ] = False,
) -> None:
    """Build a package from C or a prebuilt object.

    Without -t and -f it is named after itself in the local store. What is built from source
    here may run here without a signature.

    With --container the compiler is that of a docker image, made of bpfpack's sources by
    `docker build --target build`: it sees this project only, read-only, and no network.
    """
    host = Host.here(quiet=quiet, verbose=verbose)
    names = [Reference.parse(tag) for tag in tags or ()]
    if file == _STDOUT and host.printer.on_terminal:
        raise UsageError("an archive is not for a terminal").with_hint("give -f FILE, or a pipe")
    options = BuildOptions(
        clang=clang,
        arch=arch,
        vmlinux=_vmlinux(vmlinux),
        cache=host.dirs.cache,
        with_source=source,
    )
    result = _built(host, container, path, options)
    for warning in result.warnings:
        host.printer.warn_lines(warning)
    if result.draft:
        host.printer.info("the object says nothing about its outputs; a bpfpack.toml could:")
        for line in result.draft.splitlines():
            host.printer.info(f"  {line}")
    if not names and file is None:
        names = [Reference.parse(f"{result.config.name}:{result.config.version or 'latest'}")]
    _keep(host, result, names)
    if file is not None:
        _write(host, result, names, file)
    if file == _STDOUT:
        return
    digest = result.package.manifest.descriptor.digest
    for place in (*map(str, names), *([str(file)] if file else [])):
        host.printer.result(f"{place}  {digest}")


def _built(host: Host, container: str | None, path: Path, options: BuildOptions) -> BuildResult:
    if container is None:
        return build_path(path, options)
    from bpfpack.cli.contained import build_in

    return build_in(host, container, path, options)


def _keep(host: Host, result: BuildResult, names: list[Reference]) -> None:
    """Vouch for it, then store it under every name: no name stands without the word."""
    package = result.package
    origin = Origin.BUILT if result.from_source else Origin.OBJECT
    for name in names:
        if name.digest:
            raise UsageError(f"{name}: a name that is built has a tag, not a digest")
    if names and result.from_source:
        host.host_key.endorse(package.manifest.descriptor.digest)
    for name in names:
        copy(
            MemoryStore.of(package),
            host.store.repository(name.name, origin=origin),
            package.manifest.descriptor.digest,
            name.tag or "latest",
            verb="build",
        )


def _write(host: Host, result: BuildResult, names: list[Reference], file: Path) -> None:
    source, manifest = MemoryStore.of(result.package), result.package.manifest
    with ArchiveWriter() as writer:
        for name in names or [Reference.parse(result.config.name)]:
            copy(
                source,
                writer.repository(name.name),
                manifest.descriptor.digest,
                name.tag or result.config.version or "latest",
                verb="build",
            )
        if file != _STDOUT:
            writer.save(file)
            return
        with host.printer.writing() as out:
            writer.write(out.buffer)


def _vmlinux(text: str | None) -> bytes | None:
    if text is None:
        return None
    if text == "-":
        return read_at_most(sys.stdin.buffer, LIMITS.vmlinux_header, "stdin")
    try:
        with Path(text).open("rb") as stream:
            return read_at_most(stream, LIMITS.vmlinux_header, text)
    except OSError as e:
        raise UsageError(f"--vmlinux {text}: {e.strerror}") from e
