"""What `admit` accepts, whose words it uses when it does not, and what it remembers."""

import copy
import pickle
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from bpfpack.registry.trust.collect import collect
from bpfpack.spec.descriptor import Platform
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import ContentError, SpecError, TrustError
from bpfpack.spec.manifest import build_index
from bpfpack.spec.origin import Origin, OriginKind
from bpfpack.spec.policy import Invoker, Key, Policy
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import Candidate, SignaturePlace, host_statement
from bpfpack.spec.trust import InsecureSkip, Mark, RemoteArtifact, VerifiedArtifact, judge
from bpfpack.spec.value import names, replace
from tests.kit.signing import (
    CHECK,
    NOW,
    REF,
    MemoryMarks,
    admitted,
    artifact_of,
    key_of,
    make_package,
    origin_of,
    policy_for,
    repository_with,
    sign_into,
    signed_artifact,
)

ALICE = policy_for("ghcr.io/x", "alice")


def host_place(digest: Digest, name: str = "host") -> SignaturePlace:
    signed = host_statement(digest)
    candidate = Candidate(form="host", signed=signed, signature=key_of(name).sign(signed))
    return SignaturePlace(name="host", state="present", candidates=(candidate,))


def refused(*args: object, **options: object) -> TrustError:
    with pytest.raises(TrustError) as caught:
        admitted(*args, **options)  # type: ignore[arg-type]
    return caught.value


class TestAccepted:
    def test_signed_by_a_trusted_key(self) -> None:
        artifact = signed_artifact()
        refused(replace(artifact, places=()), ALICE)  # and not without the signature
        verified = admitted(artifact, ALICE)
        assert verified.object == artifact.object
        assert verified.digest == artifact.manifest.descriptor.digest
        assert [s.name for s in verified.signers] == ["alice"]
        assert verified.policy == "ghcr.io/x in policy.toml"
        assert (verified.insecure, verified.warnings) == (False, ())

    @pytest.mark.parametrize("form", ["bundle", "legacy"])
    def test_either_form_suffices(self, form: str) -> None:
        artifact = signed_artifact()
        places = tuple(
            replace(p, candidates=tuple(c for c in p.candidates if c.form == form))
            for p in artifact.places
        )
        verified = admitted(replace(artifact, places=places), ALICE)
        assert verified.signers[0].form == form

    def test_the_mark_is_the_newest_signature_of_the_tag(self) -> None:
        package = make_package()
        repository = repository_with(package)
        for days in (3, 1, 2):
            sign_into(repository, package.manifest.descriptor, now=NOW - timedelta(days=days))
        places = collect(repository, package.manifest.descriptor)
        verified = admitted(artifact_of(package, places), ALICE)
        assert verified.mark == Mark(
            repository="ghcr.io/x/opensnoop",
            tag="1.0",
            created=NOW - timedelta(days=1),
            digest=package.manifest.descriptor.digest,
        )

    def test_by_digest_any_tag_of_the_repository_will_do(self) -> None:
        artifact = signed_artifact()
        pinned = REF.with_tag("latest").with_digest(artifact.manifest.descriptor.digest)
        verified = admitted(replace(artifact, origin=origin_of(pinned)), ALICE)
        assert verified.mark is None

    def test_one_good_among_many_bad(self) -> None:
        artifact = signed_artifact()
        junk = tuple(
            Candidate(form="bundle", signed=b"DSSEv1 1 t 0 ", signature=bytes([i]))
            for i in range(200)
        )
        broken = SignaturePlace(name="referrers", state="failed", reason="429", candidates=junk)
        admitted(replace(artifact, places=(broken, *artifact.places)), ALICE)

    def test_a_child_through_its_signed_index(self) -> None:
        package = make_package()
        child = replace(
            package.manifest.descriptor, platform=Platform(os="linux", architecture="amd64")
        )
        index = build_index((child,))
        repository = repository_with(package)
        repository.put(index, "1.0")
        sign_into(repository, index.descriptor)
        places = collect(repository, index.descriptor)
        verified = admitted(artifact_of(package, places, index=index), ALICE)
        assert verified.mark
        assert verified.mark.digest == index.descriptor.digest

    def test_a_copy_under_another_name_when_the_rule_says_so(self) -> None:
        mirrored = Reference.parse("mirror.corp/oss/x/opensnoop:1.0")
        artifact = replace(signed_artifact(), origin=origin_of(mirrored))
        plain = policy_for("mirror.corp/oss", "alice")
        error = refused(artifact, plain)
        assert "was made for ghcr.io/x/opensnoop:1.0" in str(error)
        assert "--signed-as" in str(error.hint)
        admitted(artifact, policy_for("mirror.corp/oss", "alice", signed_as="ghcr.io"))
        refused(artifact, policy_for("mirror.corp/oss", "alice", signed_as="ghcr.io/evil"))


class TestByDigest:
    """A reference by digest names that content, whoever signed what came instead."""

    def artifact(self, digest: Digest) -> RemoteArtifact:
        return replace(signed_artifact(), origin=origin_of(REF.with_digest(digest)))

    def test_the_manifest(self) -> None:
        raw = signed_artifact().manifest.raw
        admitted(self.artifact(Digest.sha256(raw)), ALICE)
        admitted(self.artifact(Digest("sha512", "0" * 128).of(raw)), ALICE)

    def test_the_index_that_lists_it(self) -> None:
        package = make_package()
        index = build_index((package.manifest.descriptor,))
        found = artifact_of(package, signed_artifact().places, index=index)
        pinned = origin_of(REF.with_digest(index.descriptor.digest))
        admitted(replace(found, origin=pinned), ALICE)

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    def test_other_content_is_refused_though_signed(self, algorithm: str) -> None:
        length = {"sha256": 64, "sha512": 128}[algorithm]
        other = Digest(algorithm, "0" * length).of(b"newer")
        skip = InsecureSkip(reason="the user wants it")
        warns = policy_for("ghcr.io/x", "alice", level="warn")
        for policy in (ALICE, warns, Policy(problem="unreadable")):
            for options in ({}, {"skip": skip}, {"allow_downgrade": True}):
                with pytest.raises(SpecError, match="names other content"):
                    admitted(self.artifact(other), policy, **options)


class TestRefusedInWords:
    def test_no_rule(self) -> None:
        error = refused(signed_artifact(), Policy())
        assert "no rule covers it" in str(error)
        assert key_of("alice").fingerprint in str(error)
        assert error.hint == "bpfpack trust add ghcr.io/x --key x.pub"

    def test_a_key_that_is_trusted_elsewhere_only(self) -> None:
        policy = Policy(
            scopes={
                **ALICE.scopes,
                **policy_for("ghcr.io/x/opensnoop", "bob").scopes,
            }
        )
        error = refused(signed_artifact(), policy)
        assert "alice (SHA256:" in str(error)
        assert "trusted for ghcr.io/x and not here" in str(error)
        assert error.hint == "bpfpack trust add ghcr.io/x/opensnoop --key x.pub"

    def test_unsigned_is_not_could_not_look(self) -> None:
        artifact = signed_artifact()
        absent = (SignaturePlace(name="sig-tag", state="absent"),)
        assert "is not signed" in str(refused(replace(artifact, places=absent), ALICE))
        failed = (
            SignaturePlace(name="referrers", state="failed", reason="429 Too Many Requests"),
            *absent,
        )
        error = refused(replace(artifact, places=failed), ALICE)
        assert "could not look" in str(error)
        assert "429" in str(error)
        assert "not signed" not in str(error)

    def test_every_reason_is_kept(self) -> None:
        error = refused(signed_artifact("mallory"), ALICE)
        assert len(error.reasons) == 2
        assert all("by an unknown key" in reason for reason in error.reasons)

    def test_a_broken_policy_denies_even_what_is_signed(self) -> None:
        artifact = signed_artifact()
        host = host_place(artifact.manifest.descriptor.digest)
        error = refused(
            replace(artifact, places=(*artifact.places, host)),
            Policy.deny_all("/etc/bpfpack/policy.toml: unknown field in 'x'"),
            host_key=key_of("host").public_pem,
        )
        assert "unknown field" in str(error)

    def test_an_unusable_key_in_the_rule_denies(self) -> None:
        der = "MAA="
        pem = f"-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n"
        policy = Policy.from_dict(
            {"version": 1, "scopes": {"ghcr.io/x": {"keys": [{"name": "bad", "pem": pem}]}}}
        )
        assert "cannot be used" in str(refused(signed_artifact(), policy))

    def test_a_bare_name_says_how_it_could_run(self) -> None:
        bare = Reference.parse("opensnoop:latest")
        origin = Origin(kind="store", reference=bare, location="opensnoop:latest")
        for places in (signed_artifact().places, ()):
            error = refused(replace(signed_artifact(), origin=origin, places=places), ALICE)
            assert "use the full name" in str(error.hint)

    @pytest.mark.parametrize(
        ("origin", "hint"),
        [
            (
                origin_of(),
                "its owner signs it: bpfpack sign ghcr.io/x/opensnoop:1.0; then here: "
                "bpfpack trust add ghcr.io/x --key x.pub",
            ),
            (
                origin_of(Reference.parse("h.io/opensnoop:1")),
                "its owner signs it: bpfpack sign "
                "h.io/opensnoop:1; then here: bpfpack trust add h.io/opensnoop --key x.pub",
            ),
            (
                Origin(kind="file", reference=None, location="/tmp/x.tar"),
                "its owner signs it "
                "before saving it; then here: bpfpack trust add file: --key x.pub",
            ),
            (
                Origin(kind="https", reference=None, location="https://h.io/r/x.tar?y"),
                "its owner signs it before saving it; then here: "
                "bpfpack trust add https://h.io/r --key x.pub",
            ),
            (Origin(kind="source", reference=None, location="/home/u/x.bpf.c"), None),
        ],
    )
    def test_unsigned_says_what_to_type(self, origin: Origin, hint: str | None) -> None:
        error = refused(replace(signed_artifact(), origin=origin, places=()), Policy())
        assert error.hint == hint


class TestTimes:
    def test_expired_at_the_very_moment(self) -> None:
        artifact = signed_artifact()
        end = NOW - timedelta(days=1) + timedelta(days=400)
        admitted(artifact, ALICE, now=end - timedelta(milliseconds=1))
        error = refused(artifact, ALICE, now=end)
        assert "expired on 2027-12-28T12:00:00.000Z" in str(error)
        assert error.hint == "its owner signs it again: bpfpack sign ghcr.io/x/opensnoop:1.0"

    def test_made_in_the_future(self) -> None:
        artifact = signed_artifact()
        made = NOW - timedelta(days=1)
        admitted(artifact, ALICE, now=made - timedelta(hours=24))
        error = refused(artifact, ALICE, now=made - timedelta(hours=24, milliseconds=1))
        assert "made in the future" in str(error)

    def test_older_than_max_age(self) -> None:
        policy = policy_for("ghcr.io/x", "alice", max_age="1d")
        admitted(signed_artifact(), policy, now=NOW)
        error = refused(signed_artifact(), policy, now=NOW + timedelta(seconds=1))
        assert "older than max_age" in str(error)

    @pytest.mark.parametrize(
        "window", [{"not_before": NOW + timedelta(seconds=1)}, {"not_after": NOW}]
    )
    def test_outside_the_window_of_the_key(self, window: Mapping[str, object]) -> None:
        entry = {"name": "alice", "pem": key_of("alice").public_pem, **window}
        policy = Policy.from_dict({"version": 1, "scopes": {"ghcr.io/x": {"keys": [entry]}}})
        assert "is not valid" in str(refused(signed_artifact(), policy))


class TestRollback:
    def mark(self, days: int, digest: Digest) -> MemoryMarks:
        marks = MemoryMarks()
        created = NOW - timedelta(days=days)
        marks.record(
            Mark(repository="ghcr.io/x/opensnoop", tag="1.0", created=created, digest=digest)
        )
        return marks

    def test_an_older_release_of_the_tag(self) -> None:
        artifact, other = signed_artifact(), Digest.sha256(b"newer")
        error = refused(artifact, ALICE, marks=self.mark(0, other))
        assert "older than the one" in str(error)
        assert "--allow-downgrade ghcr.io/x/opensnoop:1.0" in str(error.hint)
        verified = admitted(artifact, ALICE, marks=self.mark(0, other), allow_downgrade=True)
        assert verified.mark

    def test_a_newer_release_of_the_tag(self) -> None:
        admitted(signed_artifact(), ALICE, marks=self.mark(2, Digest.sha256(b"older")))

    def test_an_older_signature_of_the_same_content(self) -> None:
        artifact = signed_artifact()
        admitted(artifact, ALICE, marks=self.mark(0, artifact.manifest.descriptor.digest))

    def test_another_tag_has_its_own_mark(self) -> None:
        later = REF.with_tag("2.0")
        artifact = replace(signed_artifact("alice", later), origin=origin_of(later))
        admitted(artifact, ALICE, marks=self.mark(0, Digest.sha256(b"newer")))

    def latest(self, *, implicit: bool = True, version: str | None = None) -> RemoteArtifact:
        """An old ``latest``, signed yesterday under that very name."""
        latest = REF.with_tag("latest")
        origin = replace(origin_of(latest), implicit=implicit)
        return replace(signed_artifact("alice", latest, version=version), origin=origin)

    def test_an_old_latest_that_nobody_typed(self) -> None:
        """This host accepted 1.0 today: yesterday's ``latest`` is no default any more."""
        marks = self.mark(0, Digest.sha256(b"newer"))
        error = refused(self.latest(), ALICE, marks=marks)
        assert "accepted before for 1.0" in str(error)
        assert "--allow-downgrade" in str(error.hint)
        admitted(self.latest(implicit=False), ALICE, marks=marks)
        admitted(self.latest(), ALICE, marks=marks, allow_downgrade=True)

    def test_a_latest_that_is_new_or_the_same_content(self) -> None:
        same = self.latest().manifest.descriptor.digest
        for marks in (MemoryMarks(), self.mark(2, Digest.sha256(b"older")), self.mark(0, same)):
            admitted(self.latest(), ALICE, marks=marks)

    @pytest.mark.parametrize("version", ["1.0", "v1.0.0", "2"])
    def test_an_older_branch_holds_no_latest_of_a_higher_version_back(self, version: str) -> None:
        """This host ran 1.0 by name, which was signed after ``latest``."""
        marks = self.mark(0, Digest.sha256(b"newer"))
        admitted(self.latest(version=version), ALICE, marks=marks)

    @pytest.mark.parametrize("version", ["0.9", "2-rc.1", "nightly"])
    def test_a_lower_version_or_none_is_held_back(self, version: str) -> None:
        marks = self.mark(0, Digest.sha256(b"newer"))
        assert "accepted before for 1.0" in str(
            refused(self.latest(version=version), ALICE, marks=marks)
        )

    def test_no_version_excuses_a_latest_that_is_older_than_the_last(self) -> None:
        newest = Mark(
            repository="ghcr.io/x/opensnoop",
            tag="latest",
            created=NOW,
            digest=Digest.sha256(b"newer"),
        )
        marks = MemoryMarks()
        marks.record(newest)
        assert "accepted before for latest" in str(
            refused(self.latest(version="9.0"), ALICE, marks=marks)
        )

    def test_an_implicit_release_is_held_against_its_own_tag(self) -> None:
        origin = replace(origin_of(), implicit=True)
        marks = self.mark(2, Digest.sha256(b"older"))
        newest = Mark(
            repository="ghcr.io/x/opensnoop", tag="0.9", created=NOW, digest=Digest.sha256(b"fix")
        )
        marks.record(newest)
        admitted(replace(signed_artifact(), origin=origin), ALICE, marks=marks)

    @pytest.mark.parametrize("name", ["ghcr.io/x/opensnoop:1.0", "GHCR.IO/x/opensnoop:1.0"])
    def test_an_implicit_release_is_not_below_one_that_was_accepted(self, name: str) -> None:
        """By its number: the mark of 1.1 is of before."""
        typed = origin_of(Reference.parse(name))
        artifact = replace(signed_artifact(), origin=replace(typed, implicit=True))
        marks = MemoryMarks()
        marks.record(
            Mark(
                repository="ghcr.io/x/opensnoop",
                tag="1.1",
                created=NOW - timedelta(days=9),
                digest=Digest.sha256(b"higher"),
            )
        )
        error = refused(artifact, ALICE, marks=marks)
        assert "1.0 is the newest to be had, but this host has accepted 1.1" in str(error)
        assert "below 1.1" in error.reasons[0]
        admitted(artifact, ALICE, marks=marks, allow_downgrade=True)
        admitted(replace(artifact, origin=typed), ALICE, marks=marks)

    def test_the_host_in_capitals_is_the_same_repository(self) -> None:
        artifact = signed_artifact()
        loud = origin_of(Reference.parse("GHCR.IO/x/opensnoop:1.0"))
        marks = self.mark(0, Digest.sha256(b"newer"))
        assert "older" in str(refused(replace(artifact, origin=loud), ALICE, marks=marks))


class TestHostKey:
    PEM = key_of("host").public_pem

    def artifact(self, origin: Origin, signer: str = "host") -> tuple[object, ...]:
        package = make_package()
        place = host_place(package.manifest.descriptor.digest, signer)
        return (artifact_of(package, (place,), origin=origin),)

    def test_no_key_is_offered_for_what_no_key_signed(self) -> None:
        archive = Origin(kind="file", reference=None, location="/tmp/x.tar")
        (artifact,) = self.artifact(archive)
        signs = "its owner signs it before saving it"
        error = refused(artifact, Policy(), host_key=self.PEM)
        assert "is never built here" in str(error)
        assert error.hint == f"{signs}; then here: bpfpack trust add file: --key x.pub"
        files = policy_for("file:", "alice")
        error = refused(artifact, files, host_key=self.PEM)
        assert "is never built here" in str(error) and error.hint == signs
        (artifact,) = self.artifact(origin_of(), "mallory")
        error = refused(artifact, policy_for("ghcr.io/y", "alice"), host_key=self.PEM)
        assert "is not by the key of this host" in str(error)
        assert str(error.hint).startswith("its owner signs it: bpfpack sign ghcr.io/x/opensnoop")

    def test_what_was_built_here_runs_where_no_scope_covers_it(self) -> None:
        for text in ("opensnoop:latest", "ghcr.io/me/opensnoop:1.0"):
            origin = Origin(kind="store", reference=Reference.parse(text), location=text)
            (artifact,) = self.artifact(origin)
            verified = admitted(artifact, ALICE, host_key=self.PEM)  # type: ignore[arg-type]
            assert verified.signers[0].name == "this host"
            assert verified.mark is None
        source = Origin(kind="source", reference=None, location="/home/u/x.bpf.c")
        (artifact,) = self.artifact(source)
        admitted(artifact, Policy(), host_key=self.PEM)  # type: ignore[arg-type]

    def test_a_scope_that_covers_it_must_list_the_host(self) -> None:
        (artifact,) = self.artifact(origin_of())
        error = refused(artifact, ALICE, host_key=self.PEM)
        assert "is of this host, which the rule ghcr.io/x does not list" in str(error)
        assert error.hint == (
            "bpfpack sign ghcr.io/x/opensnoop:1.0\n"
            "or, for all that is built here: bpfpack trust add ghcr.io/x --host"
        )
        keys = [{"host": True}]
        listed = Policy.from_dict({"version": 1, "scopes": {"ghcr.io/x": {"keys": keys}}})
        admitted(artifact, listed, host_key=self.PEM)  # type: ignore[arg-type]

    @pytest.mark.parametrize("kind", ["file", "https", "stdin"])
    def test_what_came_from_elsewhere_was_never_built_here(self, kind: OriginKind) -> None:
        where = "https://h.io/x.tar" if kind == "https" else "/tmp/x.tar"
        (artifact,) = self.artifact(Origin(kind=kind, reference=None, location=where))
        assert "never built here" in str(refused(artifact, Policy(), host_key=self.PEM))

    def test_a_copied_store_brings_no_endorsement_of_this_host(self) -> None:
        (artifact,) = self.artifact(origin_of(), "another host")
        assert "not by the key of this host" in str(refused(artifact, Policy(), host_key=self.PEM))
        refused(artifact, Policy(), host_key=None)

    def test_an_endorsement_of_other_content(self) -> None:
        package = make_package()
        place = host_place(Digest.sha256(b"other"))
        artifact = artifact_of(package, (place,))
        assert "endorses other content" in str(refused(artifact, Policy(), host_key=self.PEM))

    def test_the_host_key_cannot_sign_a_release(self) -> None:
        """Another form by the same key counts for nothing."""
        refused(signed_artifact("host"), Policy(), host_key=self.PEM)


class TestTransports:
    def at(self, kind: OriginKind, location: str, reference: Reference | None = None) -> Origin:
        return Origin(kind=kind, reference=reference, location=location)

    @pytest.mark.parametrize(
        ("scope", "kind", "location"),
        [
            ("file:", "file", "/srv/x.tar"),
            ("file:/srv", "file", "/srv/x.tar"),
            ("https://h.io/rel", "https", "https://h.io/rel/x.tar?sig=1"),
            ("stdin:", "stdin", "-"),
        ],
    )
    def test_a_rule_must_cover_the_transport(
        self, scope: str, kind: OriginKind, location: str
    ) -> None:
        artifact = replace(signed_artifact(), origin=self.at(kind, location))
        refused(artifact, ALICE)
        admitted(artifact, policy_for(scope, "alice"))
        refused(artifact, policy_for(scope, "bob"))

    def test_the_names_inside_can_be_limited(self) -> None:
        artifact = replace(signed_artifact(), origin=self.at("file", "/srv/x.tar"))
        admitted(artifact, policy_for("file:", "alice", signed_as="ghcr.io/x"))
        error = refused(artifact, policy_for("file:", "alice", signed_as="ghcr.io/xevil"))
        assert "not for ghcr.io/xevil" in str(error)

    def test_with_a_reference_to_check_it_is_checked_in_full(self) -> None:
        artifact = signed_artifact()
        admitted(replace(artifact, origin=self.at("file", "/srv/x.tar", REF)), ALICE)
        other = REF.with_tag("2.0")
        error = refused(replace(artifact, origin=self.at("file", "/srv/x.tar", other)), ALICE)
        assert "not for the tag 2.0" in str(error)

    def test_a_key_on_the_command_line_covers_everything(self) -> None:
        policy = Policy.only_key(Key(name="x.pub", pem=key_of("alice").public_pem))
        admitted(replace(signed_artifact(), origin=self.at("stdin", "-")), policy)
        refused(signed_artifact("mallory"), policy)


class TestWarnAndSkip:
    def test_level_warn_admits_and_says_what_is_wrong(self) -> None:
        policy = policy_for("ghcr.io/x", "bob", level="warn")
        verified = admitted(signed_artifact(), policy)
        assert (verified.signers, verified.mark, verified.insecure) == ((), None, False)
        assert any("unknown key" in warning for warning in verified.warnings)

    def test_skipping_is_recorded(self) -> None:
        skip = InsecureSkip(reason="--insecure-skip-verify")
        verified = admitted(signed_artifact("mallory"), ALICE, skip=skip)
        assert verified.insecure
        assert verified.policy == "--insecure-skip-verify"
        assert verified.mark is None
        assert verified.warnings

    def test_skipping_also_skips_what_cannot_be_judged(self) -> None:
        class Unreadable:
            def newest(self, repository: str, tag: str | None = None) -> Mark | None:
                raise TrustError(f"cannot tell what was accepted of {repository}:{tag}")

            def tags(self, repository: str) -> tuple[str, ...]:
                raise TrustError(f"cannot tell what was accepted of {repository}")

        refused(signed_artifact(), ALICE, marks=Unreadable())
        skip = InsecureSkip(reason="--insecure-skip-verify")
        verified = admitted(signed_artifact(), ALICE, marks=Unreadable(), skip=skip)
        assert "cannot tell" in verified.warnings[0]

    def test_skipping_never_takes_other_bytes(self) -> None:
        skip = InsecureSkip(reason="--insecure-skip-verify")
        with pytest.raises(ContentError):
            admitted(replace(signed_artifact(), object=b"evil"), ALICE, skip=skip)

    def test_judge_tells_scope_verdicts_and_the_next_step(self) -> None:
        artifact = signed_artifact("mallory")
        said = judge(artifact.evidence, ALICE, CHECK, now=NOW, marks=MemoryMarks())
        assert not said.accepted
        assert said.scope
        assert said.scope.name == "ghcr.io/x"
        assert {v.candidate.form for v in said.verdicts} == {"bundle", "legacy"}
        assert said.hint == "bpfpack trust add ghcr.io/x --key x.pub"
        assert str(said.error()) == said.reason


class TestOnlyAdmitMakesOne:
    def test_no_copy_pickle_or_replacement(self) -> None:
        verified = admitted(signed_artifact(), ALICE)
        for make in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TrustError):
                make(verified)
        with pytest.raises(TrustError):
            replace(verified, object=b"\x7fELF evil")
        with pytest.raises(TrustError):
            VerifiedArtifact(**{name: getattr(verified, name) for name in names(VerifiedArtifact)})

    def test_no_other_maker(self) -> None:
        verified = admitted(signed_artifact(), ALICE)
        parts = {
            name: getattr(verified, name) for name in names(VerifiedArtifact) if name != "seal"
        }
        with pytest.raises(TrustError, match="only `admit`"):
            VerifiedArtifact(seal=object(), **parts)  # type: ignore[arg-type]


class TestBuildsOfACaller:
    """What the user who called sudo built counts if root's policy has that user's key."""

    ALICE = Invoker(uid=1000, name="alice")
    BARE = Origin(kind="store", reference=Reference.parse("tool:1"), location="tool:1")

    def artifact(self, signer: str, origin: Origin = BARE) -> RemoteArtifact:
        package = make_package()
        found = host_place(package.manifest.descriptor.digest, signer)
        return artifact_of(package, (replace(found, name="user"),), origin=origin)

    def policy(self, key: str = "alice's host", **rule: Any) -> Policy:
        entry = {"uid": 1000, "user": "alice", "pem": key_of(key).public_pem}
        scopes = {"ghcr.io/x": rule} if rule else {}
        data = {"version": 1, "trust-local-builds": [entry], "scopes": scopes}
        return Policy.from_dict(data)

    def test_they_count(self) -> None:
        artifact = self.artifact("alice's host")
        verified = admitted(artifact, self.policy(), invoker=self.ALICE)
        assert verified.signers[0].name == "builds of alice (uid 1000)"

    def test_not_without_the_entry_or_the_user(self) -> None:
        artifact = self.artifact("alice's host")
        pem = key_of("alice's host").public_pem
        error = refused(artifact, Policy(), invoker=self.ALICE, host_key=pem)
        assert "whose builds do not count for root" in str(error)
        assert error.hint == "sudo bpfpack trust add --local-builds alice"
        refused(artifact, self.policy())
        refused(artifact, self.policy(), invoker=Invoker(uid=1001, name="mallory"))

    def test_not_by_another_key(self) -> None:
        for signer in ("mallory", "host"):
            artifact = self.artifact(signer)
            pem = key_of("host").public_pem
            error = refused(artifact, self.policy(), invoker=self.ALICE, host_key=pem)
            assert "is not by the key of alice" in str(error)

    def test_not_as_a_signature_of_this_host(self) -> None:
        """The record of the one place says nothing in the other."""
        package = make_package()
        digest = package.manifest.descriptor.digest
        artifact = artifact_of(package, (host_place(digest, "alice's host"),), origin=self.BARE)
        refused(artifact, self.policy(), invoker=self.ALICE)

    def test_a_scope_that_covers_it_must_list_the_host(self) -> None:
        artifact = self.artifact("alice's host", origin_of())
        keyed = self.policy(keys=[{"name": "a", "pem": key_of("a").public_pem}])
        assert "does not list" in str(refused(artifact, keyed, invoker=self.ALICE))
        admitted(artifact, self.policy(keys=[{"host": True}]), invoker=self.ALICE)
