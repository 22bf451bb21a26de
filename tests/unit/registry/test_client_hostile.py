"""The client against a registry that lies, and a second host that notes what reaches it.

Numbers in comments are those of the project's list of client cases.
"""

import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfpack.registry.client import _requests, remote
from bpfpack.registry.client.download import download
from bpfpack.registry.client.login import login
from bpfpack.registry.client.pull import default_tag
from bpfpack.registry.client.remote import RegistryClient, RemoteRepository
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.wire import Credential
from bpfpack.registry.store.memory import MemoryStore
from bpfpack.registry.transfer import copy
from bpfpack.registry.trust.collect import collect
from bpfpack.spec import mediatypes
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.content import ReferrersUnsupported
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import (
    ContentError,
    Denied,
    DigestMismatch,
    LimitExceeded,
    NotFound,
    SizeMismatch,
    SpecError,
    TransportError,
    UsageError,
)
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Manifest, build_index, build_manifest
from bpfpack.spec.signature import fallback_tag, legacy_tag
from bpfpack.spec.value import replace
from tests.kit.hostile import (
    NOT_FOUND,
    OTHER_HOST,
    Listener,
    Reply,
    Seen,
    json_reply,
    listener,
    manifest_reply,
)

USER = Credential(username="user", secret="s3cret-password")
EMPTY = Descriptor.of(b"{}", mediatypes.EMPTY)
BLOB = bytes(range(256)) * 4096  # 1 MiB
WANT = Descriptor.of(BLOB, mediatypes.WASM)
MANIFEST = build_manifest(artifact_type=mediatypes.ARTIFACT, config=EMPTY, layers=(WANT,))
QUICK = Settings(connect_timeout=1, read_timeout=0.3, deadline=5, attempts=3)
BASIC = Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})


@pytest.fixture
def registry() -> Iterator[Listener]:
    with listener() as found:
        yield found


@pytest.fixture
def other() -> Iterator[Listener]:
    with listener(OTHER_HOST) as found:
        yield found


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient(QUICK, lookup=lambda _registry, _repository: USER) as found:
        yield found


@pytest.fixture
def repository(registry: Listener, client: RegistryClient) -> RemoteRepository:
    return client.repository(registry.host, "x")


def fetched(repository: RemoteRepository, want: Descriptor = WANT) -> bytes:
    with repository.fetch(want) as source:
        return read_exactly(source, want, LIMITS.layer)


def blob_path(want: Descriptor = WANT) -> str:
    return f"/v2/x/blobs/{want.digest}"


# 1: bytes of a blob.


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(body=BLOB[:-1] + b"!"), DigestMismatch),
        (Reply(body=BLOB + b"!"), SizeMismatch),
        (Reply(body=BLOB[:-1]), SizeMismatch),
        (Reply(endless=b"x" * 65536), SizeMismatch),
        (Reply(body=b"", length=0), SizeMismatch),
    ],
    ids=["other bytes", "longer", "shorter", "endless", "nothing"],
)
def test_blob_with_other_bytes(
    registry: Listener, repository: RemoteRepository, reply: Reply, error: type[ContentError]
) -> None:
    registry.on("GET", blob_path(), reply)
    with pytest.raises(error):
        fetched(repository)


def test_blob_that_ends_early_every_time(registry: Listener, repository: RemoteRepository) -> None:
    registry.on("GET", blob_path(), Reply(body=BLOB[:1000], length=len(BLOB)))
    with pytest.raises((TransportError, SizeMismatch)):
        fetched(repository)
    assert len(registry.seen) <= QUICK.attempts


def test_a_blob_of_another_size_is_not_there(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on("HEAD", blob_path(), Reply(body=BLOB[:-1]))
    assert not repository.has(WANT)


# 3: truncated bodies go on where they broke off.


def test_truncated_blob_is_resumed_by_range(
    registry: Listener, repository: RemoteRepository
) -> None:
    def serve(seen: Seen) -> Reply:
        start = int(seen.headers.get("range", "bytes=0-")[6:-1])
        rest = BLOB[start:]
        span = {"Content-Range": f"bytes {start}-{len(BLOB) - 1}/{len(BLOB)}"}
        return Reply(
            status=206 if start else 200,
            headers=span if start else {},
            body=rest[:700_000],
            length=len(rest),
        )

    registry.on("GET", blob_path(), serve)
    assert fetched(repository) == BLOB
    assert [s.headers.get("range") for s in registry.seen] == [None, "bytes=700000-"]


def test_truncated_blob_of_a_registry_without_range(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on("GET", blob_path(), [Reply(body=BLOB[:1000], length=len(BLOB)), Reply(body=BLOB)])
    assert fetched(repository) == BLOB


def test_resumed_at_another_place(registry: Listener, repository: RemoteRepository) -> None:
    wrong = Reply(status=206, headers={"Content-Range": "bytes 0-9/10"}, body=b"0" * 10)
    registry.on("GET", blob_path(), [Reply(body=BLOB[:1000], length=len(BLOB)), wrong])
    with pytest.raises(SizeMismatch):
        fetched(repository)


def test_rest_of_the_blob_is_of_another_one(
    registry: Listener, repository: RemoteRepository
) -> None:
    size = len(BLOB)
    rest = Reply(
        status=206,
        headers={"Content-Range": f"bytes 1000-{size - 1}/{size}"},
        body=b"!" * (size - 1000),
    )
    registry.on("GET", blob_path(), [Reply(body=BLOB[:1000], length=size), rest])
    with pytest.raises(DigestMismatch):
        fetched(repository)


# 2 and 5: manifests.


def test_manifest_of_another_digest(registry: Listener, repository: RemoteRepository) -> None:
    registry.on(
        "GET",
        f"/v2/x/manifests/{MANIFEST.descriptor.digest}",
        manifest_reply(MANIFEST.raw + b" ", MANIFEST.media_type),
    )
    with pytest.raises(DigestMismatch):
        repository.resolve(MANIFEST.descriptor.digest)


def test_manifest_is_hashed_before_it_is_parsed(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on(
        "GET",
        f"/v2/x/manifests/{MANIFEST.descriptor.digest}",
        manifest_reply(b"not even JSON", MANIFEST.media_type),
    )
    with pytest.raises(DigestMismatch):
        repository.resolve(MANIFEST.descriptor.digest)


def test_manifest_bytes_are_returned_as_they_came(
    registry: Listener, repository: RemoteRepository
) -> None:
    raw = json.dumps(json.loads(MANIFEST.raw), indent=3).encode() + b"\n\n"
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(raw, MANIFEST.media_type))
    assert repository.resolve("1").raw == raw
    assert mediatypes.INDEX in registry.seen[0].headers["accept"]


@pytest.mark.parametrize("said", ["text/html", mediatypes.INDEX, mediatypes.DOCKER_MANIFEST, ""])
def test_manifest_of_another_type(
    registry: Listener, repository: RemoteRepository, said: str
) -> None:
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(MANIFEST.raw, said))
    with pytest.raises(SpecError):
        repository.resolve("1")


def test_manifest_with_parameters_in_its_type(
    registry: Listener, repository: RemoteRepository
) -> None:
    said = f"{MANIFEST.media_type}; charset=utf-8"
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(MANIFEST.raw, said))
    assert repository.resolve("1") == MANIFEST


def test_manifest_without_end(registry: Listener, repository: RemoteRepository) -> None:
    registry.on(
        "GET",
        "/v2/x/manifests/1",
        Reply(headers={"Content-Type": MANIFEST.media_type}, endless=b" " * 65536),
    )
    with pytest.raises(LimitExceeded):
        repository.resolve("1")


@pytest.mark.parametrize(
    "said",
    [
        f"sha256:{'0' * 64}",
        "sha256:../../../../etc/passwd",
        "../../etc/passwd",
        f"sha256:{'A' * 64}",
        f"md5:{'0' * 32}",
        "sha256:baddigeststring",
    ],
)
def test_docker_content_digest_is_compared_and_never_used(
    registry: Listener, repository: RemoteRepository, said: str
) -> None:
    registry.on(
        "GET",
        "/v2/x/manifests/1",
        manifest_reply(MANIFEST.raw, MANIFEST.media_type, Docker_Content_Digest=said),
    )
    with pytest.raises(DigestMismatch):
        repository.resolve("1")


@pytest.mark.parametrize(
    "digest",
    ["sha256:../../../../etc/passwd", "sha256:abc", f"md5:{'0' * 32}", f"sha256:{'g' * 64}", 7],
)
def test_layer_digest_that_would_be_a_path(
    registry: Listener, repository: RemoteRepository, digest: object
) -> None:
    data = json.loads(MANIFEST.raw)
    data["layers"][0]["digest"] = digest
    raw = json.dumps(data).encode()
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(raw, MANIFEST.media_type))
    with pytest.raises(SpecError):
        repository.resolve("1")


def test_head_is_a_hint_that_cannot_name_a_path(
    registry: Listener, repository: RemoteRepository
) -> None:
    lie = manifest_reply(
        MANIFEST.raw, MANIFEST.media_type, Docker_Content_Digest="sha256:../../etc/passwd"
    )
    registry.on("HEAD", "/v2/x/manifests/1", lie)
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(MANIFEST.raw, MANIFEST.media_type))
    assert repository.stat("1") == MANIFEST.descriptor


# 8: other hosts.


def test_redirect_of_a_blob_takes_no_credentials_along(
    registry: Listener, other: Listener, repository: RemoteRepository
) -> None:
    there = f"{other.url}/blob?X-Sig=a%2Fb&a=&a=1"
    moved = Reply(status=307, headers={"Location": there})
    registry.on("GET", blob_path(), lambda s: moved if s.authorization else BASIC)
    other.on("GET", "/blob", Reply(body=BLOB))
    assert fetched(repository) == BLOB
    assert registry.seen[-1].authorization is not None
    (seen,) = other.seen
    assert seen.authorization is None
    assert seen.target == "/blob?X-Sig=a%2Fb&a=&a=1"


def test_another_port_is_another_host(registry: Listener, repository: RemoteRepository) -> None:
    with listener() as neighbour:
        moved = Reply(status=307, headers={"Location": f"{neighbour.url}/blob"})
        registry.on("GET", blob_path(), lambda s: moved if s.authorization else BASIC)
        neighbour.on("GET", "/blob", BASIC)
        with pytest.raises(Denied):
            fetched(repository)
        assert [s.authorization for s in neighbour.seen] == [None]


def test_upload_location_at_another_host_takes_no_credentials_along(
    registry: Listener, other: Listener, repository: RemoteRepository
) -> None:
    opened = Reply(status=202, headers={"Location": f"{other.url}/upload?s=1"})
    registry.on("POST", "/v2/x/blobs/uploads/", lambda s: opened if s.authorization else BASIC)
    other.on("PUT", "/upload", Reply(status=201))
    repository.push(WANT, io.BytesIO(BLOB))
    (seen,) = other.requests("PUT")
    assert (seen.authorization, seen.size) == (None, WANT.size)


@pytest.mark.parametrize("listing", ["tags", "referrers"])
def test_next_page_at_another_host_is_not_asked_for(
    registry: Listener, other: Listener, repository: RemoteRepository, listing: str
) -> None:
    link = f'<{other.url}/page>; rel="next"'
    registry.on("GET", "/v2/x/tags/list", json_reply({"tags": ["1"]}, Link=link))
    registry.on(
        "GET",
        f"/v2/x/referrers/{WANT.digest}",
        manifest_reply(build_index((EMPTY,)).raw, mediatypes.INDEX, Link=link),
    )
    with pytest.raises(TransportError, match="another host"):
        repository.tags() if listing == "tags" else repository.referrers(WANT.digest)
    assert not other.seen


def test_netrc_and_cookies_are_not_used(
    registry: Listener,
    repository: RemoteRepository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login netrc password netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    registry.on(
        "GET", "/v2/x/tags/list", json_reply({"tags": []}, Set_Cookie="session=stolen; Path=/")
    )
    repository.tags()
    repository.tags()
    assert all(s.authorization is None and "cookie" not in s.headers for s in registry.seen)


def test_an_upload_location_with_a_password_in_it_is_refused(
    registry: Listener, repository: RemoteRepository
) -> None:
    where = registry.url.replace("//", "//u:p@")
    registry.on("POST", "/v2/x/blobs/uploads/", Reply(status=202, headers={"Location": where}))
    with pytest.raises(TransportError, match="user information"):
        repository.push(WANT, io.BytesIO(BLOB))


# 9 and 10: realms and tokens, through the real transport.


def test_realm_at_another_host_gets_nothing(
    registry: Listener, other: Listener, repository: RemoteRepository
) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{other.url}/token",service="r"'}
    registry.on("GET", "/v2/x/manifests/1", Reply(status=401, headers=challenge))
    other.on("GET", "/token", json_reply({"token": "t"}))
    with pytest.raises(Denied, match="credentials were not sent"):
        repository.resolve("1")
    assert not other.seen


def test_token_is_used_again_and_renewed_when_it_is_refused(
    registry: Listener, repository: RemoteRepository
) -> None:
    valid = {"Bearer t1"}
    challenge = f'Bearer realm="{registry.url}/token",service="r"'

    def serve(seen: Seen) -> Reply:
        if seen.authorization in valid:
            return manifest_reply(MANIFEST.raw, MANIFEST.media_type)
        return Reply(status=401, headers={"WWW-Authenticate": challenge}, body=b"no")

    registry.on("GET", "/v2/x/manifests/1", serve)
    registry.on("GET", "/token", [json_reply({"token": f"t{n}"}) for n in (1, 2, 3)])
    repository.resolve("1")
    repository.resolve("1")
    assert len(registry.requests(part="/token")) == 1
    valid.clear()
    valid.add("Bearer t2")
    repository.resolve("1")
    assert len(registry.requests(part="/token")) == 2


# 11 and 12: patience.


def test_unavailable_for_a_moment(registry: Listener, repository: RemoteRepository) -> None:
    busy = Reply(status=503, headers={"Retry-After": "0"})
    registry.on(
        "GET", "/v2/x/manifests/1", [busy, manifest_reply(MANIFEST.raw, MANIFEST.media_type)]
    )
    assert repository.resolve("1") == MANIFEST


@pytest.mark.parametrize("what", ["manifest", "token", "blob", "upload"])
def test_server_that_never_answers(
    registry: Listener, repository: RemoteRepository, what: str
) -> None:
    challenge = f'Bearer realm="{registry.url}/token"'
    registry.on("GET", "/v2/x/manifests/hang", Reply(hang=True))
    registry.on(
        "GET", "/v2/x/manifests/1", Reply(status=401, headers={"WWW-Authenticate": challenge})
    )
    for method, path in (("GET", "/token"), ("GET", blob_path()), ("POST", "/v2/x/blobs/uploads/")):
        registry.on(method, path, Reply(hang=True))
    asked: dict[str, Callable[[], object]] = {
        "manifest": lambda: repository.resolve("hang"),
        "token": lambda: repository.resolve("1"),
        "blob": lambda: fetched(repository),
        "upload": lambda: repository.push(WANT, io.BytesIO(BLOB)),
    }
    with pytest.raises(TransportError, match="no answer in time"):
        asked[what]()


def test_head_that_trickles(registry: Listener, repository: RemoteRepository) -> None:
    """Each byte comes in time, and the head never ends."""
    registry.on("GET", "/v2/x/manifests/1", Reply(trickle=True))
    with pytest.raises(TransportError, match="no answer in time"):
        repository.resolve("1")


def test_body_that_trickles(registry: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read is in time, and the blob would take a year."""
    monkeypatch.setattr(_requests, "_WATCHED", 0.0)
    registry.on("GET", blob_path(), Reply(body=BLOB))
    hasty = replace(QUICK, slowest=1e15, attempts=2)
    with (
        RegistryClient(hasty, lookup=lambda *_: None) as client,
        pytest.raises(TransportError, match="bytes in"),
    ):
        fetched(client.repository(registry.host, "x"))
    assert len(registry.seen) == 2


def test_body_that_stops(registry: Listener, repository: RemoteRepository) -> None:
    """The head comes, the body does not: held open by a length that is never reached."""
    registry.on("GET", "/v2/x/manifests/1", Reply(body=b"{", length=1000))
    with pytest.raises(TransportError):
        repository.resolve("1")
    assert len(registry.seen) == QUICK.attempts


def test_nobody_listens(client: RegistryClient) -> None:
    with listener() as gone:
        host = gone.host
    with pytest.raises(TransportError, match="no connection"):
        client.repository(host, "x").resolve("1")


# 13: memory.

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


def test_uploading_300_mib_takes_no_memory(registry: Listener, tmp_path: Path) -> None:
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


# 15 and 16: locations.


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
def test_upload_location_is_resolved_and_its_query_kept(
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
def test_upload_location_that_is_none(
    registry: Listener, repository: RemoteRepository, location: str
) -> None:
    opened = Reply(status=202, headers={"Location": location})
    registry.on("POST", "/v2/x/blobs/uploads/", opened)
    with pytest.raises(TransportError):
        repository.push(WANT, io.BytesIO(BLOB))
    assert not registry.requests("PUT")


# Uploads: what is sent is what was named.


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


# 14: chunks, when the registry wants them.


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


def test_a_blob_that_is_too_much_at_once_goes_in_chunks(registry: Listener) -> None:
    server = ChunkServer(registry, least=300_000)
    with RegistryClient(Settings(chunk=100_000), lookup=lambda *_: None) as client:
        client.repository(registry.host, "x").push(WANT, io.BytesIO(BLOB))
    assert bytes(server.data) == BLOB
    assert server.spans == ["0-299999", "300000-599999", "600000-899999", "900000-1048575"]


def test_a_chunk_that_failed_goes_on_where_the_registry_is(registry: Listener) -> None:
    server = ChunkServer(registry, least=0)
    server.fail = [Reply(status=416), Reply(status=503)]
    with RegistryClient(Settings(chunk=600_000), lookup=lambda *_: None) as client:
        client.repository(registry.host, "x").push(WANT, io.BytesIO(BLOB))
    assert bytes(server.data) == BLOB
    assert len(registry.requests("GET", "/up")) == 2


def test_a_chunk_that_came_half_goes_on_in_its_middle(registry: Listener) -> None:
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


def test_a_registry_that_claims_what_was_not_sent_is_given_up(registry: Listener) -> None:
    server = ChunkServer(registry, least=0)
    server.fail = [Reply(status=202, headers={"Range": "0-99999999999"})]
    with (
        RegistryClient(Settings(chunk=600_000), lookup=lambda *_: None) as client,
        pytest.raises(TransportError, match="claims"),
    ):
        client.repository(registry.host, "x").push(WANT, io.BytesIO(BLOB))
    assert registry.requests("DELETE", "/up")


# 18: subjects; referrers.


def test_a_subject_keeps_the_digest_of_its_bytes(
    registry: Listener, repository: RemoteRepository
) -> None:
    raw = json.dumps(json.loads(MANIFEST.raw), separators=(" , ", ": ")).encode()
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(raw, MANIFEST.media_type))
    subject = repository.resolve("1").descriptor
    assert subject.digest == Digest.sha256(raw) != MANIFEST.descriptor.digest
    signature = build_manifest(artifact_type="a/b", config=EMPTY, layers=(EMPTY,), subject=subject)
    assert json.loads(signature.raw)["subject"]["digest"] == str(Digest.sha256(raw))


def signature_for(subject: Manifest, kind: str = "a/sig") -> Manifest:
    return build_manifest(
        artifact_type=kind,
        config=EMPTY,
        layers=(EMPTY,),
        subject=subject.descriptor,
        annotations={"who": kind},
    )


def referrers_path() -> str:
    return f"/v2/x/referrers/{MANIFEST.descriptor.digest}"


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
def test_registry_without_referrers(
    registry: Listener, repository: RemoteRepository, status: int
) -> None:
    registry.on("GET", referrers_path(), Reply(status=status))
    with pytest.raises(ReferrersUnsupported):
        repository.referrers(MANIFEST.descriptor.digest)


def test_referrers_answered_303_to_a_page_that_answers_429(
    registry: Listener, other: Listener, repository: RemoteRepository
) -> None:
    """As ghcr.io was seen to do: no API, and the page is none of our business."""
    page = Reply(status=303, headers={"Location": f"{other.url}/x/pkgs/container"})
    registry.on("GET", referrers_path(), page)
    other.on("GET", "/x/pkgs/container", Reply(status=429))
    with pytest.raises(ReferrersUnsupported):
        repository.referrers(MANIFEST.descriptor.digest)
    assert not other.seen


def test_referrers_answered_303_and_429_by_the_registry_itself(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on("GET", referrers_path(), Reply(status=303, headers={"Location": "/page"}))
    registry.on("GET", "/page", Reply(status=429))
    with pytest.raises(TransportError, match="429") as caught:
        repository.referrers(MANIFEST.descriptor.digest)
    assert not isinstance(caught.value, ReferrersUnsupported)


def test_referrers_answered_with_a_web_page(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on(
        "GET", referrers_path(), Reply(headers={"Content-Type": "text/html"}, body=b"<html>")
    )
    with pytest.raises(ReferrersUnsupported):
        repository.referrers(MANIFEST.descriptor.digest)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=401),
        Reply(status=403),
        Reply(status=429),
        Reply(status=500),
        Reply(headers={"Content-Type": mediatypes.INDEX}, body=b'{"schemaVersion":2'),
        Reply(headers={"Content-Type": mediatypes.INDEX}, body=MANIFEST.raw),
        Reply(hang=True),
    ],
    ids=["401", "403", "429", "500", "not JSON", "a manifest", "silence"],
)
def test_could_not_look_is_never_called_unsupported(
    registry: Listener, repository: RemoteRepository, reply: Reply
) -> None:
    registry.on("GET", referrers_path(), reply)
    with pytest.raises(TransportError) as caught:
        repository.referrers(MANIFEST.descriptor.digest)
    assert not isinstance(caught.value, ReferrersUnsupported)


def test_referrers_come_in_pages_that_end(registry: Listener, repository: RemoteRepository) -> None:
    first, second = signature_for(MANIFEST, "a/1"), signature_for(MANIFEST, "a/2")
    again = '<?page=2>; rel="next"'

    def serve(seen: Seen) -> Reply:
        child = second if "page=2" in seen.target else first
        index = build_index((child.descriptor,))
        return manifest_reply(index.raw, mediatypes.INDEX, Link=again)

    registry.on("GET", referrers_path(), serve)
    found = repository.referrers(MANIFEST.descriptor.digest)
    assert found == (first.descriptor, second.descriptor)
    assert len(registry.seen) == 3  # the third said nothing new


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
def test_a_token_service_cannot_say_that_nothing_is_signed(
    registry: Listener, repository: RemoteRepository, status: int
) -> None:
    """Every place "failed": "absent" and "unsupported" would be answers."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'}
    refused = Reply(status=401, headers=challenge)
    digest = MANIFEST.descriptor.digest
    tags = fallback_tag(digest), legacy_tag(digest), "latest"
    for path in (referrers_path(), *(f"/v2/x/manifests/{tag}" for tag in tags)):
        registry.on("GET", path, refused)
    registry.on("GET", "/token", Reply(status=status))
    assert [p.state for p in collect(repository, MANIFEST.descriptor)] == ["failed"] * 3
    with pytest.raises(TransportError, match="token") as caught:
        default_tag(repository)
    assert not isinstance(caught.value, NotFound)
    assert not registry.requests(part="/tags/list")


@pytest.mark.parametrize(
    "second",
    [
        NOT_FOUND,
        Reply(status=405),
        Reply(headers={"Content-Type": "text/html"}, body=b"<html>"),
        Reply(status=303, headers={"Location": f"http://{OTHER_HOST}:1/page"}),
    ],
    ids=["404", "405", "a web page", "elsewhere"],
)
def test_referrers_that_break_off_are_neither_absent_nor_unsupported(
    registry: Listener, repository: RemoteRepository, second: Reply
) -> None:
    index = build_index((signature_for(MANIFEST).descriptor,))
    first = manifest_reply(index.raw, mediatypes.INDEX, Link='<?page=2>; rel="next"')
    registry.on("GET", referrers_path(), [first, second])
    with pytest.raises(TransportError) as caught:
        repository.referrers(MANIFEST.descriptor.digest)
    assert not isinstance(caught.value, NotFound | ReferrersUnsupported)


class FallbackServer:
    """No referrers API; keeps what is put, and lets a second writer in between."""

    def __init__(self, registry: Listener) -> None:
        self.tag = fallback_tag(MANIFEST.descriptor.digest)
        self.raw: bytes | None = None
        self.overtaken: list[bytes] = []
        path = f"/v2/x/manifests/{self.tag}"
        registry.on("GET", path, self._get)
        registry.on("PUT", path, self._put)

    def _get(self, _seen: Seen) -> Reply:
        if self.raw is None:
            return NOT_FOUND
        mark = hashlib.sha256(self.raw).hexdigest()
        return manifest_reply(self.raw, mediatypes.INDEX, ETag=f'"{mark}"')

    def _put(self, seen: Seen) -> Reply:
        if self.overtaken:
            self.raw = self.overtaken.pop(0)
        now = f'"{hashlib.sha256(self.raw or b"").hexdigest()}"'
        if seen.headers.get("if-match", now) != now:
            return Reply(status=412)
        self.raw = seen.body
        return Reply(status=201)

    def listed(self) -> list[str]:
        return [m["digest"] for m in json.loads(self.raw or b"{}")["manifests"]]


def test_fallback_tag_is_appended_to_and_never_replaced(
    registry: Listener, repository: RemoteRepository
) -> None:
    server = FallbackServer(registry)
    signatures = [signature_for(MANIFEST, f"a/{n}") for n in range(3)]
    for s in signatures:
        registry.on("PUT", f"/v2/x/manifests/{s.descriptor.digest}", Reply(status=201))
        repository.put(s)
    repository.put(signatures[0])
    assert server.listed() == [str(s.descriptor.digest) for s in signatures]
    entry = json.loads(server.raw or b"")["manifests"][1]
    assert (entry["artifactType"], entry["annotations"]) == ("a/1", {"who": "a/1"})


def test_fallback_tag_survives_another_writer(
    registry: Listener, repository: RemoteRepository
) -> None:
    server = FallbackServer(registry)
    ours, theirs = signature_for(MANIFEST, "a/ours"), signature_for(MANIFEST, "a/theirs")
    server.raw = build_index(()).raw
    server.overtaken = [build_index((theirs.descriptor,)).raw]
    registry.on("PUT", f"/v2/x/manifests/{ours.descriptor.digest}", Reply(status=201))
    repository.put(ours)
    assert server.listed() == [str(m.descriptor.digest) for m in (theirs, ours)]


def test_a_registry_that_says_oci_subject_is_left_to_it(
    registry: Listener, repository: RemoteRepository
) -> None:
    ours = signature_for(MANIFEST)
    told = {"OCI-Subject": str(MANIFEST.descriptor.digest)}
    registry.on("PUT", f"/v2/x/manifests/{ours.descriptor.digest}", Reply(status=201, headers=told))
    repository.put(ours)
    assert [s.method for s in registry.seen] == ["PUT"]


def test_put_that_was_stored_under_another_digest(
    registry: Listener, repository: RemoteRepository
) -> None:
    lie = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    registry.on("PUT", "/v2/x/manifests/1", Reply(status=201, headers=lie))
    with pytest.raises(DigestMismatch):
        repository.put(MANIFEST, "1")


STRANGE = [
    "http://*.127.0.0.1/x",
    "http://.127.0.0.1/x",
    "http://127.0.0.1%00/x",
    "http://[::1]x/x",
    "http://[v1.x]/x",
    "https://*.x/t",
]


@pytest.mark.parametrize("url", STRANGE)
def test_strange_hosts_are_errors(
    registry: Listener, repository: RemoteRepository, url: str
) -> None:
    """requests refuses them in the midst of things, with errors of its own."""
    moved = Reply(status=307, headers={"Location": url})
    registry.on("GET", blob_path(), moved)
    with pytest.raises(TransportError):
        fetched(repository)
    registry.on("POST", "/v2/x/blobs/uploads/", Reply(status=202, headers={"Location": url}))
    with pytest.raises(TransportError):
        repository.push(WANT, io.BytesIO(BLOB))
    challenge = {"WWW-Authenticate": f'Bearer realm="{url}"'}
    registry.on("GET", "/v2/x/tags/list", Reply(status=401, headers=challenge))
    with pytest.raises(Denied, match="token service"):
        repository.tags()


def test_the_body_of_a_redirect_is_not_read(
    registry: Listener, repository: RemoteRepository
) -> None:
    """It may be endless, and nobody wants it."""
    body = bytes(64 << 20)
    moved = Reply(status=307, headers={"Location": "/elsewhere"}, body=body)
    registry.on("GET", "/v2/x/tags/list", moved)
    registry.on("GET", "/elsewhere", json_reply({"tags": ["1"]}))
    tracemalloc.start()
    try:
        assert repository.tags() == ("1",)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_redirect_that_is_not_followed_may_lead_anywhere(
    registry: Listener, repository: RemoteRepository
) -> None:
    moved = Reply(status=302, headers={"Location": "http://[::1]x/x"})
    registry.on("POST", "/v2/x/blobs/uploads/", moved)
    with pytest.raises(TransportError, match="HTTP 302"):
        repository.push(WANT, io.BytesIO(BLOB))


def test_an_entity_tag_that_no_request_can_carry(
    registry: Listener, repository: RemoteRepository
) -> None:
    """It is sent back as If-Match, and this one begins with what requests calls a space."""
    index = build_index(())
    tag = f"/v2/x/manifests/{fallback_tag(MANIFEST.descriptor.digest)}"
    registry.on("GET", tag, manifest_reply(index.raw, mediatypes.INDEX, ETag="\xa0b"))
    ours = signature_for(MANIFEST)
    registry.on("PUT", f"/v2/x/manifests/{ours.descriptor.digest}", Reply(status=201))
    with pytest.raises(TransportError, match="cannot be asked"):
        repository.put(ours)
    assert not registry.requests("PUT", "manifests/sha256-")


@pytest.mark.parametrize("proxy", ["http://[", "http://*.x:1", "http://x:port"])
def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with (
        RegistryClient(QUICK, lookup=lambda _registry, _repository: None) as client,
        pytest.raises(TransportError),
    ):
        client.ping("r.invalid")


@pytest.mark.parametrize(
    "url",
    ["https://exa mple/x", "https://*.x/y", "https://[::1]x/", "https://", "http://x/y", "x"],
)
def test_a_download_of_what_is_no_url(url: str) -> None:
    with pytest.raises(UsageError), download(url, QUICK):
        pytest.fail("there was nothing to open")


# Tags; 21.


def test_tags_of_a_registry_that_pages_by_last_alone(
    registry: Listener, repository: RemoteRepository
) -> None:
    everything = [f"t{n:05}" for n in range(2500)]

    def serve(seen: Seen) -> Reply:
        after = seen.target.partition("last=")[2]
        return json_reply({"tags": [t for t in everything if t > after][:1000]})

    registry.on("GET", "/v2/x/tags/list", serve)
    assert repository.tags() == tuple(everything)


def test_tags_of_a_registry_that_ignores_every_parameter(
    registry: Listener, repository: RemoteRepository
) -> None:
    everything = [f"t{n:05}" for n in range(1500)]
    registry.on("GET", "/v2/x/tags/list", json_reply({"tags": everything}))
    assert repository.tags() == tuple(everything)
    assert len(registry.seen) == 2


def test_tags_without_end(registry: Listener, repository: RemoteRepository) -> None:
    link = '</v2/x/tags/list?again>; rel="next"'
    registry.on("GET", "/v2/x/tags/list", json_reply({"tags": ["1", "2"]}, Link=link))
    assert repository.tags() == ("1", "2")
    assert len(registry.seen) == 2


class EndlessTags:
    """Every page has new tags of the longest kind, and a next page."""

    def __init__(self, new: int, filler: int = 0) -> None:
        self.new, self.filler, self.pages = new, filler, 0

    def __call__(self, _seen: Seen) -> Reply:
        self.pages += 1
        tags = [f"{self.pages}-{n}".ljust(128, "x") for n in range(self.new)]
        link = f'<?page={self.pages}>; rel="next"'
        return json_reply({"tags": tags + ["y" * 128] * self.filler}, Link=link)


def test_more_tags_than_anybody_could_read(
    registry: Listener, repository: RemoteRepository
) -> None:
    """A thousand pages of 4 MiB would be gigabytes in memory."""
    endless = EndlessTags(25_000)
    registry.on("GET", "/v2/x/tags/list", endless)
    with pytest.raises(LimitExceeded, match="100000 tags"):
        repository.tags()
    assert endless.pages == 5


def test_more_pages_of_tags_than_anybody_could_want(
    registry: Listener, repository: RemoteRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error, not a list that looks complete."""
    monkeypatch.setattr(remote, "LIMITS", replace(LIMITS, listing_pages=10))
    registry.on("GET", "/v2/x/tags/list", EndlessTags(1))
    with pytest.raises(LimitExceeded, match="pages"):
        repository.tags()


def test_pages_of_tags_that_say_next_to_nothing(
    registry: Listener, repository: RemoteRepository
) -> None:
    endless = EndlessTags(1, 30_000)
    registry.on("GET", "/v2/x/tags/list", endless)
    with pytest.raises(LimitExceeded, match="bytes"):
        repository.tags()
    assert endless.pages < 10


def test_pages_of_referrers_that_say_next_to_nothing(
    registry: Listener, repository: RemoteRepository
) -> None:
    """Looking fails; an attacker who pads the list hides no signature unseen."""
    pages = itertools.count()

    def serve(_seen: Seen) -> Reply:
        child = signature_for(MANIFEST, f"a/{next(pages)}")
        raw = build_index((child.descriptor,)).raw + b" " * (LIMITS.listing_body - 1000)
        return manifest_reply(raw, mediatypes.INDEX, Link='<?more>; rel="next"')

    registry.on("GET", referrers_path(), serve)
    with pytest.raises(LimitExceeded):
        repository.referrers(MANIFEST.descriptor.digest)
    assert next(pages) < 10


def test_tags_that_break_off(registry: Listener, repository: RemoteRepository) -> None:
    first = json_reply({"tags": ["1"]}, Link='<?last=1>; rel="next"')
    registry.on("GET", "/v2/x/tags/list", [first, NOT_FOUND])
    with pytest.raises(TransportError, match="breaks off") as caught:
        repository.tags()
    assert not isinstance(caught.value, NotFound)


@pytest.mark.parametrize("tags", [["../x"], ["a\x1b[2J"], [7], "1", {"1": 1}, ["x" * 129]])
def test_tags_that_are_none(registry: Listener, repository: RemoteRepository, tags: object) -> None:
    registry.on("GET", "/v2/x/tags/list", json_reply({"tags": tags}))
    with pytest.raises(SpecError):
        repository.tags()


def test_no_tags_at_all(registry: Listener, repository: RemoteRepository) -> None:
    registry.on("GET", "/v2/x/tags/list", json_reply({"name": "x", "tags": None}))
    assert repository.tags() == ()


@pytest.mark.parametrize("status", [400, 405])
def test_a_tag_that_cannot_be_deleted_does_not_take_its_manifest_along(
    registry: Listener, repository: RemoteRepository, status: int
) -> None:
    registry.on("DELETE", "/v2/x/manifests/1", Reply(status=status))
    with pytest.raises(TransportError) as caught:
        repository.delete_tag("1")
    assert "whole manifests" in str(caught.value.hint)
    assert [s.target for s in registry.seen] == ["/v2/x/manifests/1"]


# 19: names.


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("r.io", "../x"),
        ("r.io", "x/../y"),
        ("r.io", "X"),
        ("r.io/..", "x"),
        ("a b", "x"),
        ("", "x"),
    ],
)
def test_names_that_would_be_paths_are_refused(
    client: RegistryClient, host: str, name: str
) -> None:
    with pytest.raises(SpecError):
        client.repository(host, name)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("registry-1.docker.io", "https://registry-1.docker.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("127.1.2.3:5000", "http://127.1.2.3:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("localhost", "http://localhost"),
        ("127.0.0.1.evil.test", "https://127.0.0.1.evil.test"),
        ("localhost.evil.test", "https://localhost.evil.test"),
        ("192.168.1.1:5000", "https://192.168.1.1:5000"),
    ],
)
def test_plain_http_is_for_loopback_alone(client: RegistryClient, host: str, expected: str) -> None:
    assert str(client.origin(host)) == expected
    open_client = RegistryClient(Settings(plain_http=True))
    assert str(open_client.origin(host)).startswith("http://")


# 23 and logging in.


def test_requests_do_not_share_what_they_send(
    registry: Listener, repository: RemoteRepository
) -> None:
    honest = manifest_reply(MANIFEST.raw, MANIFEST.media_type)
    registry.on("GET", "/v2/x/manifests/1", lambda s: honest if s.authorization else BASIC)
    registry.on("GET", "/elsewhere", Reply(body=b"x"))
    repository.resolve("1")
    registry.on("GET", blob_path(), Reply(status=307, headers={"Location": "http://127.0.0.2:1/"}))
    with pytest.raises(TransportError):
        fetched(repository)
    assert registry.seen[-1].authorization is not None
    assert "accept" not in registry.seen[-1].headers


def test_login_refuses_to_send_a_password_unencrypted(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    with pytest.raises(Denied, match="plain http"):
        login("registry.example:5000", USER, Settings(plain_http=True), environ)
    assert not any(tmp_path.iterdir())


def test_login_with_a_wrong_password_keeps_nothing(registry: Listener, tmp_path: Path) -> None:
    registry.on("GET", "/v2/", BASIC)
    with pytest.raises(Denied):
        login(registry.host, USER, QUICK, {"HOME": str(tmp_path)})
    assert not any(tmp_path.iterdir())


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, bpfpack.registry.client.remote as r; "
        "r.RegistryClient().repository('ghcr.io', 'x'); "
        "print(sorted({'requests', 'oras.auth', 'oras.provider', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
