"""OCI descriptors (image-spec 1.1, "Content Descriptors")."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from bpfpack.spec import fields
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import field, valuetype

_MEDIA_TYPE: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
)


@valuetype
class Platform:
    """Which machines a child of an index is for."""

    architecture: str
    os: str
    variant: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Platform":
        """Parse; unknown fields (``os.version``) do not decide anything here."""
        return cls(
            architecture=fields.string(data, "architecture"),
            os=fields.string(data, "os"),
            variant=fields.optional_string(data, "variant"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, absent members left out."""
        variant = {"variant": self.variant} if self.variant else {}
        return {"architecture": self.architecture, "os": self.os, **variant}

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")


@valuetype
class Descriptor:
    """Names content: type, digest, size in bytes.  ``urls`` are never fetched (CVE-2020-15157)."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None
    platform: Platform | None = None
    data: bytes | None = None

    @classmethod
    def of(
        cls, data: bytes, media_type: str, *, annotations: Mapping[str, str] | None = None
    ) -> "Descriptor":
        """Describe bytes at hand.

        >>> Descriptor.of(b"{}", "application/vnd.oci.empty.v1+json").digest.short
        '44136fa355b3'
        """
        return cls(
            media_type=media_type,
            digest=Digest.sha256(data),
            size=len(data),
            annotations=annotations or {},
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Descriptor":
        """Parse; raises SpecError with a path.  Unknown fields are allowed (image-spec)."""
        text = fields.string(data, "digest")
        with fields.inside("digest"):
            digest = Digest.parse(text)
        artifact_type = fields.optional_string(data, "artifactType")
        if artifact_type is not None:
            check_media_type(artifact_type, "artifactType")
        found = cls(
            media_type=check_media_type(fields.string(data, "mediaType"), "mediaType"),
            digest=digest,
            size=fields.integer(data, "size"),
            annotations=annotations_of(data),
            artifact_type=artifact_type,
            platform=_platform(data),
            data=_embedded(data),
        )
        if found.data is not None and (
            len(found.data) != found.size or digest.of(found.data) != digest
        ):
            raise SpecError("embedded data is not what the digest names", path=("data",))
        return found

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, in the order cosign and oras write; absent members left out."""
        found: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.artifact_type is not None:
            found["artifactType"] = self.artifact_type
        if self.platform is not None:
            found["platform"] = self.platform.to_dict()
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        if self.data is not None:
            found["data"] = base64.b64encode(self.data).decode()
        return found

    @property
    def title(self) -> str | None:
        """The file name that ORAS conventions give it; for display only."""
        return self.annotations.get("org.opencontainers.image.title")


def check_media_type(text: str, key: str) -> str:
    """Return ``text`` when it is a media type without parameters; raises SpecError."""
    if not _MEDIA_TYPE.fullmatch(text):
        raise SpecError(f"not a media type: {text[:80]!r}", path=(key,))
    return text


def annotations_of(data: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the annotations of a descriptor, manifest or index; raises SpecError."""
    return fields.string_map(
        data, "annotations", most=LIMITS.annotations, longest=LIMITS.annotation_value
    )


def _platform(data: Mapping[str, Any]) -> Platform | None:
    if "platform" not in data:
        return None
    return fields.nested(data, "platform", Platform.from_dict)


def _embedded(data: Mapping[str, Any]) -> bytes | None:
    text = fields.optional_string(data, "data")
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise SpecError("not base64", path=("data",)) from e
