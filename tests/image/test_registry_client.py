"""Docker's engine as a client of our registry: what it pushes comes back as it was."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.docker import Engine
from tests.kit.servers import RunningRegistry, bpfpack_registry

pytestmark = pytest.mark.image


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    with bpfpack_registry(tmp_path) as running:
        yield running


def image(engine: Engine, name: str, *layers: bytes) -> str:
    """Make an image of files of those contents, a layer each; returns its id."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for i, content in enumerate(layers):
            member = tarfile.TarInfo(f"file{i}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    engine.run("import", "-", name, stdin=packed.getvalue())
    return identity(engine, name)


def identity(engine: Engine, name: str) -> str:
    (found,) = engine.lines("image", "inspect", "--format", "{{.Id}}", name)
    return found


def test_an_image_that_docker_pushed_is_pulled_unchanged(
    docker_engine: Engine, registry: RunningRegistry
) -> None:
    name = f"{registry.host}/library/small:1.0"
    content = os.urandom(3_000_000)
    made = image(docker_engine, name, content)
    pushed = docker_engine.lines("push", name)
    docker_engine.run("rmi", "--force", made)
    pulled = docker_engine.lines("pull", name)
    assert identity(docker_engine, name) == made
    (digest,) = {word for line in pushed for word in line.split() if word.startswith("sha256:")}
    assert f"Digest: {digest}" in pulled
    saved = docker_engine.run("save", name).stdout
    assert content in saved
    docker_engine.run("rmi", "--force", made)


def test_docker_pulls_by_digest_and_mounts_what_the_registry_has(
    docker_engine: Engine, registry: RunningRegistry
) -> None:
    name, other = f"{registry.host}/a/one:1", f"{registry.host}/b/two:1"
    made = image(docker_engine, name, os.urandom(100_000))
    pushed = docker_engine.lines("push", name)
    (digest,) = {word for line in pushed for word in line.split() if word.startswith("sha256:")}
    docker_engine.run("tag", name, other)
    assert any("Mounted from a/one" in line for line in docker_engine.lines("push", other))
    docker_engine.run("rmi", "--force", made)
    docker_engine.run("pull", f"{registry.host}/b/two@{digest}")
    docker_engine.run("rmi", "--force", made)


def test_docker_is_told_what_is_not_there(docker_engine: Engine, registry: RunningRegistry) -> None:
    done = docker_engine.run("pull", f"{registry.host}/no/such:1", code=1)
    assert b"not found" in done.stderr or b"manifest unknown" in done.stderr
