"""A plain client for one repository: sends what a test says, checks nothing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import requests

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
OCTETS = "application/octet-stream"
EMPTY = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "size": 2,
}


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of ``data``."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def descriptor(data: bytes, media_type: str, algorithm: str = "sha256", **more: Any) -> Any:
    """Return a descriptor as JSON has it."""
    digest = digest_of(data, algorithm)
    return {"mediaType": media_type, "digest": digest, "size": len(data), **more}


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a registry on loopback, and the session that talks to it."""

    base: str
    name: str
    session: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        """Send a request to a path below the repository, or to a Location."""
        url = f"{self.base}/v2/{self.name}/{path}"
        if path.startswith(("/", "http")):
            url = urljoin(self.base, path)
        return self.session.request(method, url, timeout=60, allow_redirects=False, **more)

    def begin(self) -> str:
        """Open an upload and return its Location."""
        reply = self.call("POST", "blobs/uploads/")
        assert reply.status_code == 202, reply.text
        return reply.headers["Location"]

    def finish(self, location: str, digest: str, data: bytes = b"", **headers: str) -> Any:
        """Send the last bytes of an upload."""
        return self.call(
            "PUT", location, params={"digest": digest}, data=data, headers=_octets(headers)
        )

    def chunk(self, location: str, data: bytes, where: str | None = None) -> requests.Response:
        """Send one chunk, with the Content-Range given."""
        headers = _octets({"Content-Range": where} if where else {})
        return self.call("PATCH", location, data=data, headers=headers)

    def push_blob(self, data: bytes, algorithm: str = "sha256") -> str:
        """Push a blob with POST and PUT, and return its digest."""
        digest = digest_of(data, algorithm)
        reply = self.finish(self.begin(), digest, data)
        assert reply.status_code == 201, reply.text
        return digest

    def put_manifest(
        self, reference: str, manifest: object, media_type: str | None = None
    ) -> requests.Response:
        """Push a manifest (a dict, or bytes as they are)."""
        raw = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        if media_type is None:
            media_type = json.loads(raw).get("mediaType", MANIFEST)
        headers = {"Content-Type": media_type}
        return self.call("PUT", f"manifests/{reference}", data=raw, headers=headers)

    def artifact(self, **more: Any) -> dict[str, Any]:
        """Return a manifest without content, whose empty blob is here."""
        self.push_blob(b"{}")
        return {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/vnd.test",
            "config": EMPTY,
            "layers": [EMPTY],
            **more,
        }


def error_code(reply: requests.Response) -> str:
    """Return the one code of an error body, which must be shaped as the spec says."""
    assert reply.headers["Content-Type"].startswith("application/json")
    (error,) = reply.json()["errors"]
    assert set(error) == {"code", "message", "detail"}
    assert error["message"]
    return str(error["code"])


def _octets(headers: Mapping[str, str]) -> dict[str, str]:
    return {"Content-Type": OCTETS, **headers}
