"""A repository in memory: the simplest `Source` and `Sink`."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from bpfpack.registry.store import attached
from bpfpack.spec.bounded import Readable, read_exactly
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import NotFound, StoreError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.package import Package, children
from bpfpack.spec.value import replace


class MemoryStore:
    """Holds what was put there, for as long as it lives; for packages that came in a file."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._manifests: dict[Digest, Manifest | Index] = {}
        self._tags: dict[str, Digest] = {}
        self._referrers: dict[Digest, dict[Digest, Descriptor]] = {}

    @classmethod
    def of(cls, package: Package, tag: str | None = None) -> "MemoryStore":
        """Return a store that holds one package."""
        store = cls()
        store._blobs.update(package.blobs)
        store.put(package.manifest, tag)
        return store

    def resolve(self, name: str | Digest) -> Manifest | Index:
        """See `Source.resolve`."""
        digest = name if isinstance(name, Digest) else self._tags.get(name)
        found = self._manifests.get(digest) if digest else None
        if found is None:
            raise NotFound(f"no {name}")
        return found

    def fetch(self, want: Descriptor) -> AbstractContextManager[Readable]:
        """See `Source.fetch`."""
        return self._blob(want)

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """See `Source.referrers`."""
        return tuple(self._referrers.get(subject, {}).values())

    def tags(self) -> tuple[str, ...]:
        """See `Source.tags`."""
        if not self._tags:
            raise NotFound("no tags")
        return tuple(sorted(tag for tag in self._tags if not attached.subject_of(tag)))

    def has(self, want: Descriptor) -> bool:
        """See `Sink.has`."""
        return want.digest in self._blobs

    def push(self, want: Descriptor, source: Readable) -> None:
        """See `Sink.push`."""
        self._blobs[want.digest] = read_exactly(source, want, LIMITS.layer)

    def put(self, manifest: Manifest | Index, tag: str | None = None) -> None:
        """See `Sink.put`; raises StoreError when a blob it names is missing."""
        if isinstance(manifest, Manifest):
            for want in children(manifest):
                if not self.has(want):
                    raise StoreError(f"{want.digest} is missing")
        if tag is not None and attached.subject_of(tag):
            old = self._tags.get(tag)
            whole = attached.joined(self._manifests[old] if old else None, manifest)
            manifest = whole.content
            if whole.config is not None:
                self._blobs[Digest.sha256(whole.config)] = whole.config
        described = manifest.descriptor
        self._blobs[described.digest] = manifest.raw
        self._manifests[described.digest] = manifest
        if manifest.subject:
            listed = replace(described, annotations=manifest.annotations)
            self._referrers.setdefault(manifest.subject.digest, {})[described.digest] = listed
        if tag is not None:
            self._tags[tag] = described.digest

    @contextmanager
    def _blob(self, want: Descriptor) -> Iterator[Readable]:
        if want.digest not in self._blobs:
            raise NotFound(f"no {want.digest}")
        yield io.BytesIO(self._blobs[want.digest])
