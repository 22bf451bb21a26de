"""What the server asks of a place that keeps content."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import IO, Protocol

from bpfpack.registry.server.condition import Condition
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import StoreError
from bpfpack.spec.value import valuetype


@valuetype
class StoredManifest:
    """A manifest as it was pushed, byte for byte."""

    digest: Digest
    media_type: str
    raw: bytes


@valuetype
class NewManifest:
    """A manifest to keep, with what the indexes over it need.

    ``needs`` are the blobs that must be in the repository already; ``descriptor`` is the
    JSON by which the referrers API shows it, when it has a subject.
    """

    digest: Digest
    media_type: str
    raw: bytes
    needs: frozenset[Digest]
    subject: Digest | None
    artifact_type: str | None
    descriptor: str


@valuetype
class Page:
    """Part of a listing; ``more`` says that something follows."""

    entries: tuple[str, ...]
    last: str
    more: bool


class Overtaken(StoreError):
    """What a write was to replace is not, or no longer, what the client took it for."""


class Blob(Protocol):
    """An open blob.  ``file`` is there when the bytes lie in a local file."""

    @property
    def size(self) -> int: ...
    @property
    def file(self) -> IO[bytes] | None: ...
    async def read(self, offset: int, count: int) -> bytes: ...
    async def close(self) -> None: ...


class Upload(Protocol):
    """A blob on its way in, held by one request at a time."""

    @property
    def offset(self) -> int: ...
    async def write(self, chunks: Sequence[bytes]) -> None: ...
    async def truncate(self, offset: int) -> None: ...
    async def commit(self, digest: Digest) -> None:
        """Make it a blob of the repository; raises DigestMismatch, and is gone either way."""

    async def abort(self) -> None: ...


class Storage(Protocol):
    """Repositories of blobs, manifests and tags.  Every method may raise StoreError.

    Names, digests and tags have been validated by the caller.
    """

    async def blob_size(self, repository: str, digest: Digest) -> int | None: ...
    async def open_blob(self, repository: str, digest: Digest) -> Blob | None: ...
    async def mount(self, repository: str, digest: Digest, source: str | None) -> bool:
        """Link a blob of ``source``, or of any repository, here; say whether there was one."""

    async def delete_blob(self, repository: str, digest: Digest) -> bool: ...

    async def create_upload(self, repository: str, algorithm: str) -> str:
        """Open an upload and return its id; ``algorithm`` is the likely one of its digest."""
        ...

    def upload(self, repository: str, upload_id: str) -> AbstractAsyncContextManager[Upload | None]:
        """Hold an unfinished upload of this repository, alone; None when there is none."""
        ...

    async def manifest(self, repository: str, reference: Digest | str) -> StoredManifest | None: ...
    async def put_manifest(
        self,
        repository: str,
        manifest: NewManifest,
        tags: Sequence[str],
        condition: Condition | None = None,
    ) -> frozenset[Digest]:
        """Keep it under its digest and ``tags``; return the blobs it lacks, and do nothing then.

        Raises Overtaken, having done nothing, when ``condition`` does not hold.
        """

    async def delete_manifest(self, repository: str, digest: Digest) -> bool: ...
    async def delete_tag(self, repository: str, tag: str) -> bool: ...

    async def tags(self, repository: str, after: str, most: int) -> Page | None:
        """Return tags in byte order, None for an unknown repository."""

    async def referrers(
        self, repository: str, subject: Digest, artifact_type: str | None, after: str
    ) -> Page:
        """Return descriptors of manifests that refer to ``subject``, in order of digest."""
