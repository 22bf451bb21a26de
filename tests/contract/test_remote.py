"""Repositories in real registries: ours, and Debian's with tokens, TLS and its own CA."""

import io
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpfpack.registry.client.core import Call
from bpfpack.registry.client.endpoints import Endpoint
from bpfpack.registry.client.login import login, logout
from bpfpack.registry.client.pull import default_tag
from bpfpack.registry.client.remote import RegistryClient, RemoteRepository
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.upload import Uploader
from bpfpack.registry.client.wire import Answer, Credential
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.content import ReferrersUnsupported
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import Denied, NotFound, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index
from bpfpack.spec.signature import fallback_tag
from bpfpack.spec.value import replace
from tests.contract.test_stores import Place, StoreContract, bundle, filled
from tests.kit.packages import fill, package
from tests.kit.pki import Certificates, make_ca
from tests.kit.servers import (
    RunningRegistry,
    bpfpack_registry,
    docker_registry,
    write_docker_config,
)
from tests.kit.tokenserver import TokenServer, everybody_may_pull, token_server

USER = Credential(username="user", secret="secret")
_NUMBERS = itertools.count()


def nobody(_registry: str, _repository: str) -> None:
    """No credentials, whatever the machine has."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with bpfpack_registry(tmp_path_factory.mktemp("ours")) as found:
        yield found


class TestOurRegistry(StoreContract):
    """What every store does, our own registry does through the client."""

    @pytest.fixture
    def empty(self, ours: RunningRegistry) -> Iterator[Place]:
        with RegistryClient(lookup=nobody) as client:
            yield client.repository(ours.host, f"x/tiny{next(_NUMBERS)}")

    @pytest.fixture
    def place(self, empty: Place) -> Place:
        return filled(empty)

    def test_push_refuses_more_than_any_layer_may_weigh(self, empty: Place) -> None:
        """How much a registry takes is for the registry to say: copies are of anything."""
        want = Descriptor(media_type="a/b", digest=Digest("sha256", "0" * 64), size=1 << 62)
        assert not empty.has(want)

    def test_a_tag_is_deleted_alone(self, ours: RunningRegistry) -> None:
        with RegistryClient(lookup=nobody) as client:
            place = client.repository(ours.host, f"x/tiny{next(_NUMBERS)}")
            fill(place, package(), "1.0")
            fill(place, package(), "1.1")
            place.delete_tag("1.1")
            assert place.tags() == ("1.0",)
            place.delete_manifest(package().manifest.descriptor.digest)
            with pytest.raises(NotFound):
                place.resolve("1.0")

    def test_a_blob_is_linked_from_another_repository(self, ours: RunningRegistry) -> None:
        with RegistryClient(lookup=nobody) as client:
            name = f"x/tiny{next(_NUMBERS)}"
            fill(client.repository(ours.host, name), package(), "1.0")
            want = package().manifest.layers[0]
            there = client.repository(ours.host, f"{name}-copy", mount_from=name)
            there.push(want, _Unreadable())
            assert there.has(want)

    def test_latest_else_the_highest_release(self, ours: RunningRegistry) -> None:
        with RegistryClient(lookup=nobody) as client:
            place = client.repository(ours.host, f"x/tiny{next(_NUMBERS)}")
            fill(place, package(), "nightly")
            with pytest.raises(NotFound, match="neither"):
                default_tag(place)
            for tag in ("1.9.0", "1.10.0", "2.0.0-rc.1"):
                fill(place, package(), tag)
            assert default_tag(place) == "1.10.0"
            fill(place, package(), "latest")
            assert default_tag(place) == "latest"


class _Unreadable:
    def read(self, size: int, /) -> bytes:
        raise AssertionError("a linked blob is not read")


@dataclass(frozen=True, slots=True)
class Secured:
    """docker-registry behind TLS and a token service, as ghcr.io is."""

    registry: RunningRegistry
    tokens: TokenServer
    certificates: Certificates

    @property
    def settings(self) -> Settings:
        return Settings(ca_file=self.certificates.ca)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("secured")
    tls = make_ca(directory / "tls", "127.0.0.1")
    with (
        token_server(directory / "tokens", tls=tls, grant=everybody_may_pull) as tokens,
        docker_registry(directory, token_auth=tokens, tls=tls) as registry,
    ):
        yield Secured(registry, tokens, tls)


@pytest.fixture
def remote(secured: Secured) -> Iterator[RemoteRepository]:
    with RegistryClient(secured.settings, lookup=lambda *_: USER) as client:
        yield client.repository(secured.registry.host, f"x/tiny{next(_NUMBERS)}")


def filled_name(secured: Secured) -> str:
    """A repository that holds ``1.0``."""
    name = f"x/tiny{next(_NUMBERS)}"
    with RegistryClient(secured.settings, lookup=lambda *_: USER) as client:
        fill(client.repository(secured.registry.host, name), package(), "1.0")
    return name


@pytest.mark.registry
class TestDebiansRegistry:
    def test_push_and_pull(self, remote: RemoteRepository) -> None:
        fill(remote, package(), "1.0")
        assert remote.resolve("1.0") == package().manifest
        stated = remote.stat("1.0")
        assert stated == replace(package().manifest.descriptor, artifact_type=None)
        for want in (package().manifest.config, *package().manifest.layers):
            with remote.fetch(want) as stream:
                assert read_exactly(stream, want, LIMITS.layer) == package().blobs[want.digest]
        assert remote.tags() == ("1.0",)

    def test_referrers_are_kept_under_the_fallback_tag(self, remote: RemoteRepository) -> None:
        fill(remote, package(), "1.0")
        subject = package().manifest.descriptor.digest
        with pytest.raises(ReferrersUnsupported):
            remote.referrers(subject)
        fill(remote, bundle())
        fill(remote, bundle())
        index = remote.resolve(fallback_tag(subject))
        assert isinstance(index, Index)
        assert [m.digest for m in index.manifests] == [bundle().manifest.descriptor.digest]
        assert remote.tags() == ("1.0",)
        remote.delete_manifest(bundle().manifest.descriptor.digest)
        after = remote.resolve(fallback_tag(subject))
        assert isinstance(after, Index)
        assert after.manifests == ()

    def test_anonymous_may_pull_and_not_push(self, secured: Secured) -> None:
        name = filled_name(secured)
        with RegistryClient(secured.settings, lookup=nobody) as client:
            place = client.repository(secured.registry.host, name)
            assert place.resolve("1.0") == package().manifest
            with pytest.raises(Denied) as caught:
                place.push(Descriptor.of(b"new", "a/b"), io.BytesIO(b"new"))
        assert f"bpfpack login {secured.registry.host}" in str(caught.value.hint)

    def test_one_token_for_each_repository_and_kind_of_access(self, secured: Secured) -> None:
        before = len(secured.tokens.requests)
        name = filled_name(secured)
        asked = [r.scopes for r in secured.tokens.requests[before:]]
        assert asked == [(f"repository:{name}:pull",), (f"repository:{name}:pull,push",)]

    def test_an_identity_token_of_docker_login(self, secured: Secured) -> None:
        name = filled_name(secured)
        secured.tokens.refresh_tokens["refresh-1"] = "user"
        found = Credential(identity_token="refresh-1")
        with RegistryClient(secured.settings, lookup=lambda *_: found) as client:
            place = client.repository(secured.registry.host, name)
            place.push(Descriptor.of(b"new", "a/b"), io.BytesIO(b"new"))
        last = secured.tokens.requests[-1]
        assert (last.method, last.user) == ("POST", "user")

    def test_chunks_in_the_form_that_another_implementation_takes(self, secured: Secured) -> None:
        data, host, name = os.urandom(300_000), secured.registry.host, f"x/tiny{next(_NUMBERS)}"
        want, settings = Descriptor.of(data, "a/b"), Settings(chunk=100_000)
        chunks = []

        def limited(call: Call) -> Answer:
            """Ask through a proxy that takes no blob whole."""
            if call.method == "PUT" and call.body is not None:
                raise TransportError("too much at once", status=413)
            chunks.append(call.method == "PATCH")
            return client.ask(call)

        with RegistryClient(secured.settings, lookup=lambda *_: USER) as client:
            endpoint = Endpoint(registry=client.origin(host), name=host, repository=name)
            uploader = Uploader(endpoint, settings, limited, client.pause)
            assert uploader.send(want, io.BytesIO(data), None)
            assert sum(chunks) == 3
            with client.repository(host, name).fetch(want) as stream:
                assert read_exactly(stream, want, LIMITS.layer) == data

    def test_an_untrusted_certificate(self, secured: Secured, tmp_path: Path) -> None:
        """TLS without the CA is an error of its own, not a question of patience."""
        stranger = make_ca(tmp_path, "127.0.0.1").ca
        with (
            RegistryClient(Settings(ca_file=stranger), lookup=nobody) as client,
            pytest.raises(TransportError, match="no trusted TLS connection"),
        ):
            client.repository(secured.registry.host, "x").resolve("1.0")

    def test_wrong_bundles_in_the_environment_do_not_win_over_ca_file(
        self, secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = filled_name(secured)
        stranger = str(make_ca(tmp_path, "127.0.0.1").ca)
        for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(variable, stranger)
        with RegistryClient(secured.settings, lookup=nobody) as client:
            place = client.repository(secured.registry.host, name)
            assert place.resolve("1.0") == package().manifest

    def test_dockers_directory_of_certificates(self, secured: Secured, tmp_path: Path) -> None:
        name, host = filled_name(secured), secured.registry.host
        # The token service is another port, and docker's directories are per port.
        for server in (host, secured.tokens.realm.split("/")[2]):
            (tmp_path / server).mkdir()
            (tmp_path / server / "ca.crt").write_bytes(secured.certificates.ca.read_bytes())
        with RegistryClient(Settings(certificates=(tmp_path,)), lookup=nobody) as client:
            assert client.repository(host, name).resolve("1.0") == package().manifest

    def test_login_tries_then_keeps_and_logout_forgets(
        self, secured: Secured, tmp_path: Path
    ) -> None:
        host, environ = secured.registry.host, {"HOME": str(tmp_path)}
        wrong = Credential(username="user", secret="wrong")
        with pytest.raises(Denied):
            login(host, wrong, secured.settings, environ)
        assert not (tmp_path / ".docker").exists()
        kept = login(host, USER, secured.settings, environ)
        assert kept.path == tmp_path / ".docker/config.json"
        assert kept.path.stat().st_mode & 0o777 == 0o600
        assert logout(host, environ)
        assert not logout(host, environ)

    def test_dockers_own_file_is_what_a_push_uses(self, secured: Secured, tmp_path: Path) -> None:
        """A whole process, as a command would be: nothing is passed in but DOCKER_CONFIG."""
        write_docker_config(tmp_path, secured.registry.host, "user", "secret")
        code = (
            "import io, sys; from pathlib import Path;"
            "from bpfpack.registry.client.remote import RegistryClient;"
            "from bpfpack.registry.client.settings import Settings;"
            "from bpfpack.spec.descriptor import Descriptor;"
            "client = RegistryClient(Settings(ca_file=Path(sys.argv[2])));"
            "client.repository(sys.argv[1], 'x/y').push("
            "Descriptor.of(b'data', 'a/b'), io.BytesIO(b'data'))"
        )
        environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": os.environ["PATH"]}
        command = [sys.executable, "-c", code, secured.registry.host]
        subprocess.run([*command, str(secured.certificates.ca)], env=environ, check=True)
