"""Cases 11 and 12: what is asked again, and what is not waited for."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfpack.registry.client import _requests
from bpfpack.registry.client.remote import RegistryClient, RemoteRepository
from bpfpack.spec.errors import (
    TransportError,
)
from bpfpack.spec.value import replace
from tests.kit.hostile import (
    Listener,
    Reply,
    listener,
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
from tests.kit.pki import make_ca


def test_case_11_unavailable_for_a_moment(registry: Listener, repository: RemoteRepository) -> None:
    busy = Reply(status=503, headers={"Retry-After": "0"})
    registry.on(
        "GET", "/v2/x/manifests/1", [busy, manifest_reply(MANIFEST.raw, MANIFEST.media_type)]
    )
    assert repository.resolve("1") == MANIFEST


@pytest.mark.parametrize("what", ["manifest", "token", "blob", "upload"])
def test_case_12_server_that_never_answers(
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


def test_case_12_head_that_trickles(registry: Listener, repository: RemoteRepository) -> None:
    """Each byte comes in time, and the head never ends."""
    registry.on("GET", "/v2/x/manifests/1", Reply(trickle=True))
    with pytest.raises(TransportError, match="no answer in time"):
        repository.resolve("1")


def test_case_12_body_that_trickles(registry: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("what", ["manifest", "blob"])
def test_case_12_trailers_without_end(tmp_path: Path, what: str, tls: bool) -> None:
    """All of the body is there, and fields follow it, each of them in time."""
    pki = make_ca(tmp_path, "127.0.0.1")
    hasty = replace(QUICK, ca_file=pki.ca if tls else None, deadline=0.5, attempts=2)
    with (
        listener(tls=pki if tls else None) as registry,
        RegistryClient(hasty, lookup=lambda *_: None) as client,
    ):
        repository = client.repository(registry.host, "x")
        whole = Reply(
            headers={"Content-Type": MANIFEST.media_type}, body=MANIFEST.raw, trailers=True
        )
        registry.on("GET", "/v2/x/manifests/1", whole)
        registry.on("GET", blob_path(), Reply(body=BLOB[:-1], trailers=True))
        with pytest.raises(TransportError, match="in time"):
            repository.resolve("1") if what == "manifest" else fetched(repository)


def test_case_12_body_that_stops(registry: Listener, repository: RemoteRepository) -> None:
    """The head comes, the body does not: held open by a length that is never reached."""
    registry.on("GET", "/v2/x/manifests/1", Reply(body=b"{", length=1000))
    with pytest.raises(TransportError):
        repository.resolve("1")
    assert len(registry.seen) == QUICK.attempts


def test_case_12_nobody_listens(client: RegistryClient) -> None:
    with listener() as gone:
        host = gone.host
    with pytest.raises(TransportError, match="no connection"):
        client.repository(host, "x").resolve("1")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("when", ["0", "Thu, 01 Jan 1970 00:00:00 GMT", "nonsense", None])
def test_case_11_what_may_pass_is_asked_again(
    registry: Listener, repository: RemoteRepository, status: int, when: str | None
) -> None:
    """Whether the registry says when, in seconds or as a date that has passed, or not."""
    busy = Reply(status=status, headers={"Retry-After": when} if when else {})
    registry.on(
        "GET", "/v2/x/manifests/1", [busy, manifest_reply(MANIFEST.raw, MANIFEST.media_type)]
    )
    assert repository.resolve("1") == MANIFEST
    assert len(registry.seen) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 418, 501, 505])
def test_case_11_what_will_not_pass_is_asked_once(
    registry: Listener, repository: RemoteRepository, status: int
) -> None:
    """A 401 that says not how to come in is one of them."""
    registry.on("GET", "/v2/x/manifests/1", Reply(status=status))
    with pytest.raises(TransportError):
        repository.resolve("1")
    assert len(registry.seen) == 1


def test_case_11_no_wait_beyond_the_deadline(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on("GET", "/v2/x/manifests/1", Reply(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(TransportError) as caught:
        repository.resolve("1")
    assert len(registry.seen) == 1
    assert "3600" in str(caught.value.hint)
