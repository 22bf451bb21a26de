"""One small JSON file says what a reference, an attached tag or a referrer names."""

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from bpfpack.spec import fields, strictjson
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import SpecError, StoreError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.reference import Reference
from bpfpack.spec.value import valuetype

#: A record holds a descriptor and its annotations, which a manifest bounds.
RECORD_LIMIT: Final = LIMITS.manifest


class Origin(StrEnum):
    """How the bytes behind a reference came into the store.

    It is for listings and for asking before `push` signs; what was built here is proved
    by the host key's signature, never by this word.
    """

    BUILT = "built"
    PULLED = "pulled"
    LOADED = "loaded"
    #: Packed here from an object that was compiled elsewhere.
    OBJECT = "object"


_ORIGINS: Final[Mapping[str, Origin]] = {origin.value: origin for origin in Origin}


@valuetype
class Record:
    """A reference with its descriptor; ``added`` and ``created`` are RFC 3339 times in UTC.

    ``created`` is what the package's own annotation says, unproved.  A reference by digest is
    that of the descriptor; raises SpecError for any other.
    """

    reference: Reference
    descriptor: Descriptor
    origin: Origin
    added: str
    created: str | None = None

    def __post_init__(self) -> None:
        pinned, digest = self.reference.digest, self.descriptor.digest
        if pinned and pinned != digest:
            raise SpecError(f"{self.reference} cannot name {digest}")

    def to_bytes(self) -> bytes:
        """The file's content."""
        data: dict[str, Any] = {
            "reference": str(self.reference),
            "descriptor": self.descriptor.to_dict(),
            "origin": self.origin.value,
            "added": self.added,
        }
        if self.created is not None:
            data["created"] = self.created
        return strictjson.dumps(data)

    @classmethod
    def from_bytes(cls, raw: bytes, where: str) -> "Record":
        """Parse; raises StoreError that names ``where`` for anything else."""
        try:
            return cls._from_dict(strictjson.loads_object(raw, RECORD_LIMIT))
        except SpecError as e:
            raise damaged(where, e) from e

    @classmethod
    def _from_dict(cls, data: Mapping[str, Any]) -> "Record":
        origin = _ORIGINS.get(fields.string(data, "origin"))
        if origin is None:
            raise SpecError("not an origin", path=("origin",))
        with fields.inside("reference"):
            reference = Reference.parse(fields.string(data, "reference"))
        with fields.inside("descriptor"):
            descriptor = Descriptor.from_dict(fields.mapping(data, "descriptor"))
        return cls(
            reference=reference,
            descriptor=descriptor,
            origin=origin,
            added=fields.string(data, "added"),
            created=fields.optional_string(data, "created"),
        )


def descriptor_from(raw: bytes, where: str) -> Descriptor:
    """Parse the record of an attached tag or a referrer; raises StoreError."""
    try:
        return Descriptor.from_dict(strictjson.loads_object(raw, RECORD_LIMIT))
    except SpecError as e:
        raise damaged(where, e) from e


def directory_of(name: str) -> str:
    """One file name for one repository: '%' is in no name, and a name has at most 255 bytes."""
    return name.replace("/", "%")


def damaged(where: str, why: Exception) -> StoreError:
    """Say that a file of the store is not what was written there."""
    return StoreError(f"{where} is damaged: {why}").with_hint(
        "remove that file, then pull or build the package again"
    )


def now() -> str:
    """The present in UTC, to the millisecond, in the form that sorts as text."""
    seconds, millis = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{millis:03d}Z"
