"""OCI image manifests and indexes (image-spec 1.1), parsed strictly, kept byte for byte.

A parsed value holds the exact bytes it came from in ``raw``: those are what is hashed,
signed, stored and pushed.  Bytes that could be read as a manifest by one reader and as an
index by another are refused (CVE-2021-41190).
"""

from collections.abc import Mapping
from typing import Any, Final

from bpfpack.spec import fields, mediatypes, strictjson
from bpfpack.spec.descriptor import Descriptor, Platform, annotations_of, check_media_type
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import field, valuetype


@valuetype
class Manifest:
    """One artifact: a config, layers, perhaps a subject that it refers to."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str | None
    subject: Descriptor | None
    annotations: Mapping[str, str]
    raw: bytes = field(repr=False)

    @property
    def descriptor(self) -> Descriptor:
        """What names this manifest."""
        return Descriptor(
            media_type=self.media_type,
            digest=Digest.sha256(self.raw),
            size=len(self.raw),
            artifact_type=self.kind,
        )

    @property
    def kind(self) -> str:
        """``artifactType``, else the config's media type (distribution spec, referrers)."""
        return self.artifact_type or self.config.media_type


@valuetype
class Index:
    """Several manifests under one name."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    artifact_type: str | None
    subject: Descriptor | None
    annotations: Mapping[str, str]
    raw: bytes = field(repr=False)

    @property
    def descriptor(self) -> Descriptor:
        """What names this index."""
        return Descriptor(
            media_type=self.media_type,
            digest=Digest.sha256(self.raw),
            size=len(self.raw),
            artifact_type=self.artifact_type,
        )

    def select(self, platform: Platform) -> Descriptor:
        """Return the one child for ``platform``; raises SpecError for none or several."""
        fits = [
            child
            for child in self.manifests
            if child.platform
            and (child.platform.os, child.platform.architecture)
            == (platform.os, platform.architecture)
        ]
        if len(fits) != 1:
            have = ", ".join(str(c.platform) for c in self.manifests if c.platform) or "none named"
            count = "several" if fits else "no"
            raise SpecError(f"{count} packages for {platform} in the index ({have})")
        return fits[0]


_MANIFEST_ONLY: Final = ("config", "layers")
_INDEX_ONLY: Final = ("manifests",)


def parse(raw: bytes, *, media_type: str | None = None) -> Manifest | Index:
    """Parse a manifest or an index; ``media_type`` is what the transport claimed.

    Raises SpecError: not JSON, neither or both kinds, a media type that contradicts the
    transport's, a malformed descriptor.
    """
    data = strictjson.loads_object(raw, LIMITS.manifest)
    if fields.integer(data, "schemaVersion") != 2:
        raise SpecError("not 2", path=("schemaVersion",))
    stated = fields.optional_string(data, "mediaType")
    if stated is not None and media_type and stated != media_type:
        raise SpecError(f"{stated} inside, {media_type} outside", path=("mediaType",))
    kind = stated if stated is not None else media_type or _guess(data)
    if kind in mediatypes.MANIFESTS:
        return _manifest(data, kind, raw)
    if kind in mediatypes.INDEXES:
        return _index(data, kind, raw)
    raise SpecError(f"neither a manifest nor an index: {kind[:80]}", path=("mediaType",))


def build_manifest(
    *,
    artifact_type: str | None,
    config: Descriptor,
    layers: tuple[Descriptor, ...],
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """Make a manifest; its bytes depend on nothing but the arguments."""
    data: dict[str, Any] = {"schemaVersion": 2, "mediaType": mediatypes.MANIFEST}
    if artifact_type:
        data["artifactType"] = artifact_type
    data["config"] = config.to_dict()
    data["layers"] = [layer.to_dict() for layer in layers]
    if subject:
        data["subject"] = _plain(subject).to_dict()
    if annotations:
        data["annotations"] = dict(sorted(annotations.items()))
    return _manifest(data, mediatypes.MANIFEST, strictjson.dumps(data))


def build_index(
    manifests: tuple[Descriptor, ...],
    *,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Index:
    """Make an index; its bytes depend on nothing but the arguments."""
    data: dict[str, Any] = {"schemaVersion": 2, "mediaType": mediatypes.INDEX}
    if artifact_type:
        data["artifactType"] = artifact_type
    data["manifests"] = [child.to_dict() for child in manifests]
    if annotations:
        data["annotations"] = dict(sorted(annotations.items()))
    return _index(data, mediatypes.INDEX, strictjson.dumps(data))


def _guess(data: Mapping[str, Any]) -> str:
    return mediatypes.INDEX if "manifests" in data else mediatypes.MANIFEST


def _refuse_other_kind(data: Mapping[str, Any], keys: tuple[str, ...], other: str) -> None:
    for key in keys:
        if key in data:
            raise SpecError(f"belongs to {other}", path=(key,))


def _manifest(data: Mapping[str, Any], media_type: str, raw: bytes) -> Manifest:
    _refuse_other_kind(data, _INDEX_ONLY, "an index")
    fields.required(data, "config")
    fields.required(data, "layers")
    return Manifest(
        media_type=media_type,
        config=fields.nested(data, "config", Descriptor.from_dict),
        layers=fields.objects(
            data, "layers", most=LIMITS.index_children, parse=Descriptor.from_dict
        ),
        artifact_type=_artifact_type(data),
        subject=_subject(data),
        annotations=annotations_of(data),
        raw=raw,
    )


def _index(data: Mapping[str, Any], media_type: str, raw: bytes) -> Index:
    _refuse_other_kind(data, _MANIFEST_ONLY, "a manifest")
    fields.required(data, "manifests")
    return Index(
        media_type=media_type,
        manifests=fields.objects(
            data, "manifests", most=LIMITS.index_children, parse=Descriptor.from_dict
        ),
        artifact_type=_artifact_type(data),
        subject=_subject(data),
        annotations=annotations_of(data),
        raw=raw,
    )


def _artifact_type(data: Mapping[str, Any]) -> str | None:
    found = fields.optional_string(data, "artifactType")
    return check_media_type(found, "artifactType") if found is not None else None


def _subject(data: Mapping[str, Any]) -> Descriptor | None:
    if "subject" not in data:
        return None
    return fields.nested(data, "subject", Descriptor.from_dict)


def _plain(descriptor: Descriptor) -> Descriptor:
    """A subject says type, digest and size, nothing else."""
    return Descriptor(
        media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size
    )
