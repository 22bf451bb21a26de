"""The images of our Dockerfile, built once for all tests here."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.docker import Engine

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Images:
    """Names of what was built: ``run`` the tool, ``build`` with a compiler, ``python`` below."""

    run: str
    build: str
    python: str


@pytest.fixture(scope="session")
def images(docker_engine: Engine) -> Images:
    base = docker_engine.base()
    names = {target: f"bpfpack-test/{target}:latest" for target in ("python", "build", "run")}
    for target, name in names.items():
        docker_engine.run(
            *("build", "--network", "host", "--build-arg", f"BASE={base}"),
            *("--target", target, "-t", name, REPO),
        )
    return Images(**names)
