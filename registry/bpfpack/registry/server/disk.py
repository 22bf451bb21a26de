"""Storage on a local disk.

    DATA/lock                  held while a server runs
    DATA/registry.db           `bpfpack.registry.server.metadata`
    DATA/blobs/ALG/AA/HEX      content, manifests too, each durable before anything names it
    DATA/uploads/UUID-HASH     unfinished uploads, bound to a repository by the hash of its name

A file that was published but not recorded when the machine stopped is harmless: the next
push of the same content records it.
"""

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final, TypeVar

from bpfpack.registry.owned import OwnedDir, mapped
from bpfpack.registry.server import files
from bpfpack.registry.server.condition import Condition
from bpfpack.registry.server.metadata import Metadata
from bpfpack.registry.server.storage import NewManifest, Page, StoredManifest
from bpfpack.registry.server.upload import DiskUpload
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import StoreError

T = TypeVar("T")
_UPLOAD_ID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_THREADS: Final = 8


class DiskBlob:
    """A blob in a local file."""

    def __init__(self, file: IO[bytes], run: "_Runner") -> None:
        self.file: IO[bytes] = file
        self.size = os.fstat(file.fileno()).st_size
        self._run = run

    async def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; raises StoreError."""
        return await self._run(os.pread, self.file.fileno(), count, offset)

    async def close(self) -> None:
        """Close the file."""
        await self._run(self.file.close)


class _Runner:
    """Runs blocking work on a bounded number of threads, mapping the disk's errors."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="registry")

    async def __call__(self, work: Callable[..., T], *args: object) -> T:
        loop = asyncio.get_running_loop()
        with mapped("the registry's data directory"):
            return await loop.run_in_executor(self._pool, functools.partial(work, *args))

    def close(self) -> None:
        self._pool.shutdown()


class DiskStorage:
    """Implements `bpfpack.registry.server.storage.Storage` below one directory."""

    def __init__(self, root: Path) -> None:
        """Open or create ``root``.

        Raises StoreError, also when another server has it or other users can write to it.
        """
        root = root.absolute()
        OwnedDir.open(root, create=True).close()
        self._blobs, self._uploads = root / "blobs", root / "uploads"
        with mapped(str(root)):
            algorithms = [self._blobs / name for name in ("sha256", "sha512")]
            for directory in (self._uploads, self._blobs, *algorithms):
                directory.mkdir(mode=0o700, exist_ok=True)
            for directory in (root, self._blobs):
                files.sync_directory(directory)
            self._lock = _exclusive(root / "lock", root)
        try:
            self._metadata = Metadata(root / "registry.db")
        except BaseException:
            os.close(self._lock)
            raise
        self._run = _Runner()
        self._open: dict[Path, DiskUpload] = {}

    def close(self) -> None:
        """Finish what runs, and let another server have the directory."""
        self._run.close()
        self._metadata.close()
        os.close(self._lock)

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """Return the size of a blob of this repository."""
        return await self._run(self._metadata.blob_size, repository, digest)

    async def open_blob(self, repository: str, digest: Digest) -> DiskBlob | None:
        """Open a blob of this repository."""
        return await self._run(self._open_blob, repository, digest)

    async def mount(self, repository: str, digest: Digest, source: str | None) -> bool:
        """Link a blob that another repository has."""
        return await self._run(self._metadata.mount, repository, digest, source)

    async def delete_blob(self, repository: str, digest: Digest) -> bool:
        """Take a blob out of a repository."""
        return await self._run(self._metadata.delete_blob, repository, digest, self._unlink(digest))

    async def create_upload(self, repository: str, algorithm: str) -> str:
        """Open an upload and return its id."""
        upload_id = str(uuid.uuid4())
        path = self._upload_path(repository, upload_id)
        self._open[path] = await self._run(self._new_upload, path, repository, algorithm)
        return upload_id

    @contextlib.asynccontextmanager
    async def upload(self, repository: str, upload_id: str) -> AsyncIterator[DiskUpload | None]:
        """Hold an unfinished upload of this repository, alone."""
        found = await self._find_upload(repository, upload_id)
        if found is None:
            yield None
            return
        async with found.lock:
            try:
                yield None if found.gone else found
            finally:
                if found.gone:
                    self._open.pop(found.path, None)

    async def expire_uploads(self, idle: float) -> int:
        """Delete uploads untouched for ``idle`` seconds; return how many."""
        held = {path for path, found in self._open.items() if found.lock.locked()}
        gone = await self._run(self._expire, time.time() - idle, held)
        for path in gone:
            if found := self._open.pop(path, None):
                found.gone = True
        return len(gone)

    async def manifest(self, repository: str, reference: Digest | str) -> StoredManifest | None:
        """Return what a digest or tag names."""
        return await self._run(self._manifest, repository, reference)

    async def put_manifest(
        self,
        repository: str,
        manifest: NewManifest,
        tags: Sequence[str],
        condition: Condition | None = None,
    ) -> frozenset[Digest]:
        """Keep a manifest, or return the blobs that it lacks."""
        return await self._run(self._put_manifest, repository, manifest, tags, condition)

    async def delete_manifest(self, repository: str, digest: Digest) -> bool:
        """Delete a manifest and every tag on it."""
        unlink = self._unlink(digest)
        return await self._run(self._metadata.delete_manifest, repository, digest, unlink)

    async def delete_tag(self, repository: str, tag: str) -> bool:
        """Delete a tag alone."""
        return await self._run(self._metadata.delete_tag, repository, tag)

    async def tags(self, repository: str, after: str, most: int) -> Page | None:
        """List tags in byte order."""
        return await self._run(self._metadata.tags, repository, after, most)

    async def referrers(
        self, repository: str, subject: Digest, artifact_type: str | None, after: str
    ) -> Page:
        """List what refers to a manifest."""
        return await self._run(self._metadata.referrers, repository, subject, artifact_type, after)

    def _path(self, digest: Digest) -> Path:
        return self._blobs / digest.algorithm / digest.encoded[:2] / digest.encoded

    def _unlink(self, digest: Digest) -> Callable[[], None]:
        return functools.partial(self._path(digest).unlink, missing_ok=True)

    def _open_blob(self, repository: str, digest: Digest) -> DiskBlob | None:
        if self._metadata.blob_size(repository, digest) is None:
            return None
        try:
            return DiskBlob(self._path(digest).open("rb"), self._run)
        except FileNotFoundError:  # deleted since the line above
            return None

    def _upload_path(self, repository: str, upload_id: str) -> Path:
        bound = hashlib.sha256(repository.encode()).hexdigest()
        return self._uploads / f"{upload_id}-{bound}"

    def _new_upload(self, path: Path, repository: str, algorithm: str) -> DiskUpload:
        path.touch(mode=0o600, exist_ok=False)
        return self._make_upload(path, repository, algorithm)

    def _make_upload(self, path: Path, repository: str, algorithm: str) -> DiskUpload:
        def finish(digest: Digest, size: int) -> None:
            publish = functools.partial(files.publish, path, self._path(digest))
            self._metadata.add_blob(repository, digest, size, publish)

        return DiskUpload(path, algorithm, self._run, finish)

    async def _find_upload(self, repository: str, upload_id: str) -> DiskUpload | None:
        if not _UPLOAD_ID.fullmatch(upload_id):
            return None
        path = self._upload_path(repository, upload_id)
        if (found := self._open.get(path)) is not None:
            return found
        if not await self._run(path.is_file):
            return None
        # Left by a server before this one; whoever comes second takes the first one's.
        taken = await self._run(self._make_upload, path, repository, "sha256")
        return self._open.setdefault(path, taken)

    def _expire(self, before: float, held: set[Path]) -> list[Path]:
        gone = []
        for path in self._uploads.iterdir():
            if path in held:
                continue
            with contextlib.suppress(FileNotFoundError):  # finished meanwhile
                if path.stat().st_mtime < before:
                    path.unlink()
                    gone.append(path)
        return gone

    def _manifest(self, repository: str, reference: Digest | str) -> StoredManifest | None:
        found = self._metadata.manifest(repository, reference)
        if found is None:
            return None
        digest, media_type = found
        try:
            raw = self._path(digest).read_bytes()
        except FileNotFoundError:  # deleted since the lines above
            return None
        return StoredManifest(digest=digest, media_type=media_type, raw=raw)

    def _put_manifest(
        self,
        repository: str,
        manifest: NewManifest,
        tags: Sequence[str],
        condition: Condition | None,
    ) -> frozenset[Digest]:
        temporary = self._uploads / f"{uuid.uuid4()}-manifest"
        try:
            temporary.write_bytes(manifest.raw)
            files.sync_file(temporary)
            publish = functools.partial(files.publish, temporary, self._path(manifest.digest))
            return self._metadata.put_manifest(repository, manifest, tags, publish, condition)
        finally:
            temporary.unlink(missing_ok=True)


def _exclusive(path: Path, root: Path) -> int:
    """Return a descriptor that holds the directory's lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        os.close(descriptor)
        raise StoreError(f"another registry server uses {root}").with_hint(
            "stop it, or choose another directory with --data"
        ) from e
    return descriptor
