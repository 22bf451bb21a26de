"""The disk: nothing half-written shows, nothing shared is lost, a second server is refused."""

import asyncio
import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from bpfpack.registry.server.disk import DiskStorage
from bpfpack.registry.server.storage import NewManifest
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import DigestMismatch, StoreError

DATA = bytes(range(256)) * 4096


def with_storage(root: Path, work: Callable[[DiskStorage], Coroutine[Any, Any, None]]) -> None:
    """Run ``work`` over an open storage."""

    async def run() -> None:
        storage = DiskStorage(root)
        try:
            await work(storage)
        finally:
            storage.close()

    asyncio.run(run())


async def push(storage: DiskStorage, repository: str, data: bytes) -> Digest:
    upload_id = await storage.create_upload(repository, "sha256")
    async with storage.upload(repository, upload_id) as upload:
        assert upload is not None
        await upload.write([data])
        await upload.commit(Digest.sha256(data))
    return Digest.sha256(data)


def manifest(raw: bytes, *, needs: frozenset[Digest] = frozenset()) -> NewManifest:
    return NewManifest(
        digest=Digest.sha256(raw),
        media_type="application/x",
        raw=raw,
        needs=needs,
        subject=None,
        artifact_type=None,
        descriptor="{}",
    )


def contents(root: Path) -> list[str]:
    """Return the names of all content files."""
    return sorted(path.name for path in (root / "blobs").rglob("*") if path.is_file())


def test_a_blob_is_absent_until_it_is_whole(tmp_path: Path) -> None:
    async def work(storage: DiskStorage) -> None:
        digest = Digest.sha256(DATA)
        upload_id = await storage.create_upload("x", "sha256")
        async with storage.upload("x", upload_id) as upload:
            assert upload is not None
            await upload.write([DATA])
            assert await storage.blob_size("x", digest) is None
            assert contents(tmp_path) == []
            await upload.commit(digest)
        assert await storage.blob_size("x", digest) == len(DATA)
        assert contents(tmp_path) == [digest.encoded]
        assert list((tmp_path / "uploads").iterdir()) == []

    with_storage(tmp_path, work)


def test_a_mismatch_leaves_nothing(tmp_path: Path) -> None:
    async def work(storage: DiskStorage) -> None:
        upload_id = await storage.create_upload("x", "sha256")
        async with storage.upload("x", upload_id) as upload:
            assert upload is not None
            await upload.write([DATA])
            with pytest.raises(DigestMismatch):
                await upload.commit(Digest.sha256(b"other"))
        async with storage.upload("x", upload_id) as upload:
            assert upload is None
        assert contents(tmp_path) == []
        assert list((tmp_path / "uploads").iterdir()) == []

    with_storage(tmp_path, work)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_an_upload_goes_on_after_a_restart(tmp_path: Path, algorithm: str) -> None:
    upload_id = ""

    async def begin(storage: DiskStorage) -> None:
        nonlocal upload_id
        upload_id = await storage.create_upload("x/y", "sha256")
        async with storage.upload("x/y", upload_id) as upload:
            assert upload is not None
            await upload.write([DATA[:1000]])

    async def go_on(storage: DiskStorage) -> None:
        async with storage.upload("other", upload_id) as upload:
            assert upload is None
        digest = Digest(algorithm, hashlib.new(algorithm, DATA).hexdigest())
        async with storage.upload("x/y", upload_id) as upload:
            assert upload is not None
            assert upload.offset == 1000
            await upload.write([DATA[1000:]])
            await upload.commit(digest)
        assert await storage.blob_size("x/y", digest) == len(DATA)

    with_storage(tmp_path, begin)
    with_storage(tmp_path, go_on)


def test_what_was_cut_off_is_hashed_no_more(tmp_path: Path) -> None:
    async def work(storage: DiskStorage) -> None:
        upload_id = await storage.create_upload("x", "sha256")
        async with storage.upload("x", upload_id) as upload:
            assert upload is not None
            await upload.write([DATA[:500], b"wrong"])
            await upload.truncate(500)
            await upload.write([DATA[500:505]])
            await upload.commit(Digest.sha256(DATA[:505]))

    with_storage(tmp_path, work)


def test_uploads_time_out_unless_they_are_in_use(tmp_path: Path) -> None:
    async def work(storage: DiskStorage) -> None:
        idle = await storage.create_upload("x", "sha256")
        fresh = await storage.create_upload("x", "sha256")
        busy = await storage.create_upload("x", "sha256")
        long_ago = time.time() - 7200
        for path in (tmp_path / "uploads").iterdir():
            if fresh not in path.name:
                os.utime(path, (long_ago, long_ago))
        async with storage.upload("x", busy):
            assert await storage.expire_uploads(3600) == 1
        for upload_id, there in ((idle, False), (fresh, True), (busy, True)):
            async with storage.upload("x", upload_id) as upload:
                assert (upload is not None) is there

    with_storage(tmp_path, work)


def test_content_goes_with_its_last_user(tmp_path: Path) -> None:
    async def work(storage: DiskStorage) -> None:
        digest = await push(storage, "a", DATA)
        assert await storage.mount("b", digest, "a")
        # A manifest of the same bytes is one more user.
        assert await storage.put_manifest("c", manifest(DATA), ["t"]) == frozenset()
        for delete in (
            storage.delete_blob("a", digest),
            storage.delete_blob("b", digest),
        ):
            assert await delete
            assert contents(tmp_path) == [digest.encoded]
        found = await storage.manifest("c", "t")
        assert found is not None
        assert found.raw == DATA
        assert await storage.delete_manifest("c", digest)
        assert contents(tmp_path) == []

    with_storage(tmp_path, work)


def test_a_manifest_without_its_blobs_leaves_nothing(tmp_path: Path) -> None:
    async def work(storage: DiskStorage) -> None:
        missing = frozenset({Digest.sha256(b"missing")})
        assert await storage.put_manifest("x", manifest(b"{}", needs=missing), ["t"]) == missing
        assert await storage.manifest("x", "t") is None
        assert contents(tmp_path) == []
        assert list((tmp_path / "uploads").iterdir()) == []

    with_storage(tmp_path, work)


def test_pushing_and_deleting_the_same_content_never_loses_it(tmp_path: Path) -> None:
    """Each repository's last word is a push, so each has the blob at the end."""

    async def churn(storage: DiskStorage, repository: str) -> None:
        for _ in range(10):
            digest = await push(storage, repository, DATA[:4096])
            await storage.delete_blob(repository, digest)
        await push(storage, repository, DATA[:4096])

    async def work(storage: DiskStorage) -> None:
        names = [f"repository-{i}" for i in range(8)]
        await asyncio.gather(*(churn(storage, name) for name in names))
        for name in names:
            blob = await storage.open_blob(name, Digest.sha256(DATA[:4096]))
            assert blob is not None
            assert await blob.read(0, 5000) == DATA[:4096]
            await blob.close()

    with_storage(tmp_path, work)


def test_a_second_server_is_refused(tmp_path: Path) -> None:
    first = DiskStorage(tmp_path)
    try:
        with pytest.raises(StoreError, match="another registry server") as caught:
            DiskStorage(tmp_path)
        assert caught.value.hint
    finally:
        first.close()
    DiskStorage(tmp_path).close()


def test_another_format_is_refused_and_unlocked(tmp_path: Path) -> None:
    DiskStorage(tmp_path).close()
    with sqlite3.connect(tmp_path / "registry.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    for _ in range(2):
        with pytest.raises(StoreError, match="format 99"):
            DiskStorage(tmp_path)


def test_a_broken_database_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"not a database, but long enough" * 100)
    with pytest.raises(StoreError, match=r"registry\.db"):
        DiskStorage(tmp_path)


def test_an_unusable_directory_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="not a directory"):
        DiskStorage(tmp_path / "file" / "data")


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(StoreError, match="others can write"):
        DiskStorage(tmp_path / "shared")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="symbolic link"):
        DiskStorage(tmp_path / "link")


def test_content_that_vanished_is_absent(tmp_path: Path) -> None:
    async def work(storage: DiskStorage) -> None:
        digest = await push(storage, "x", DATA)
        await storage.put_manifest("x", manifest(b"{}"), ["t"])
        for path in (tmp_path / "blobs").rglob("*"):
            if path.is_file():
                path.unlink()
        assert await storage.open_blob("x", digest) is None
        assert await storage.manifest("x", "t") is None
        assert await push(storage, "x", DATA) == digest
        assert contents(tmp_path) == [digest.encoded]

    with_storage(tmp_path, work)


_PUSH_ONE = """
import asyncio, sys
from pathlib import Path
from bpfpack.registry.server.disk import DiskStorage
from bpfpack.spec.digest import Digest

async def push():
    storage = DiskStorage(Path(sys.argv[1]))
    upload_id = await storage.create_upload("x", "sha256")
    async with storage.upload("x", upload_id) as upload:
        await upload.write([b"durable"])
        await upload.commit(Digest.sha256(b"durable"))
    storage.close()

asyncio.run(push())
"""


def test_bytes_are_durable_before_their_name_and_the_name_before_the_record(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    watched = "trace=fsync,fdatasync,rename,renameat,renameat2"
    strace = ["strace", "-f", "-y", "-o", str(trace), "-e", watched]
    push_one = [sys.executable, "-c", _PUSH_ONE, str(tmp_path / "data")]
    subprocess.run([*strace, *push_one], check=True)
    name = hashlib.sha256(b"durable").hexdigest()
    steps = [line for line in trace.read_text().splitlines() if str(tmp_path) in line]
    (renamed,) = (i for i, line in enumerate(steps) if f"/{name}" in line and "rename" in line)
    assert any("fsync" in line and "/uploads/" in line for line in steps[:renamed])
    assert f"/blobs/sha256/{name[:2]}>" in steps[renamed + 1]
    assert "registry.db-wal" in steps[renamed + 2]
