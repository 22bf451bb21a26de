"""Attacks on `copy` and `push`: junk in the source takes nothing away at the target, unsaid."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from bpfpack.registry.client.remote import RegistryClient, RemoteRepository
from bpfpack.registry.store.disk import DiskStore, LocalRepository
from bpfpack.registry.store.memory import MemoryStore
from bpfpack.registry.transfer import copy
from bpfpack.registry.trust.collect import collect
from bpfpack.registry.trust.sign import signed_by
from bpfpack.spec import mediatypes, signature_writer
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import NotFound, SpecError, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import build_index
from bpfpack.spec.package import Package
from bpfpack.spec.signature import legacy_tag
from bpfpack.spec.value import replace
from tests.kit.cli import Host
from tests.kit.packages import artifact, fill, flood, package, signature_image
from tests.kit.servers import RunningRegistry
from tests.kit.signing import CHECK, NOW, REF, key_of, sign_into

SUBJECT = package().manifest.descriptor
SIG = legacy_tag(SUBJECT.digest)


@pytest.fixture
def place(registry: RunningRegistry) -> Iterator[RemoteRepository]:
    """The repository that is copied to."""
    with RegistryClient(lookup=lambda *_: None) as client:
        yield client.repository(registry.host, "x/tiny")


@pytest.fixture
def source() -> MemoryStore:
    """What is copied, so far without any signature."""
    made = MemoryStore()
    fill(made, package(), "1.0")
    return made


def refused(source: MemoryStore, place: RemoteRepository) -> str:
    """Copy all of it, which must end with an error and without a name."""
    with pytest.raises(TransportError) as caught:
        copy(source, place, "1.0", "1.0", whole=True)
    with pytest.raises(NotFound):
        place.resolve("1.0")
    return str(caught.value)


class TestFullTags:
    """`.sig` tags with as many layers as verification looks at."""

    def test_a_copy_takes_no_signature_away(
        self, source: MemoryStore, place: RemoteRepository
    ) -> None:
        fill(place, signature_image((b"payload", "b3duZXI=")), SIG)
        before = place.resolve(SIG)
        fill(source, flood("junk"), SIG)
        assert "256 more would be too many" in refused(source, place)
        assert place.resolve(SIG) == before

    def test_nor_does_a_push_and_it_says_so(self, tmp_path: Path, place: RemoteRepository) -> None:
        ours = DiskStore(tmp_path / "store").repository("r.example/x")
        fill(ours, package(), "1.0")
        fill(ours, flood("junk"), SIG)
        fill(place, signature_image((b"payload", "b3duZXI=")), SIG)
        before = place.resolve(SIG)
        (problem,) = copy(ours, place, "1.0", "1.0", verb="push").problems
        assert "would be too many" in problem
        assert place.resolve(SIG) == before

    def test_large_ones_hide_none(self, source: MemoryStore, place: RemoteRepository) -> None:
        """Verification reads so many bytes of them, too."""
        fill(place, signature_image((b"payload", "b3duZXI=")), SIG)
        fill(source, flood("junk", 5, LIMITS.signature_bytes // 4), SIG)
        assert "would be too many" in refused(source, place)

    def test_nor_do_those_that_come_around_it(
        self, source: MemoryStore, place: RemoteRepository
    ) -> None:
        owners = (b"payload", "b3duZXI=")
        fill(place, signature_image(owners), SIG)
        before = place.resolve(SIG)
        junk = ((b"junk", str(i)) for i in range(LIMITS.signature_candidates))
        fill(source, signature_image(*junk, owners), SIG)
        assert "would be too many" in refused(source, place)
        assert place.resolve(SIG) == before

    def test_what_cannot_be_joined_stays(
        self, source: MemoryStore, place: RemoteRepository
    ) -> None:
        index = build_index((SUBJECT,))
        fill(place, package())
        place.put(index, SIG)
        fill(source, signature_image((b"payload", "c2ln")), SIG)
        assert "an index is there" in refused(source, place)
        assert place.resolve(SIG) == index

    def test_a_second_copy_of_many_changes_nothing(
        self, source: MemoryStore, place: RemoteRepository
    ) -> None:
        fill(source, flood("junk"), SIG)
        for _ in range(2):
            assert copy(source, place, "1.0", "1.0", whole=True).problems == ()
        assert place.resolve(SIG) == source.resolve(SIG)


class TestLeftBehind:
    """What does not go along is no note in passing."""

    def test_referrers_beyond_the_number(
        self, source: MemoryStore, place: RemoteRepository
    ) -> None:
        for number in range(LIMITS.signature_candidates + 1):
            fill(source, artifact(b"junk %d" % number, subject=SUBJECT))
        assert "1 left behind" in refused(source, place)

    def test_more_referrers_than_any_package_has(
        self, source: MemoryStore, monkeypatch: pytest.MonkeyPatch, place: RemoteRepository
    ) -> None:
        monkeypatch.setattr("bpfpack.registry.transfer.LIMITS", replace(LIMITS, index_children=3))
        for number in range(4):
            fill(source, artifact(b"junk %d" % number, subject=SUBJECT))
        assert "more than 3 referrers" in refused(source, place)

    def test_a_large_description_keeps_no_signature_out(
        self, source: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of another package of the index, whose turn is later."""
        monkeypatch.setattr("bpfpack.registry.transfer.LIMITS", replace(LIMITS, layer=4096))
        other = package("other")
        fill(source, other)
        fill(source, artifact(bytes(5000), artifact_type="a/sbom", subject=SUBJECT))
        good = artifact(b"good", subject=other.manifest.descriptor)
        fill(source, good)
        source.put(build_index((SUBJECT, other.manifest.descriptor)), "both")
        target = MemoryStore()
        copied = copy(source, target, "both", "both")
        assert [d.digest for d in target.referrers(other.manifest.descriptor.digest)] == [
            good.manifest.descriptor.digest
        ]
        assert copied.lost == copied.problems != ()

    def test_signatures_that_cannot_be_small_come_after_those_that_can(
        self, source: MemoryStore
    ) -> None:
        for number in range(LIMITS.signature_candidates):
            junk = Descriptor(
                media_type=mediatypes.MANIFEST,
                digest=Digest.sha256(b"%d" % number),
                size=LIMITS.signature_referrer + 1,
                artifact_type=mediatypes.SIGSTORE_BUNDLE,
            )
            source._referrers.setdefault(SUBJECT.digest, {})[junk.digest] = junk
        good = artifact(b"good", subject=SUBJECT)
        fill(source, good)
        target = MemoryStore()
        copy(source, target, "1.0", "1.0")
        assert good.manifest.descriptor.digest in {
            d.digest for d in target.referrers(SUBJECT.digest)
        }


Spoil: TypeAlias = Callable[[MemoryStore, Digest], None]


def _gone(store: MemoryStore, digest: Digest) -> None:
    del store._blobs[digest]
    store._manifests.pop(digest, None)


def _damaged(store: MemoryStore, digest: Digest) -> None:
    store._blobs[digest] = bytes(len(store._blobs[digest]))


class TestListedAndNotThere:
    """A signature that is listed, and whose bytes a registry does not have, is lost."""

    @pytest.mark.parametrize("spoil", [_gone, _damaged])
    @pytest.mark.parametrize("what", ["bundle", "tag"])
    def test_its_blob(
        self, source: MemoryStore, place: RemoteRepository, spoil: Spoil, what: str
    ) -> None:
        if what == "bundle":
            fill(source, artifact(b"signature", subject=SUBJECT))
        else:
            fill(source, signature_image((b"signature", "c2ln")), SIG)
        spoil(source, Digest.sha256(b"signature"))
        refused(source, place)

    def test_its_manifest(self, source: MemoryStore, place: RemoteRepository) -> None:
        made = artifact(b"signature", subject=SUBJECT)
        fill(source, made)
        _gone(source, made.manifest.descriptor.digest)
        assert str(made.manifest.descriptor.digest) in refused(source, place)

    def test_what_is_not_there_at_all_is_no_loss(
        self, source: MemoryStore, place: RemoteRepository
    ) -> None:
        assert copy(source, place, "1.0", "1.0", whole=True).problems == ()


class TestSigning:
    """Whoever can write the `.sig` tag does not keep the owner from adding to it."""

    @pytest.fixture(params=["registry", "disk"])
    def there(
        self, request: pytest.FixtureRequest, tmp_path: Path, place: RemoteRepository
    ) -> RemoteRepository | LocalRepository:
        local = DiskStore(tmp_path / "store").repository("ghcr.io/x/opensnoop")
        found = place if request.param == "registry" else local
        fill(found, package())
        return found

    @pytest.mark.parametrize(
        "junk",
        [
            flood("junk"),
            flood("junk", LIMITS.signature_candidates // 2, LIMITS.signature_payload * 2),
            flood("junk", LIMITS.signature_candidates, LIMITS.signature_payload),
        ],
        ids=["many", "large", "both"],
    )
    def test_junk_locks_nobody_out(
        self, there: RemoteRepository | LocalRepository, junk: Package
    ) -> None:
        fill(there, junk, SIG)
        sign_into(there, SUBJECT, "bob")
        sign_into(there, SUBJECT, "alice")
        (tag,) = (seen for seen in collect(there, SUBJECT) if seen.name == "sig-tag")
        assert tag.state == "present"
        for name in ("alice", "bob"):
            assert signed_by((tag,), SUBJECT.digest, None, key_of(name).public_pem, CHECK, now=NOW)

    def test_what_may_be_signatures_is_not_thrown_out(self, place: RemoteRepository) -> None:
        payload = signature_writer.legacy_payload(SUBJECT.digest, str(REF), None)
        fill(place, package())
        number = range(LIMITS.signature_candidates)
        fill(place, signature_image(*((payload, f"{i:08}") for i in number)), SIG)
        before = place.resolve(SIG)
        with pytest.raises(SpecError, match="holds 256 signatures already") as caught:
            sign_into(place, SUBJECT)
        assert "the bundle was stored" in str(caught.value.hint)
        assert place.resolve(SIG) == before
        assert len(place.referrers(SUBJECT.digest)) == 1


@pytest.mark.parametrize("command", ["tag", "push"])
def test_no_package_gets_a_name_that_is_for_signatures(
    author: Host, name: str, command: str
) -> None:
    """Who runs it would put a package where the signatures of another are looked for."""
    target = f"{name}:{SIG}"
    words = ("tag", "bell:1", target) if command == "tag" else ("push", "--no-sign", target)
    done = author.run(*words, code=2)
    assert "is the tag of what signs or describes a digest" in done.stderr
    assert SIG not in author.run("list").stdout
