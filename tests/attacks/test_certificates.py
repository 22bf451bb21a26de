"""Whose certificates count, in which order, and who is shown ours."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as s

from bpfpack.registry.client.core import Call
from bpfpack.registry.client.remote import RegistryClient
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.urls import origin
from bpfpack.spec.errors import TransportError, UsageError
from bpfpack.spec.limits import LIMITS
from tests.kit.cli import Host
from tests.kit.hostile import OTHER_HOST, Listener, Reply, listener, serve
from tests.kit.packages import package
from tests.kit.pki import Certificates, make_ca, make_client

CONTENT = package()
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_ca(tmp_path_factory.mktemp("tls"), "127.0.0.1", OTHER_HOST)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority that vouches for nobody here."""
    return make_ca(tmp_path_factory.mktemp("stranger"), "127.0.0.1").ca


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_client(tmp_path_factory.mktemp("mine"), "the user")


@pytest.fixture
def registry(tls: Certificates, mine: Certificates) -> Iterator[Listener]:
    with listener(tls=tls, clients=mine.ca) as found:
        serve(found, CONTENT, "1")
        yield found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(root=tmp_path)


def directory_of(host: Host, server: str, **files: Path) -> Path:
    """Write a directory for a registry, as docker names it."""
    made = host.root / "config" / "certs.d" / server
    made.mkdir(parents=True, mode=0o700)
    for name, source in files.items():
        path = made / name.replace("_", ".")
        path.write_bytes(source.read_bytes())
        path.chmod(0o600)
    return made


class TestAuthorities:
    """--ca-file, the registry's own directory, SSL_CERT_FILE, REQUESTS_CA_BUNDLE, the system."""

    def test_a_wrong_bundle_in_the_environment_does_not_win_over_ca_file(
        self, host: Host, registry: Listener, tls: Certificates, stranger: Path
    ) -> None:
        env = dict.fromkeys(BUNDLES, str(stranger))
        host.run("pull", "-q", "--ca-file", tls.ca, f"{registry.host}/x:1", env=env)

    def test_nor_does_the_right_one_win_over_a_wrong_ca_file(
        self, host: Host, registry: Listener, tls: Certificates, stranger: Path
    ) -> None:
        env = dict.fromkeys(BUNDLES, str(tls.ca))
        told = host.run("pull", "--ca-file", stranger, f"{registry.host}/x:1", env=env, code=5)
        assert "no trusted TLS connection" in told.stderr
        assert not registry.seen

    def test_the_registrys_directory_wins_over_the_environment(
        self, host: Host, registry: Listener, tls: Certificates, stranger: Path
    ) -> None:
        directory_of(host, registry.host, ca_crt=tls.ca)
        env = dict.fromkeys(BUNDLES, str(stranger))
        host.run("pull", "-q", f"{registry.host}/x:1", env=env)

    def test_another_registrys_directory_says_nothing(
        self, registry: Listener, tls: Certificates, tmp_path: Path
    ) -> None:
        place = tmp_path / "127.0.0.1:1"
        place.mkdir()
        (place / "ca.crt").write_bytes(tls.ca.read_bytes())
        settings = Settings(certificates=(tmp_path,), attempts=1)
        with (
            RegistryClient(settings, lookup=lambda *_: None) as client,
            pytest.raises(TransportError),
        ):
            client.repository(registry.host, "x").resolve("1")

    @pytest.mark.parametrize(
        ("right", "wrong", "ok"),
        [
            ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", True),
            ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", False),
            ("REQUESTS_CA_BUNDLE", None, True),
            (None, "REQUESTS_CA_BUNDLE", False),
            (None, None, False),
        ],
    )
    def test_the_environment(
        self,
        registry: Listener,
        tls: Certificates,
        stranger: Path,
        right: str | None,
        wrong: str | None,
        ok: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for name in BUNDLES:
            monkeypatch.delenv(name, raising=False)
        if right:
            monkeypatch.setenv(right, str(tls.ca))
        if wrong:
            monkeypatch.setenv(wrong, str(stranger))
        # By its URL: loopback is asked without TLS, unless its certificates are at hand.
        call = Call(
            method="GET",
            url=f"{registry.url}/v2/x/manifests/1",
            what="it",
            registry=origin(registry.url),
            name="it",
            read=LIMITS.manifest,
        )
        with RegistryClient(Settings(attempts=1), lookup=lambda *_: None) as client:
            if ok:
                assert client.ask(call).body == CONTENT.manifest.raw
                return
            with pytest.raises(TransportError, match="no trusted TLS connection"):
                client.ask(call)
        assert not registry.seen

    def test_a_bundle_that_cannot_be_read_is_named(
        self, host: Host, registry: Listener, tmp_path: Path
    ) -> None:
        for bad in (tmp_path / "none.crt", tmp_path):
            told = host.run("pull", "--ca-file", bad, f"{registry.host}/x:1", code=2)
            assert str(bad) in told.stderr

    def test_a_bundle_that_is_none(self, host: Host, registry: Listener, tmp_path: Path) -> None:
        bad = tmp_path / "bad.crt"
        bad.write_text("nonsense")
        assert host.run("pull", "--ca-file", bad, f"{registry.host}/x:1", code=None).code in (2, 5)

    def test_a_directory_that_others_can_write_is_refused(
        self, host: Host, registry: Listener, tls: Certificates
    ) -> None:
        place = directory_of(host, registry.host, ca_crt=tls.ca)
        place.chmod(0o777)
        assert "others can write" in host.run("pull", f"{registry.host}/x:1", code=1).stderr
        place.chmod(0o700)
        (place / "ca.crt").chmod(0o666)
        assert "others can write" in host.run("pull", f"{registry.host}/x:1", code=1).stderr
        assert not registry.seen

    def test_links_as_kubernetes_mounts_them(
        self, host: Host, registry: Listener, tls: Certificates
    ) -> None:
        place = directory_of(host, registry.host)
        (place / "..data").mkdir()
        (place / "..data" / "ca.crt").write_bytes(tls.ca.read_bytes())
        (place / "ca.crt").symlink_to("..data/ca.crt")
        host.run("pull", "-q", f"{registry.host}/x:1")


class TestOurs:
    """A certificate of our own goes to the host that it is meant for."""

    def test_it_is_shown_to_its_registry(
        self, host: Host, registry: Listener, tls: Certificates, mine: Certificates
    ) -> None:
        directory_of(
            host, registry.host, ca_crt=tls.ca, client_cert=mine.certificate, client_key=mine.key
        )
        host.run("pull", "-q", f"{registry.host}/x:1")
        assert {seen.shown for seen in registry.seen} == {"the user"}

    def test_without_one_nothing_is_shown(
        self, host: Host, registry: Listener, tls: Certificates
    ) -> None:
        directory_of(host, registry.host, ca_crt=tls.ca)
        host.run("pull", "-q", f"{registry.host}/x:1")
        assert {seen.shown for seen in registry.seen} == {None}

    def test_a_redirect_takes_it_nowhere_else(
        self, host: Host, registry: Listener, tls: Certificates, mine: Certificates
    ) -> None:
        files = {"client_cert": mine.certificate, "client_key": mine.key}
        directory_of(host, registry.host, ca_crt=tls.ca, **files)
        with listener(OTHER_HOST, tls=tls, clients=mine.ca) as other:
            directory_of(host, other.host, ca_crt=tls.ca)
            for digest, data in CONTENT.blobs.items():
                path = f"/v2/x/blobs/{digest}"
                registry.on("GET", path, Reply(status=307, headers={"Location": other.url + path}))
                other.on("GET", path, Reply(body=data))
            host.run("pull", "-q", f"{registry.host}/x:1")
            assert {seen.shown for seen in other.seen} == {None}

    def test_half_of_a_pair_is_an_error(
        self, host: Host, registry: Listener, tls: Certificates, mine: Certificates
    ) -> None:
        directory_of(host, registry.host, ca_crt=tls.ca, client_cert=mine.certificate)
        told = host.run("pull", f"{registry.host}/x:1", code=2)
        assert "client.cert without client.key" in told.stderr

    def test_a_locked_key_is_an_error_and_asks_nobody(
        self, registry: Listener, tls: Certificates, mine: Certificates, tmp_path: Path
    ) -> None:
        """OpenSSL would ask on the terminal, in the middle of whatever is shown."""
        key = s.load_pem_private_key(mine.key.read_bytes(), None)
        locked = key.private_bytes(
            s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"secret")
        )
        place = tmp_path / registry.host
        place.mkdir()
        (place / "ca.crt").write_bytes(tls.ca.read_bytes())
        (place / "client.cert").write_bytes(mine.certificate.read_bytes())
        (place / "client.key").write_bytes(locked)
        self._refused(registry, tmp_path)

    def test_a_key_that_is_anothers(
        self, registry: Listener, tls: Certificates, mine: Certificates, tmp_path: Path
    ) -> None:
        place = tmp_path / registry.host
        place.mkdir()
        (place / "ca.crt").write_bytes(tls.ca.read_bytes())
        (place / "client.cert").write_bytes(mine.certificate.read_bytes())
        (place / "client.key").write_bytes(tls.key.read_bytes())
        self._refused(registry, tmp_path)

    def _refused(self, registry: Listener, certificates: Path) -> None:
        settings = Settings(certificates=(certificates,), attempts=1)
        with (
            RegistryClient(settings, lookup=lambda *_: None) as client,
            pytest.raises((TransportError, UsageError)),
        ):
            client.repository(registry.host, "x").resolve("1")
        assert not registry.seen
