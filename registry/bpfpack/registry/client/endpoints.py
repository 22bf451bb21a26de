"""The calls of one repository (distribution spec 1.1, "Endpoints"), without sending any."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from bpfpack.registry.client._oras import accepted_manifests
from bpfpack.registry.client.core import Call
from bpfpack.registry.client.tokens import BytesBody, Scope
from bpfpack.registry.client.urls import Origin, with_parameter
from bpfpack.registry.client.wire import Body
from bpfpack.spec import mediatypes
from bpfpack.spec.digest import Digest
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.value import valuetype

PAGE: Final = 1000
_OCTETS: Final = {"Content-Type": "application/octet-stream"}
_PULL: Final = ("pull",)
_PUSH: Final = ("pull", "push")
_DELETE: Final = ("delete", "pull")


@valuetype
class Endpoint:
    """One repository of one registry; ``name`` is what the user calls the registry."""

    registry: Origin
    name: str
    repository: str

    def manifest(self, reference: str | Digest, method: str = "GET") -> Call:
        """Ask for what a tag or digest names."""
        return self._call(
            method,
            f"manifests/{reference}",
            f"{self._at(reference)}",
            _PULL,
            headers={"Accept": ", ".join(accepted_manifests())},
            read=LIMITS.manifest,
        )

    def put_manifest(
        self,
        manifest: Manifest | Index,
        reference: str | Digest,
        condition: Mapping[str, str] | None = None,
    ) -> Call:
        """Store a manifest under a tag or its digest, on ``condition`` (headers)."""
        return self._call(
            "PUT",
            f"manifests/{reference}",
            f"push {self._at(reference)}",
            _PUSH,
            headers={"Content-Type": manifest.media_type, **(condition or {})},
            body=BytesBody(manifest.raw),
            ok=frozenset({200, 201, 202}),
            read=LIMITS.error_body,
        )

    def delete(self, reference: str | Digest) -> Call:
        """Delete a tag, or a manifest and every tag of it."""
        return self._call(
            "DELETE",
            f"manifests/{reference}",
            f"delete {self._at(reference)}",
            _DELETE,
            ok=frozenset({200, 202, 204}),
            read=LIMITS.error_body,
        )

    def blob(self, digest: Digest, *, method: str = "GET", offset: int = 0) -> Call:
        """Ask for a blob, or its rest from ``offset``."""
        return self._call(
            method,
            f"blobs/{digest}",
            f"blob {digest.short} of {self.name}/{self.repository}",
            _PULL,
            headers={"Range": f"bytes={offset}-"} if offset else {},
            ok=frozenset({200, 206}) if offset else frozenset({200}),
        )

    def start_upload(self, mount: Digest | None = None, source: str | None = None) -> Call:
        """Open an upload, or link a blob of another repository (`mount` of `source`)."""
        query = f"?mount={mount}&from={quote(source, safe='/')}" if mount and source else ""
        return self._call(
            "POST",
            f"blobs/uploads/{query}",
            f"start an upload to {self.name}/{self.repository}",
            _PUSH,
            extra=frozenset({Scope(source, frozenset(_PULL))}) if query and source else frozenset(),
            ok=frozenset({201, 202}),
            read=LIMITS.error_body,
        )

    def send_blob(self, location: str, digest: Digest, body: Body | None) -> Call:
        """Finish an upload, with the whole blob or with nothing more."""
        return self._upload(
            "PUT",
            with_parameter(location, f"digest={digest}"),
            digest,
            _OCTETS,
            body,
            ok=frozenset({200, 201, 204}),
        )

    def send_chunk(self, location: str, digest: Digest, offset: int, body: Body) -> Call:
        """Send the part of a blob that begins at ``offset``."""
        span = {"Content-Range": f"{offset}-{offset + body.size - 1}"}
        return self._upload(
            "PATCH", location, digest, _OCTETS | span, body, ok=frozenset({202, 204})
        )

    def upload_status(self, location: str, digest: Digest) -> Call:
        """Ask how much of an upload the registry has."""
        return self._upload("GET", location, digest, {}, None, ok=frozenset({202, 204}))

    def cancel_upload(self, location: str, digest: Digest) -> Call:
        """Give an upload up."""
        return self._upload("DELETE", location, digest, {}, None, ok=frozenset({200, 202, 204}))

    def referrers(self, subject: Digest, page: str | None = None) -> Call:
        """List what refers to ``subject``."""
        return self._call(
            "GET",
            page or f"referrers/{subject}",
            f"referrers of {subject.short} in {self.name}/{self.repository}",
            _PULL,
            headers={"Accept": mediatypes.INDEX},
            read=LIMITS.listing_body,
            foreign_redirects=False,
        )

    def tags(self, page: str | None = None, last: str | None = None) -> Call:
        """List the tags: the first page, the one at a URL, or the one after ``last``."""
        after = f"&last={quote(last)}" if last else ""
        return self._call(
            "GET",
            page or f"tags/list?n={PAGE}{after}",
            f"tags of {self.name}/{self.repository}",
            _PULL,
            read=LIMITS.listing_body,
        )

    def _at(self, reference: str | Digest) -> str:
        mark = "@" if isinstance(reference, Digest) else ":"
        return f"{self.name}/{self.repository}{mark}{reference}"

    def _upload(
        self,
        method: str,
        url: str,
        digest: Digest,
        headers: Mapping[str, str],
        body: Body | None,
        ok: frozenset[int],
    ) -> Call:
        return self._call(
            method,
            url,
            f"upload of {digest.short} to {self.name}/{self.repository}",
            _PUSH,
            headers=headers,
            body=body,
            ok=ok,
            read=LIMITS.error_body,
            # An upload has a position: whoever repeats a part must look first.
            repeatable=method == "GET",
        )

    def _call(
        self,
        method: str,
        target: str,
        what: str,
        actions: tuple[str, ...],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        ok: frozenset[int] = frozenset({200}),
        read: int | None = None,
        extra: frozenset[Scope] = frozenset(),
        foreign_redirects: bool = True,
        repeatable: bool | None = None,
    ) -> Call:
        whole = target.startswith(("https://", "http://"))
        return Call(
            method=method,
            url=target if whole else f"{self.registry}/v2/{self.repository}/{target}",
            what=what,
            registry=self.registry,
            name=self.name,
            repository=self.repository,
            scopes=frozenset({Scope(self.repository, frozenset(actions))}) | extra,
            headers=headers or {},
            body=body,
            ok=ok,
            read=read,
            foreign_redirects=foreign_redirects,
            repeatable=method != "POST" if repeatable is None else repeatable,
        )


def ping(registry: Origin, name: str) -> Call:
    """Ask whether this is a registry that takes our credentials (end-1)."""
    return Call(
        method="GET",
        url=f"{registry}/v2/",
        what=name,
        registry=registry,
        name=name,
        read=LIMITS.error_body,
    )
