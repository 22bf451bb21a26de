"""Signing and looking over HTTP: real registries, and one that answers as GHCR was seen to."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.registry.client.remote import RegistryClient, RemoteRepository
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.trust.attach import attach
from bpfpack.registry.trust.collect import collect
from bpfpack.registry.trust.sign import sign
from bpfpack.spec.errors import TrustError
from bpfpack.spec.manifest import Manifest
from bpfpack.spec.signature import SignaturePlace, legacy_tag
from tests.kit.hostile import OTHER_HOST, Listener, Reply, listener, manifest_reply
from tests.kit.packages import fill
from tests.kit.servers import bpfpack_registry, docker_registry
from tests.kit.signing import (
    NOW,
    REF,
    admitted,
    artifact_of,
    key_of,
    make_package,
    policy_for,
    repository_with,
    sign_into,
)

PACKAGE = make_package()
SUBJECT = PACKAGE.manifest.descriptor
ALICE = policy_for("ghcr.io/x", "alice")
SIGNERS = ("alice", "bob", "carol", "dave")


def nobody(_registry: str, _repository: str) -> None:
    """No credentials, whatever the machine has."""


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[RemoteRepository]:
    with bpfpack_registry(tmp_path) as server, RegistryClient(lookup=nobody) as client:
        yield client.repository(server.host, "x/opensnoop")


@pytest.fixture
def debians(tmp_path: Path) -> Iterator[RemoteRepository]:
    with docker_registry(tmp_path) as server, RegistryClient(lookup=nobody) as client:
        yield client.repository(server.host, "x/opensnoop")


def states(places: tuple[SignaturePlace, ...]) -> dict[str, str]:
    return {place.name: place.state for place in places}


def check_signed_by_all(repository: RemoteRepository, names: tuple[str, ...]) -> None:
    places = collect(repository, SUBJECT)
    for name in names:
        admitted(artifact_of(PACKAGE, places), policy_for("ghcr.io", name))


def test_our_registry_has_the_referrers_api(ours: RemoteRepository) -> None:
    fill(ours, PACKAGE, "1.0")
    assert set(states(collect(ours, SUBJECT)).values()) == {"absent"}
    attach(ours, sign(SUBJECT, REF, key_of("alice"), now=NOW))
    assert states(collect(ours, SUBJECT))["referrers"] == "present"
    check_signed_by_all(ours, ("alice",))


@pytest.mark.registry
def test_debians_registry_has_not(debians: RemoteRepository) -> None:
    fill(debians, PACKAGE, "1.0")
    for name in ("alice", "bob"):
        attach(debians, sign(SUBJECT, REF, key_of(name), now=NOW))
    places = collect(debians, SUBJECT)
    assert states(places) == {
        "referrers": "unsupported",
        "referrers-tag": "present",
        "sig-tag": "present",
    }
    assert [len(place.candidates) for place in places] == [0, 2, 2]
    check_signed_by_all(debians, ("alice", "bob"))


def test_signers_at_the_same_time_are_all_found(ours: RemoteRepository) -> None:
    """The ``.sig`` tag is read and written back by all, and bundles stand each alone."""
    fill(ours, PACKAGE, "1.0")
    start = threading.Barrier(len(SIGNERS))

    def work(name: str) -> None:
        signed = sign(SUBJECT, REF, key_of(name), now=NOW)
        start.wait()
        attach(ours, signed)

    threads = [threading.Thread(target=work, args=(name,)) for name in SIGNERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_signed_by_all(ours, SIGNERS)
    held = collect(ours, SUBJECT)
    assert len(held[0].candidates) == len(SIGNERS), "no bundle is ever lost"


class TestAsGhcrWasSeen:
    """Its referrers API sent clients to a page, which answered 429."""

    @pytest.fixture
    def registry(self) -> Iterator[Listener]:
        with listener() as found:
            found.on("GET", "/v2/", Reply(body=b"{}"))
            yield found

    def look(self, registry: Listener) -> tuple[SignaturePlace, ...]:
        with RegistryClient(Settings(attempts=1), lookup=nobody) as client:
            return collect(client.repository(registry.host, "x/opensnoop"), SUBJECT)

    def sign_by_tag(self, registry: Listener) -> None:
        """Serve the ``.sig`` tag as an honest registry does."""
        memory = repository_with(PACKAGE)
        sign_into(memory, SUBJECT)
        tag = legacy_tag(SUBJECT.digest)
        manifest = memory.resolve(tag)
        assert isinstance(manifest, Manifest)
        reply = manifest_reply(manifest.raw, manifest.media_type)
        for name in (tag, str(manifest.descriptor.digest)):
            registry.on("GET", f"/v2/x/opensnoop/manifests/{name}", reply)
        for layer in manifest.layers:
            blob = Reply(body=memory.blobs[layer.digest])
            registry.on("GET", f"/v2/x/opensnoop/blobs/{layer.digest}", blob)

    def redirect(self, registry: Listener, target: str) -> None:
        path = f"/v2/x/opensnoop/referrers/{SUBJECT.digest}"
        registry.on("GET", path, Reply(status=303, headers={"Location": target}))

    @pytest.mark.parametrize("elsewhere", [True, False])
    def test_a_good_signature_elsewhere_suffices(self, registry: Listener, elsewhere: bool) -> None:
        with listener(OTHER_HOST) as other:
            page = f"{other.url}/page" if elsewhere else "/page"
            for server in (registry, other):
                server.on("GET", "/page", Reply(status=429))
            self.redirect(registry, page)
            self.sign_by_tag(registry)
            places = self.look(registry)
        assert states(places) == {
            "referrers": "unsupported" if elsewhere else "failed",
            "referrers-tag": "absent",
            "sig-tag": "present",
        }
        admitted(artifact_of(PACKAGE, places), ALICE)

    def test_without_one_nobody_knows(self, registry: Listener) -> None:
        self.redirect(registry, "/page")
        registry.on("GET", "/page", Reply(status=429))
        places = self.look(registry)
        with pytest.raises(TrustError, match=r"could not look.*429") as caught:
            admitted(artifact_of(PACKAGE, places), ALICE)
        assert "not signed" not in str(caught.value)
        assert "try again" in str(caught.value.hint)

    def test_without_the_api_and_any_signature_it_is_unsigned(self, registry: Listener) -> None:
        with listener(OTHER_HOST) as other:
            self.redirect(registry, f"{other.url}/page")
            places = self.look(registry)
        with pytest.raises(TrustError, match="is not signed"):
            admitted(artifact_of(PACKAGE, places), ALICE)

    def test_a_rate_limited_tag_is_no_absent_signature(self, registry: Listener) -> None:
        tag = legacy_tag(SUBJECT.digest)
        registry.on("GET", f"/v2/x/opensnoop/manifests/{tag}", Reply(status=429))
        assert states(self.look(registry))["sig-tag"] == "failed"
