"""`bpfpack copy` of what docker pushed: docker finds the same image at the other end."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from tests.kit.cli import Host
from tests.kit.docker import Engine
from tests.kit.servers import bpfpack_registry, docker_registry

pytestmark = [pytest.mark.image, pytest.mark.registry]


def test_an_image_is_copied_unchanged(docker_engine: Engine, tmp_path: Path) -> None:
    """Its manifest is docker's own kind, which names every blob by docker's types."""
    host = Host(root=tmp_path / "host")
    host.root.mkdir()
    with bpfpack_registry(tmp_path) as ours, docker_registry(tmp_path) as debians:
        first, there = f"{ours.host}/a/one:1", f"{debians.host}/b/two:1"
        docker_engine.run("import", "-", first, stdin=_packed())
        identity = docker_engine.lines("image", "inspect", "--format", "{{.Id}}", first)
        pushed = docker_engine.lines("push", first)
        (digest,) = {w for line in pushed for w in line.split() if w.startswith("sha256:")}
        assert host.run("copy", "-q", first, there).stdout == f"{there}  {digest}\n"
        again = f"{ours.host}/c/three:1"
        host.run("copy", "-q", f"{there.removesuffix(':1')}@{digest}", again)
        docker_engine.run("rmi", "--force", *identity)
        for name in (there, again):
            docker_engine.run("pull", name)
            found = docker_engine.lines("image", "inspect", "--format", "{{.Id}}", name)
            assert found == identity
        docker_engine.run("rmi", "--force", *identity)


def _packed() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = 2_000_000
        archive.addfile(member, io.BytesIO(os.urandom(member.size)))
    return packed.getvalue()
