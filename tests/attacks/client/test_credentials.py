"""Cases 8, 9, 10, 20 and 23: who learns a password or a token, and who does not."""

import io
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfpack.registry.client.login import login
from bpfpack.registry.client.remote import RegistryClient, RemoteRepository
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.wire import Credential
from bpfpack.spec import mediatypes
from bpfpack.spec.errors import (
    Denied,
    TransportError,
)
from bpfpack.spec.manifest import build_index
from bpfpack.spec.value import replace
from tests.kit.cli import Host
from tests.kit.hostile import (
    Listener,
    Reply,
    Seen,
    json_reply,
    listener,
    manifest_reply,
)
from tests.kit.lying import (
    BASIC,
    BLOB,
    EMPTY,
    MANIFEST,
    QUICK,
    USER,
    WANT,
    blob_path,
    fetched,
)

MANIFEST_REPLY = manifest_reply(MANIFEST.raw, MANIFEST.media_type)


def test_case_08_redirect_of_a_blob_takes_no_credentials_along(
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


def test_case_08_another_port_is_another_host(
    registry: Listener, repository: RemoteRepository
) -> None:
    with listener() as neighbour:
        moved = Reply(status=307, headers={"Location": f"{neighbour.url}/blob"})
        registry.on("GET", blob_path(), lambda s: moved if s.authorization else BASIC)
        neighbour.on("GET", "/blob", BASIC)
        with pytest.raises(Denied):
            fetched(repository)
        assert [s.authorization for s in neighbour.seen] == [None]


def test_case_08_upload_location_at_another_host_takes_no_credentials_along(
    registry: Listener, other: Listener, repository: RemoteRepository
) -> None:
    opened = Reply(status=202, headers={"Location": f"{other.url}/upload?s=1"})
    registry.on("POST", "/v2/x/blobs/uploads/", lambda s: opened if s.authorization else BASIC)
    other.on("PUT", "/upload", Reply(status=201))
    repository.push(WANT, io.BytesIO(BLOB))
    (seen,) = other.requests("PUT")
    assert (seen.authorization, seen.size) == (None, WANT.size)


@pytest.mark.parametrize("listing", ["tags", "referrers"])
def test_case_08_next_page_at_another_host_is_not_asked_for(
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


def test_case_08_netrc_and_cookies_are_not_used(
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


def test_case_08_an_upload_location_with_a_password_in_it_is_refused(
    registry: Listener, repository: RemoteRepository
) -> None:
    where = registry.url.replace("//", "//u:p@")
    registry.on("POST", "/v2/x/blobs/uploads/", Reply(status=202, headers={"Location": where}))
    with pytest.raises(TransportError, match="user information"):
        repository.push(WANT, io.BytesIO(BLOB))


def test_case_09_realm_at_another_host_gets_nothing(
    registry: Listener, other: Listener, repository: RemoteRepository
) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{other.url}/token",service="r"'}
    registry.on("GET", "/v2/x/manifests/1", Reply(status=401, headers=challenge))
    other.on("GET", "/token", json_reply({"token": "t"}))
    with pytest.raises(Denied, match="credentials were not sent"):
        repository.resolve("1")
    assert not other.seen


@pytest.fixture
def open_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """A registry without TLS whose name says nothing of this machine."""
    found = socket.getaddrinfo

    def here(host: Any, *rest: Any, **more: Any) -> Any:
        return found("127.0.0.1" if host == "registry.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    with listener(name="registry.example") as server:
        yield server


@pytest.mark.parametrize(
    "credential",
    [USER, Credential(username="", secret="", registry_token="t-secret")],
    ids=["password", "token"],
)
@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_case_09_nothing_secret_is_sent_over_plain_http(
    open_registry: Listener, scheme: str, credential: Credential
) -> None:
    """Even where the user allows plain http: what is sent can be read on the way."""
    challenge = f'{scheme} realm="{open_registry.url}/token",service="r"'
    asks = Reply(status=401, headers={"WWW-Authenticate": challenge})
    open_registry.on(
        "GET", "/v2/x/manifests/1", lambda s: MANIFEST_REPLY if s.authorization else asks
    )
    open_registry.on("GET", "/token", json_reply({"token": "t"}))
    settings = replace(QUICK, plain_http=True)
    with (
        RegistryClient(settings, lookup=lambda *_: credential) as client,
        pytest.raises(Denied) as refused,
    ):
        client.repository(open_registry.host, "x").resolve("1")
    sent = [str(seen) for seen in open_registry.seen]
    assert len(sent) == 1 and "authorization" not in sent[0].lower()
    if credential is USER or scheme == "Bearer":
        assert "never sent over plain http" in str(refused.value)


def test_case_09_plain_http_is_enough_for_those_without_a_password(
    open_registry: Listener,
) -> None:
    open_registry.on("GET", "/v2/x/manifests/1", MANIFEST_REPLY)
    settings = replace(QUICK, plain_http=True)
    with RegistryClient(settings, lookup=lambda *_: None) as client:
        assert client.repository(open_registry.host, "x").resolve("1") == MANIFEST


def test_case_10_token_is_used_again_and_renewed_when_it_is_refused(
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


def test_case_23_requests_do_not_share_what_they_send(
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


def test_case_20_login_refuses_to_send_a_password_unencrypted(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    with pytest.raises(Denied, match="plain http"):
        login("registry.example:5000", USER, Settings(plain_http=True), environ)
    assert not any(tmp_path.iterdir())


def test_case_20_login_with_a_wrong_password_keeps_nothing(
    registry: Listener, tmp_path: Path
) -> None:
    registry.on("GET", "/v2/", BASIC)
    with pytest.raises(Denied):
        login(registry.host, USER, QUICK, {"HOME": str(tmp_path)})
    assert not any(tmp_path.iterdir())


def test_case_10_a_token_of_one_host_is_not_shown_to_another(
    registry: Listener, other: Listener, client: RegistryClient
) -> None:
    for server in (registry, other):
        challenge = f'Bearer realm="{server.url}/token",service="r"'
        token = "t-" + server.host.partition(":")[0].replace(".", "-")
        server.on("GET", "/token", json_reply({"token": token}))
        server.on("GET", "/v2/x/manifests/1", _with_token(f"Bearer {token}", challenge))
    for server in (registry, other, registry, other):
        client.repository(server.host, "x").resolve("1")
    for server, foreign in ((registry, "t-127-0-0-2"), (other, "t-127-0-0-1")):
        assert len(server.requests(part="/token")) == 1
        assert all(foreign not in str(seen.headers) for seen in server.seen)


def _with_token(wanted: str, challenge: str) -> Callable[[Seen], Reply]:
    def answer(seen: Seen) -> Reply:
        if seen.authorization == wanted:
            return manifest_reply(MANIFEST.raw, MANIFEST.media_type)
        return Reply(status=401, headers={"WWW-Authenticate": challenge})

    return answer


def test_case_20_the_file_is_ours_alone_from_its_first_byte(
    host: Host, registry: Listener, tmp_path: Path
) -> None:
    """By the system calls: 0600 where nobody looks, durable, then the name; with umask 0."""
    registry.on("GET", "/v2/", lambda seen: Reply(body=b"{}") if seen.authorization else BASIC)
    log = tmp_path / "calls"
    strace = ("strace", "-f", "-y", "-e", "trace=openat,fsync,rename", "-o", str(log))
    words = ("login", registry.host, "-u", "user", "--password-stdin")
    subprocess.run(
        [*strace, *host.command(*words)],
        input=b"s3cret-password\n",
        env=host.environment,
        umask=0,
        check=True,
        capture_output=True,
    )
    file = host.root / "docker" / "config.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    lines = [line for line in log.read_text().splitlines() if "config.json" in line]
    made = next(n for n, line in enumerate(lines) if "O_CREAT" in line)
    assert "O_EXCL|O_NOFOLLOW" in lines[made]
    assert "0600" in lines[made]
    assert "fsync(" in lines[made + 1]
    assert "rename(" in lines[made + 2]
