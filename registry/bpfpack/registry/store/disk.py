"""The local store: blobs in OCI layout, one record per name.

    oci-layout                          so that other tools know what this is
    lock                                shared by writers, exclusive for prune
    blobs/<algorithm>/<hex>             manifests, configs, layers
    refs/<name, '/' as '%'>/<tag>       a `Record`; '<algorithm>:<hex>' for a name by digest
    referrers/<name>/<algorithm>/<subject>/<algorithm>-<hex>   the descriptor of one referrer
    attached/<name>/sha256-<hex>.sig    the descriptor of an attached tag

What signs or describes a package belongs to the repository that it came with: nobody who can
write one repository hides the signatures of another, and no push tells of other names.

Looking a reference up opens one record and one blob, however many there are.  Every file is
written under another name, synced and renamed, content before the name for it, so that a
process killed anywhere leaves what was there before or what was acknowledged.  Whatever is
read is hashed again; directories and files of other owners, and links, are refused.
``index.json`` is written by `save` only.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

from bpfpack.registry.owned import OwnedDir, OwnedFile
from bpfpack.registry.store import attached, prune
from bpfpack.registry.store.record import (
    RECORD_LIMIT,
    Origin,
    Record,
    damaged,
    descriptor_from,
    directory_of,
    now,
)
from bpfpack.spec import mediatypes, strictjson
from bpfpack.spec.bounded import Readable, check_bytes, verified_chunks
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import ContentError, NotFound, SpecError, StoreError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, parse
from bpfpack.spec.package import children
from bpfpack.spec.reference import Reference, valid_tag
from bpfpack.spec.value import replace, valuetype

LAYOUT_FILE: Final = "oci-layout"
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_LOCK: Final = "lock"
_ATTACH_LOCK: Final = "lock-attached"


class DiskStore:
    """All packages of one user; nothing is opened, or made, before it is needed."""

    def __init__(self, root: Path, *, owners: frozenset[int] | None = None) -> None:
        """Name the directory; ``owners`` widens whose content counts beyond us and root."""
        self.root, self._owners = root.absolute(), owners

    def repository(self, name: str, *, origin: Origin = Origin.PULLED) -> "LocalRepository":
        """Return the part named ``name``; what is put there is recorded with ``origin``."""
        return LocalRepository(store=self, name=name, origin=origin)

    def find(self, reference: Reference) -> Record | None:
        """Return what is recorded for a name, by its digest or else its tag, or ``latest``.

        Raises StoreError.
        """
        with self.opened("refs", directory_of(reference.name)) as directory:
            if directory is None:
                return None
            found = _record(directory, _file(reference))
            if found is None and reference.digest and reference.tag:
                tagged = _record(directory, reference.tag)
                return tagged if tagged and tagged.descriptor.digest == reference.digest else None
            return found

    def resolve(self, reference: Reference) -> Manifest | Index:
        """Return what a reference names; raises NotFound, StoreError, ContentError."""
        if reference.digest:
            return self.manifest(reference.digest)
        record = self.find(reference)
        if record is None:
            raise NotFound(f"{reference} is not in the local store").with_hint(
                f"`bpfpack pull {reference}` fetches it, `bpfpack list` shows what is here"
            )
        return self.manifest(record.descriptor.digest)

    def manifest(self, digest: Digest) -> Manifest | Index:
        """Return a manifest by digest, hashed; raises NotFound, StoreError, ContentError."""
        with self.opened("blobs", digest.algorithm) as directory:
            raw = directory.read(digest.encoded, LIMITS.manifest) if directory else None
        if raw is None:
            raise NotFound(f"{digest} is not in the local store")
        return parse(
            check_bytes(
                raw, Descriptor(media_type=mediatypes.MANIFEST, digest=digest, size=len(raw))
            )
        )

    def records(self) -> tuple[Record, ...]:
        """Return every reference, sorted by name; raises StoreError."""
        found: list[Record] = []
        with self.opened("refs") as refs:
            for name in refs.names() if refs else ():
                with self.opened("refs", name) as directory:
                    if directory:
                        entries = (_record(directory, file) for file in directory.names())
                        found += [record for record in entries if record]
        return tuple(found)

    def names_of(self, digest: Digest) -> tuple[Reference, ...]:
        """Return every reference that names ``digest``."""
        return tuple(r.reference for r in self.records() if r.descriptor.digest == digest)

    def record(self, reference: Reference, content: Manifest | Index, origin: Origin) -> Record:
        """Give content that is there a name, and prune a reason to keep it.

        Raises SpecError for a name by the digest of other content.
        """
        described = content.descriptor
        if reference.digest:
            if reference.digest.of(content.raw) != reference.digest:
                raise SpecError(f"{described.digest} is not what {reference} names")
            reference = reference.with_digest(described.digest)
        made = Record(
            reference=_canonical(reference),
            descriptor=described,
            origin=origin,
            added=now(),
            created=content.annotations.get(mediatypes.CREATED),
        )
        with (
            self.writing() as root,
            root.child("refs") as refs,
            refs.child(directory_of(made.reference.name)) as directory,
        ):
            directory.write(_file(made.reference), made.to_bytes())
        return made

    def tag(self, source: Reference, target: Reference) -> Record:
        """Give what ``source`` names another name too; it stays what it was: pulled, built.

        Raises NotFound, StoreError.
        """
        return self.record(target, self.resolve(source), self.origin(source))

    def origin(self, reference: Reference) -> Origin:
        """Return how what a reference names came here; raises NotFound, StoreError."""
        known = self.find(reference)
        if known is None:  # by a digest that has no name of its own
            digest = self.resolve(reference).descriptor.digest
            known = next((r for r in self.records() if r.descriptor.digest == digest), None)
        return known.origin if known else Origin.LOADED

    def remove(self, reference: Reference) -> Record:
        """Forget a name; `prune` removes what nothing names any more.  Raises NotFound."""
        found = self.find(reference)
        with self.opened("refs", directory_of(reference.name)) as directory:
            if found is None or directory is None or not directory.remove(_file(found.reference)):
                raise NotFound(f"{reference} is not in the local store")
        return found

    def prune(self, *, grace: float = prune.GRACE, dry_run: bool = False) -> prune.Pruned:
        """Remove what no name reaches and nobody touched for ``grace`` seconds."""
        with self.opened() as root:
            if root is None:
                return prune.Pruned(digests=(), size=0)
            with root.locked(_LOCK, exclusive=True):
                return prune.prune(self, root, grace=grace, dry_run=dry_run)

    @contextmanager
    def opened(self, *names: str) -> Iterator[OwnedDir | None]:
        """Open a directory of the store for reading; None when it is missing."""
        root = OwnedDir.find(self.root, owners=self._owners)
        if root is None:
            yield None
            return
        with root, root.below(*names) as directory:
            yield directory

    @contextmanager
    def writing(self) -> Iterator[OwnedDir]:
        """Open the store for writing, made when missing, and keep `prune` out."""
        with (
            OwnedDir.open(self.root, create=True, owners=self._owners) as root,
            root.locked(_LOCK),
        ):
            if root.status(LAYOUT_FILE) is None:
                root.write(LAYOUT_FILE, LAYOUT)
            yield root


@valuetype
class LocalRepository:
    """One repository of a `DiskStore`: a `Source` and a `Sink`."""

    store: DiskStore
    name: str
    origin: Origin

    def resolve(self, name: str | Digest) -> Manifest | Index:
        """See `Source.resolve`."""
        if isinstance(name, Digest):
            return self.store.manifest(name)
        if attached.subject_of(name):
            found = self._attached(name)
            if found is None:
                raise NotFound(f"{self.name}:{name} is not in the local store")
            return self.store.manifest(found.digest)
        return self.store.resolve(self._reference(name))

    @contextmanager
    def _blob(self, want: Descriptor) -> Iterator[OwnedFile]:
        with self.store.opened("blobs", want.digest.algorithm) as directory:
            file = directory.find_file(want.digest.encoded) if directory else None
        if file is None:
            raise NotFound(f"{want.digest} is not in the local store")
        with file:
            yield file

    def fetch(self, want: Descriptor) -> AbstractContextManager[Readable]:
        """See `Source.fetch`."""
        return self._blob(want)

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """See `Source.referrers`; what came last is first, so that old junk hides nothing new."""
        place = ("referrers", directory_of(self.name), subject.algorithm, subject.encoded)
        with self.store.opened(*place) as directory:
            if directory is None:
                return ()
            entries = (_descriptor(directory, name) for name in _newest_first(directory))
            return tuple(found for found in entries if found)

    def tags(self) -> tuple[str, ...]:
        """See `Source.tags`."""
        with self.store.opened("refs", directory_of(self.name)) as directory:
            names = directory.names() if directory else []
        if not names:
            raise NotFound(f"{self.name} is not in the local store")
        return tuple(name for name in names if valid_tag(name))

    def has(self, want: Descriptor) -> bool:
        """See `Sink.has`; a damaged blob is not there, so that a pull mends it."""
        with self.store.opened("blobs", want.digest.algorithm) as directory:
            status = directory.status(want.digest.encoded) if directory else None
        if status is None or status.st_size != want.size:
            return False
        with self.store.writing() as root, root.child("blobs") as blobs:
            return _touched(blobs, want)

    def push(self, want: Descriptor, source: Readable) -> None:
        """See `Sink.push`; raises StoreError too.  Nothing is visible before it is whole."""
        with self.store.writing() as root:
            blobs = root.child("blobs")
        with blobs, blobs.child(want.digest.algorithm) as directory, directory.pending() as file:
            for chunk in verified_chunks(source, want, LIMITS.layer):
                file.write(chunk)
            file.sync()
            with self.store.writing():  # not while bytes come in from a network
                file.commit(want.digest.encoded)

    def put(self, manifest: Manifest | Index, tag: str | None = None) -> None:
        """See `Sink.put`; raises StoreError when a blob it names is missing.

        The children of an index may be missing: a pull takes those of its platform.
        """
        with self.store.writing() as root, root.child("blobs") as blobs:
            if isinstance(manifest, Manifest):
                for want in children(manifest):
                    if not _touched(blobs, want, hashed=False):
                        raise StoreError(f"{want.digest} is missing in the local store")
            _write_blob(blobs, manifest.descriptor.digest, manifest.raw)
            if manifest.subject:
                _write_referrer(root, self.name, manifest.subject.digest, manifest)
        if tag is None:
            return
        if attached.subject_of(tag):
            self._attach(tag, manifest)
        else:
            self.store.record(self._reference(tag), manifest, self.origin)

    def _attach(self, tag: str, manifest: Manifest | Index) -> None:
        with self.store.writing() as root, root.locked(_ATTACH_LOCK, exclusive=True):
            whole = attached.joined(self._readable_attached(tag), manifest)
            described = whole.content.descriptor
            with (
                root.child("blobs") as blobs,
                root.child("attached") as tops,
                tops.child(directory_of(self.name)) as directory,
            ):
                if whole.config is not None:
                    _write_blob(blobs, Digest.sha256(whole.config), whole.config)
                _write_blob(blobs, described.digest, whole.content.raw)
                directory.write(tag, strictjson.dumps(described.to_dict()))

    def _readable_attached(self, tag: str) -> Manifest | Index | None:
        """What the tag names now; damage gives way to what replaces it."""
        try:
            found = self._attached(tag)
            return self.store.manifest(found.digest) if found else None
        except (NotFound, StoreError, ContentError, SpecError):
            return None

    def _attached(self, tag: str) -> Descriptor | None:
        with self.store.opened("attached", directory_of(self.name)) as directory:
            return _descriptor(directory, tag) if directory else None

    def _reference(self, tag: str) -> Reference:
        return Reference.parse(f"{self.name}:{tag}")


def _canonical(reference: Reference) -> Reference:
    """A digest wins over a tag, as everywhere; without either it is ``latest``."""
    if reference.digest:
        return replace(reference, tag=None)
    return reference if reference.tag else reference.with_tag("latest")


def _file(reference: Reference) -> str:
    wanted = _canonical(reference)
    return str(wanted.digest or wanted.tag)


def _record(directory: OwnedDir, name: str) -> Record | None:
    raw = directory.read(name, RECORD_LIMIT)
    if raw is None:
        return None
    where = str(directory.path / name)
    found = Record.from_bytes(raw, where)
    if (directory_of(found.reference.name), _file(found.reference)) != (directory.path.name, name):
        raise damaged(where, SpecError(f"it is the record of {found.reference}"))
    return found


def _descriptor(directory: OwnedDir, name: str) -> Descriptor | None:
    raw = directory.read(name, RECORD_LIMIT)
    return None if raw is None else descriptor_from(raw, str(directory.path / name))


def _touched(blobs: OwnedDir, want: Descriptor, *, hashed: bool = True) -> bool:
    """Say whether a blob is there and whole, and keep `prune` from it for a while.

    Without ``hashed`` only its size is looked at, just after `has` or `push` saw the bytes.
    """
    with blobs.child(want.digest.algorithm) as directory:
        file = directory.find_file(want.digest.encoded)
        if file is None:
            return False
        with file, suppress(ContentError):
            if not hashed and file.status.st_size != want.size:
                return False
            for _ in verified_chunks(file, want, LIMITS.layer) if hashed else ():
                pass
            return directory.touch(want.digest.encoded)
    return False


def _write_blob(blobs: OwnedDir, digest: Digest, data: bytes) -> None:
    want = Descriptor(media_type=mediatypes.MANIFEST, digest=digest, size=len(data))
    if not _touched(blobs, want):
        with blobs.child(digest.algorithm) as directory:
            directory.write(digest.encoded, data)


def _newest_first(directory: OwnedDir) -> list[str]:
    def age(name: str) -> int:
        status = directory.status(name)
        return -status.st_mtime_ns if status else 0

    return sorted(directory.names(), key=age)


def _write_referrer(
    root: OwnedDir, repository: str, subject: Digest, manifest: Manifest | Index
) -> None:
    described = replace(manifest.descriptor, annotations=manifest.annotations)
    name = f"{described.digest.algorithm}-{described.digest.encoded}"
    with (
        root.child("referrers") as referrers,
        referrers.child(directory_of(repository)) as top,
        top.child(subject.algorithm) as algorithm,
        algorithm.child(subject.encoded) as directory,
    ):
        directory.write(name, strictjson.dumps(described.to_dict()))
