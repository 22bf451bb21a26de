"""What tests of attacks do at a registry, past every rule that a client keeps to."""

import json
from pathlib import Path

import requests

from bpfpack.spec import mediatypes
from tests.kit.bell import ME
from tests.kit.cli import Done, Host
from tests.kit.servers import RunningRegistry

_ACCEPT = f"{mediatypes.MANIFEST}, {mediatypes.INDEX}"


def publish(author: Host, version: str, reference: str) -> str:
    """Push a version of the bell under a name; returns its digest."""
    author.run("tag", f"bell:{version}", reference)
    author.push("-q", reference)
    return author.run("list", "-q", f"bell:{version}").stdout.strip()


def accepted(host: Host, *argv: str | Path) -> Done:
    """Plan to run it, which must not be refused."""
    return host.run("run", "--dry-run", *argv, ME)


def refused(host: Host, *argv: str | Path, code: int = 126) -> str:
    """Run it, which must be refused without a traceback; returns the words."""
    done = host.run("run", *argv, ME, code=code)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def blob(registry: RunningRegistry, digest: str) -> Path:
    """Where the registry keeps a blob."""
    found = [p for p in registry.data.rglob(f"*{digest.partition(':')[2]}*") if p.is_file()]
    return max(found, key=lambda path: path.stat().st_size)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def url_of(name: str, reference: str) -> str:
    """Where a repository has a manifest."""
    host, _, path = name.partition("/")
    return f"http://{host}/v2/{path}/manifests/{reference}"


def get(url: str) -> bytes:
    """Return a manifest or an index."""
    answer = requests.get(url, headers={"Accept": _ACCEPT}, timeout=30)
    answer.raise_for_status()
    return answer.content


def put(url: str, raw: bytes, media_type: str = mediatypes.MANIFEST) -> None:
    """Write a manifest or an index."""
    requests.put(url, data=raw, headers={"Content-Type": media_type}, timeout=30).raise_for_status()


def delete(url: str) -> None:
    """Delete a manifest, or the name of one."""
    requests.delete(url, timeout=30).raise_for_status()


def sig_tag(digest: str) -> str:
    """The tag of cosign's legacy signatures."""
    return f"{digest.replace(':', '-')}.sig"


def get_blob(name: str, digest: str) -> bytes:
    """Return a blob of a repository."""
    answer = requests.get(f"{_base(name)}/blobs/{digest}", timeout=30)
    answer.raise_for_status()
    return answer.content


def put_blob(name: str, digest: str, data: bytes) -> None:
    """Upload a blob into a repository."""
    begun = requests.post(f"{_base(name)}/blobs/uploads/", timeout=30)
    place = requests.compat.urljoin(begun.url, begun.headers["Location"])
    mark = "&" if "?" in place else "?"
    requests.put(f"{place}{mark}digest={digest}", data=data, timeout=30).raise_for_status()


def copied(name: str, other: str, reference: str) -> bytes:
    """Return a manifest whose blobs were copied to another repository first."""
    raw = get(url_of(name, reference))
    manifest = json.loads(raw)
    for layer in (manifest["config"], *manifest["layers"]):
        put_blob(other, layer["digest"], get_blob(name, layer["digest"]))
    return raw


def _base(name: str) -> str:
    return url_of(name, "").removesuffix("/manifests/")
