"""A package as OCI content: which blob is what, and in which order (SPEC.md, section 4)."""

from collections.abc import Mapping
from typing import Final

from bpfpack.spec import mediatypes
from bpfpack.spec.config import Config
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_manifest
from bpfpack.spec.value import field, valuetype

#: What each layer may weigh, in bytes; a layer of another type is carried, never read.
LAYER_LIMITS: Final[Mapping[str, int]] = {
    mediatypes.OBJECT: LIMITS.object,
    mediatypes.WASM: LIMITS.layer,
    mediatypes.BTF: LIMITS.layer,
    mediatypes.SOURCE: LIMITS.layer,
    mediatypes.README: LIMITS.readme,
}


@valuetype
class PackageLayout:
    """Which descriptor of a manifest is which part of the package."""

    manifest: Manifest
    config: Descriptor
    object: Descriptor
    readme: Descriptor | None

    @classmethod
    def of(cls, manifest: Manifest) -> "PackageLayout":
        """Read a manifest as a package; raises SpecError when it is something else."""
        if manifest.artifact_type != mediatypes.ARTIFACT:
            raise SpecError(
                f"not a bpfpack package but {manifest.kind[:80]}", path=("artifactType",)
            )
        if manifest.config.media_type != mediatypes.CONFIG:
            raise SpecError(f"not {mediatypes.CONFIG}", path=("config", "mediaType"))
        if manifest.config.size > LIMITS.config:
            raise LimitExceeded(f"more than {LIMITS.config} bytes", path=("config", "size"))
        if len(manifest.layers) > LIMITS.layers:
            raise LimitExceeded(f"more than {LIMITS.layers} layers", path=("layers",))
        for i, layer in enumerate(manifest.layers):
            if layer.size > LAYER_LIMITS.get(layer.media_type, LIMITS.layer):
                raise LimitExceeded("too large", path=(f"layers[{i}]", "size"))
        if sum(layer.size for layer in manifest.layers) > LIMITS.package:
            raise LimitExceeded(f"more than {LIMITS.package} bytes in all", path=("layers",))
        object_ = _only(manifest, mediatypes.OBJECT)
        if object_ is None:
            raise SpecError(f"no layer of {mediatypes.OBJECT}", path=("layers",))
        _only(manifest, mediatypes.SOURCE)
        return cls(
            manifest=manifest,
            config=manifest.config,
            object=object_,
            readme=_only(manifest, mediatypes.README),
        )


@valuetype
class Package:
    """A manifest and every blob it names, in memory."""

    manifest: Manifest
    blobs: Mapping[Digest, bytes] = field(repr=False)


def build_package(
    config: Config,
    object_: bytes,
    *,
    file_name: str,
    readme: bytes | None = None,
    source: bytes | None = None,
    created: str | None = None,
) -> Package:
    """Make a package; equal arguments give equal digests.

    ``file_name`` is the object's title, ``created`` an RFC 3339 time that goes into the
    manifest only when given.
    """
    config_bytes = config.to_bytes()
    config_descriptor = Descriptor.of(config_bytes, mediatypes.CONFIG)
    parts = [(object_, mediatypes.OBJECT, file_name)]
    if source is not None:
        parts.append((source, mediatypes.SOURCE, "source.tar.gz"))
    if readme is not None:
        parts.append((readme, mediatypes.README, "README.md"))
    layers = tuple(
        Descriptor.of(data, media_type, annotations={mediatypes.TITLE: title})
        for data, media_type, title in parts
    )
    manifest = build_manifest(
        artifact_type=mediatypes.ARTIFACT,
        config=config_descriptor,
        layers=layers,
        annotations=_annotations(config, created),
    )
    blobs = {config_descriptor.digest: config_bytes}
    blobs |= {layer.digest: data for layer, (data, _, _) in zip(layers, parts, strict=True)}
    return Package(manifest=manifest, blobs=blobs)


def children(content: Manifest | Index) -> tuple[Descriptor, ...]:
    """What must be there for ``content`` to be whole: blobs of a manifest, manifests of an index.

    A subject is not among them: it may be missing (distribution spec 1.1).
    """
    if isinstance(content, Index):
        return content.manifests
    return (content.config, *content.layers)


def _annotations(config: Config, created: str | None) -> dict[str, str]:
    pairs = {
        mediatypes.TITLE: config.name,
        mediatypes.VERSION: config.version,
        mediatypes.DESCRIPTION: config.description,
        mediatypes.LICENSES: config.license,
        mediatypes.AUTHORS: ", ".join(config.authors) or None,
        mediatypes.URL: config.homepage,
        mediatypes.SOURCE_URL: config.source,
        mediatypes.CREATED: created,
    }
    return {key: value for key, value in pairs.items() if value is not None}


def _only(manifest: Manifest, media_type: str) -> Descriptor | None:
    found = [layer for layer in manifest.layers if layer.media_type == media_type]
    if len(found) > 1:
        raise SpecError(f"several layers of {media_type}", path=("layers",))
    return found[0] if found else None
