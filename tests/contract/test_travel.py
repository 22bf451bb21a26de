"""From one host's store through a real registry into another's: all of it arrives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.registry.client.remote import RegistryClient
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.transfer import copy
from bpfpack.spec.content import Source
from bpfpack.spec.manifest import Manifest
from bpfpack.spec.signature import legacy_tag
from tests.contract.test_stores import SourceContract, filled
from tests.kit.packages import fill, package, signature_image
from tests.kit.servers import bpfpack_registry, docker_registry


def nobody(_registry: str, _repository: str) -> None:
    """No credentials, whatever the machine has."""


def travelled(host: str, tmp_path: Path) -> Source:
    """Push everything from one store, then pull it into another."""
    first = filled(DiskStore(tmp_path / "first").repository("r.example/x"))
    second = DiskStore(tmp_path / "second").repository("r.example/x")
    with RegistryClient(lookup=nobody) as client:
        remote = client.repository(host, "x/tiny")
        for source, target in ((first, remote), (remote, second)):
            for tag in first.tags():
                assert copy(source, target, tag, tag).problems == ()
    return second


class TestOurs(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Source]:
        with bpfpack_registry(tmp_path) as registry:
            yield travelled(registry.host, tmp_path)


@pytest.mark.registry
class TestDebians(SourceContract):
    """One without a referrers API: the fallback tag carries them."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Source]:
        with docker_registry(tmp_path) as registry:
            yield travelled(registry.host, tmp_path)


def test_a_push_adds_to_the_signatures_in_the_registry(tmp_path: Path) -> None:
    tag = legacy_tag(package().manifest.descriptor.digest)
    first = filled(DiskStore(tmp_path / "first").repository("r.example/x"))
    with bpfpack_registry(tmp_path) as registry, RegistryClient(lookup=nobody) as client:
        remote = client.repository(registry.host, "x/tiny")
        fill(remote, signature_image((b"payload", "dGhlaXJz")), tag)
        copy(first, remote, "1.0", "1.0")
        found = remote.resolve(tag)
    assert isinstance(found, Manifest)
    values = [layer.annotations["dev.cosignproject.cosign/signature"] for layer in found.layers]
    assert values == ["dGhlaXJz", "c2ln"]
