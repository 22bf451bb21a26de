"""Case 19: names, and URLs that are none."""

import io
import subprocess
import sys
import tracemalloc

import pytest

from bpfpack.registry.client.download import download
from bpfpack.registry.client.remote import RegistryClient, RemoteRepository
from bpfpack.registry.client.settings import Settings
from bpfpack.spec.errors import (
    Denied,
    SpecError,
    TransportError,
    UsageError,
)
from bpfpack.spec.reference import Reference
from tests.kit.hostile import (
    Listener,
    Reply,
    json_reply,
)
from tests.kit.lying import (
    BLOB,
    QUICK,
    WANT,
    blob_path,
    fetched,
)


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
def test_case_19_names_that_would_be_paths_are_refused(
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
def test_case_19_plain_http_is_for_loopback_alone(
    client: RegistryClient, host: str, expected: str
) -> None:
    assert str(client.origin(host)) == expected
    open_client = RegistryClient(Settings(plain_http=True))
    assert str(open_client.origin(host)).startswith("http://")


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


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, bpfpack.registry.client.remote as r; "
        "r.RegistryClient().repository('ghcr.io', 'x'); "
        "print(sorted({'requests', 'oras.auth', 'oras.provider', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "host", "repository"),
    [
        ("localhost/foo:t", "localhost", "foo"),
        ("docker.io/foo/bar:t", "registry-1.docker.io", "foo/bar"),
        ("index.docker.io/foo/bar", "registry-1.docker.io", "foo/bar"),
        ("127.0.0.1:5000/x/y@sha256:" + "0" * 64, "127.0.0.1:5000", "x/y"),
        ("[::1]:5000/x", "[::1]:5000", "x"),
    ],
)
def test_case_19_whom_a_reference_means(text: str, host: str, repository: str) -> None:
    found = Reference.parse(text)
    assert (found.api_host, found.repository) == (host, repository)


@pytest.mark.parametrize(
    "text",
    [
        "r.io/../x:1",
        "r.io/x/..:1",
        "r.io/x/./y",
        "r.io//x",
        "r.io/x@sha256:abc",
        f"r.io/x@sha256:{'A' * 64}",
        f"r.io/x@md5:{'0' * 32}",
        f"r.io/x@sha256:{'0' * 64}/../y",
        "r.io/x:1/../y",
        "r.io/x:" + "t" * 129,
        "r.io/x:-t",
        "r.io:port/x",
        "r.io:99999/x",
        "http://r.io/x",
        "user:pass@r.io/x",
        "r.io/x:1\n",
        " r.io/x",
        "r.io/x?y",
        "r.io/x#y",
        "r.io/x%2e%2e",
        "r.io\\x/y",
    ],
)
def test_case_19_what_is_no_reference_is_asked_of_nobody(client: RegistryClient, text: str) -> None:
    with pytest.raises((SpecError, TransportError)):
        found = Reference.parse(text)
        client.repository(found.registry or "", found.repository)
