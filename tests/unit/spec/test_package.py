"""A package as OCI content: what vectors cannot show."""

import json

from bpfpack.spec import mediatypes
from bpfpack.spec.config import Config
from bpfpack.spec.digest import Digest
from bpfpack.spec.manifest import Manifest, parse
from bpfpack.spec.package import PackageLayout, build_package, children
from tests.kit.packages import LINUX_AMD64, index_of

CONFIG = Config(
    name="x", version="1.0", description="d", license="l", authors=("a", "b"), homepage="h",
    source="s",
)  # fmt: skip


def test_equal_arguments_give_equal_digests() -> None:
    both = [
        build_package(CONFIG, b"object", file_name="x.o", readme=b"r", source=b"s") for _ in "12"
    ]
    assert both[0] == both[1]
    other = build_package(CONFIG, b"objecT", file_name="x.o", readme=b"r", source=b"s")
    assert other.manifest.descriptor.digest != both[0].manifest.descriptor.digest


def test_what_is_built_is_a_package() -> None:
    made = build_package(CONFIG, b"object", file_name="x.o", readme=b"r", source=b"s")
    manifest = parse(made.manifest.raw)
    assert isinstance(manifest, Manifest)
    layout = PackageLayout.of(manifest)
    assert made.blobs[layout.object.digest] == b"object"
    assert layout.readme is not None and made.blobs[layout.readme.digest] == b"r"
    assert made.blobs[layout.config.digest] == CONFIG.to_bytes()
    assert [layer.title for layer in manifest.layers] == ["x.o", "source.tar.gz", "README.md"]
    assert {d.digest for d in children(manifest)} == set(made.blobs)
    assert all(Digest.sha256(data) == digest for digest, data in made.blobs.items())


def test_the_manifest_repeats_who_it_is() -> None:
    made = build_package(CONFIG, b"o", file_name="x.o", created="2026-01-02T03:04:05Z")
    assert json.loads(made.manifest.raw)["annotations"] == {
        "org.opencontainers.image.authors": "a, b",
        "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
        "org.opencontainers.image.description": "d",
        "org.opencontainers.image.licenses": "l",
        "org.opencontainers.image.source": "s",
        "org.opencontainers.image.title": "x",
        "org.opencontainers.image.url": "h",
        "org.opencontainers.image.version": "1.0",
    }
    silent = build_package(Config(name="x"), b"o", file_name="x.o")
    assert mediatypes.CREATED not in silent.manifest.annotations


def test_an_index_is_whole_with_its_manifests() -> None:
    made = build_package(CONFIG, b"o", file_name="x.o")
    index = index_of({LINUX_AMD64: made.manifest})
    assert [d.digest for d in children(index)] == [made.manifest.descriptor.digest]
