"""Finding signatures in registries that are old, broken, overloaded or hostile."""

import io
import json
from datetime import timedelta
from pathlib import Path

import pytest

from bpfpack.registry.store.disk import DiskStore, LocalRepository
from bpfpack.registry.store.memory import MemoryStore
from bpfpack.registry.tagging import Held
from bpfpack.registry.trust.attach import attach
from bpfpack.registry.trust.collect import collect
from bpfpack.registry.trust.sign import sign, signed_by
from bpfpack.spec import mediatypes, signature_writer
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import (
    BpfpackError,
    Denied,
    DigestMismatch,
    SpecError,
    TransportError,
    TrustError,
    UsageError,
)
from bpfpack.spec.limits import KIB, LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_index, build_manifest
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import SignaturePlace, fallback_tag, legacy_tag
from bpfpack.spec.value import replace
from tests.kit.packages import fill
from tests.kit.signing import (
    CHECK,
    NOW,
    REF,
    MemoryRepository,
    admitted,
    artifact_of,
    key_of,
    make_package,
    policy_for,
    repository_with,
    sign_into,
)

PACKAGE = make_package()
SUBJECT = PACKAGE.manifest.descriptor
ALICE = policy_for("ghcr.io/x", "alice")


def states(places: tuple[SignaturePlace, ...]) -> dict[str, str]:
    return {place.name: place.state for place in places}


def accepted(repository: MemoryRepository) -> bool:
    try:
        admitted(artifact_of(PACKAGE, collect(repository, SUBJECT)), ALICE)
    except TrustError:
        return False
    return True


def put_referrer(repository: MemoryRepository, artifact_type: str, content: bytes) -> Manifest:
    """Attach anything, as anyone who may push can."""
    layer = Descriptor.of(content, artifact_type)
    config = Descriptor.of(b"{}", mediatypes.EMPTY)
    for want, data in ((layer, content), (config, b"{}")):
        repository.push(want, io.BytesIO(data))
    manifest = build_manifest(
        artifact_type=artifact_type, config=config, layers=(layer,), subject=SUBJECT
    )
    repository.put(manifest)
    return manifest


class TestPlaces:
    def test_unsigned_is_absent_everywhere(self) -> None:
        assert set(states(collect(repository_with(PACKAGE), SUBJECT)).values()) == {"absent"}

    def test_both_forms_with_the_referrers_api(self) -> None:
        repository = repository_with(PACKAGE)
        assert not accepted(repository)
        sign_into(repository, SUBJECT)
        assert states(collect(repository, SUBJECT)) == {
            "referrers": "present",
            "referrers-tag": "absent",
            "sig-tag": "present",
        }
        assert accepted(repository)

    def test_both_forms_without_it(self) -> None:
        repository = repository_with(PACKAGE)
        repository.has_referrers = False
        sign_into(repository, SUBJECT)
        places = collect(repository, SUBJECT)
        assert states(places) == {
            "referrers": "unsupported",
            "referrers-tag": "present",
            "sig-tag": "present",
        }
        assert [len(p.candidates) for p in places] == [0, 1, 1]
        assert accepted(repository)

    def test_an_entry_of_the_referrers_tag_without_its_type(self) -> None:
        """cosign does not need it there."""
        repository = repository_with(PACKAGE)
        repository.has_referrers = False
        sign_into(repository, SUBJECT)
        listed = repository.resolve(fallback_tag(SUBJECT.digest))
        assert not isinstance(listed, Manifest)
        bare = tuple(replace(child, artifact_type=None) for child in listed.manifests)
        repository.put(build_index(bare), fallback_tag(SUBJECT.digest))
        del repository.names[legacy_tag(SUBJECT.digest)]
        assert accepted(repository)

    def test_the_experimental_referrers_of_cosign_2(self) -> None:
        repository = repository_with(PACKAGE)
        signed = sign(SUBJECT, REF, key_of("alice"), now=NOW)
        layer = signature_writer.legacy_layer(signed.legacy_payload, signed.legacy_signature)
        repository.push(layer, io.BytesIO(signed.legacy_payload))
        config = replace(
            Descriptor.of(b"{}", mediatypes.EMPTY), media_type=mediatypes.COSIGN_SIGNATURE
        )
        manifest = build_manifest(
            artifact_type=mediatypes.COSIGN_SIGNATURE,
            config=config,
            layers=(layer,),
            subject=SUBJECT,
        )
        repository.put(manifest)
        assert accepted(repository)

    @pytest.mark.parametrize(
        "error",
        [
            TransportError("429 Too Many Requests", status=429),
            TransportError("503", status=503),
            TransportError("timeout"),
            Denied("401", status=401),
            DigestMismatch("other bytes"),
            SpecError("not an index"),
        ],
    )
    def test_no_answer_is_never_absent(self, error: BpfpackError) -> None:
        repository = repository_with(PACKAGE)
        for name in ("referrers", fallback_tag(SUBJECT.digest), legacy_tag(SUBJECT.digest)):
            repository.broken = {name: error}
            places = collect(repository, SUBJECT)
            assert sorted(states(places).values()) == ["absent", "absent", "failed"]
            with pytest.raises(TrustError, match="could not look"):
                admitted(artifact_of(PACKAGE, places), ALICE)

    def test_one_good_signature_suffices_whatever_else_failed(self) -> None:
        repository = repository_with(PACKAGE)
        sign_into(repository, SUBJECT)
        repository.broken["referrers"] = TransportError("429", status=429)
        assert accepted(repository)
        repository.broken = {legacy_tag(SUBJECT.digest): TransportError("503", status=503)}
        assert accepted(repository)

    def test_a_tag_that_names_the_other_kind(self) -> None:
        repository = repository_with(PACKAGE)
        repository.put(build_index(()), legacy_tag(SUBJECT.digest))
        repository.names[fallback_tag(SUBJECT.digest)] = SUBJECT.digest
        assert states(collect(repository, SUBJECT)) == {
            "referrers": "absent",
            "referrers-tag": "failed",
            "sig-tag": "failed",
        }


class TestJunk:
    @pytest.mark.parametrize("kind", ["application/vnd.junk", mediatypes.SIGSTORE_BUNDLE])
    @pytest.mark.parametrize("api", [True, False])
    def test_65_junk_referrers_before_the_good_one(self, kind: str, api: bool) -> None:
        repository = repository_with(PACKAGE)
        repository.has_referrers = api
        for i in range(65):
            put_referrer(repository, kind, b"junk %d" % i)
        assert not accepted(repository)
        sign_into(repository, SUBJECT)
        del repository.names[legacy_tag(SUBJECT.digest)]
        assert accepted(repository)

    def test_junk_of_other_types_is_never_fetched(self) -> None:
        repository = repository_with(PACKAGE)
        junk = put_referrer(repository, "application/vnd.junk", b"junk")
        repository.broken[junk.descriptor.digest] = AssertionError("fetched")
        assert states(collect(repository, SUBJECT))["referrers"] == "absent"

    def test_too_many_hide_nothing_behind_silence(self) -> None:
        repository = repository_with(PACKAGE)
        for i in range(LIMITS.signature_candidates + 1):
            put_referrer(repository, mediatypes.SIGSTORE_BUNDLE, b"junk %d" % i)
        places = collect(repository, SUBJECT)
        assert places[0].state == "failed"
        assert "only 256 were looked at" in str(places[0].reason)
        sign_into(repository, SUBJECT)
        assert accepted(repository), "the .sig tag is tried too"

    def put_large(self, repository: MemoryRepository, i: int, size: int) -> Manifest:
        """A bundle's manifest of about ``size`` bytes, and a payload of the largest size."""
        layer = Descriptor.of(b"%04d" % i * (16 * KIB), mediatypes.SIGSTORE_BUNDLE)
        repository.push(layer, io.BytesIO(b"%04d" % i * (16 * KIB)))
        repository.push(Descriptor.of(b"{}", mediatypes.EMPTY), io.BytesIO(b"{}"))
        width = min(size // 2, 30_000)
        notes = {f"a{n}": "x" * width for n in range(size // (width + 10))}
        manifest = build_manifest(
            artifact_type=mediatypes.SIGSTORE_BUNDLE,
            config=Descriptor.of(b"{}", mediatypes.EMPTY),
            layers=(layer,),
            subject=SUBJECT,
            annotations=notes,
        )
        repository.put(manifest)
        return manifest

    def test_36_huge_bundles_spend_nothing_that_the_good_ones_need(self) -> None:
        """Neither those of the ``.sig`` tag, nor the bundle behind them."""
        repository = repository_with(PACKAGE)
        for i in range(36):
            junk = self.put_large(repository, i, 940_000)
            repository.broken[junk.descriptor.digest] = AssertionError("fetched")
        sign_into(repository, SUBJECT)
        assert accepted(repository)
        del repository.names[legacy_tag(SUBJECT.digest)]
        places = collect(repository, SUBJECT)
        assert (len(places[0].candidates), len(places[0].faults)) == (1, 36)
        assert accepted(repository)

    @pytest.mark.parametrize("api", [True, False])
    def test_100_of_the_largest_that_are_looked_at_hide_nothing(self, api: bool) -> None:
        repository = repository_with(PACKAGE)
        for i in range(100):
            assert len(self.put_large(repository, i, 63_000).raw) < LIMITS.signature_referrer
        repository.has_referrers = api
        sign_into(repository, SUBJECT)
        del repository.names[legacy_tag(SUBJECT.digest)]
        assert accepted(repository)

    def test_each_place_has_bounds_of_its_own(self) -> None:
        repository = repository_with(PACKAGE)
        for i in range(LIMITS.signature_candidates):
            self.put_large(repository, i, 63_000)
        sign_into(repository, SUBJECT)
        places = collect(repository, SUBJECT)
        assert "bytes of signatures" in str(places[0].reason)
        assert len(places[2].candidates) == 1
        assert accepted(repository)

    def test_the_size_that_a_listing_claims_is_not_believed(self) -> None:
        """The referrers tag is an index that anyone who may push has written."""
        repository = repository_with(PACKAGE)
        repository.has_referrers = False
        large = [self.put_large(repository, i, 3_000_000).descriptor for i in range(8)]
        small = tuple(replace(listed, size=1000) for listed in large)
        repository.put(build_index(small), fallback_tag(SUBJECT.digest))
        (place,) = (p for p in collect(repository, SUBJECT) if p.name == "referrers-tag")
        assert place.state == "failed" and "bytes of signatures" in str(place.reason)
        assert all("1000 listed" in fault for fault in place.faults)
        assert 0 < len(place.faults) < 8

    def test_the_sig_tag_is_looked_at_first(self) -> None:
        asked: list[object] = []

        class Asked(MemoryRepository):
            def resolve(self, name: str | Digest) -> Manifest | Index:
                asked.append(name)
                return super().resolve(name)

            def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
                asked.append("referrers")
                return super().referrers(subject)

        repository = Asked(blobs=dict(PACKAGE.blobs))
        repository.put(PACKAGE.manifest, "1.0")
        collect(repository, SUBJECT)
        digest = SUBJECT.digest
        assert asked == [legacy_tag(digest), "referrers", fallback_tag(digest)]

    def test_a_budget_of_bytes(self) -> None:
        repository = repository_with(PACKAGE)
        size = LIMITS.signature_payload
        for i in range(LIMITS.signature_bytes // size + 1):
            put_referrer(repository, mediatypes.SIGSTORE_BUNDLE, b"%d" % i + b" " * (size - 9))
        places = collect(repository, SUBJECT)
        assert "bytes of signatures" in str(places[0].reason)

    @pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b" " * 65537, b"[" * 999])
    def test_a_malformed_bundle_is_a_fault_and_hides_nothing(self, content: bytes) -> None:
        repository = repository_with(PACKAGE)
        put_referrer(repository, mediatypes.SIGSTORE_BUNDLE, content)
        places = collect(repository, SUBJECT)
        assert states(places)["referrers"] == "present"
        assert len(places[0].faults) == 1
        assert not accepted(repository)
        sign_into(repository, SUBJECT)
        assert accepted(repository)

    def test_a_blob_that_fails_hides_none_after_it(self) -> None:
        repository = repository_with(PACKAGE)
        for i in range(3):
            bad = put_referrer(repository, mediatypes.SIGSTORE_BUNDLE, b"junk %d" % i)
            repository.broken[bad.layers[0].digest] = TransportError("500", status=500)
        sign_into(repository, SUBJECT)
        del repository.names[legacy_tag(SUBJECT.digest)]
        assert states(collect(repository, SUBJECT))["referrers"] == "failed"
        assert accepted(repository)

    def test_a_lying_blob(self) -> None:
        repository = repository_with(PACKAGE)
        signed = sign_into(repository, SUBJECT)
        for data in (signed.bundle, signed.legacy_payload):
            repository.blobs[Digest.sha256(data)] = data[:-1] + b"!"
        places = collect(repository, SUBJECT)
        assert [len(p.faults) for p in places] == [1, 0, 1]
        assert not accepted(repository)

    @pytest.mark.parametrize(("cut", "more"), [(1, 0), (0, 10_000_000)])
    def test_truncated_and_endless_blobs(self, cut: int, more: int) -> None:
        repository = repository_with(PACKAGE)
        signed = sign_into(repository, SUBJECT)
        for data in (signed.bundle, signed.legacy_payload):
            changed = data[: len(data) - cut] + b" " * more
            repository.blobs[Digest.sha256(data)] = changed
        assert not accepted(repository)

    def test_an_oversized_manifest(self) -> None:
        repository = repository_with(PACKAGE)
        layer = signature_writer.legacy_layer(b"{}", b"x")
        notes = {f"a{i}": "x" * (LIMITS.signature_manifest // 32) for i in range(33)}
        repository.push(layer, io.BytesIO(b"{}"))
        repository.put(
            signature_writer.legacy_manifest((layer,), notes), legacy_tag(SUBJECT.digest)
        )
        assert states(collect(repository, SUBJECT))["sig-tag"] == "failed"


class TestAttach:
    def test_what_was_written(self) -> None:
        repository = repository_with(PACKAGE)
        signed = sign_into(repository, SUBJECT)
        payload = json.loads(signed.legacy_payload)
        assert payload["critical"]["identity"]["docker-reference"] == str(REF)
        assert payload["optional"] == {
            "creator": payload["optional"]["creator"],
            "dev.bpfpack.created": "2026-11-23T12:00:00.000Z",
            "dev.bpfpack.expires": "2027-12-28T12:00:00.000Z",
            "timestamp": 1795435200,
        }
        assert payload["optional"]["creator"].startswith("bpfpack ")
        bundle = json.loads(signed.bundle)
        assert bundle["verificationMaterial"]["publicKey"]["hint"] == key_of("alice").hint

    def test_appended_and_never_replaced(self) -> None:
        repository = repository_with(PACKAGE)
        for name in ("alice", "bob", "carol"):
            sign_into(repository, SUBJECT, name)
        sign_into(repository, SUBJECT, "alice", REF.with_tag("latest"))
        held = repository.resolve(legacy_tag(SUBJECT.digest))
        assert isinstance(held, Manifest)
        assert len(held.layers) == 4
        config = json.loads(repository.blobs[held.config.digest])
        assert len(config["rootfs"]["diff_ids"]) == 4
        for name in ("alice", "bob", "carol"):
            places = collect(repository, SUBJECT)
            admitted(artifact_of(PACKAGE, places), policy_for("ghcr.io", name))

    def test_one_layer_for_one_key_and_payload(self) -> None:
        repository = repository_with(PACKAGE)
        for _ in range(2):
            sign_into(repository, SUBJECT)
        held = repository.resolve(legacy_tag(SUBJECT.digest))
        assert isinstance(held, Manifest)
        assert len(held.layers) == 1

    def test_another_signer_writes_at_the_same_time(self) -> None:
        repository, tag = repository_with(PACKAGE), legacy_tag(SUBJECT.digest)
        other = MemoryRepository(blobs=repository.blobs, manifests=repository.manifests)
        sign_into(other, SUBJECT, "bob")
        theirs = other.resolve(tag)
        races = [theirs, theirs]

        class Racing(MemoryRepository):
            def put(self, manifest: object, tag_: str | None = None) -> None:
                super().put(manifest, tag_)  # type: ignore[arg-type]
                if tag_ == tag and races:
                    super().put(races.pop(), tag)

        racing = Racing(blobs=repository.blobs, manifests=repository.manifests)
        sign_into(racing, SUBJECT, "alice")
        for name in ("alice", "bob"):
            places = collect(racing, SUBJECT)[2:]
            admitted(artifact_of(PACKAGE, places), policy_for("ghcr.io", name))

    def test_where_tags_have_conditions_nothing_is_overwritten(self) -> None:
        """The other signer writes between our reading and our writing: we read again."""
        repository, tag = repository_with(PACKAGE), legacy_tag(SUBJECT.digest)
        sign_into(repository, SUBJECT, "carol")
        writers = ["bob"]

        class Conditional(MemoryRepository):
            def held(self, name: str) -> Held:
                found = self.resolve(name)
                return Held(content=found, mark=str(found.descriptor.digest))

            def replace(self, content: Manifest | Index, name: str, before: Held) -> bool:
                if writers:
                    sign_into(repository, SUBJECT, writers.pop())
                if before.mark != str(self.names[name]):
                    raise TransportError("someone else was first", status=412)
                super().put(content, name)
                return True

            def wait(self, seconds: float) -> None:
                raise AssertionError("nobody can have come between")

        guarded = Conditional(
            blobs=repository.blobs, manifests=repository.manifests, names=repository.names
        )
        sign_into(guarded, SUBJECT, "alice")
        held = guarded.resolve(tag)
        assert isinstance(held, Manifest)
        assert len(held.layers) == 3
        places = collect(guarded, SUBJECT)[2:]
        for name in ("alice", "bob", "carol"):
            admitted(artifact_of(PACKAGE, places), policy_for("ghcr.io", name))

    def test_always_losing_the_race_is_an_error(self) -> None:
        repository, tag = repository_with(PACKAGE), legacy_tag(SUBJECT.digest)
        theirs = signature_writer.legacy_manifest(())

        class Losing(MemoryRepository):
            def put(self, manifest: object, tag_: str | None = None) -> None:
                super().put(manifest, tag_)  # type: ignore[arg-type]
                if tag_ == tag:
                    super().put(theirs, tag)

        losing = Losing(blobs=repository.blobs, manifests=repository.manifests)
        with pytest.raises(TransportError, match="keep replacing"):
            sign_into(losing, SUBJECT)

    def test_a_sig_tag_that_is_something_else_is_left_alone(self) -> None:
        repository = repository_with(PACKAGE)
        index = build_index(())
        repository.put(index, legacy_tag(SUBJECT.digest))
        with pytest.raises(SpecError):
            sign_into(repository, SUBJECT)
        assert repository.resolve(legacy_tag(SUBJECT.digest)) == index

    @pytest.mark.parametrize("text", ["opensnoop:1.0", "ghcr.io/x/opensnoop"])
    def test_a_name_that_nobody_could_check(self, text: str) -> None:
        with pytest.raises(UsageError) as caught:
            sign(SUBJECT, Reference.parse(text), key_of("alice"), now=NOW)
        assert "--as" in str(caught.value.hint)

    def test_a_digest_that_cosign_cannot_name(self) -> None:
        digest = Digest("sha512", "0" * 128)
        with pytest.raises(SpecError):
            sign(replace(SUBJECT, digest=digest), REF, key_of("alice"), now=NOW)


class TestSignedBy:
    """What `push` asks before it signs again."""

    def ask(self, repository: MemoryRepository, name: str, ref: Reference | None) -> bool:
        places = collect(repository, SUBJECT)
        pem = key_of(name).public_pem
        return signed_by(places, SUBJECT.digest, ref, pem, CHECK, now=NOW)

    def test_by_this_key_under_this_name(self) -> None:
        repository = repository_with(PACKAGE)
        assert not self.ask(repository, "alice", REF)
        sign_into(repository, SUBJECT)
        assert self.ask(repository, "alice", REF)
        assert self.ask(repository, "alice", None)
        assert not self.ask(repository, "bob", REF)
        assert not self.ask(repository, "alice", REF.with_tag("latest"))

    def test_an_expired_one_does_not_count(self) -> None:
        repository = repository_with(PACKAGE)
        sign_into(repository, SUBJECT, lifetime=timedelta(hours=1))
        assert not self.ask(repository, "alice", REF)

    def test_one_form_alone_is_signed_again(self) -> None:
        repository = repository_with(PACKAGE)
        sign_into(repository, SUBJECT)
        del repository.names[legacy_tag(SUBJECT.digest)]
        assert not self.ask(repository, "alice", REF)
        assert self.ask(repository, "alice", None)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_the_local_stores_keep_every_signature(kind: str, tmp_path: Path) -> None:
    """Signing in the store is what `push` carries along."""
    local: MemoryStore | LocalRepository = MemoryStore()
    if kind == "disk":
        local = DiskStore(tmp_path / "store").repository("ghcr.io/x/opensnoop")
    fill(local, PACKAGE, "1.0")
    for name in ("alice", "bob"):
        attach(local, sign(SUBJECT, REF, key_of(name), now=NOW))
    attach(local, sign(SUBJECT, REF.with_tag("2.0"), key_of("alice"), now=NOW))
    places = collect(local, SUBJECT)
    assert [len(place.candidates) for place in places] in ([3, 0, 3], [3, 3, 3])
    for name in ("alice", "bob"):
        admitted(artifact_of(PACKAGE, places), policy_for("ghcr.io", name))
