"""`login --realm`: a token service at another domain sees a password only when it may."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.registry.client.challenge import parse
from tests.kit.cli import Done, Host
from tests.kit.hostile import Listener, Reply, Seen, json_reply, listener
from tests.kit.pki import Certificates, make_ca
from tests.kit.proxy import Proxy, proxy

# Two domains, so that neither belongs to the other; the proxy knows where they are.
REGISTRY, SERVICE = "registry.one.test", "sso.two.test"
PASSWORD = "s3cret-password"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_ca(tmp_path_factory.mktemp("tls"), REGISTRY, SERVICE)


@pytest.fixture
def service(tls: Certificates) -> Iterator[Listener]:
    with listener(tls=tls, name=SERVICE) as found:
        found.on("GET", "/token", json_reply({"token": "t0ken"}))
        yield found


@pytest.fixture
def registry(tls: Certificates, service: Listener) -> Iterator[Listener]:
    challenge = f'Bearer realm="{service.url}/token",service="r"'
    assert parse([challenge])

    def ping(seen: Seen) -> Reply:
        if seen.authorization == "Bearer t0ken":
            return Reply(body=b"{}")
        return Reply(status=401, headers={"WWW-Authenticate": challenge})

    with listener(tls=tls, name=REGISTRY) as found:
        found.on("GET", "/v2/", ping)
        found.on("GET", "/v2/x/manifests/1", ping)
        yield found


@pytest.fixture
def between() -> Iterator[Proxy]:
    with proxy({REGISTRY: "127.0.0.1", SERVICE: "127.0.0.1"}) as found:
        yield found


@pytest.fixture
def host(tmp_path: Path, between: Proxy, tls: Certificates) -> Host:
    environment = {"HTTPS_PROXY": between.url, "SSL_CERT_FILE": str(tls.ca)}
    return Host(root=tmp_path, extra=environment)


def login(host: Host, registry: Listener, *more: str, code: int = 0) -> Done:
    words = ("login", registry.host, "-u", "user", "--password-stdin", *more)
    return host.run(*words, stdin=f"{PASSWORD}\n".encode(), code=code)


def test_it_is_told_nothing_unless_it_may(
    host: Host, registry: Listener, service: Listener
) -> None:
    told = login(host, registry, code=5)
    assert f"bpfpack login {registry.host} --realm {SERVICE}" in told.stderr
    assert not service.seen
    assert not (host.root / "docker").exists()
    assert not (host.root / "config" / "realms.json").exists()


def test_what_may_is_remembered_for_this_registry(
    host: Host, registry: Listener, service: Listener
) -> None:
    login(host, registry, "--realm", SERVICE)
    assert service.seen[-1].authorization is not None
    file = host.root / "config" / "realms.json"
    assert json.loads(file.read_text()) == {registry.host: [SERVICE]}
    assert file.stat().st_mode & 0o777 == 0o600
    login(host, registry)
    # And so for other commands: this one fails since `{}` is no manifest.
    host.run("pull", f"{registry.host}/x:1", code=None)
    assert [seen.authorization for seen in registry.requests("GET", "/x/")] == [
        None,
        "Bearer t0ken",
    ]


def test_logout_takes_it_back(host: Host, registry: Listener, service: Listener) -> None:
    login(host, registry, "--realm", SERVICE)
    host.run("logout", registry.host)
    service.seen.clear()
    login(host, registry, code=5)
    assert not service.seen


def test_a_login_that_fails_allows_nothing(
    host: Host, registry: Listener, service: Listener
) -> None:
    service.on("GET", "/token", Reply(status=401))
    login(host, registry, "--realm", SERVICE, code=5)
    assert not (host.root / "config" / "realms.json").exists()


@pytest.mark.parametrize("bad", ["", "https://sso.test", "sso.test/x", "sso.test:444", "a b", "*"])
def test_what_is_no_host(host: Host, registry: Listener, bad: str) -> None:
    assert "--realm is a host" in login(host, registry, "--realm", bad, code=2).stderr
    assert not registry.seen


@pytest.mark.parametrize("text", ["[]", '{"r":"sso.test"}', '{"r":[1]}', "{", '{"r":[],"r":[]}'])
def test_a_file_that_cannot_be_read_is_an_error(
    host: Host, registry: Listener, service: Listener, text: str
) -> None:
    """Not an empty list: that would be changed, and lose what it said."""
    config = host.root / "config"
    config.mkdir(mode=0o700)
    (config / "realms.json").write_text(text)
    login(host, registry, "--realm", SERVICE, code=3)
    assert (config / "realms.json").read_text() == text
    assert not service.seen
