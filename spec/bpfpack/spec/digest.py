"""OCI digests (image-spec 1.1, "Digests")."""

import hashlib
import re
from typing import Final, Protocol, Self

from bpfpack.spec.errors import SpecError
from bpfpack.spec.value import valuetype

_HEX_LENGTH: Final = {"sha256": 64, "sha512": 128}
_SHAPE: Final = re.compile(r"([a-z0-9]+(?:[.+_-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)")
_HEX: Final = re.compile(r"[0-9a-f]+")


class Hasher(Protocol):
    """What hashlib's objects are, as far as we use them."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


@valuetype(kw_only=False, order=True)
class Digest:
    """A registered algorithm and exactly its number of lower-case hex digits.

    Safe as a path component, since no other shape can be built.
    """

    algorithm: str
    encoded: str

    def __post_init__(self) -> None:
        length = _HEX_LENGTH.get(self.algorithm)
        if length is None:
            raise SpecError(f"unsupported digest algorithm {self.algorithm[:32]!r}")
        if len(self.encoded) != length or not _HEX.fullmatch(self.encoded):
            raise SpecError(f"not {length} lower-case hex digits after '{self.algorithm}:'")

    @classmethod
    def parse(cls, text: object) -> Self:
        """Parse ``algorithm:hex``; raises SpecError for anything else.

        >>> Digest.parse("sha256:" + "0" * 64).algorithm
        'sha256'
        """
        if not isinstance(text, str):
            raise SpecError("not a digest: not a string")
        if not (match := _SHAPE.fullmatch(text)):
            raise SpecError(f"not a digest: {text[:80]!r}")
        return cls(match[1], match[2])

    @classmethod
    def sha256(cls, data: bytes | bytearray | memoryview) -> Self:
        """Return the sha256 digest of ``data``."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    def new_hash(self) -> Hasher:
        """Return an empty hash of this digest's own algorithm."""
        return hashlib.new(self.algorithm)

    def of(self, data: bytes | bytearray | memoryview) -> "Digest":
        """Return the digest of ``data`` by this digest's own algorithm."""
        hasher = self.new_hash()
        hasher.update(data)
        return Digest(self.algorithm, hasher.hexdigest())

    @property
    def short(self) -> str:
        """The first twelve digits, as docker shows them."""
        return self.encoded[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"
