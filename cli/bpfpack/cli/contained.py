"""A build in a container, brought back as if it had been done here."""

from pathlib import Path

from bpfpack.builder.build import BuildOptions, BuildResult
from bpfpack.cli.host import Host
from bpfpack.registry.store.layout import Layout
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.config import Config
from bpfpack.spec.errors import SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Manifest
from bpfpack.spec.package import Package, PackageLayout, children


def build_in(host: Host, image: str, path: Path, options: BuildOptions) -> BuildResult:
    """Build ``path`` in a container of ``image``; what it gives back is read like any archive.

    Raises BuildError, UsageError, SpecError and ContentError.
    """
    from bpfpack.builder.container import build_in_container

    made = build_in_container(image, path, options)
    host.printer.info(f"built in {made.image}")
    with made.archive, Layout.from_stream(made.archive, f"what {image} built") as layout:
        package = _package(layout)
    for note in made.notes:
        host.printer.info(note)
    return BuildResult(
        package=package,
        config=Config.from_bytes(package.blobs[package.manifest.config.digest]),
        from_source=made.from_source,
        warnings=made.warnings,
    )


def _package(layout: Layout) -> Package:
    """Return the one package of an archive, all its bytes checked."""
    manifest = layout.manifest(layout.only().descriptor.digest)
    if not isinstance(manifest, Manifest):
        raise SpecError(f"{layout.what} is an index, not one package")
    PackageLayout.of(manifest)
    blobs = {}
    for want in children(manifest):
        with layout.open_blob(want) as stream:
            blobs[want.digest] = read_exactly(stream, want, LIMITS.layer)
    return Package(manifest=manifest, blobs=blobs)
