"""An author, a stranger, a registry that both can write, and a host that trusts the author."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import bell
from tests.kit.cli import Host
from tests.kit.servers import RunningRegistry, bpfpack_registry


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A user with a key who built the bell twice: ``bell:1`` and a changed ``bell:2``."""
    root = tmp_path_factory.mktemp("author")
    made = Host(root=root)
    made.keygen()
    directory = bell.write(root / "bell")
    for version in ("1", "2"):
        (directory / "bpfpack.toml").write_text(f'version = "{version}"\n')
        made.run("build", "-q", "-t", f"bell:{version}", directory)
    return made


@pytest.fixture
def author(built: Host, tmp_path: Path) -> Host:
    """That user, who has signed nothing yet."""
    shutil.copytree(built.root, tmp_path / "author")
    return Host(root=tmp_path / "author")


@pytest.fixture(scope="session")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Someone with a key that nobody trusts."""
    made = Host(root=tmp_path_factory.mktemp("mallory"))
    made.keygen()
    return made


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    """A registry that attackers can write to, and whose disk they have."""
    with bpfpack_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def name(registry: RunningRegistry) -> str:
    """The repository that is under attack."""
    return f"{registry.host}/x/bell"


@pytest.fixture
def host(author: Host, name: str, tmp_path: Path) -> Host:
    """A host that trusts the author for ``x`` of this registry."""
    made = Host(root=tmp_path / "host")
    key = author.root / "config" / "identity.pub"
    made.run("trust", "add", name.rpartition("/")[0], "--key", key, "--name", "author")
    return made
