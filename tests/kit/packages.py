"""Tiny packages, indexes and signatures for tests that move content about."""

import io
import struct
from collections.abc import Mapping
from typing import Final

from bpfpack.spec import mediatypes
from bpfpack.spec.config import Config
from bpfpack.spec.content import Sink
from bpfpack.spec.descriptor import Descriptor, Platform
from bpfpack.spec.digest import Digest
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_index, build_manifest
from bpfpack.spec.package import Package, build_package
from bpfpack.spec.value import replace

#: An ELF64 header of machine EM_BPF with no sections: enough to be carried about.
TINY_ELF: Final = struct.pack(
    "<4sBBBBB7xHHIQQQIHHHHHH",
    *(b"\x7fELF", 2, 1, 1, 0, 0, 1, 247, 1, 0, 0, 0, 0, 64, 0, 0, 64, 0, 0),
)
LINUX_AMD64: Final = Platform(os="linux", architecture="amd64")
LINUX_S390X: Final = Platform(os="linux", architecture="s390x")
BUNDLE: Final = mediatypes.SIGSTORE_BUNDLE


def package(name: str = "tiny", *, object_: bytes = TINY_ELF, version: str = "1.0") -> Package:
    """A package that no kernel would load; another ``object_`` gives another digest."""
    return build_package(
        Config(name=name, version=version, license="GPL-2.0"),
        object_,
        file_name=f"{name}.bpf.o",
        readme=f"# {name}\n".encode(),
        created="2026-01-02T03:04:05Z",
    )


def artifact(
    data: bytes,
    *,
    artifact_type: str = BUNDLE,
    subject: Descriptor | None = None,
    layer_annotations: Mapping[str, str] | None = None,
) -> Package:
    """A manifest of one layer, about ``subject``: what signatures look like to a store."""
    config = Descriptor.of(b"{}", mediatypes.EMPTY)
    layer = Descriptor.of(data, artifact_type, annotations=layer_annotations)
    manifest = build_manifest(
        artifact_type=artifact_type, config=config, layers=(layer,), subject=subject
    )
    return Package(manifest=manifest, blobs={config.digest: b"{}", layer.digest: data})


def signature_image(*payloads: tuple[bytes, str]) -> Package:
    """A manifest in the form of cosign's ``.sig``: a layer for each payload and signature."""
    config = Descriptor.of(b"{}", mediatypes.IMAGE_CONFIG)
    layers = tuple(
        Descriptor.of(
            data,
            mediatypes.SIMPLE_SIGNING,
            annotations={"dev.cosignproject.cosign/signature": signature},
        )
        for data, signature in payloads
    )
    manifest = build_manifest(artifact_type=None, config=config, layers=layers)
    blobs = {config.digest: b"{}"} | {Digest.sha256(data): data for data, _ in payloads}
    return Package(manifest=manifest, blobs=blobs)


def flood(name: str, count: int = LIMITS.signature_candidates, size: int = 1) -> Package:
    """A ``.sig`` of as many signatures that are none; another one for each ``name``."""
    data = name.encode().ljust(size, b"\0")
    return signature_image(*((data, f"{name} {i}") for i in range(count)))


def index_of(children: Mapping[Platform, Manifest]) -> Index:
    """An index with a child for each platform."""
    return build_index(
        tuple(replace(m.descriptor, platform=p) for p, m in children.items()),
        artifact_type=mediatypes.ARTIFACT,
    )


def fill(sink: Sink, content: Package, tag: str | None = None) -> None:
    """Store a package: blobs first, then its name."""
    for want in (content.manifest.config, *content.manifest.layers):
        sink.push(want, io.BytesIO(content.blobs[want.digest]))
    sink.put(content.manifest, tag)
