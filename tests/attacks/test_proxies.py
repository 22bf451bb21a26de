"""Proxies of the environment: what goes through them, what they may see, what never does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfpack.registry.client.remote import RegistryClient
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.wire import Credential
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.errors import Denied, TransportError
from bpfpack.spec.limits import LIMITS
from tests.kit.hostile import OTHER_HOST, Listener, Reply, Seen, listener, serve
from tests.kit.packages import package
from tests.kit.pki import Certificates, make_ca
from tests.kit.proxy import Proxy, proxy

CONTENT = package()
WANT = CONTENT.manifest.layers[0]
NAME, ELSEWHERE = "registry.test", "storage.test"
USER = Credential(username="user", secret="s3cret-password")
BASIC = Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
VARIABLES = [f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL", "NO")]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_ca(tmp_path_factory.mktemp("tls"), NAME, ELSEWHERE, "127.0.0.1")


@pytest.fixture
def registry(tls: Certificates) -> Iterator[Listener]:
    with listener(tls=tls, name=NAME) as found:
        serve(found, CONTENT, "1")
        yield found


@pytest.fixture
def between() -> Iterator[Proxy]:
    with proxy({NAME: "127.0.0.1", ELSEWHERE: OTHER_HOST}) as found:
        yield found


@pytest.fixture
def client(tls: Certificates) -> Iterator[RegistryClient]:
    settings = Settings(ca_file=tls.ca, attempts=1, connect_timeout=5)
    with RegistryClient(settings, lookup=lambda *_: USER) as found:
        yield found


def pulled(client: RegistryClient, host: str) -> bytes:
    """Ask for a manifest and a blob."""
    place = client.repository(host, "x")
    assert place.resolve("1") == CONTENT.manifest
    with place.fetch(WANT) as stream:
        return read_exactly(stream, WANT, LIMITS.layer)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_tls_goes_through_and_is_not_read(
    client: RegistryClient,
    registry: Listener,
    between: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    """The name is known to the proxy alone, which sees where to and nothing of what."""
    monkeypatch.setenv(variable, between.url)
    registry.on("GET", "/v2/x/manifests/1", _after_basic(registry))
    assert pulled(client, registry.host) == CONTENT.blobs[WANT.digest]
    assert set(between.asked) == {f"CONNECT {registry.host}"}
    assert b"/v2/x" not in between.passed
    assert b"Basic" not in between.passed
    assert any(seen.authorization for seen in registry.seen)


def _after_basic(registry: Listener) -> Callable[[Seen], Reply]:
    reply = registry.answer_of("GET", f"/v2/x/manifests/{CONTENT.manifest.descriptor.digest}")
    return lambda seen: reply(seen) if seen.authorization else BASIC


@pytest.mark.parametrize("left_out", [NAME, ".test", "*"])
def test_what_no_proxy_names_goes_past(
    client: RegistryClient,
    registry: Listener,
    between: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    left_out: str,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", between.url)
    monkeypatch.setenv("NO_PROXY", left_out)
    with pytest.raises(TransportError, match="does not resolve"):
        client.repository(registry.host, "x").resolve("1")
    assert not between.asked


def test_loopback_never_goes_through(
    tls: Certificates, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's loopback is another machine's: what listens there is not what was meant."""
    for variable in VARIABLES[:3]:
        monkeypatch.setenv(variable, between.url)
    settings = Settings(ca_file=tls.ca, attempts=1)
    with listener(tls=tls) as here, RegistryClient(settings, lookup=lambda *_: None) as client:
        serve(here, CONTENT, "1")
        pulled(client, here.host)
    assert not between.asked


def test_a_redirect_goes_through_too_and_takes_nothing_along(
    client: RegistryClient,
    registry: Listener,
    between: Proxy,
    tls: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", between.url)
    registry.on("GET", "/v2/x/manifests/1", _after_basic(registry))
    with listener(OTHER_HOST, tls=tls, name=ELSEWHERE) as storage:
        there = {"Location": f"{storage.url}/it?signed=1"}
        registry.on("GET", f"/v2/x/blobs/{WANT.digest}", Reply(status=307, headers=there))
        storage.on("GET", "/it", Reply(body=CONTENT.blobs[WANT.digest]))
        pulled(client, registry.host)
        assert [seen.authorization for seen in storage.seen] == [None]
    assert f"CONNECT {storage.host}" in between.asked


def test_a_proxys_password_is_for_the_proxy(
    client: RegistryClient, registry: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy({NAME: "127.0.0.1"}, password="pr0xy-pass") as guarded:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:pr0xy-pass@{guarded.host}")
        pulled(client, registry.host)
    assert guarded.asked
    for seen in registry.seen:
        assert "proxy-authorization" not in seen.headers


@pytest.mark.parametrize("password", ["wr0ng-pass", None])
def test_a_proxy_that_refuses(
    client: RegistryClient,
    registry: Listener,
    monkeypatch: pytest.MonkeyPatch,
    password: str | None,
) -> None:
    """With 407, and with 502 for a name that it does not know; its password is not told."""
    hosts = {NAME: "127.0.0.1"} if password else {}
    with proxy(hosts, password="pr0xy-pass" if password else None) as guarded:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{password or 'any-pass'}@{guarded.host}")
        with pytest.raises(TransportError) as caught:
            client.repository(registry.host, "x").resolve("1")
    assert "pass" not in f"{caught.value} {caught.value.hint}"
    assert not isinstance(caught.value, Denied), "that would be the registry's word"
    assert not registry.seen


def test_a_proxy_that_nobody_is(client: RegistryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(TransportError, match="no connection"):
        client.repository(f"{NAME}:5000", "x").resolve("1")


def test_plain_http_is_seen_and_so_gets_no_credentials(
    between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", between.url)
    settings = Settings(plain_http=True, attempts=1)
    with (
        listener(name=NAME) as registry,
        RegistryClient(settings, lookup=lambda *_: USER) as client,
    ):
        serve(registry, CONTENT, "1")
        pulled(client, registry.host)
        registry.on("GET", "/v2/x/manifests/1", BASIC)
        with pytest.raises(Denied, match="plain http"):
            client.repository(registry.host, "x").resolve("1")
    assert between.asked[0] == f"GET http://{registry.host}/v2/x/manifests/1"
    assert b"uthorization" not in between.passed


def test_netrc_and_the_environments_files_are_not_read(
    client: RegistryClient,
    registry: Listener,
    between: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {NAME} login me password n3trc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTPS_PROXY", between.url)
    pulled(client, registry.host)
    assert [seen.authorization for seen in registry.seen] == [None] * len(registry.seen)
