"""Every place that holds content obeys one contract: `Source` to read, `Sink` to write."""

import gzip
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from bpfpack.registry.archiving import load, save
from bpfpack.registry.store.archive import ArchiveWriter
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.store.layout import Layout
from bpfpack.registry.store.memory import MemoryStore
from bpfpack.registry.transfer import copy
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.content import Sink, Source
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import (
    BpfpackError,
    DigestMismatch,
    LimitExceeded,
    NotFound,
    SizeMismatch,
)
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.package import Package
from bpfpack.spec.signature import legacy_tag
from tests.kit.packages import (
    LINUX_AMD64,
    LINUX_S390X,
    artifact,
    fill,
    flood,
    index_of,
    package,
    signature_image,
)

NOWHERE = Digest("sha256", "0" * 64)
SIG = legacy_tag(package().manifest.descriptor.digest)


class Place(Source, Sink, Protocol):
    """Both sides of one repository."""


class SourceContract:
    """What every place that can be read does."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Source:
        """A source that holds, and nothing else:

        ``1.0`` a package with a referrer and a ``.sig``; ``multi`` an index of it and another.
        """
        raise NotImplementedError

    def test_a_tag_and_its_digest_give_the_same_bytes(self, place: Source) -> None:
        by_tag = place.resolve("1.0")
        assert by_tag == package().manifest
        assert place.resolve(by_tag.descriptor.digest).raw == by_tag.raw

    def test_an_index_and_its_children(self, place: Source) -> None:
        index = place.resolve("multi")
        assert isinstance(index, Index)
        child = place.resolve(index.select(LINUX_S390X).digest)
        assert child == other().manifest

    def test_every_blob_is_the_one_named(self, place: Source) -> None:
        manifest = place.resolve("1.0")
        assert isinstance(manifest, Manifest)
        for want in (manifest.config, *manifest.layers):
            with place.fetch(want) as stream:
                assert read_exactly(stream, want, LIMITS.layer) == package().blobs[want.digest]

    def test_what_is_not_there_is_not_found(self, place: Source) -> None:
        absent = Descriptor(media_type="a/b", digest=NOWHERE, size=1)
        with pytest.raises(NotFound):
            place.resolve("2.0")
        with pytest.raises(NotFound):
            place.resolve(NOWHERE)
        with pytest.raises(NotFound), place.fetch(absent) as stream:
            stream.read(1)
        assert place.referrers(NOWHERE) == ()

    def test_tags_are_sorted_and_without_attachments(self, place: Source) -> None:
        assert place.tags() == ("1.0", "multi")

    def test_a_referrer_is_listed_and_readable(self, place: Source) -> None:
        (found,) = place.referrers(package().manifest.descriptor.digest)
        assert found.artifact_type == bundle().manifest.artifact_type
        assert place.resolve(found.digest) == bundle().manifest

    def test_an_attached_tag_is_readable(self, place: Source) -> None:
        tag = legacy_tag(package().manifest.descriptor.digest)
        assert place.resolve(tag) == signature().manifest


class StoreContract(SourceContract):
    """What every place that can be written does."""

    def make(self, tmp_path: Path) -> Place:
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Path) -> Source:
        return filled(self.make(tmp_path))

    @pytest.fixture
    def empty(self, tmp_path: Path) -> Place:
        return self.make(tmp_path)

    def test_push_refuses_bytes_with_another_name(self, empty: Place) -> None:
        want = Descriptor.of(b"right", "a/b")
        with pytest.raises(DigestMismatch):
            empty.push(want, io.BytesIO(b"wrong"))
        assert not empty.has(want)
        with pytest.raises(NotFound), empty.fetch(want) as stream:
            stream.read(1)

    @pytest.mark.parametrize("data", [b"righ", b"rightt", b""])
    def test_push_refuses_another_length(self, empty: Place, data: bytes) -> None:
        want = Descriptor.of(b"right", "a/b")
        with pytest.raises(SizeMismatch):
            empty.push(want, io.BytesIO(data))
        assert not empty.has(want)

    def test_push_refuses_more_than_any_layer_may_weigh(self, empty: Place) -> None:
        with pytest.raises(LimitExceeded):
            empty.push(
                Descriptor(media_type="a/b", digest=NOWHERE, size=LIMITS.layer + 1), io.BytesIO()
            )

    def test_a_manifest_needs_its_blobs(self, empty: Place) -> None:
        with pytest.raises(BpfpackError):
            empty.put(package().manifest, "1.0")
        with pytest.raises(NotFound):
            empty.resolve("1.0")

    def test_a_tag_moves(self, empty: Place) -> None:
        fill(empty, package(), "1.0")
        fill(empty, other(), "1.0")
        assert empty.resolve("1.0") == other().manifest
        assert empty.resolve(package().manifest.descriptor.digest) == package().manifest

    def test_sha512_content(self, empty: Place) -> None:
        digest = Digest("sha512", "0" * 128).of(b"data")
        want = Descriptor(media_type="a/b", digest=digest, size=4)
        empty.push(want, io.BytesIO(b"data"))
        assert empty.has(want)
        with empty.fetch(want) as stream:
            assert read_exactly(stream, want, 4) == b"data"

    def test_a_referrer_may_come_before_its_subject(self, empty: Place) -> None:
        fill(empty, bundle())
        assert len(empty.referrers(package().manifest.descriptor.digest)) == 1


class LocalContract(StoreContract):
    """What the places without a network do beyond that."""

    def test_signatures_of_one_digest_are_joined(self, empty: Place) -> None:
        tag = legacy_tag(package().manifest.descriptor.digest)
        fill(empty, signature_image((b"payload", "first")), tag)
        fill(empty, signature_image((b"payload", "second")), tag)
        both = empty.resolve(tag)
        assert isinstance(both, Manifest)
        values = [layer.annotations for layer in both.layers]
        assert [v["dev.cosignproject.cosign/signature"] for v in values] == ["first", "second"]
        for want in (both.config, *both.layers):
            with empty.fetch(want) as stream:
                read_exactly(stream, want, LIMITS.layer)

    def test_a_flood_of_signatures_keeps_no_other_out(self, empty: Place) -> None:
        fill(empty, flood("junk"), SIG)
        fill(empty, signature(), SIG)
        (layer,) = signature().manifest.layers
        assert layer in layers(empty)
        assert len(layers(empty)) == LIMITS.signature_candidates

    def test_floods_of_signatures_displace_none(self, empty: Place) -> None:
        """However many come, and in whatever form: more of them, larger ones, around it."""
        (layer,) = signature().manifest.layers
        fill(empty, signature(), SIG)
        for junk in (
            flood("a"),
            flood("b"),
            flood("c", LIMITS.signature_candidates + 44),
            flood("d", size=LIMITS.signature_bytes // 4),
        ):
            fill(empty, junk, SIG)
            assert layer in layers(empty)[: LIMITS.signature_candidates]
            assert sum(one.size for one in layers(empty)) <= LIMITS.signature_bytes
        many = ((b"e", str(i)) for i in range(LIMITS.signature_candidates))
        fill(empty, signature_image(*many, (b"payload", "c2ln")), SIG)
        assert layer in layers(empty)[: LIMITS.signature_candidates]


class TestMemory(LocalContract):
    def make(self, tmp_path: Path) -> Place:
        return MemoryStore()


class TestDisk(LocalContract):
    def make(self, tmp_path: Path) -> Place:
        return DiskStore(tmp_path / "store").repository("ghcr.io/x/tiny")

    def test_attachments_and_referrers_are_those_of_one_repository(self, tmp_path: Path) -> None:
        filled(self.make(tmp_path))
        elsewhere = DiskStore(tmp_path / "store").repository("localhost:5000/y")
        digest = package().manifest.descriptor.digest
        assert elsewhere.resolve(digest) == package().manifest
        assert elsewhere.referrers(digest) == ()
        for tag in (legacy_tag(digest), "1.0"):
            with pytest.raises(NotFound):
                elsewhere.resolve(tag)


class TestMemoryCopied(SourceContract):
    """What `copy` brought over is all there."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Source:
        source = filled(DiskStore(tmp_path / "store").repository("ghcr.io/x/tiny"))
        target = MemoryStore()
        for tag in source.tags():
            assert not copy(source, target, tag, tag).problems
        return target


class TestArchive(SourceContract):
    """What `save` wrote, read as `run FILE` and `load` read it."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Source]:
        with Layout.open(saved(tmp_path)) as layout:
            yield layout.repository()


class TestArchiveInGzip(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Source]:
        data = gzip.compress(saved(tmp_path).read_bytes())
        with Layout.from_stream(io.BytesIO(data), "stdin") as layout:
            yield layout.repository("ghcr.io/x/tiny")


class TestLayoutDirectory(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Source]:
        (tmp_path / "layout").mkdir()
        subprocess.run(["tar", "-xf", saved(tmp_path), "-C", tmp_path / "layout"], check=True)
        with Layout.open(tmp_path / "layout") as layout:
            yield layout.repository("ghcr.io/x/tiny")


class TestLoaded(SourceContract):
    """An archive loaded into another store, signatures and all."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Source:
        store = DiskStore(tmp_path / "elsewhere")
        with Layout.open(saved(tmp_path)) as layout:
            moved = load(layout, store)
        assert not [problem for m in moved for problem in m.copied.problems]
        return store.repository("ghcr.io/x/tiny")


def saved(tmp_path: Path) -> Path:
    """An archive of what `filled` puts there."""
    store = DiskStore(tmp_path / "store")
    filled(store.repository("ghcr.io/x/tiny"))
    with ArchiveWriter() as writer:
        save(store, [record.reference for record in store.records()], writer)
        writer.save(tmp_path / "tiny.tar")
    return tmp_path / "tiny.tar"


def other() -> Package:
    """The package for the other platform."""
    return package("other")


def bundle() -> Package:
    """A referrer of `package`."""
    return artifact(b"bundle", subject=package().manifest.descriptor)


def signature() -> Package:
    """An attached signature of `package`."""
    return signature_image((b"payload", "c2ln"))


def layers(place: Source) -> tuple[Descriptor, ...]:
    """What `SIG` lists."""
    found = place.resolve(SIG)
    assert isinstance(found, Manifest)
    return found.layers


def filled(place: Place) -> Place:
    """Put there what `SourceContract` expects."""
    fill(place, package(), "1.0")
    fill(place, other())
    place.put(index_of({LINUX_AMD64: package().manifest, LINUX_S390X: other().manifest}), "multi")
    fill(place, bundle())
    fill(place, signature(), legacy_tag(package().manifest.descriptor.digest))
    return place
