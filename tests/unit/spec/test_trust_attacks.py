"""Every test is an attack, named for it; each first sees the honest case accepted."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from bpfpack.spec import signature, signature_writer
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import BpfpackError, ContentError, SpecError, TrustError
from bpfpack.spec.manifest import Manifest, build_index, parse
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import Candidate, SignaturePlace
from bpfpack.spec.trust import RemoteArtifact
from bpfpack.spec.value import replace
from tests.kit.signing import (
    NOW,
    REF,
    admitted,
    artifact_of,
    key_of,
    make_package,
    origin_of,
    policy_for,
    signed_artifact,
)

ALICE = policy_for("ghcr.io/x", "alice")
STRICT = pytest.mark.parametrize("form", ["bundle", "legacy"])


def refused(artifact: RemoteArtifact, kind: type[BpfpackError] = TrustError) -> str:
    with pytest.raises(kind) as caught:
        admitted(artifact, ALICE)
    reasons = caught.value.reasons if isinstance(caught.value, TrustError) else ()
    return "\n".join((str(caught.value), *reasons))


def with_candidates(artifact: RemoteArtifact, *candidates: Candidate) -> RemoteArtifact:
    place = SignaturePlace(name="referrers", state="present", candidates=candidates)
    return replace(artifact, places=(place,))


def statement_of(artifact: RemoteArtifact, **changes: Any) -> bytes:
    """A statement as alice makes them, with some members exchanged."""
    digest = artifact.manifest.descriptor.digest
    notes = signature_writer.statement_annotations(REF, NOW, NOW + timedelta(days=400))
    data = json.loads(signature_writer.statement(digest, REF.name, notes))
    return json.dumps({k: v for k, v in {**data, **changes}.items() if v is not ...}).encode()


def payload_of(artifact: RemoteArtifact, **critical: Any) -> bytes:
    digest = artifact.manifest.descriptor.digest
    data = json.loads(signature_writer.legacy_payload(digest, str(REF), None))
    changed = {**data["critical"], **critical}
    data["critical"] = {k: v for k, v in changed.items() if v is not ...}
    return json.dumps(data).encode()


def signed_as(form: str, content: bytes, key: str = "alice") -> Candidate:
    """Content signed well, whatever it says."""
    if form == "legacy":
        return Candidate(form="legacy", signed=content, signature=key_of(key).sign(content))
    encoded = signature.pae(content)
    return Candidate(form="bundle", signed=encoded, signature=key_of(key).sign(encoded))


class TestTamperedContent:
    def test_another_object(self) -> None:
        artifact = signed_artifact()
        admitted(artifact, ALICE)
        refused(replace(artifact, object=b"\x7fELF two"), ContentError)

    def test_a_longer_and_a_shorter_object(self) -> None:
        artifact = signed_artifact()
        refused(replace(artifact, object=artifact.object + b"\0"), ContentError)
        refused(replace(artifact, object=artifact.object[:-1]), ContentError)

    def test_another_config(self) -> None:
        artifact = signed_artifact()
        evil = artifact.config.replace(b"opensnoop", b"opensno0p")
        assert evil != artifact.config
        refused(replace(artifact, config=evil), ContentError)

    def test_a_manifest_that_says_other_things_than_its_bytes(self) -> None:
        """The parsed members are not what is hashed, so they are not what is used."""
        artifact, evil = signed_artifact(), make_package(content=b"\x7fELF evil")
        forged = replace(evil.manifest, raw=artifact.manifest.raw)
        other = artifact_of(evil, artifact.places)
        refused(replace(other, manifest=forged), ContentError)

    def test_another_manifest_under_the_same_signatures(self) -> None:
        evil = make_package(content=b"\x7fELF evil")
        assert "signs other content" in refused(artifact_of(evil, signed_artifact().places))

    def test_an_index_that_does_not_list_it(self) -> None:
        artifact, evil = signed_artifact(), make_package(content=b"\x7fELF evil")
        index = build_index((artifact.manifest.descriptor,))
        refused(replace(artifact_of(evil, artifact.places), index=index), SpecError)

    def test_an_index_whose_parsed_form_lists_more_than_its_bytes(self) -> None:
        artifact, evil = signed_artifact(), make_package(content=b"\x7fELF evil")
        index = build_index((artifact.manifest.descriptor,))
        forged = replace(index, manifests=(evil.manifest.descriptor,))
        refused(replace(artifact_of(evil, artifact.places), index=forged), SpecError)

    def test_an_index_in_place_of_the_manifest(self) -> None:
        artifact = signed_artifact()
        raw = build_index((artifact.manifest.descriptor,)).raw
        refused(replace(artifact, manifest=replace(artifact.manifest, raw=raw)), SpecError)

    def test_a_signed_image_that_is_no_package(self) -> None:
        artifact = signed_artifact()
        raw = artifact.manifest.raw.replace(b"bpfpack.package.v1", b"bpfpack.package.v9")
        found = parse(raw)
        assert isinstance(found, Manifest)
        refused(replace(artifact, manifest=found), SpecError)


class TestTamperedSignature:
    @STRICT
    def test_one_bit(self, form: str) -> None:
        artifact = signed_artifact()
        content = payload_of(artifact) if form == "legacy" else statement_of(artifact)
        good = signed_as(form, content)
        if form == "bundle":
            admitted(with_candidates(artifact, good), ALICE)
        for at in (0, len(good.signature) // 2, len(good.signature) - 1):
            flipped = bytearray(good.signature)
            flipped[at] ^= 1
            assert "unknown key" in refused(
                with_candidates(artifact, replace(good, signature=bytes(flipped)))
            )

    @pytest.mark.parametrize("signature_", [b"", b"\0", b"\x30\x00", b"\xff" * 4096])
    def test_no_signature_at_all(self, signature_: bytes) -> None:
        artifact = signed_artifact()
        good = signed_as("bundle", statement_of(artifact))
        refused(with_candidates(artifact, replace(good, signature=signature_)))

    @STRICT
    def test_by_another_key(self, form: str) -> None:
        artifact = signed_artifact()
        content = payload_of(artifact) if form == "legacy" else statement_of(artifact)
        assert "unknown key" in refused(
            with_candidates(artifact, signed_as(form, content, "mallory"))
        )

    def test_a_hint_that_names_a_trusted_key(self) -> None:
        """No key carried in a message is trusted (GHSA-fx35-mq7g-6g98)."""
        artifact = signed_artifact()
        evil = signed_as("bundle", statement_of(artifact), "mallory")
        refused(with_candidates(artifact, replace(evil, hint=key_of("alice").fingerprint)))

    def test_one_form_passed_off_as_the_other(self) -> None:
        artifact = signed_artifact()
        bundle = signed_as("bundle", statement_of(artifact))
        refused(with_candidates(artifact, replace(bundle, form="legacy")))
        statement = statement_of(artifact)
        bare = Candidate(form="bundle", signed=statement, signature=key_of("alice").sign(statement))
        assert "pre-authentication" in refused(with_candidates(artifact, bare))

    @pytest.mark.parametrize(
        "signed",
        [
            b"DSSEv1 28 application/vnd.in-toto+json 3 {}",
            b"DSSEv1 29 application/vnd.in-toto+json 2 {}",
            b"DSSEv1 16 application/json 2 {}",
            b"DSSEv1 28 application/vnd.in-toto+json 02 {}",
        ],
    )
    def test_an_encoding_with_two_readings(self, signed: bytes) -> None:
        artifact = signed_artifact()
        evil = Candidate(form="bundle", signed=signed, signature=key_of("alice").sign(signed))
        refused(with_candidates(artifact, evil))


class TestOtherMeaning:
    """Signed by the right key, and still no permission to run this under this name."""

    def test_an_attestation(self) -> None:
        """GHSA-w6c6-c85g-mmv6."""
        artifact = signed_artifact()
        for kind in ("https://spdx.dev/Document", "https://slsa.dev/provenance/v1", ""):
            evil = statement_of(artifact, predicateType=kind)
            said = refused(with_candidates(artifact, signed_as("bundle", evil)))
            assert "an attestation, not a signature" in said

    def test_another_kind_of_payload(self) -> None:
        artifact = signed_artifact()
        evil = payload_of(artifact, type="atomic container signature")
        assert "not a signature of an image" in refused(
            with_candidates(artifact, signed_as("legacy", evil))
        )

    @pytest.mark.parametrize("text", ["1.1", "latest"])
    def test_another_tag(self, text: str) -> None:
        artifact = signed_artifact("alice", REF.with_tag(text))
        assert f"was made for ghcr.io/x/opensnoop:{text}, not for the tag 1.0" in refused(artifact)

    @pytest.mark.parametrize(
        "name",
        ["ghcr.io/x/execsnoop:1.0", "ghcr.io/xevil/opensnoop:1.0", "evil.io/x/opensnoop:1.0"],
    )
    def test_another_repository(self, name: str) -> None:
        """Mix and match: a good package under the name of another."""
        assert f"was made for {name}" in refused(signed_artifact("alice", Reference.parse(name)))

    def test_another_repository_by_digest(self) -> None:
        artifact = signed_artifact("alice", Reference.parse("ghcr.io/x/execsnoop:1.0"))
        pinned = REF.with_digest(artifact.manifest.descriptor.digest)
        assert "was made for" in refused(replace(artifact, origin=origin_of(pinned)))

    def test_a_name_that_differs_from_its_annotation(self) -> None:
        artifact = signed_artifact()
        data = json.loads(statement_of(artifact))
        data["subject"][0]["name"] = "ghcr.io/x/other"
        evil = json.dumps(data).encode()
        assert "not in the repository" in refused(
            with_candidates(artifact, signed_as("bundle", evil))
        )

    def test_annotations_of_another_subject(self) -> None:
        """Only the subject whose digest matched says anything."""
        artifact = signed_artifact()
        data = json.loads(statement_of(artifact))
        data["subject"][0]["digest"]["sha256"] = "0" * 64
        own = artifact.manifest.descriptor.digest.encoded
        data["subject"].append({"digest": {"sha256": own}})
        evil = json.dumps(data).encode()
        assert "names no reference" in refused(with_candidates(artifact, signed_as("bundle", evil)))

    def test_the_same_subject_twice(self) -> None:
        artifact = signed_artifact()
        data = json.loads(statement_of(artifact))
        data["subject"] *= 2
        evil = json.dumps(data).encode()
        assert "twice" in refused(with_candidates(artifact, signed_as("bundle", evil)))

    def test_a_cosign_signature_names_nothing(self) -> None:
        artifact = signed_artifact()
        own = artifact.manifest.descriptor.digest.encoded
        bare = statement_of(artifact, subject=[{"digest": {"sha256": own}}], predicate=...)
        candidate = signed_as("bundle", bare)
        assert "names no reference" in refused(with_candidates(artifact, candidate))
        admitted(
            with_candidates(artifact, candidate), policy_for("ghcr.io/x", "alice", unnamed=True)
        )

    def test_a_cosign_payload_names_no_tag(self) -> None:
        artifact = signed_artifact()
        unnamed = policy_for("ghcr.io/x", "alice", unnamed=True)
        bare = payload_of(artifact, identity={"docker-reference": REF.name})
        candidate = signed_as("legacy", bare)
        assert "names no tag" in refused(with_candidates(artifact, candidate))
        admitted(with_candidates(artifact, candidate), unnamed)
        evil = payload_of(artifact, identity={"docker-reference": "ghcr.io/x/execsnoop"})
        with pytest.raises(TrustError):
            admitted(with_candidates(artifact, signed_as("legacy", evil)), unnamed)

    def test_a_reference_pinned_to_other_content(self) -> None:
        artifact = signed_artifact()
        other = f"{REF}@{Digest.sha256(b'other')}"
        evil = payload_of(artifact, identity={"docker-reference": other})
        assert "names other content" in refused(
            with_candidates(artifact, signed_as("legacy", evil))
        )


LEGACY_FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown top level": lambda d: d.update(more=1),
    "unknown in critical": lambda d: d["critical"].update(more=1),
    "unknown in image": lambda d: d["critical"]["image"].update(more=1),
    "unknown in identity": lambda d: d["critical"]["identity"].update(more=1),
    "no critical": lambda d: d.pop("critical"),
    "no type": lambda d: d["critical"].pop("type"),
    "no image": lambda d: d["critical"].pop("image"),
    "no identity": lambda d: d["critical"].pop("identity"),
    "empty reference": lambda d: d["critical"]["identity"].update({"docker-reference": ""}),
    "timestamp is text": lambda d: d.update(optional={"timestamp": "1"}),
    "timestamp is a fraction": lambda d: d.update(optional={"timestamp": 1.5}),
    "timestamp is true": lambda d: d.update(optional={"timestamp": True}),
    "timestamp is out of reach": lambda d: d.update(optional={"timestamp": 2**61}),
    "creator is a number": lambda d: d.update(optional={"creator": 1}),
    "optional is a list": lambda d: d.update(optional=[]),
    "expiry is no time": lambda d: d.update(optional={signature.EXPIRES: "never"}),
    "expiry has no zone": lambda d: d.update(optional={signature.EXPIRES: "2030-01-01T00:00:00"}),
    "expiry is a number": lambda d: d.update(optional={signature.EXPIRES: 1}),
}


class TestMalformedButSigned:
    @pytest.mark.parametrize("fault", LEGACY_FAULTS)
    def test_legacy(self, fault: str) -> None:
        artifact = signed_artifact()
        data = json.loads(payload_of(artifact))
        admitted(
            with_candidates(artifact, signed_as("legacy", json.dumps(data, indent=2).encode())),
            ALICE,
        )
        LEGACY_FAULTS[fault](data)
        refused(with_candidates(artifact, signed_as("legacy", json.dumps(data).encode())))

    @pytest.mark.parametrize(
        "text",
        [
            '{"critical":{"type":"x"},"critical":%s,"optional":null}',
            '{"critical":%s,"Critical":null,"optional":null}',
            '{"critical":%s,"optional":{"x":NaN}}',
            '{"critical":%s,"optional":{"x":' + "[" * 200 + "]" * 200 + "}}",
            '{"critical":%s,"optional":{"x":' + "1" * 5000 + "}}",
            '{"critical":%s,"optional":null} trailing',
            '\ufeff{"critical":%s,"optional":null}',
        ],
    )
    def test_json_with_two_readings(self, text: str) -> None:
        artifact = signed_artifact()
        critical = json.dumps(json.loads(payload_of(artifact))["critical"])
        evil = text.replace("%s", critical).encode()
        refused(with_candidates(artifact, signed_as("legacy", evil)))

    @pytest.mark.parametrize(
        "changes",
        [
            {"_type": "https://in-toto.io/Statement/v2"},
            {"_type": ...},
            {"predicateType": ...},
            {"predicateType": ["https://sigstore.dev/cosign/sign/v1"]},
            {"subject": []},
            {"subject": ...},
            {"subject": [{"digest": {"sha512": "0" * 128}}]},
            {"subject": [{"digest": {"sha256": "A" * 64}}]},
            {"subject": [{"digest": {"sha256": 1}}]},
            {"subject": ["x"]},
        ],
    )
    def test_statement(self, changes: dict[str, Any]) -> None:
        artifact = signed_artifact()
        evil = statement_of(artifact, **changes)
        refused(with_candidates(artifact, signed_as("bundle", evil)))

    def test_an_oversized_payload(self) -> None:
        artifact = signed_artifact()
        evil = payload_of(artifact) + b" " * 65536
        assert "allowed" in refused(with_candidates(artifact, signed_as("legacy", evil)))


class TestReadersAcceptWhatCosignDoes:
    def test_older_and_richer_statements(self) -> None:
        artifact = signed_artifact()
        own = json.loads(statement_of(artifact))["subject"]
        other = {"name": "other", "digest": {"sha256": "0" * 64}}
        for changes in (
            {"_type": "https://in-toto.io/Statement/v0.1"},
            {"predicate": ...},
            {"predicate": {"x": 1}},
            {"subject": [other, *own]},
            {"extra": "ignored"},
        ):
            good = signed_as("bundle", statement_of(artifact, **changes))
            admitted(with_candidates(artifact, good), ALICE)

    def test_docker_hub_has_two_names(self) -> None:
        name = Reference.parse("docker.io/x/opensnoop:1.0")
        artifact = replace(signed_artifact("alice", name), origin=origin_of(name))
        old = payload_of(artifact, identity={"docker-reference": f"index.{name}"})
        admitted(
            with_candidates(artifact, signed_as("legacy", old)),
            policy_for("index.docker.io/x", "alice"),
        )


BUNDLE = json.loads(signature_writer.bundle(b"{}", b"sig", key_of("alice").hint))
BUNDLE_FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown field": lambda d: d.update(more=1),
    "keyid": lambda d: d["dsseEnvelope"]["signatures"][0].update(keyid=""),
    "two signatures": lambda d: d["dsseEnvelope"].update(
        signatures=d["dsseEnvelope"]["signatures"] * 2
    ),
    "no signature": lambda d: d["dsseEnvelope"].update(signatures=[]),
    "another payload type": lambda d: d["dsseEnvelope"].update(payloadType="text/plain"),
    "unknown in envelope": lambda d: d["dsseEnvelope"].update(more=1),
    "payload is not base64": lambda d: d["dsseEnvelope"].update(payload="é"),
    "payload is a number": lambda d: d["dsseEnvelope"].update(payload=1),
    "no envelope": lambda d: d.pop("dsseEnvelope"),
    "no key": lambda d: d["verificationMaterial"].pop("publicKey"),
    "a certificate": lambda d: d["verificationMaterial"].update(certificate={"rawBytes": ""}),
    "version 0.9": lambda d: d.update(mediaType="application/vnd.dev.sigstore.bundle.v0.9+json"),
}


class TestBundleReader:
    @pytest.mark.parametrize("fault", BUNDLE_FAULTS)
    def test_refused(self, fault: str) -> None:
        data = json.loads(json.dumps(BUNDLE))
        signature.candidate_from_bundle(json.dumps(data).encode())
        BUNDLE_FAULTS[fault](data)
        with pytest.raises(SpecError):
            signature.candidate_from_bundle(json.dumps(data).encode())

    def test_every_spelling_that_cosign_reads(self) -> None:
        data = json.loads(json.dumps(BUNDLE))
        payload = b"\xfb\xff{}"
        for text in (
            base64.b64encode(payload).decode(),
            base64.urlsafe_b64encode(payload).decode(),
            base64.urlsafe_b64encode(payload).decode().rstrip("="),
        ):
            data["dsseEnvelope"]["payload"] = text
            for hint in ("", "any text", key_of("alice").hint):
                data["verificationMaterial"]["publicKey"] = {"hint": hint}
                raw = json.dumps(data, indent=4).encode()
                assert signature.candidate_from_bundle(raw).signed == signature.pae(payload)
        data["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.3"
        data["verificationMaterial"]["tlogEntries"] = []
        signature.candidate_from_bundle(json.dumps(data).encode())

    def test_a_layer_without_a_usable_signature(self) -> None:
        layer = signature_writer.legacy_layer(b"{}", b"sig")
        signature.candidate_from_layer(layer, b"{}")
        for notes in ({}, {signature.LAYER_SIGNATURE: "é"}, {signature.LAYER_SIGNATURE: "A"}):
            bad = Descriptor(
                media_type=layer.media_type, digest=layer.digest, size=2, annotations=notes
            )
            with pytest.raises(SpecError):
                signature.candidate_from_layer(bad, b"{}")
