"""Cases 1 to 5: bytes are those that were named, all of them, and name nothing themselves."""

import json

import pytest

from bpfpack.registry.client.remote import RemoteRepository
from bpfpack.spec import mediatypes
from bpfpack.spec.errors import (
    ContentError,
    DigestMismatch,
    LimitExceeded,
    SizeMismatch,
    SpecError,
    TransportError,
)
from tests.kit.hostile import (
    Listener,
    Reply,
    Seen,
    manifest_reply,
)
from tests.kit.lying import (
    BLOB,
    MANIFEST,
    QUICK,
    WANT,
    blob_path,
    fetched,
)


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
def test_case_01_blob_with_other_bytes(
    registry: Listener, repository: RemoteRepository, reply: Reply, error: type[ContentError]
) -> None:
    registry.on("GET", blob_path(), reply)
    with pytest.raises(error):
        fetched(repository)


def test_case_01_blob_that_ends_early_every_time(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on("GET", blob_path(), Reply(body=BLOB[:1000], length=len(BLOB)))
    with pytest.raises((TransportError, SizeMismatch)):
        fetched(repository)
    assert len(registry.seen) <= QUICK.attempts


def test_case_01_a_blob_of_another_size_is_not_there(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on("HEAD", blob_path(), Reply(body=BLOB[:-1]))
    assert not repository.has(WANT)


def test_case_03_truncated_blob_is_resumed_by_range(
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


def test_case_03_truncated_blob_of_a_registry_without_range(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on("GET", blob_path(), [Reply(body=BLOB[:1000], length=len(BLOB)), Reply(body=BLOB)])
    assert fetched(repository) == BLOB


def test_case_03_resumed_at_another_place(registry: Listener, repository: RemoteRepository) -> None:
    wrong = Reply(status=206, headers={"Content-Range": "bytes 0-9/10"}, body=b"0" * 10)
    registry.on("GET", blob_path(), [Reply(body=BLOB[:1000], length=len(BLOB)), wrong])
    with pytest.raises(SizeMismatch):
        fetched(repository)


def test_case_03_rest_of_the_blob_is_of_another_one(
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


def test_case_02_manifest_of_another_digest(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on(
        "GET",
        f"/v2/x/manifests/{MANIFEST.descriptor.digest}",
        manifest_reply(MANIFEST.raw + b" ", MANIFEST.media_type),
    )
    with pytest.raises(DigestMismatch):
        repository.resolve(MANIFEST.descriptor.digest)


def test_case_02_manifest_is_hashed_before_it_is_parsed(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on(
        "GET",
        f"/v2/x/manifests/{MANIFEST.descriptor.digest}",
        manifest_reply(b"not even JSON", MANIFEST.media_type),
    )
    with pytest.raises(DigestMismatch):
        repository.resolve(MANIFEST.descriptor.digest)


def test_case_02_manifest_bytes_are_returned_as_they_came(
    registry: Listener, repository: RemoteRepository
) -> None:
    raw = json.dumps(json.loads(MANIFEST.raw), indent=3).encode() + b"\n\n"
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(raw, MANIFEST.media_type))
    assert repository.resolve("1").raw == raw
    assert mediatypes.INDEX in registry.seen[0].headers["accept"]


@pytest.mark.parametrize("said", ["text/html", mediatypes.INDEX, mediatypes.DOCKER_MANIFEST, ""])
def test_case_02_manifest_of_another_type(
    registry: Listener, repository: RemoteRepository, said: str
) -> None:
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(MANIFEST.raw, said))
    with pytest.raises(SpecError):
        repository.resolve("1")


def test_case_02_manifest_with_parameters_in_its_type(
    registry: Listener, repository: RemoteRepository
) -> None:
    said = f"{MANIFEST.media_type}; charset=utf-8"
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(MANIFEST.raw, said))
    assert repository.resolve("1") == MANIFEST


def test_case_02_manifest_without_end(registry: Listener, repository: RemoteRepository) -> None:
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
def test_case_05_docker_content_digest_is_compared_and_never_used(
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
def test_case_05_layer_digest_that_would_be_a_path(
    registry: Listener, repository: RemoteRepository, digest: object
) -> None:
    data = json.loads(MANIFEST.raw)
    data["layers"][0]["digest"] = digest
    raw = json.dumps(data).encode()
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(raw, MANIFEST.media_type))
    with pytest.raises(SpecError):
        repository.resolve("1")


def test_case_05_head_is_a_hint_that_cannot_name_a_path(
    registry: Listener, repository: RemoteRepository
) -> None:
    lie = manifest_reply(
        MANIFEST.raw, MANIFEST.media_type, Docker_Content_Digest="sha256:../../etc/passwd"
    )
    registry.on("HEAD", "/v2/x/manifests/1", lie)
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(MANIFEST.raw, MANIFEST.media_type))
    assert repository.stat("1") == MANIFEST.descriptor
