"""Reads one package out of a source, once: what was resolved is what is judged and loaded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from bpfpack.spec.bounded import check_bytes, read_exactly, verified_chunks
from bpfpack.spec.content import Source
from bpfpack.spec.descriptor import Descriptor, Platform
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import ContentError, SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.origin import Origin
from bpfpack.spec.package import PackageLayout, children
from bpfpack.spec.signature import SignaturePlace
from bpfpack.spec.trust import RemoteArtifact

#: Finds the signatures of some content: ``registry.trust.collect``, perhaps with more places.
Look = Callable[[Source, Descriptor], tuple[SignaturePlace, ...]]

_PULL: Final = "`bpfpack pull` fetches it again"


def read_artifact(
    source: Source, name: str | Digest, origin: Origin, *, platform: Platform, look: Look
) -> RemoteArtifact:
    """Return the package for ``platform`` that ``name`` stands for, config and object read.

    The name is resolved once; all else is asked for by digest.  Raises NotFound,
    TransportError, StoreError, ContentError, and SpecError when it is no package or has
    none for this platform.
    """
    named = source.resolve(name)
    manifest, index = _for_platform(source, named, platform)
    layout = PackageLayout.of(manifest)
    places = look(source, manifest.descriptor)
    if index is not None:
        places = (*look(source, index.descriptor), *places)
    return RemoteArtifact(
        origin=origin,
        manifest=manifest,
        index=index,
        config=_read(source, layout.config, LIMITS.config, origin, "config"),
        object=_read(source, layout.object, LIMITS.object, origin, "object"),
        places=places,
    )


def check_whole(source: Source, manifest: Manifest) -> None:
    """Hash all that a package names, readme and source included, and keep nothing.

    Raises ContentError for other bytes, NotFound, TransportError, StoreError.
    """
    for want in children(manifest):
        with (
            _told(f"{want.digest} of {manifest.descriptor.digest.short}", _PULL),
            source.fetch(want) as it,
        ):
            for _ in verified_chunks(it, want, LIMITS.layer):
                pass


def resolve_child(source: Source, want: Descriptor) -> Manifest | Index:
    """Return a child of an index; raises ContentError or SpecError when it is not as listed."""
    found = source.resolve(want.digest)
    check_bytes(found.raw, want)  # whatever the source did or did not hash
    if found.media_type != want.media_type:
        raise SpecError(f"{want.digest} is {found.media_type}, {want.media_type} listed")
    return found


def _for_platform(
    source: Source, named: Manifest | Index, platform: Platform
) -> tuple[Manifest, Index | None]:
    if isinstance(named, Manifest):
        return named, None
    child = resolve_child(source, named.select(platform))
    if not isinstance(child, Manifest):
        raise SpecError("an index inside the index of a package")
    return child, named


def _read(source: Source, want: Descriptor, limit: int, origin: Origin, part: str) -> bytes:
    hint = _PULL if origin.kind in ("store", "registry") else "get the archive again"
    with _told(f"the {part} of {origin}", hint), source.fetch(want) as stream:
        return read_exactly(stream, want, limit)


@contextmanager
def _told(what: str, hint: str) -> Iterator[None]:
    """Say which part it was whose bytes were others, and how to get it whole."""
    try:
        yield
    except ContentError as e:
        raise type(e)(f"{what} was changed or damaged where it is kept: {e}").with_hint(hint) from e
