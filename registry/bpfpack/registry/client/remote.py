"""Repositories in registries, as the `Source` and `Sink` that every command knows."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from bpfpack.registry.client import paging, subjects
from bpfpack.registry.client.blob import BlobReader
from bpfpack.registry.client.certificates import has_own_authority
from bpfpack.registry.client.core import Call, Core
from bpfpack.registry.client.endpoints import PAGE, Endpoint, ping
from bpfpack.registry.client.received import check_digest, read_manifest, read_referrers
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.upload import Uploader
from bpfpack.registry.client.urls import Origin, origin
from bpfpack.registry.client.wire import Answer, Credential
from bpfpack.registry.partial import Partial, Partials, Resumed
from bpfpack.registry.store.attached import subject_of
from bpfpack.registry.tagging import Held
from bpfpack.spec import mediatypes
from bpfpack.spec.bounded import Readable
from bpfpack.spec.content import ReferrersUnsupported
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import ContentError, LimitExceeded, NotFound, SpecError, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.reference import Reference

if TYPE_CHECKING:
    from bpfpack.registry.client._requests import Stream, Transport

Lookup = Callable[[str, str], Credential | None]

_MANIFEST_TYPES: Final = mediatypes.MANIFESTS | mediatypes.INDEXES
# What registries without the referrers API were seen to answer (`ReferrersUnsupported`).
_NO_REFERRERS: Final = frozenset({400, 404, 405, 406, 501})
_REDIRECTS: Final = range(300, 400)


class RegistryClient:
    """Talks to registries; one for a command, shared by its threads.

    ``lookup(registry, repository)`` gives the user's credential; by default docker's and
    podman's files and helpers are asked (`CredentialStore`).  ``partials`` keeps what came of
    a blob that broke off.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        lookup: Lookup | None = None,
        partials: Partials | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self._partials = partials
        self.core = Core(self.settings)
        self._lookup, self._known = lookup, dict[tuple[str, str], Credential | None]()
        self._transport: Transport | None = None
        self._lock = threading.Lock()

    def repository(
        self, registry: str, repository: str, *, mount_from: str | None = None
    ) -> "RemoteRepository":
        """Return a repository; raises SpecError for names that no reference could hold.

        ``mount_from`` is another repository of the registry that may have the blobs.
        """
        reference = Reference(registry, repository)
        if mount_from is not None:
            mount_from = Reference(registry, mount_from).repository
        endpoint = Endpoint(
            registry=self.origin(reference.api_host), name=registry, repository=repository
        )
        return RemoteRepository(self, endpoint, mount_from)

    def ping(self, registry: str) -> None:
        """Ask whether ``registry`` is one and takes our credentials; raises TransportError."""
        host = Reference(registry, "x").api_host
        self.ask(ping(self.origin(host), registry))

    def origin(self, host: str) -> Origin:
        """Return how ``host`` is reached: by TLS, unless it is loopback or the user says so."""
        secure = origin(f"https://{host}")
        if has_own_authority(self.settings, secure):
            return secure
        plain = origin(f"http://{host}")
        return plain if self.settings.plain_http or plain.is_loopback else secure

    @property
    def warnings(self) -> tuple[str, ...]:
        """What registries had to say to the user, each thing once, safe to show."""
        return self.core.warnings.texts

    def ask(self, call: Call) -> Answer:
        """Run a call that is answered whole."""
        answer, stream = self.transport.run(self.core.exchange(call))
        if stream is not None:
            stream.close()
        return answer

    def stream(self, call: Call) -> "tuple[Answer, Stream]":
        """Run a call whose body is streamed."""
        answer, stream = self.transport.run(self.core.exchange(call))
        if stream is None:
            raise TransportError(f"{call.what}: an answer without a body")
        return answer, stream

    def pause(self, attempt: int) -> None:
        """Wait as long as after so many failures."""
        self.transport.run(self.core.pause(attempt))

    def held(self, want: Descriptor) -> AbstractContextManager[Partial | None]:
        """Give what an earlier download kept of a blob (`Partials.hold`)."""
        return self._partials.hold(want) if self._partials else contextlib.nullcontext()

    def wait(self, seconds: float) -> None:
        """Wait for so long."""
        self.transport.run(self.core.wait(seconds))

    @property
    def transport(self) -> "Transport":
        """The transport; requests is imported when it is first needed (140 ms)."""
        with self._lock:
            if self._transport is None:
                from bpfpack.registry.client._requests import Transport

                self._transport = Transport(self.settings, self._credential)
            return self._transport

    def close(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _credential(self, registry: str, repository: str) -> Credential | None:
        """Look up once: a credential helper is a process."""
        with self._lock:
            key = registry, repository
            if key not in self._known:
                self._known[key] = self._find()(registry, repository)
            return self._known[key]

    def _find(self) -> Lookup:
        if self._lookup is None:
            from bpfpack.registry.client.credentials import CredentialStore

            self._lookup = CredentialStore.of_user().get
        return self._lookup


class RemoteRepository:
    """One repository of a registry: a `Source` and a `Sink`."""

    def __init__(self, client: RegistryClient, endpoint: Endpoint, mount_from: str | None) -> None:
        self._client, self._endpoint, self._mount_from = client, endpoint, mount_from
        self._uploader = Uploader(endpoint, client.settings, client.ask, client.pause)
        # What `has` has just said is missing; `push` need not ask again.
        self._missing: set[Digest] = set()

    def __str__(self) -> str:
        return f"{self._endpoint.name}/{self._endpoint.repository}"

    def resolve(self, name: str | Digest) -> Manifest | Index:
        """Return what a tag or digest names, hashed here and parsed.

        Raises NotFound, Denied, TransportError, DigestMismatch, SpecError.
        """
        return read_manifest(self._client.ask(self._endpoint.manifest(name)), name)

    def stat(self, name: str | Digest) -> Descriptor | None:
        """Return what the registry says a name stands for, without fetching; None for nothing.

        A hint whether something changed: nothing has been hashed.  Falls back to `resolve`
        when the registry does not say it all.
        """
        try:
            answer = self._client.ask(self._endpoint.manifest(name, "HEAD"))
        except NotFound:
            return None
        headers = answer.head.headers
        said = {
            "mediaType": (headers.get("content-type") or "").partition(";")[0].strip(),
            "digest": headers.get("docker-content-digest"),
            "size": _number(headers.get("content-length")),
        }
        try:
            return Descriptor.from_dict(said)
        except SpecError:
            return self.resolve(name).descriptor

    @contextlib.contextmanager
    def fetch(self, want: Descriptor) -> Iterator[Readable]:
        """Open a blob; the bytes are unverified until `bounded` has read them.

        It is asked for at the first read, and again from where it broke off, also in another
        process.  Reading raises NotFound, Denied, TransportError, SizeMismatch.
        """

        def open_at(offset: int) -> "tuple[Answer, Stream]":
            return self._client.stream(self._endpoint.blob(want.digest, offset=offset))

        pause, attempts = self._client.pause, self._client.settings.attempts
        with self._client.held(want) as partial:
            start = partial.held if partial else 0
            with BlobReader(want, open_at, pause, attempts, start) as blob:
                yield Resumed(partial, blob) if partial else blob

    def has(self, want: Descriptor) -> bool:
        """Say whether a blob, or a manifest, is there with the right size."""
        endpoint, digest = self._endpoint, want.digest
        manifest = want.media_type in _MANIFEST_TYPES
        call = (
            endpoint.manifest(digest, "HEAD") if manifest else endpoint.blob(digest, method="HEAD")
        )
        try:
            answer = self._client.ask(call)
        except NotFound:
            self._missing.add(digest)
            return False
        size = _number(answer.head.headers.get("content-length"))
        return size is None or size == want.size

    def push(self, want: Descriptor, source: Readable) -> None:
        """Store a blob, linked from ``mount_from`` when it is there, else streamed.

        Memory use does not depend on its size.  A source that can seek lets a failed
        upload begin anew.  Raises SizeMismatch and DigestMismatch for other bytes than
        ``want`` names, Denied, TransportError.
        """
        if want.digest not in self._missing and self.has(want):
            return
        self._uploader.send(want, source, self._mount_from)
        self._missing.discard(want.digest)

    def put(self, manifest: Manifest | Index, tag: str | None = None) -> None:
        """Store a manifest, and name it; its subject is told.

        Raises Denied, TransportError, DigestMismatch when the registry stored other bytes.
        """
        self._put(manifest, tag or manifest.descriptor.digest)

    def put_as(self, manifest: Manifest | Index, digest: Digest) -> None:
        """Store a manifest under a digest of its own algorithm; raises as `put` does."""
        self._put(manifest, digest)

    def _put(self, manifest: Manifest | Index, name: str | Digest) -> None:
        answer = self._client.ask(self._endpoint.put_manifest(manifest, name))
        check_digest(answer, manifest.raw)
        subject = manifest.subject
        if subject is None or answer.head.headers.get("oci-subject") == str(subject.digest):
            return
        # Absence of the header alone proves nothing: some have the API and not the header.
        if not self.has_referrers(subject.digest):
            subjects.remember(self, subject.digest, subjects.entry(manifest))

    def has_referrers(self, subject: Digest) -> bool:
        """Say whether the registry has the referrers API; raises when it could not look."""
        try:
            self._referrers_page(subject, None, paging.Budget(str(self)))
        except ReferrersUnsupported:
            return False
        return True

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """List what refers to ``subject``, unfiltered and unverified.

        Raises ReferrersUnsupported when the registry has no such API, and TransportError
        when it has and could not say.
        """
        found: dict[Digest, Descriptor] = {}
        page: str | None = None
        budget = paging.Budget(str(self))
        for _ in range(LIMITS.listing_pages):
            entries, page = self._referrers_page(subject, page, budget)
            before = len(found)
            found |= {e.digest: e for e in entries}
            if len(found) > LIMITS.index_children:
                raise TransportError(f"{self}: more referrers than {LIMITS.index_children}")
            if page is None or len(found) == before:
                break
        else:
            raise TransportError(f"{self}: more than {LIMITS.listing_pages} pages of referrers")
        return tuple(found.values())

    def tags(self) -> tuple[str, ...]:
        """List the tags, sorted, without those that hold signatures and the like.

        Raises NotFound, Denied, TransportError, SpecError, LimitExceeded for more than anybody
        could want to see.
        """
        budget = paging.Budget(str(self))
        found: set[str] = set()
        call = self._endpoint.tags()
        for _ in range(LIMITS.listing_pages):
            answer = self._further(call) if found else self._client.ask(call)
            budget.spend(answer)
            tags = paging.parse_tags(answer.body or b"")
            before = len(found)
            found.update(tags)
            if len(found) > LIMITS.listing_tags:
                raise LimitExceeded(f"{self}: more than {LIMITS.listing_tags} tags")
            page = paging.next_page(answer)
            # A registry that pages without a Link header stops after as many as we asked for.
            if len(found) == before or (page is None and len(tags) < PAGE):
                break
            call = self._endpoint.tags(page) if page else self._endpoint.tags(last=tags[-1])
        else:
            raise LimitExceeded(f"{self}: more than {LIMITS.listing_pages} pages of tags")
        return tuple(sorted(tag for tag in found if subject_of(tag) is None))

    def delete_tag(self, tag: str) -> None:
        """Delete a tag and nothing else; raises NotFound, Denied, TransportError.

        Never deletes the manifest instead, which would take its other tags along.
        """
        try:
            self._client.ask(self._endpoint.delete(tag))
        except TransportError as e:
            if e.status in (400, 405):
                raise e.with_hint("this registry deletes whole manifests only") from e
            raise

    def delete_manifest(self, digest: Digest) -> None:
        """Delete a manifest and with it every tag that names it."""
        subject = self.resolve(digest).subject
        self._client.ask(self._endpoint.delete(digest))
        if subject and not self.has_referrers(subject.digest):
            subjects.forget(self, subject.digest, digest)

    def held(self, tag: str) -> Held:
        """See `tagging.Conditional`."""
        try:
            answer = self._client.ask(self._endpoint.manifest(tag))
        except NotFound:
            return Held()
        mark = answer.head.headers.get("etag")
        try:
            return Held(content=read_manifest(answer, tag), mark=mark)
        except (ContentError, SpecError):
            return Held(mark=mark)

    def replace(self, content: Manifest | Index, tag: str, before: Held) -> bool:
        """See `tagging.Conditional`.

        An answer to PUT with an entity tag is how a registry shows that it knows them.
        """
        condition = {"If-Match": before.mark} if before.mark else {}
        if before == Held():
            condition = {"If-None-Match": "*"}
        answer = self._client.ask(self._endpoint.put_manifest(content, tag, condition))
        check_digest(answer, content.raw)
        return bool(condition) and answer.head.headers.get("etag") is not None

    def wait(self, seconds: float) -> None:
        """See `tagging.Conditional`."""
        self._client.wait(seconds)

    def _referrers_page(
        self, subject: Digest, page: str | None, budget: paging.Budget
    ) -> tuple[tuple[Descriptor, ...], str | None]:
        call = self._endpoint.referrers(subject, page)
        if page is not None:
            return self._further_referrers(call, budget)
        try:
            answer = self._client.ask(call)
        except TransportError as e:
            if e.status in _NO_REFERRERS:
                raise ReferrersUnsupported(f"{self}: no referrers API", status=e.status) from e
            raise
        budget.spend(answer)
        if answer.head.status in _REDIRECTS:
            raise ReferrersUnsupported(
                f"{self}: referrers are answered with a redirect to another host",
                status=answer.head.status,
            )
        return read_referrers(answer), paging.next_page(answer)

    def _further_referrers(
        self, call: Call, budget: paging.Budget
    ) -> tuple[tuple[Descriptor, ...], str | None]:
        """Read a page after the first; a registry that has begun has the API."""
        answer = self._further(call)
        budget.spend(answer)
        if answer.head.status in _REDIRECTS:
            raise TransportError(f"{call.what}: a further page is at another host")
        try:
            return read_referrers(answer), paging.next_page(answer)
        except ReferrersUnsupported as e:
            raise TransportError(f"{call.what}: a further page is no OCI index") from e

    def _further(self, call: Call) -> Answer:
        """Ask for a page after the first; one that is missing is a failure, not an answer."""
        try:
            return self._client.ask(call)
        except NotFound as e:
            raise TransportError(f"{call.what}: the listing breaks off: {e}") from e


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None
