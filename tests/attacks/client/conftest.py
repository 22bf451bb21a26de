"""A registry that lies, a second host that notes what reaches it, and a client of both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.registry.client.remote import RegistryClient, RemoteRepository
from tests.kit.cli import Host
from tests.kit.hostile import OTHER_HOST, Listener, listener
from tests.kit.lying import QUICK, USER


@pytest.fixture
def registry() -> Iterator[Listener]:
    with listener() as found:
        yield found


@pytest.fixture
def other() -> Iterator[Listener]:
    with listener(OTHER_HOST) as found:
        yield found


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient(QUICK, lookup=lambda _registry, _repository: USER) as found:
        yield found


@pytest.fixture
def repository(registry: Listener, client: RegistryClient) -> RemoteRepository:
    return client.repository(registry.host, "x")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(root=tmp_path / "host")
