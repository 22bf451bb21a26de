"""Copying between places, some of which lie."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bpfpack.registry.fetch_package import read_artifact
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.store.memory import MemoryStore
from bpfpack.registry.tagging import Held
from bpfpack.registry.transfer import copy
from bpfpack.spec import mediatypes
from bpfpack.spec.bounded import Readable
from bpfpack.spec.content import ReferrersUnsupported, Source
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import (
    ContentError,
    DigestMismatch,
    LimitExceeded,
    NotFound,
    SizeMismatch,
    SpecError,
    TransportError,
)
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_index
from bpfpack.spec.origin import Origin
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import SignaturePlace, fallback_tag, legacy_tag
from bpfpack.spec.value import replace
from tests.kit.packages import (
    LINUX_AMD64,
    LINUX_S390X,
    artifact,
    fill,
    index_of,
    package,
    signature_image,
)

SUBJECT = package().manifest.descriptor


class Lying(MemoryStore):
    """A source whose answers a test replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[Digest, bytes] = {}
        self.contents: dict[str | Digest, Manifest | Index] = {}
        self.listed: tuple[Descriptor, ...] | TransportError | None = None
        self.asked: list[str | Digest] = []

    def resolve(self, name: str | Digest) -> Manifest | Index:
        self.asked.append(name)
        return self.contents[name] if name in self.contents else super().resolve(name)

    def fetch(self, want: Descriptor) -> AbstractContextManager[Readable]:
        if want.digest in self.bytes:
            return io.BytesIO(self.bytes[want.digest])
        return super().fetch(want)

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        if isinstance(self.listed, TransportError):
            raise self.listed
        return super().referrers(subject) if self.listed is None else self.listed


class Recorder:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.verbs: list[str] = []
        self.bytes = self.ends = 0

    def start(self, want: Descriptor, verb: str) -> None:
        self.verbs.append(verb)

    def advance(self, want: Descriptor, size: int) -> None:
        self.bytes += size

    def finish(self, want: Descriptor) -> None:
        self.ends += 1


@pytest.fixture
def source() -> Lying:
    """A signed package: a bundle and a ``.sig``."""
    made = Lying()
    fill(made, package(), "1.0")
    fill(made, artifact(b"bundle", subject=SUBJECT))
    fill(made, signature_image((b"payload", "theirs")), legacy_tag(SUBJECT.digest))
    return made


def signatures_of(place: Source) -> list[str]:
    found = place.resolve(legacy_tag(SUBJECT.digest))
    assert isinstance(found, Manifest)
    return [layer.annotations["dev.cosignproject.cosign/signature"] for layer in found.layers]


def test_all_goes_and_the_name_is_looked_up_once(source: Lying) -> None:
    target = MemoryStore()
    copied = copy(source, target, "1.0", "2.0")
    assert copied.content == package().manifest == target.resolve("2.0")
    assert (copied.blobs, copied.signatures, copied.problems) == (6, 2, ())
    assert len(target.referrers(SUBJECT.digest)) == 1
    assert signatures_of(target) == ["theirs"]
    assert source.asked.count("1.0") == 1


def test_a_second_copy_moves_nothing(source: Lying) -> None:
    target, progress = MemoryStore(), Recorder()
    copy(source, target, "1.0", "1.0", progress=progress, verb="push")
    assert progress.bytes > 0
    assert set(progress.verbs) == {"push", "exists"}  # the empty config is in several
    again = Recorder()
    assert copy(source, target, "1.0", "1.0", progress=again).blobs == 0
    assert set(again.verbs) == {"exists"}
    assert again.bytes == 0
    assert again.ends == len(again.verbs)


def test_without_signatures(source: Lying) -> None:
    target = MemoryStore()
    assert copy(source, target, "1.0", "1.0", signatures=False).signatures == 0
    assert target.referrers(SUBJECT.digest) == ()


def test_an_index_whole_or_for_one_platform() -> None:
    source, other = MemoryStore(), package("other")
    fill(source, package())
    fill(source, other)
    fill(source, artifact(b"bundle", subject=other.manifest.descriptor))
    source.put(index_of({LINUX_AMD64: package().manifest, LINUX_S390X: other.manifest}), "1.0")
    whole, part = MemoryStore(), MemoryStore()
    assert copy(source, whole, "1.0", "1.0").signatures == 1
    assert whole.resolve(other.manifest.descriptor.digest) == other.manifest
    assert copy(source, part, "1.0", "1.0", platform=LINUX_AMD64).signatures == 0
    assert part.resolve("1.0") == whole.resolve("1.0")
    with pytest.raises(NotFound):
        part.resolve(other.manifest.descriptor.digest)


def test_the_signatures_that_are_there_already_stay(source: Lying, tmp_path: Path) -> None:
    memory, disk = MemoryStore(), DiskStore(tmp_path / "store").repository("r.example/x")
    for target in (memory, disk):
        fill(target, signature_image((b"payload", "ours")), legacy_tag(SUBJECT.digest))
        copy(source, target, "1.0", "1.0")
        assert signatures_of(target) == ["ours", "theirs"]


class Contended(MemoryStore):
    """A registry: a tag names what was put last, and others put something too, ``times``."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def put(self, manifest: Manifest | Index, tag: str | None = None) -> None:
        super().put(manifest, tag)
        if tag == legacy_tag(SUBJECT.digest):
            self._tags[tag] = manifest.descriptor.digest
            if self.times:
                self.times -= 1
                others = signature_image((b"payload", f"other {self.times}"))
                super().push(others.manifest.config, io.BytesIO(b"{}"))
                super().put(others.manifest)
                self._tags[tag] = others.manifest.descriptor.digest

    def held(self, tag: str) -> Held:
        try:
            return Held(content=self.resolve(tag))
        except NotFound:
            return Held()

    def replace(self, content: Manifest | Index, tag: str, before: Held) -> bool:
        self.put(content, tag)
        return False

    def wait(self, seconds: float) -> None:
        """No other process writes here."""


def test_another_signer_at_the_same_time_loses_nothing(source: Lying) -> None:
    target = Contended(times=2)
    assert copy(source, target, "1.0", "1.0").problems == ()
    assert signatures_of(target) == ["other 0", "theirs"]
    busy = Contended(times=100)
    (problem,) = copy(source, busy, "1.0", "1.0").problems
    assert "others keep replacing" in problem


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"", SizeMismatch), (b"short", SizeMismatch), (bytes(100_000), SizeMismatch)],
)
def test_a_lying_blob_ends_it_and_nothing_gets_a_name(
    source: Lying, tmp_path: Path, data: bytes, error: type[ContentError]
) -> None:
    source.bytes[package().manifest.layers[0].digest] = data
    store = DiskStore(tmp_path / "store")
    with pytest.raises(error):
        copy(source, store.repository("r.example/x"), "1.0", "1.0")
    assert store.records() == ()
    assert not list(store.root.rglob(".tmp-*"))


def test_a_blob_of_the_right_size_and_other_bytes(source: Lying) -> None:
    layer = package().manifest.layers[0]
    source.bytes[layer.digest] = bytes(layer.size)
    with pytest.raises(DigestMismatch):
        copy(source, MemoryStore(), "1.0", "1.0")


def test_a_lying_signature_is_told_and_does_not_end_it(source: Lying) -> None:
    bundle = Digest.sha256(b"bundle")
    source.bytes[bundle] = b"BUNDLE"
    target = MemoryStore()
    copied = copy(source, target, "1.0", "1.0")
    assert target.resolve("1.0") == package().manifest
    assert copied.signatures == 1
    (problem,) = copied.problems
    assert str(bundle) in problem


def test_failing_referrers_are_told_and_the_rest_goes(source: Lying) -> None:
    source.listed = TransportError("too many requests", status=429)
    copied = copy(source, MemoryStore(), "1.0", "1.0")
    assert copied.signatures == 1
    assert copied.problems == (f"referrers of {SUBJECT.digest}: too many requests",)


def test_without_a_referrers_api_the_fallback_tag_is_read(source: Lying) -> None:
    (listed,) = source.referrers(SUBJECT.digest)
    source.listed = ReferrersUnsupported("404", status=404)
    source.put(build_index((listed,)), fallback_tag(SUBJECT.digest))
    target = MemoryStore()
    copied = copy(source, target, "1.0", "1.0")
    assert (copied.signatures, copied.problems) == (2, ())
    assert target.referrers(SUBJECT.digest) == (listed,)


def test_a_referrer_of_something_else_is_left_behind(source: Lying) -> None:
    stray = artifact(b"stray", subject=package("other").manifest.descriptor)
    fill(source, stray)
    source.listed = (stray.manifest.descriptor,)
    (problem,) = copy(source, MemoryStore(), "1.0", "1.0").problems
    assert "refers to something else" in problem


def test_a_flood_of_referrers_does_not_hide_the_signature(source: Lying) -> None:
    (good,) = source.referrers(SUBJECT.digest)
    junk = []
    for i in range(LIMITS.signature_candidates):
        made = artifact(str(i).encode(), artifact_type="text/junk", subject=SUBJECT)
        fill(source, made)
        junk.append(made.manifest.descriptor)
    source.listed = (*junk, good)
    target = MemoryStore()
    copied = copy(source, target, "1.0", "1.0")
    assert good.digest in {d.digest for d in target.referrers(SUBJECT.digest)}
    assert copied.problems == (f"referrers of {SUBJECT.digest}: 1 left behind",)


def test_referrers_that_would_fill_the_disk(source: Lying) -> None:
    large = artifact(b"x", artifact_type="text/sbom", subject=SUBJECT)
    layer = replace(large.manifest.layers[0], size=LIMITS.layer)
    raw = large.manifest.raw.replace(b'"size":1}', b'"size":%d}' % layer.size)
    manifest = replace(large.manifest, layers=(layer,), raw=raw)
    source.contents[manifest.descriptor.digest] = manifest
    source.listed = (manifest.descriptor,)
    (problem,) = copy(source, MemoryStore(), "1.0", "1.0").problems
    assert "left behind" in problem


def nested(source: MemoryStore, depth: int) -> None:
    """Name ``deep`` an index of an index of ... of `package`."""
    fill(source, package())
    content: Manifest | Index = package().manifest
    for _ in range(depth):
        content = build_index((content.descriptor,))
        source.put(content)
    source.put(content, "deep")


def test_indexes_nest_only_so_deep() -> None:
    source = MemoryStore()
    nested(source, LIMITS.index_depth)
    copy(source, MemoryStore(), "deep", "deep")
    nested(source, LIMITS.index_depth + 1)
    with pytest.raises(LimitExceeded, match="nested"):
        copy(source, MemoryStore(), "deep", "deep")


def test_an_index_that_holds_itself(source: Lying) -> None:
    inner = build_index((SUBJECT,))
    outer = build_index((inner.descriptor,))
    # Only a source that does not hash could answer so; a digest never lies on a circle.
    source.contents = {"loop": outer, inner.descriptor.digest: outer}
    with pytest.raises(ContentError):
        copy(source, MemoryStore(), "loop", "loop")


def test_a_child_that_is_not_as_listed(source: Lying) -> None:
    other = package("other").manifest
    source.contents[SUBJECT.digest] = other
    for listed in (
        SUBJECT,
        replace(SUBJECT, size=SUBJECT.size + 1),
        replace(other.descriptor, media_type=mediatypes.DOCKER_MANIFEST),
    ):
        source.contents[other.descriptor.digest] = other
        source.contents["bad"] = build_index((listed,))
        with pytest.raises((ContentError, SpecError)):
            copy(source, MemoryStore(), "bad", "bad")


# Reading one package to run it

ORIGIN = Origin(kind="store", reference=Reference.parse("r.example/x:1.0"), location="x")


def looked(source: Source, subject: Descriptor) -> tuple[SignaturePlace, ...]:
    """Say which content was looked at."""
    return (SignaturePlace(name="sig-tag", state="absent", reason=str(subject.digest)),)


def test_a_package_is_read_and_its_name_looked_up_once(source: Lying) -> None:
    found = read_artifact(source, "1.0", ORIGIN, platform=LINUX_AMD64, look=looked)
    assert found.manifest == package().manifest
    assert found.index is None
    assert Digest.sha256(found.object) == package().manifest.layers[0].digest
    assert Digest.sha256(found.config) == package().manifest.config.digest
    assert source.asked == ["1.0"]


def test_a_tag_moved_while_reading_changes_nothing(source: Lying) -> None:
    def moving(_: Source, subject: Descriptor) -> tuple[SignaturePlace, ...]:
        fill(source, package("evil", object_=b"evil"), "1.0")
        return looked(source, subject)

    found = read_artifact(source, "1.0", ORIGIN, platform=LINUX_AMD64, look=moving)
    assert found.object != b"evil"
    assert found.manifest == package().manifest


def test_the_child_for_this_machine_with_the_signatures_of_both(source: Lying) -> None:
    other = package("other", object_=b"other")
    fill(source, other)
    index = index_of({LINUX_AMD64: package().manifest, LINUX_S390X: other.manifest})
    source.put(index, "multi")
    found = read_artifact(source, "multi", ORIGIN, platform=LINUX_S390X, look=looked)
    assert (found.manifest, found.index, found.object) == (other.manifest, index, b"other")
    assert [p.reason for p in found.places] == [
        str(index.descriptor.digest),
        str(other.manifest.descriptor.digest),
    ]


@pytest.fixture
def not_packages(source: Lying) -> Iterator[Lying]:
    fill(source, artifact(b"x"), "signature")
    inner = index_of({LINUX_AMD64: package().manifest})
    source.put(inner)
    outer = build_index((replace(inner.descriptor, platform=LINUX_AMD64),))
    source.put(outer, "deep")
    source.put(index_of({LINUX_S390X: package().manifest}), "elsewhere")
    yield source


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("signature", "not a bpfpack package"),
        ("deep", "index inside the index"),
        ("elsewhere", "no packages for linux/amd64"),
    ],
)
def test_what_cannot_be_run_here(not_packages: Lying, name: str, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        read_artifact(not_packages, name, ORIGIN, platform=LINUX_AMD64, look=looked)
