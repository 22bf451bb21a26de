"""Other people's clients against our server: skopeo and oras-py."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oras.provider
import pytest

from tests.kit.registryclient import INDEX, MANIFEST, Repository, descriptor
from tests.kit.servers import RunningRegistry, bpfpack_registry

pytestmark = pytest.mark.registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with bpfpack_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def write_layout(root: Path) -> dict[str, Any]:
    """Write an OCI layout with one image of two layers, and return its descriptor."""
    blobs = root / "blobs/sha256"
    blobs.mkdir(parents=True)

    def add(data: bytes, media_type: str) -> Any:
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
        return descriptor(data, media_type)

    layers = [hashlib.shake_256(bytes([i])).digest(700_000) for i in range(2)]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
        },
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [add(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
    }
    found: dict[str, Any] = add(json.dumps(manifest, indent=1).encode(), MANIFEST)
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    named = {**found, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}
    (root / "index.json").write_text(json.dumps(index))
    return found


def skopeo(*arguments: str) -> str:
    """Run skopeo without TLS on either side."""
    command, *rest = arguments
    plain = {
        "copy": ["--src-tls-verify=false", "--dest-tls-verify=false"],
        "list-tags": ["--tls-verify=false"],
        "delete": ["--tls-verify=false"],
        "inspect": ["--tls-verify=false"],
    }[command]
    done = subprocess.run(
        ["skopeo", "--insecure-policy", command, *plain, *rest],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_skopeo_copies_a_layout_in_and_out(registry: RunningRegistry, tmp_path: Path) -> None:
    wanted = write_layout(tmp_path / "in")
    remote = f"docker://{registry.host}/skopeo/image"
    skopeo("copy", "--preserve-digests", f"oci:{tmp_path}/in:latest", f"{remote}:1.0")
    skopeo("copy", "--preserve-digests", f"{remote}:1.0", f"oci:{tmp_path}/out:latest")
    (found,) = json.loads((tmp_path / "out/index.json").read_text())["manifests"]
    assert found["digest"] == wanted["digest"]
    names = {path.name for path in (tmp_path / "in/blobs/sha256").iterdir()}
    for path in (tmp_path / "out/blobs/sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        names.remove(path.name)
    assert not names


def test_skopeo_mounts_lists_and_deletes(registry: RunningRegistry, tmp_path: Path) -> None:
    wanted = write_layout(tmp_path / "in")
    one, two = (f"docker://{registry.host}/skopeo/{name}" for name in ("one", "two"))
    for tag in ("a", "b"):
        skopeo("copy", f"oci:{tmp_path}/in:latest", f"{one}:{tag}")
    skopeo("copy", "--preserve-digests", f"{one}:a", f"{two}:a")
    assert json.loads(skopeo("list-tags", one))["Tags"] == ["a", "b"]
    assert json.loads(skopeo("inspect", f"{two}:a"))["Digest"] == wanted["digest"]
    skopeo("delete", f"{one}:a")
    assert json.loads(skopeo("list-tags", two))["Tags"] == ["a"]
    repo = Repository(registry.url, "skopeo/two")
    assert repo.call("GET", "manifests/a").status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_oras_pushes_and_pulls(
    registry: RunningRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    data = hashlib.shake_256(b"oras").digest(900_000)
    (tmp_path / "object.o").write_bytes(data)
    (tmp_path / "readme.md").write_text("# read me")
    monkeypatch.chdir(tmp_path)
    client = oras.provider.Registry(hostname=registry.host, insecure=True)
    target = f"{registry.host}/oras/package-{int(chunked)}:1.0"
    reply = client.push(
        target=target,
        files=["object.o:application/x", "readme.md:text/markdown"],
        do_chunked=chunked,
        chunk_size=300_000,
    )
    assert reply.status_code == 201
    pulled = client.pull(target=target, outdir=str(tmp_path / "out"))
    assert {Path(path).name for path in pulled} == {"object.o", "readme.md"}
    assert (tmp_path / "out/object.o").read_bytes() == data
    assert client.get_tags(target) == ["1.0"]
