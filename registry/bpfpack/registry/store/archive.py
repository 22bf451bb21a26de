"""Writes OCI archives: the same content gives the same bytes, signatures included."""

import io
import os
import stat
import tarfile
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from bpfpack.registry.owned import mapped
from bpfpack.registry.replacing import replacing
from bpfpack.registry.store import attached
from bpfpack.registry.store.disk import LAYOUT
from bpfpack.registry.store.files import Window, write_all
from bpfpack.registry.store.layout import INDEX_FILE, LAYOUT_FILE
from bpfpack.spec import mediatypes
from bpfpack.spec.bounded import CHUNK, Readable, verified_chunks
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import LimitExceeded, StoreError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_index
from bpfpack.spec.package import children
from bpfpack.spec.value import replace

_END: Final = bytes(2 * tarfile.BLOCKSIZE)


class ArchiveWriter:
    """Gathers content in an unnamed file, then writes it sorted; a context manager."""

    def __init__(self) -> None:
        with mapped("making a temporary file"):
            self._file: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._lock = threading.Lock()
        self._end = 0
        self._blobs: dict[Digest, tuple[int, int]] = {}
        self._entries: dict[tuple[str, Digest], Descriptor] = {}
        self._attached: dict[str, Manifest | Index] = {}

    def close(self) -> None:
        """Forget what was gathered."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def repository(self, name: str | None) -> "ArchiveRepository":
        """Return a `Sink` for the references of that name; None leaves bare tags."""
        return ArchiveRepository(self, name)

    def has(self, want: Descriptor) -> bool:
        """See `Sink.has`."""
        return want.digest in self._blobs

    def push(self, want: Descriptor, source: Readable) -> None:
        """See `Sink.push`."""
        with self._lock:
            start = end = self._end
            with mapped("gathering the archive"):
                os.lseek(self._file.fileno(), start, os.SEEK_SET)
                for chunk in verified_chunks(source, want, LIMITS.layer):
                    write_all(self._file, chunk)
                    end += len(chunk)
                    if end > LIMITS.archive:
                        raise LimitExceeded(f"an archive of more than {LIMITS.archive} bytes")
            # Other bytes than promised never get here, and are written over.
            self._blobs[want.digest], self._end = (start, end - start), end

    def add(self, content: Manifest | Index, name: str | None) -> None:
        """Store a manifest whose blobs are there; list it when it has a name or a subject.

        Raises StoreError when a blob is missing.
        """
        if isinstance(content, Manifest):
            for want in children(content):
                if not self.has(want):
                    raise StoreError(f"{want.digest} is missing in the archive")
        described = content.descriptor
        if not self.has(described):
            self.push(described, io.BytesIO(content.raw))
        if name is not None:
            described = replace(described, annotations={mediatypes.REF_NAME: name})
        if name is not None or content.subject:
            self._entries[name or "", described.digest] = described

    def attach(self, content: Manifest | Index, tag: str) -> None:
        """Store what a tag for signatures names, joined with what another repository had."""
        whole = attached.joined(self._attached.get(tag), content)
        if whole.config is not None and isinstance(whole.content, Manifest):
            self.push(whole.content.config, io.BytesIO(whole.config))
        for key in [key for key in self._entries if key[0] == tag]:
            del self._entries[key]
        self.add(whole.content, tag)
        self._attached[tag] = whole.content

    def write(self, out: IO[bytes]) -> None:
        """Write the archive; raises StoreError."""
        ordered = (self._entries[key] for key in sorted(self._entries))
        index = build_index(tuple(ordered))
        with mapped("writing the archive"):
            for digest in sorted(self._blobs):
                offset, size = self._blobs[digest]
                window = Window(self._file.fileno(), offset, size)
                _member(out, f"blobs/{digest.algorithm}/{digest.encoded}", size, window)
            for name, data in ((INDEX_FILE, index.raw), (LAYOUT_FILE, LAYOUT)):
                _member(out, name, len(data), io.BytesIO(data))
            write_all(out, _END)
            out.flush()

    def save(self, path: Path) -> None:
        """Write the archive to a file, whole or not at all; raises StoreError.

        A device or pipe (``/dev/stdout``) is written to, not replaced.  Links of others are
        not followed: in a directory that many can write, anybody may have put one there.
        """
        with mapped(str(path)):
            _refuse_foreign_link(path)
            special = path.exists() and not stat.S_ISREG(path.stat().st_mode)
            with path.open("wb") if special else replacing(path.resolve()) as out:
                self.write(out)


class ArchiveRepository:
    """One repository of an archive being written: a `Sink`."""

    def __init__(self, writer: ArchiveWriter, name: str | None) -> None:
        self._writer, self._name = writer, name

    def has(self, want: Descriptor) -> bool:
        """See `Sink.has`."""
        return self._writer.has(want)

    def push(self, want: Descriptor, source: Readable) -> None:
        """See `Sink.push`."""
        self._writer.push(want, source)

    def put(self, manifest: Manifest | Index, tag: str | None = None) -> None:
        """See `Sink.put`; raises StoreError when a blob it names is missing."""
        if tag is not None and attached.subject_of(tag):
            self._writer.attach(manifest, tag)
            return
        bare = tag is None or self._name is None
        self._writer.add(manifest, tag if bare else f"{self._name}:{tag}")


def _member(out: IO[bytes], name: str, size: int, data: Readable) -> None:
    info = tarfile.TarInfo(name)  # time, owner and group are 0, and nameless
    info.size, info.mode = size, 0o644
    write_all(out, info.tobuf(tarfile.PAX_FORMAT))
    left = size
    while left:
        chunk = data.read(min(left, CHUNK))
        if not chunk:
            raise StoreError("the temporary file lost its end")
        write_all(out, chunk)
        left -= len(chunk)
    write_all(out, bytes(-size % tarfile.BLOCKSIZE))


def _refuse_foreign_link(path: Path) -> None:
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        raise StoreError(f"{path} is a link that somebody else made").with_hint(
            "remove it, or write somewhere else"
        )
