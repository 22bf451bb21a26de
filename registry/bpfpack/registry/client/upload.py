"""Blobs on their way out: mounted, in one piece, or in chunks.

An upload has a position at the registry, so no part is ever repeated blindly: after a
failure in one piece a new upload begins, and a chunk goes on from where the registry says
it is.  Memory use does not depend on the blob's size.
"""

import logging
import re
from collections.abc import Callable
from typing import Final

from bpfpack.registry.client import retry
from bpfpack.registry.client.core import Call
from bpfpack.registry.client.endpoints import Endpoint
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.tokens import BytesBody
from bpfpack.registry.client.urls import resolve
from bpfpack.registry.client.wire import Answer, Body
from bpfpack.spec.bounded import Readable, Seekable
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import Denied, DigestMismatch, SizeMismatch, TransportError
from bpfpack.spec.safetext import printable

_log: Final = logging.getLogger(__name__)
_TRIES: Final = 3
# A proxy's limit on bodies, or a server that knows chunks only.
_TOO_MUCH_AT_ONCE: Final = frozenset({405, 411, 413})
# What registries say to a mount that they do not do.
_NO_MOUNT: Final = frozenset({400, 404, 405, 501})
# After these the registry is asked where it is.
_LOOK_AGAIN: Final = frozenset({None, 416}) | retry.STATUSES
_RANGE: Final = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")
_NUMBER: Final = re.compile(r"[0-9]{1,15}")
_CHUNK: Final = 65536
_SHOWN: Final = 80


class Uploader:
    """Sends blobs to one repository; ``ask`` runs a call, ``pause(n)`` waits after failure n."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        ask: Callable[[Call], Answer],
        pause: Callable[[int], None],
    ) -> None:
        self._endpoint, self._settings, self._ask, self._pause = endpoint, settings, ask, pause
        # Set by a blob that was too much at once and could not be read again; its next try knows.
        self._in_chunks = False

    def send(self, want: Descriptor, source: Readable, mount_from: str | None) -> bool:
        """Store a blob; returns False when it was only linked.

        Raises SizeMismatch and DigestMismatch, before the last byte has left, when
        ``source`` is not what ``want`` names, and TransportError.
        """
        blob = _Blob(source, want)
        if self._in_chunks:
            self._chunked(want, blob)
            return True
        for attempt in range(1, _TRIES + 1):
            start = self._start(want.digest, mount_from if attempt == 1 else None)
            if start is None:
                return False
            location = _location(start)
            try:
                self._whole(location, want, blob)
            except TransportError as e:
                if e.status in _TOO_MUCH_AT_ONCE:
                    self._in_chunks = True
                    if not blob.replayable:
                        raise
                    self._chunked(want, blob)
                elif not self._again(e, blob, attempt):
                    raise
                else:
                    self._pause(attempt)
                    continue
            return True
        raise TransportError(f"upload of {want.digest.short} failed {_TRIES} times")

    def _again(self, error: TransportError, blob: "_Blob", attempt: int) -> bool:
        """Say whether a new upload may fare better."""
        if not blob.replayable or attempt == _TRIES or isinstance(error, Denied):
            return False
        return error.status is None or error.status in retry.STATUSES

    def _start(self, digest: Digest, mount_from: str | None) -> Answer | None:
        """Open an upload, None when a mount made one unnecessary."""
        if mount_from is not None:
            try:
                answer = self._ask(self._endpoint.start_upload(digest, mount_from))
            except TransportError as e:
                # Who may not read there, or asks a registry that links nothing, can still send.
                if not isinstance(e, Denied) and e.status not in _NO_MOUNT:
                    raise
            else:
                return None if answer.head.status == 201 else answer
        return self._ask(self._endpoint.start_upload())

    def _whole(self, location: str, want: Descriptor, blob: "_Blob") -> None:
        try:
            answer = self._ask(self._endpoint.send_blob(location, want.digest, blob))
        except BaseException:
            self._cancel(location, want.digest)
            raise
        _check_digest(answer, want.digest)

    def _chunked(self, want: Descriptor, blob: "_Blob") -> None:
        """Send in parts; what is not ``want`` is found before the first, at least the last."""
        if blob.replayable:
            blob.check()
        start = self._ask(self._endpoint.start_upload())
        opened, size = _location(start), max(self._settings.chunk, _least(start))
        try:
            location = self._parts(opened, want, blob, size)
            answer = self._ask(self._endpoint.send_blob(location, want.digest, None))
        except BaseException:
            self._cancel(opened, want.digest)
            raise
        _check_digest(answer, want.digest)

    def _parts(self, location: str, want: Descriptor, blob: "_Blob", size: int) -> str:
        """Send part after part; returns the location to finish at."""
        offset = failures = 0
        while offset < want.size:
            part = blob.part(offset, min(size, want.size - offset))
            call = self._endpoint.send_chunk(location, want.digest, offset, part)
            try:
                answer = self._ask(call)
            except TransportError as e:
                failures += 1
                if failures >= _TRIES or e.status not in _LOOK_AGAIN:
                    raise
                self._pause(failures)
                answer = self._ask(self._endpoint.upload_status(location, want.digest))
                location, offset = _location(answer, location), _held(answer, offset)
                continue
            location, reached = _location(answer, location), _held(answer, offset + part.size)
            _check_progress(offset, reached, part)
            offset, failures = reached, 0
        return location

    def _cancel(self, location: str, digest: Digest) -> None:
        """Tell the registry that nothing more will come; it times out by itself otherwise."""
        try:
            self._ask(self._endpoint.cancel_upload(location, digest))
        except TransportError as e:
            _log.debug("cancel: %s", e)


def _check_progress(before: int, reached: int, part: Body) -> None:
    """Raise TransportError when a chunk's answer claims what was not sent."""
    if not before < reached <= before + part.size:
        raise TransportError(f"the registry claims {reached} bytes of an upload")


def _check_digest(answer: Answer, digest: Digest) -> None:
    """Compare Docker-Content-Digest; raises DigestMismatch when it names something else.

    A digest by another algorithm says nothing about this one.
    """
    said = answer.head.headers.get("docker-content-digest")
    if said is None or said == str(digest):
        return
    if said.partition(":")[0] == digest.algorithm or ":" not in said:
        raise DigestMismatch(f"the registry calls {digest} {printable(said, _SHOWN)}")


def _location(answer: Answer, before: str | None = None) -> str:
    location = answer.head.headers.get("location")
    if location is None and before is not None:
        return before
    if location is None:
        raise TransportError("the registry opened an upload without saying where")
    return resolve(answer.head.url, location)


def _held(answer: Answer, unsaid: int) -> int:
    """How many bytes of the upload the registry has.

    ``0-0`` is also how an empty upload is spelled, since the header has no other way.
    """
    match = _RANGE.fullmatch(answer.head.headers.get("range") or "")
    if match is None:
        return unsaid
    last = int(match[1])
    return last + 1 if last or unsaid == 1 else 0


def _least(answer: Answer) -> int:
    """The smallest chunk that the registry takes (OCI-Chunk-Min-Length)."""
    text = answer.head.headers.get("oci-chunk-min-length") or ""
    return int(text) if _NUMBER.fullmatch(text) else 0


class _Blob:
    """A blob to send, checked on its way; sent again only when it can be rewound."""

    def __init__(self, source: Readable, want: Descriptor) -> None:
        self._source, self._want = source, want
        self._seekable = source if isinstance(source, Seekable) and source.seekable() else None
        self._start = self._seekable.tell() if self._seekable else 0
        self._reader: Readable | None = None
        # Of what cannot be read again: the last part that was, and where it begins.
        self._kept, self._kept_at = b"", 0

    @property
    def size(self) -> int:
        return self._want.size

    @property
    def replayable(self) -> bool:
        return self._seekable is not None

    def open(self) -> Readable:
        if self._seekable is not None:
            self._seekable.seek(self._start)
        return _Checked(self._source, self._want)

    def check(self) -> None:
        """Read it all once; raises SizeMismatch and DigestMismatch."""
        checked = self.open()
        while checked.read(_CHUNK):
            pass

    def part(self, offset: int, size: int) -> Body:
        """Return a window; of a blob that cannot be rewound the next one, or the last again."""
        if self._seekable is not None:
            return _Part(self._seekable, self._start + offset, size)
        if offset == self._kept_at + len(self._kept):
            self._reader = self._reader or self.open()
            self._kept, self._kept_at = _read(self._reader, size), offset
        if not self._kept_at <= offset < self._kept_at + len(self._kept):
            raise TransportError("the registry lost a part of an upload that cannot be sent again")
        return BytesBody(self._kept[offset - self._kept_at :])


def _read(source: Readable, size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (chunk := source.read(size - len(found))):
        found += chunk
    return bytes(found)


class _Checked:
    """Reads exactly what is wanted, and raises before the last bytes are given away."""

    def __init__(self, source: Readable, want: Descriptor) -> None:
        self._source, self._want, self._left = source, want, want.size
        self._hash = want.digest.new_hash()

    def read(self, size: int, /) -> bytes:
        if not self._left:
            return b""
        chunk = self._source.read(min(size, self._left))
        if not chunk:
            raise SizeMismatch(f"{self._left} of {self._want.size} bytes are missing")
        self._hash.update(chunk)
        self._left -= len(chunk)
        if not self._left:
            self._finish()
        return chunk

    def _finish(self) -> None:
        if self._source.read(1):
            raise SizeMismatch(f"more than {self._want.size} bytes")
        if (got := self._hash.hexdigest()) != self._want.digest.encoded:
            raise DigestMismatch(
                f"expected {self._want.digest}, got {self._want.digest.algorithm}:{got}"
            )


class _Part:
    """A window of a blob, as the body of one request."""

    replayable = True

    def __init__(self, source: Seekable, start: int, size: int) -> None:
        self._source, self._start, self.size = source, start, size
        self._left = 0

    def open(self) -> "_Part":
        self._source.seek(self._start)
        self._left = self.size
        return self

    def read(self, size: int, /) -> bytes:
        chunk = self._source.read(min(size, self._left))
        self._left -= len(chunk)
        return chunk
