"""Cases 13 to 16: uploads that stream, go on, and arrive where the registry said."""

import hashlib
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bpfpack.registry.client.endpoints import Endpoint
from bpfpack.registry.client.remote import RegistryClient, RemoteRepository
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.upload import Uploader
from bpfpack.registry.client.urls import origin
from bpfpack.registry.store.memory import MemoryStore
from bpfpack.registry.transfer import copy
from bpfpack.spec.errors import (
    ContentError,
    DigestMismatch,
    SizeMismatch,
    TransportError,
)
from tests.kit.hostile import (
    Listener,
    Reply,
    Seen,
    manifest_reply,
    ranged,
)
from tests.kit.lying import (
    BLOB,
    EMPTY,
    MANIFEST,
    QUICK,
    WANT,
    blob_path,
)

_PUSH = """
import hashlib, resource, sys
from bpfpack.registry.client.remote import RegistryClient
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
host, path, size, digest = sys.argv[1:]
want = Descriptor(media_type="application/wasm", digest=Digest.parse(digest), size=int(size))
with RegistryClient(lookup=lambda *_: None) as client:
    repository = client.repository(host, "x")
    repository.push(Descriptor.of(b"", "a/b"), open("/dev/null", "rb"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open(path, "rb") as source:
        repository.push(want, source)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_case_13_uploading_300_mib_takes_no_memory(registry: Listener, tmp_path: Path) -> None:
    size, digest = 300 << 20, hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=tmp_path) as file:
        block = os.urandom(1 << 20)
        for _ in range(300):
            file.write(block)
            digest.update(block)
        file.flush()
        registry.on(
            "POST", "/v2/x/blobs/uploads/", Reply(status=202, headers={"Location": "/upload"})
        )
        registry.on("PUT", "/upload", Reply(status=201))
        command = [sys.executable, "-c", _PUSH, registry.host, file.name, str(size)]
        grown = subprocess.run(
            [*command, f"sha256:{digest.hexdigest()}"], check=True, capture_output=True, text=True
        ).stdout
    sent = registry.requests("PUT")[-1]
    assert (sent.size, sent.sha256) == (size, digest.hexdigest())
    assert int(grown) < 16 * 1024, f"{grown} KiB more at the peak"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/up?_state=&a=1&a=2", "/up?_state=&a=1&a=2&digest="),
        ("/up?_state=x%2Fy%3D%3D&b", "/up?_state=x%2Fy%3D%3D&b&digest="),
        ("/up?s=~.%7E!$'()*", "/up?s=~.%7E!$'()*&digest="),
        ("/up?", "/up?digest="),
        ("/up", "/up?digest="),
        ("/up#fragment", "/up?digest="),
        ("abc", "/v2/x/blobs/uploads/abc?digest="),
        ("../other/up", "/v2/x/blobs/other/up?digest="),
        ("./up?a=/../b", "/v2/x/blobs/uploads/up?a=/../b&digest="),
    ],
)
def test_case_15_upload_location_is_resolved_and_its_query_kept(
    registry: Listener, repository: RemoteRepository, location: str, target: str
) -> None:
    opened = Reply(status=202, headers={"Location": location})
    registry.on("POST", "/v2/x/blobs/uploads/", opened)
    wanted = f"{target}{WANT.digest}"
    registry.on("PUT", wanted.partition("?")[0], Reply(status=201))
    repository.push(WANT, io.BytesIO(BLOB))
    assert [s.target for s in registry.requests("PUT")] == [wanted]


@pytest.mark.parametrize(
    "location", ["http://[::1", "file:///etc/passwd", "/a b", "/\u00e9", "javascript:x", "/%00\\"]
)
def test_case_16_upload_location_that_is_none(
    registry: Listener, repository: RemoteRepository, location: str
) -> None:
    opened = Reply(status=202, headers={"Location": location})
    registry.on("POST", "/v2/x/blobs/uploads/", opened)
    with pytest.raises(TransportError):
        repository.push(WANT, io.BytesIO(BLOB))
    assert not registry.requests("PUT")


@pytest.mark.parametrize(
    ("data", "error"),
    [(BLOB[:-1] + b"!", DigestMismatch), (BLOB[:-1], SizeMismatch), (BLOB + b"!", SizeMismatch)],
)
def test_push_of_other_bytes_is_never_finished(
    registry: Listener, repository: RemoteRepository, data: bytes, error: type[ContentError]
) -> None:
    registry.on("POST", "/v2/x/blobs/uploads/", Reply(status=202, headers={"Location": "/up"}))
    registry.on("PUT", "/up", Reply(status=201))
    with pytest.raises(error):
        repository.push(WANT, io.BytesIO(data))
    assert all(s.size < WANT.size for s in registry.requests("PUT"))


def test_a_failed_upload_begins_anew_and_is_not_repeated(
    registry: Listener, repository: RemoteRepository
) -> None:
    locations = [Reply(status=202, headers={"Location": f"/up/{n}"}) for n in (1, 2)]
    registry.on("POST", "/v2/x/blobs/uploads/", locations)
    registry.on("PUT", "/up/1", Reply(status=502))
    registry.on("PUT", "/up/2", Reply(status=201))
    repository.push(WANT, io.BytesIO(BLOB))
    assert [s.target.partition("?")[0] for s in registry.requests("PUT")] == ["/up/1", "/up/2"]
    assert registry.requests("PUT")[1].sha256 == WANT.digest.encoded
    assert registry.requests("DELETE", "/up/1")


def test_a_stream_is_sent_once(registry: Listener, repository: RemoteRepository) -> None:
    registry.on("POST", "/v2/x/blobs/uploads/", Reply(status=202, headers={"Location": "/up"}))
    registry.on("PUT", "/up", Reply(status=502))

    class Pipe:
        def __init__(self) -> None:
            self.rest = io.BytesIO(BLOB)

        def read(self, size: int, /) -> bytes:
            return self.rest.read(size)

    with pytest.raises(TransportError, match="HTTP 502"):
        repository.push(WANT, Pipe())
    assert len(registry.requests("PUT")) == 1


def test_a_copy_from_the_store_begins_anew_too(registry: Listener) -> None:
    """Whatever stands between a file and the upload must not hide that it can be rewound."""
    source = MemoryStore()
    source.push(EMPTY, io.BytesIO(b"{}"))
    source.push(WANT, io.BytesIO(BLOB))
    source.put(MANIFEST, "1")
    registry.on(
        "POST",
        "/v2/x/blobs/uploads/",
        lambda _seen: Reply(
            status=202, headers={"Location": f"/up/{len(registry.requests('POST'))}"}
        ),
    )
    for n in range(1, 10):
        registry.on("PUT", f"/up/{n}", [Reply(status=502 if n < 3 else 201)])
    for name in ("1", MANIFEST.descriptor.digest):
        registry.on("PUT", f"/v2/x/manifests/{name}", Reply(status=201))
    with RegistryClient(QUICK, lookup=lambda *_: None) as client:
        copy(source, client.repository(registry.host, "x"), "1", "1")
    assert registry.requests("PUT", "/manifests/1")[0].body == MANIFEST.raw


class ChunkServer:
    """Takes no blob whole, keeps what it was sent, and fails where a test says."""

    def __init__(self, registry: Listener, least: int) -> None:
        self.data, self.fail, self.spans = bytearray(), list[Reply](), list[str]()
        opened = {"Location": "/up?n=0", "OCI-Chunk-Min-Length": str(least)}
        registry.on("POST", "/v2/x/blobs/uploads/", Reply(status=202, headers=opened))
        registry.on("PUT", "/up", self._finish)
        registry.on("PATCH", "/up", self.take)
        registry.on("GET", "/up", lambda _seen: self._here(204))
        registry.on("DELETE", "/up", Reply(status=204))

    def _here(self, status: int) -> Reply:
        held = {"Location": f"/up?n={len(self.data)}", "Range": f"0-{max(len(self.data) - 1, 0)}"}
        return Reply(status=status, headers=held)

    def take(self, seen: Seen) -> Reply:
        self.spans.append(seen.headers["content-range"])
        if self.fail:
            return self.fail.pop(0)
        if int(self.spans[-1].partition("-")[0]) != len(self.data):
            return Reply(status=416)
        self.data += seen.body
        return self._here(202)

    def _finish(self, seen: Seen) -> Reply:
        if seen.size:
            return Reply(status=413)
        done = hashlib.sha256(self.data).hexdigest() == WANT.digest.encoded
        return Reply(status=201 if done else 400)


def test_case_14_a_blob_that_is_too_much_at_once_goes_in_chunks(registry: Listener) -> None:
    server = ChunkServer(registry, least=300_000)
    with RegistryClient(Settings(chunk=100_000), lookup=lambda *_: None) as client:
        client.repository(registry.host, "x").push(WANT, io.BytesIO(BLOB))
    assert bytes(server.data) == BLOB
    assert server.spans == ["0-299999", "300000-599999", "600000-899999", "900000-1048575"]


def test_case_14_a_chunk_that_failed_goes_on_where_the_registry_is(registry: Listener) -> None:
    server = ChunkServer(registry, least=0)
    server.fail = [Reply(status=416), Reply(status=503)]
    with RegistryClient(Settings(chunk=600_000), lookup=lambda *_: None) as client:
        client.repository(registry.host, "x").push(WANT, io.BytesIO(BLOB))
    assert bytes(server.data) == BLOB
    assert len(registry.requests("GET", "/up")) == 2


def test_case_14_a_chunk_that_came_half_goes_on_in_its_middle(registry: Listener) -> None:
    server = ChunkServer(registry, least=0)

    def half(seen: Seen) -> Reply:
        if len(server.spans) == 1:
            server.spans.append(seen.headers["content-range"])
            server.data += seen.body[:1000]
            return Reply(status=503)
        return server.take(seen)

    registry.on("PATCH", "/up", half)
    with RegistryClient(Settings(chunk=600_000), lookup=lambda *_: None) as client:
        client.repository(registry.host, "x").push(WANT, io.BytesIO(BLOB))
    assert server.spans == ["0-599999", "600000-1048575", "601000-1048575"]
    assert bytes(server.data) == BLOB


def test_case_14_a_registry_that_claims_what_was_not_sent_is_given_up(registry: Listener) -> None:
    server = ChunkServer(registry, least=0)
    server.fail = [Reply(status=202, headers={"Range": "0-99999999999"})]
    with (
        RegistryClient(Settings(chunk=600_000), lookup=lambda *_: None) as client,
        pytest.raises(TransportError, match="claims"),
    ):
        client.repository(registry.host, "x").push(WANT, io.BytesIO(BLOB))
    assert registry.requests("DELETE", "/up")


def test_case_14_a_copy_goes_in_chunks_too(registry: Listener, other: Listener) -> None:
    """What comes from another registry cannot be rewound: a chunk of it is kept at a time."""
    server = ChunkServer(registry, least=0)
    server.fail = [Reply(status=416), Reply(status=503)]
    other.on("GET", blob_path(), ranged(BLOB))
    other.on("GET", blob_path(EMPTY), Reply(body=b"{}"))
    other.on("GET", "/v2/x/manifests/1", manifest_reply(MANIFEST.raw, MANIFEST.media_type))
    registry.on("HEAD", blob_path(EMPTY), Reply(body=b"{}"))
    registry.on("PUT", "/v2/x/manifests/1", Reply(status=201))
    with RegistryClient(Settings(chunk=600_000), lookup=lambda *_: None) as client:
        source, target = (client.repository(s.host, "x") for s in (other, registry))
        copy(source, target, "1", "1", signatures=False)
    assert bytes(server.data) == BLOB
    assert server.spans == ["0-599999"] * 3 + ["600000-1048575"]


def test_case_14_what_a_registry_lost_of_a_copy_is_not_made_up(
    registry: Listener, repository: RemoteRepository
) -> None:
    """It forgets the first chunk when it is sent the second."""
    server = ChunkServer(registry, least=0)
    endpoint = Endpoint(registry=origin(registry.url), name=registry.host, repository="x")

    def forgetful(seen: Seen) -> Reply:
        if len(server.spans) == 1:
            server.data.clear()
        return server.take(seen)

    registry.on("PATCH", "/up", forgetful)
    with RegistryClient(Settings(chunk=600_000), lookup=lambda *_: None) as client:
        uploader = Uploader(endpoint, client.settings, client.ask, client.pause)
        _refuse_whole(uploader)
        with pytest.raises(TransportError, match="cannot be sent again"):
            uploader.send(WANT, Once(BLOB), None)
    assert len(registry.requests("DELETE", "/up")) == 2


@pytest.mark.parametrize("data", [BLOB[:-1] + b"!", BLOB[:-1], BLOB + b"!"])
def test_case_14_other_bytes_are_found_before_the_last_chunk(
    registry: Listener, data: bytes
) -> None:
    server = ChunkServer(registry, least=0)
    endpoint = Endpoint(registry=origin(registry.url), name=registry.host, repository="x")
    with RegistryClient(Settings(chunk=600_000), lookup=lambda *_: None) as client:
        uploader = Uploader(endpoint, client.settings, client.ask, client.pause)
        _refuse_whole(uploader)
        with pytest.raises(ContentError):
            uploader.send(WANT, Once(data), None)
    assert server.spans == ["0-599999"]
    assert len(registry.requests("DELETE", "/up")) == 2


def _refuse_whole(uploader: Uploader) -> None:
    """Have the registry refuse a blob in one piece; the next one goes in chunks."""
    with pytest.raises(TransportError):
        uploader.send(WANT, Once(BLOB), None)


class Once:
    """What can be read once."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, 10_000))
