"""Cases 11 and 12: what is asked again, and what is not waited for."""

import io
from collections.abc import Callable

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
