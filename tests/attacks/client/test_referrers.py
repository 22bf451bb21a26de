"""Case 18 and what registries do about referrers: hide, break off, repeat, flood, change hands."""

import hashlib
import itertools
import json

import pytest

from bpfpack.registry.client.pull import default_tag
from bpfpack.registry.client.remote import RemoteRepository
from bpfpack.registry.trust.collect import collect
from bpfpack.spec import mediatypes
from bpfpack.spec.content import ReferrersUnsupported
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import (
    DigestMismatch,
    LimitExceeded,
    NotFound,
    TransportError,
)
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import build_index, build_manifest
from bpfpack.spec.signature import fallback_tag, legacy_tag
from tests.kit.hostile import (
    NOT_FOUND,
    OTHER_HOST,
    Listener,
    Reply,
    Seen,
    manifest_reply,
)
from tests.kit.lying import (
    EMPTY,
    MANIFEST,
    referrers_path,
    signature_for,
)


def test_case_18_a_subject_keeps_the_digest_of_its_bytes(
    registry: Listener, repository: RemoteRepository
) -> None:
    raw = json.dumps(json.loads(MANIFEST.raw), separators=(" , ", ": ")).encode()
    registry.on("GET", "/v2/x/manifests/1", manifest_reply(raw, MANIFEST.media_type))
    subject = repository.resolve("1").descriptor
    assert subject.digest == Digest.sha256(raw) != MANIFEST.descriptor.digest
    signature = build_manifest(artifact_type="a/b", config=EMPTY, layers=(EMPTY,), subject=subject)
    assert json.loads(signature.raw)["subject"]["digest"] == str(Digest.sha256(raw))


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
def test_registry_without_referrers(
    registry: Listener, repository: RemoteRepository, status: int
) -> None:
    registry.on("GET", referrers_path(), Reply(status=status))
    with pytest.raises(ReferrersUnsupported):
        repository.referrers(MANIFEST.descriptor.digest)


def test_referrers_answered_303_to_a_page_that_answers_429(
    registry: Listener, other: Listener, repository: RemoteRepository
) -> None:
    """As ghcr.io was seen to do: no API, and the page is none of our business."""
    page = Reply(status=303, headers={"Location": f"{other.url}/x/pkgs/container"})
    registry.on("GET", referrers_path(), page)
    other.on("GET", "/x/pkgs/container", Reply(status=429))
    with pytest.raises(ReferrersUnsupported):
        repository.referrers(MANIFEST.descriptor.digest)
    assert not other.seen


def test_referrers_answered_303_and_429_by_the_registry_itself(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on("GET", referrers_path(), Reply(status=303, headers={"Location": "/page"}))
    registry.on("GET", "/page", Reply(status=429))
    with pytest.raises(TransportError, match="429") as caught:
        repository.referrers(MANIFEST.descriptor.digest)
    assert not isinstance(caught.value, ReferrersUnsupported)


def test_referrers_answered_with_a_web_page(
    registry: Listener, repository: RemoteRepository
) -> None:
    registry.on(
        "GET", referrers_path(), Reply(headers={"Content-Type": "text/html"}, body=b"<html>")
    )
    with pytest.raises(ReferrersUnsupported):
        repository.referrers(MANIFEST.descriptor.digest)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=401),
        Reply(status=403),
        Reply(status=429),
        Reply(status=500),
        Reply(headers={"Content-Type": mediatypes.INDEX}, body=b'{"schemaVersion":2'),
        Reply(headers={"Content-Type": mediatypes.INDEX}, body=MANIFEST.raw),
        Reply(hang=True),
    ],
    ids=["401", "403", "429", "500", "not JSON", "a manifest", "silence"],
)
def test_could_not_look_is_never_called_unsupported(
    registry: Listener, repository: RemoteRepository, reply: Reply
) -> None:
    registry.on("GET", referrers_path(), reply)
    with pytest.raises(TransportError) as caught:
        repository.referrers(MANIFEST.descriptor.digest)
    assert not isinstance(caught.value, ReferrersUnsupported)


def test_referrers_come_in_pages_that_end(registry: Listener, repository: RemoteRepository) -> None:
    first, second = signature_for(MANIFEST, "a/1"), signature_for(MANIFEST, "a/2")
    again = '<?page=2>; rel="next"'

    def serve(seen: Seen) -> Reply:
        child = second if "page=2" in seen.target else first
        index = build_index((child.descriptor,))
        return manifest_reply(index.raw, mediatypes.INDEX, Link=again)

    registry.on("GET", referrers_path(), serve)
    found = repository.referrers(MANIFEST.descriptor.digest)
    assert found == (first.descriptor, second.descriptor)
    assert len(registry.seen) == 3  # the third said nothing new


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
def test_a_token_service_cannot_say_that_nothing_is_signed(
    registry: Listener, repository: RemoteRepository, status: int
) -> None:
    """Every place "failed": "absent" and "unsupported" would be answers."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'}
    refused = Reply(status=401, headers=challenge)
    digest = MANIFEST.descriptor.digest
    tags = fallback_tag(digest), legacy_tag(digest), "latest"
    for path in (referrers_path(), *(f"/v2/x/manifests/{tag}" for tag in tags)):
        registry.on("GET", path, refused)
    registry.on("GET", "/token", Reply(status=status))
    assert [p.state for p in collect(repository, MANIFEST.descriptor)] == ["failed"] * 3
    with pytest.raises(TransportError, match="token") as caught:
        default_tag(repository)
    assert not isinstance(caught.value, NotFound)
    assert not registry.requests(part="/tags/list")


@pytest.mark.parametrize(
    "second",
    [
        NOT_FOUND,
        Reply(status=405),
        Reply(headers={"Content-Type": "text/html"}, body=b"<html>"),
        Reply(status=303, headers={"Location": f"http://{OTHER_HOST}:1/page"}),
    ],
    ids=["404", "405", "a web page", "elsewhere"],
)
def test_referrers_that_break_off_are_neither_absent_nor_unsupported(
    registry: Listener, repository: RemoteRepository, second: Reply
) -> None:
    index = build_index((signature_for(MANIFEST).descriptor,))
    first = manifest_reply(index.raw, mediatypes.INDEX, Link='<?page=2>; rel="next"')
    registry.on("GET", referrers_path(), [first, second])
    with pytest.raises(TransportError) as caught:
        repository.referrers(MANIFEST.descriptor.digest)
    assert not isinstance(caught.value, NotFound | ReferrersUnsupported)


class FallbackServer:
    """No referrers API; keeps what is put, and lets a second writer in between."""

    def __init__(self, registry: Listener) -> None:
        self.tag = fallback_tag(MANIFEST.descriptor.digest)
        self.raw: bytes | None = None
        self.overtaken: list[bytes] = []
        path = f"/v2/x/manifests/{self.tag}"
        registry.on("GET", path, self._get)
        registry.on("PUT", path, self._put)

    def _get(self, _seen: Seen) -> Reply:
        if self.raw is None:
            return NOT_FOUND
        mark = hashlib.sha256(self.raw).hexdigest()
        return manifest_reply(self.raw, mediatypes.INDEX, ETag=f'"{mark}"')

    def _put(self, seen: Seen) -> Reply:
        if self.overtaken:
            self.raw = self.overtaken.pop(0)
        now = f'"{hashlib.sha256(self.raw or b"").hexdigest()}"'
        if seen.headers.get("if-match", now) != now:
            return Reply(status=412)
        self.raw = seen.body
        return Reply(status=201)

    def listed(self) -> list[str]:
        return [m["digest"] for m in json.loads(self.raw or b"{}")["manifests"]]


def test_fallback_tag_is_appended_to_and_never_replaced(
    registry: Listener, repository: RemoteRepository
) -> None:
    server = FallbackServer(registry)
    signatures = [signature_for(MANIFEST, f"a/{n}") for n in range(3)]
    for s in signatures:
        registry.on("PUT", f"/v2/x/manifests/{s.descriptor.digest}", Reply(status=201))
        repository.put(s)
    repository.put(signatures[0])
    assert server.listed() == [str(s.descriptor.digest) for s in signatures]
    entry = json.loads(server.raw or b"")["manifests"][1]
    assert (entry["artifactType"], entry["annotations"]) == ("a/1", {"who": "a/1"})


def test_fallback_tag_survives_another_writer(
    registry: Listener, repository: RemoteRepository
) -> None:
    server = FallbackServer(registry)
    ours, theirs = signature_for(MANIFEST, "a/ours"), signature_for(MANIFEST, "a/theirs")
    server.raw = build_index(()).raw
    server.overtaken = [build_index((theirs.descriptor,)).raw]
    registry.on("PUT", f"/v2/x/manifests/{ours.descriptor.digest}", Reply(status=201))
    repository.put(ours)
    assert server.listed() == [str(m.descriptor.digest) for m in (theirs, ours)]


def test_a_registry_that_says_oci_subject_is_left_to_it(
    registry: Listener, repository: RemoteRepository
) -> None:
    ours = signature_for(MANIFEST)
    told = {"OCI-Subject": str(MANIFEST.descriptor.digest)}
    registry.on("PUT", f"/v2/x/manifests/{ours.descriptor.digest}", Reply(status=201, headers=told))
    repository.put(ours)
    assert [s.method for s in registry.seen] == ["PUT"]


def test_put_that_was_stored_under_another_digest(
    registry: Listener, repository: RemoteRepository
) -> None:
    lie = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    registry.on("PUT", "/v2/x/manifests/1", Reply(status=201, headers=lie))
    with pytest.raises(DigestMismatch):
        repository.put(MANIFEST, "1")


def test_an_entity_tag_that_no_request_can_carry(
    registry: Listener, repository: RemoteRepository
) -> None:
    """It is sent back as If-Match, and this one begins with what requests calls a space."""
    index = build_index(())
    tag = f"/v2/x/manifests/{fallback_tag(MANIFEST.descriptor.digest)}"
    registry.on("GET", tag, manifest_reply(index.raw, mediatypes.INDEX, ETag="\xa0b"))
    ours = signature_for(MANIFEST)
    registry.on("PUT", f"/v2/x/manifests/{ours.descriptor.digest}", Reply(status=201))
    with pytest.raises(TransportError, match="cannot be asked"):
        repository.put(ours)
    assert not registry.requests("PUT", "manifests/sha256-")


def test_pages_of_referrers_that_say_next_to_nothing(
    registry: Listener, repository: RemoteRepository
) -> None:
    """Looking fails; an attacker who pads the list hides no signature unseen."""
    pages = itertools.count()

    def serve(_seen: Seen) -> Reply:
        child = signature_for(MANIFEST, f"a/{next(pages)}")
        raw = build_index((child.descriptor,)).raw + b" " * (LIMITS.listing_body - 1000)
        return manifest_reply(raw, mediatypes.INDEX, Link='<?more>; rel="next"')

    registry.on("GET", referrers_path(), serve)
    with pytest.raises(LimitExceeded):
        repository.referrers(MANIFEST.descriptor.digest)
    assert next(pages) < 10
