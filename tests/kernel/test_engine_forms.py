"""What ``run -o`` writes is whole for the parsers of others, by either engine."""

import json
import signal
from typing import Any

import pytest
import yaml

from tests.kit import bell
from tests.kit.bell import ME
from tests.kit.cli import Host

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host that built the bell."""
    root = tmp_path_factory.mktemp("host")
    made = Host(root=root)
    made.run("build", "-q", "-t", "bell:1.0", bell.write(root / "bell"))
    return made


def shown(host: Host, shape: str, engine: str, rings: int) -> str:
    """What is shown of so many rings, until a signal ends the run."""
    arguments = ("run", "--sigint-ok", "--engine", engine, "-o", shape, "bell:1.0", ME)
    with host.started(*arguments) as running:
        running.until("^attached ", stderr=True)
        bell.ring(rings)
        done = running.end(signal.SIGINT)
    assert done.code == 0
    return done.stdout


@pytest.mark.parametrize("engine", ["wasm", "reference"])
@pytest.mark.parametrize("rings", [0, 3])
def test_an_array_is_closed_when_a_signal_ends_it(host: Host, engine: str, rings: int) -> None:
    found: Any = json.loads(shown(host, "json-array", engine, rings))
    assert found == [{"number": n + 1} for n in range(rings)]


@pytest.mark.parametrize("engine", ["wasm", "reference"])
def test_documents_and_tabs(host: Host, engine: str) -> None:
    assert list(yaml.safe_load_all(shown(host, "yaml", engine, 2))) == [
        {"number": 1},
        {"number": 2},
    ]
    assert shown(host, "tsv", engine, 2) == "number\n1\n2\n"
