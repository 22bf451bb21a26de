"""A host that has built the bell, for the tests of the command line."""

from pathlib import Path

import pytest

from tests.kit import bell
from tests.kit.cli import Host


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Only to be read: its store holds ``bell:1``."""
    root = tmp_path_factory.mktemp("host")
    made = Host(root=root)
    made.run("build", "-q", "-t", "bell:1", bell.write(root / "bell"))
    return made


@pytest.fixture
def fresh(tmp_path: Path) -> Host:
    """A host with nothing."""
    return Host(root=tmp_path / "fresh")
