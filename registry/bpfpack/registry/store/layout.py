"""Reads an OCI layout (image-spec 1.1, "Image Layout"): an archive or a directory.

Names inside are for finding things and for display; they prove nothing.  What is there is
listed by ``index.json``; a signature or other referrer is an entry without a name.
"""

import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bpfpack.registry.owned import mapped
from bpfpack.registry.store import attached
from bpfpack.registry.store.files import (
    DirectoryFiles,
    Files,
    tar_from_path,
    tar_from_stream,
)
from bpfpack.spec import fields, mediatypes, strictjson
from bpfpack.spec.bounded import Readable, check_bytes, read_at_most
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import LimitExceeded, NotFound, SpecError
from bpfpack.spec.limits import KIB, LIMITS
from bpfpack.spec.manifest import Index, Manifest, parse
from bpfpack.spec.reference import Reference
from bpfpack.spec.value import valuetype

INDEX_FILE: Final = "index.json"
LAYOUT_FILE: Final = "oci-layout"
_LAYOUT_LIMIT: Final = 4 * KIB


@valuetype
class Entry:
    """One line of ``index.json``; ``name`` is its ``ref.name`` annotation."""

    name: str | None
    descriptor: Descriptor

    @property
    def reference(self) -> Reference | None:
        """The name as a full reference; None for a bare tag, or no name at all."""
        if self.name is None or not ("/" in self.name or ":" in self.name or "@" in self.name):
            return None
        try:
            return Reference.parse(self.name)
        except SpecError:
            return None

    @property
    def tag(self) -> str | None:
        """The tag part of the name, which may be all of it."""
        reference = self.reference
        return reference.tag if reference else self.name


class Layout:
    """An open layout; a context manager that closes its files."""

    def __init__(self, files: Files, what: str) -> None:
        """Take over ``files``; raises SpecError when they are no layout."""
        self._files, self.what = files, what
        try:
            self._check_version()
            self.entries = self._entries()
        except BaseException:
            files.close()
            raise
        self._referrers: Mapping[Digest, tuple[Descriptor, ...]] | None = None

    def _entries(self) -> tuple[Entry, ...]:
        if self._files.size(INDEX_FILE) is None:
            raise SpecError(f"{self.what} is not whole: it has no {INDEX_FILE}")
        index = parse(self._read(INDEX_FILE, LIMITS.manifest), media_type=mediatypes.INDEX)
        if not isinstance(index, Index):
            raise SpecError("not an index", path=(INDEX_FILE,))
        return tuple(
            Entry(name=child.annotations.get(mediatypes.REF_NAME), descriptor=child)
            for child in index.manifests
        )

    @classmethod
    def open(cls, path: Path) -> "Layout":
        """Open a directory or an archive; raises SpecError, StoreError."""
        with mapped(str(path)):
            directory = stat.S_ISDIR(path.stat().st_mode)
        if directory:
            return cls(DirectoryFiles(path), str(path))
        with _named(str(path)):
            files = tar_from_path(path)
        return cls(files, str(path))

    @property
    def place(self) -> str | None:
        """The path of what is open, links followed; None when it came through a pipe."""
        return self._files.place

    @classmethod
    def from_stream(cls, stream: Readable, what: str) -> "Layout":
        """Read an archive from a pipe or a download; raises SpecError, StoreError."""
        with _named(what):
            files = tar_from_stream(stream)
        return cls(files, what)

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def repository(self, name: str | None = None) -> "LayoutRepository":
        """Return the part whose references have that name; None for all that is there."""
        return LayoutRepository(layout=self, name=name)

    def packages(self) -> tuple[Entry, ...]:
        """Return the entries that stand for themselves: no referrers, no attachments."""
        about = {d.digest for group in self.referrers().values() for d in group}
        return tuple(
            entry
            for entry in self.entries
            if not (entry.name and attached.subject_of(entry.name))
            and (entry.name or entry.descriptor.digest not in about)
        )

    def only(self) -> Entry:
        """Return the one package; raises NotFound for none, SpecError for several."""
        found = {entry.descriptor.digest: entry for entry in self.packages()}
        if not found:
            raise NotFound(f"{self.what} holds nothing")
        if len(found) > 1:
            names = ", ".join(
                entry.name or entry.descriptor.digest.short for entry in found.values()
            )
            raise SpecError(f"{self.what} holds several packages: {names}").with_hint(
                f"`bpfpack load -f {self.what}`, then name the one you mean"
            )
        return next(iter(found.values()))

    def manifest(self, digest: Digest) -> Manifest | Index:
        """Return a manifest by digest; raises NotFound, ContentError, SpecError."""
        raw = self._read(_blob(digest), LIMITS.manifest)
        return parse(
            check_bytes(
                raw, Descriptor(media_type=mediatypes.MANIFEST, digest=digest, size=len(raw))
            )
        )

    def open_blob(self, want: Descriptor) -> AbstractContextManager[Readable]:
        """Open a blob; raises NotFound, StoreError."""
        return self._files.open(_blob(want.digest))

    def referrers(self) -> Mapping[Digest, tuple[Descriptor, ...]]:
        """Return what refers to what, read from the manifests themselves."""
        if self._referrers is None:
            found: dict[Digest, dict[Digest, Descriptor]] = {}
            for content in self._listed():
                if content.subject:
                    # Without its annotations: an archive may hold gigabytes of those.
                    described = content.descriptor
                    found.setdefault(content.subject.digest, {})[described.digest] = described
            self._referrers = {subject: tuple(d.values()) for subject, d in found.items()}
        return self._referrers

    def _listed(self) -> Iterator[Manifest | Index]:
        for digest in dict.fromkeys(entry.descriptor.digest for entry in self.entries):
            yield self.manifest(digest)

    def _check_version(self) -> None:
        if self._files.size(LAYOUT_FILE) is None:
            if self._files.size("manifest.json") is not None:
                raise SpecError(
                    f"{self.what} is an archive of `docker save`, not of OCI"
                ).with_hint("`skopeo copy docker-archive:FILE oci-archive:OTHER` converts it")
            raise SpecError(f"{self.what} is not an OCI archive: it has no {LAYOUT_FILE}")
        with fields.inside(LAYOUT_FILE):
            data = strictjson.loads_object(self._read(LAYOUT_FILE, _LAYOUT_LIMIT), _LAYOUT_LIMIT)
            version = fields.string(data, "imageLayoutVersion")
            if version != "1.0.0":
                raise SpecError(f"version {version[:20]!r}, not 1.0.0")

    def _read(self, name: str, limit: int) -> bytes:
        size = self._files.size(name)
        if size is not None and size > limit:
            raise LimitExceeded(f"{name} has {size} bytes, {limit} allowed")
        with self._files.open(name) as stream:
            return read_at_most(stream, limit, name)


@valuetype
class LayoutRepository:
    """One repository of a `Layout`: a `Source`."""

    layout: Layout
    name: str | None

    def resolve(self, name: str | Digest) -> Manifest | Index:
        """See `Source.resolve`; raises SpecError when a tag stands for two things."""
        if isinstance(name, Digest):
            return self.layout.manifest(name)
        fits = {
            entry.descriptor.digest
            for entry in self.layout.entries
            if entry.tag == name and (attached.subject_of(name) or self._covers(entry))
        }
        if len(fits) > 1:
            raise SpecError(f"{self.layout.what} has several packages named {name}")
        if not fits:
            raise NotFound(f"no {name} in {self.layout.what}")
        return self.layout.manifest(fits.pop())

    def fetch(self, want: Descriptor) -> AbstractContextManager[Readable]:
        """See `Source.fetch`."""
        return self.layout.open_blob(want)

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """See `Source.referrers`."""
        return self.layout.referrers().get(subject, ())

    def tags(self) -> tuple[str, ...]:
        """See `Source.tags`."""
        found = {entry.tag for entry in self.layout.packages() if entry.tag and self._covers(entry)}
        if not found:
            raise NotFound(f"no tags in {self.layout.what}")
        return tuple(sorted(found))

    def _covers(self, entry: Entry) -> bool:
        reference = entry.reference
        return self.name is None or reference is None or reference.name == self.name


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Let what is wrong with an archive begin with its name."""
    try:
        yield
    except SpecError as e:
        named = type(e)(f"{what}: {e.reason}", path=e.path)
        named.hint = e.hint
        raise named from e
