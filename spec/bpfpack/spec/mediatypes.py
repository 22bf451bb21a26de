"""Media types and annotation names, ours and those we read."""

from typing import Final

ARTIFACT: Final = "application/vnd.bpfpack.package.v1"
CONFIG: Final = "application/vnd.bpfpack.config.v1+json"
OBJECT: Final = "application/vnd.bpfpack.object.v1+elf"
WASM: Final = "application/wasm"
BTF: Final = "application/vnd.bpfpack.btf.v1.tar+gzip"
SOURCE: Final = "application/vnd.bpfpack.source.v1.tar+gzip"
README: Final = "text/markdown"

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGE_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
EMPTY: Final = "application/vnd.oci.empty.v1+json"
LAYOUT: Final = "application/vnd.oci.layout.header.v1+json"

MANIFESTS: Final = frozenset({MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({INDEX, DOCKER_INDEX})

# cosign: the layer of its legacy form, its bundle, and its newer name for a signature.
SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGSTORE_BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
COSIGN_SIGNATURE: Final = "application/vnd.dev.cosign.artifact.sig.v1+json"

TITLE: Final = "org.opencontainers.image.title"
CREATED: Final = "org.opencontainers.image.created"
REF_NAME: Final = "org.opencontainers.image.ref.name"
VERSION: Final = "org.opencontainers.image.version"
DESCRIPTION: Final = "org.opencontainers.image.description"
LICENSES: Final = "org.opencontainers.image.licenses"
AUTHORS: Final = "org.opencontainers.image.authors"
URL: Final = "org.opencontainers.image.url"
SOURCE_URL: Final = "org.opencontainers.image.source"
