"""Attacks inside a signature: keys, certificates, logs and forms passed off as others.

`tests/unit/spec/test_trust_attacks.py` has the rest of what a payload can say.
"""

import base64
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from bpfpack.registry.trust.collect import collect
from bpfpack.spec import mediatypes, signature, signature_writer
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import TrustError
from bpfpack.spec.manifest import Manifest, parse
from bpfpack.spec.policy import Key, Policy
from bpfpack.spec.signature import Candidate, SignaturePlace
from bpfpack.spec.trust import Mark, RemoteArtifact
from bpfpack.spec.value import replace
from tests.kit.signing import (
    NOW,
    REF,
    MemoryMarks,
    MemoryRepository,
    admitted,
    artifact_of,
    key_of,
    make_package,
    policy_for,
    repository_with,
    sign_into,
    signed_artifact,
)

ALICE = policy_for("ghcr.io/x", "alice")
PACKAGE = make_package()
SUBJECT = PACKAGE.manifest.descriptor


def refused(
    artifact: RemoteArtifact, policy: Policy = ALICE, marks: MemoryMarks | None = None
) -> str:
    with pytest.raises(TrustError) as caught:
        admitted(artifact, policy, marks=marks or MemoryMarks())
    return " ".join((str(caught.value), *caught.value.reasons))


def found(repository: MemoryRepository) -> RemoteArtifact:
    return artifact_of(PACKAGE, collect(repository, SUBJECT))


def put(repository: MemoryRepository, manifest: Manifest, *blobs: bytes, tag: str | None) -> None:
    for blob in blobs:
        repository.blobs[Digest.sha256(blob)] = blob
    repository.put(manifest, tag)


def manifest_of(data: dict[str, object]) -> Manifest:
    parsed = parse(json.dumps(data).encode())
    assert isinstance(parsed, Manifest)
    return parsed


def with_candidates(*candidates: Candidate) -> RemoteArtifact:
    place = SignaturePlace(name="referrers", state="present", candidates=candidates)
    return artifact_of(PACKAGE, (place,))


def payload() -> bytes:
    return signature_writer.legacy_payload(SUBJECT.digest, str(REF), None)


class TestKeysInMessages:
    """R11, GHSA-fx35-mq7g-6g98: nothing that a message brings along is a key."""

    @pytest.mark.parametrize("annotation", ["certificate", "chain", "bundle", "rfc3161timestamp"])
    def test_a_certificate_beside_a_legacy_signature(self, annotation: str) -> None:
        evil = payload()
        note = {f"dev.sigstore.cosign/{annotation}": key_of("mallory").public_pem}
        layer = signature_writer.legacy_layer(evil, key_of("mallory").sign(evil))
        layer = replace(layer, annotations={**layer.annotations, **note})
        manifest = signature_writer.legacy_manifest((layer,))
        repository = repository_with(PACKAGE)
        put(repository, manifest, evil, tag=signature.legacy_tag(SUBJECT.digest))
        assert "unknown key" in refused(found(repository))

    def test_a_certificate_beside_a_good_signature_does_no_harm(self) -> None:
        good = payload()
        layer = signature_writer.legacy_layer(good, key_of("alice").sign(good))
        note = {"dev.sigstore.cosign/certificate": key_of("mallory").public_pem}
        layer = replace(layer, annotations={**layer.annotations, **note})
        repository = repository_with(PACKAGE)
        manifest = signature_writer.legacy_manifest((layer,))
        put(repository, manifest, good, tag=signature.legacy_tag(SUBJECT.digest))
        admitted(found(repository), ALICE)

    @pytest.mark.parametrize("member", ["certificate", "x509CertificateChain"])
    def test_a_certificate_in_the_place_of_the_key(self, member: str) -> None:
        said = self.bundle_refused(verificationMaterial={member: {"rawBytes": "MAA="}})
        assert "verificationMaterial" in said

    def test_a_whole_key_in_the_place_of_its_hint(self) -> None:
        key = {"hint": key_of("mallory").hint, "rawBytes": "MAA="}
        assert "rawBytes" in self.bundle_refused(verificationMaterial={"publicKey": key})

    def bundle_refused(self, **changes: object) -> str:
        statement = signature_writer.statement(SUBJECT.digest, REF.name, {signature.REF: str(REF)})
        signer = key_of("mallory")
        raw = signature_writer.bundle(statement, signer.sign(signature.pae(statement)), signer.hint)
        evil = json.dumps({**json.loads(raw), **changes}).encode()
        repository = repository_with(PACKAGE)
        manifest = signature_writer.bundle_manifest(evil, SUBJECT, "2026-01-01T00:00:00Z")
        put(repository, manifest, evil, signature_writer.EMPTY_CONFIG, tag=None)
        return refused(found(repository))


LOG_ENTRY = {
    "logIndex": "1",
    "logId": {"keyId": "AAAA"},
    "kindVersion": {"kind": "dsse", "version": "0.0.1"},
    "integratedTime": "1700000000",
    "inclusionPromise": {"signedEntryTimestamp": "AAAA"},
    "canonicalizedBody": "e30=",
}


class TestTransparencyLog:
    """R10, GHSA-whqx-f9j3-ch6m: a log entry, of whatever, makes no signature good."""

    @pytest.mark.parametrize(("signer", "good"), [("alice", True), ("mallory", False)])
    def test_an_entry_decides_nothing(self, signer: str, good: bool) -> None:
        statement = signature_writer.statement(SUBJECT.digest, REF.name, {signature.REF: str(REF)})
        key = key_of(signer)
        raw = signature_writer.bundle(statement, key.sign(signature.pae(statement)), key.hint)
        data = json.loads(raw)
        data["verificationMaterial"]["tlogEntries"] = [LOG_ENTRY]
        with_log = json.dumps(data).encode()
        repository = repository_with(PACKAGE)
        manifest = signature_writer.bundle_manifest(with_log, SUBJECT, "2026-01-01T00:00:00Z")
        put(repository, manifest, with_log, signature_writer.EMPTY_CONFIG, tag=None)
        if good:
            admitted(found(repository), ALICE)
        else:
            assert "unknown key" in refused(found(repository))


class TestAttestationsPassedOffAsSignatures:
    """R1, GHSA-w6c6-c85g-mmv6."""

    def statement(self, kind: str) -> bytes:
        data = json.loads(signature_writer.statement(SUBJECT.digest, REF.name, {}))
        return json.dumps({**data, "predicateType": kind}).encode()

    @pytest.mark.parametrize(
        "kind",
        [
            "https://spdx.dev/Document",
            "https://cyclonedx.org/bom",
            "https://slsa.dev/provenance/v1",
            "https://in-toto.io/attestation/vuln/v0.1",
            "https://sigstore.dev/cosign/sign/v2",
            "https://sigstore.dev/cosign/sign/v1/",
        ],
    )
    def test_as_a_bundle_that_says_it_is_a_signature(self, kind: str) -> None:
        """The annotations of the referrer are nobody's word."""
        key, evil = key_of("alice"), self.statement(kind)
        raw = signature_writer.bundle(evil, key.sign(signature.pae(evil)), key.hint)
        repository = repository_with(PACKAGE)
        manifest = signature_writer.bundle_manifest(raw, SUBJECT, "2026-01-01T00:00:00Z")
        put(repository, manifest, raw, signature_writer.EMPTY_CONFIG, tag=None)
        assert "an attestation, not a signature" in refused(found(repository))

    def test_as_a_layer_of_the_tag(self) -> None:
        """cosign keeps attestations under ``.att``; under ``.sig`` its envelope is no signature."""
        key, evil = key_of("alice"), self.statement("https://spdx.dev/Document")
        envelope = json.dumps(
            {
                "payloadType": signature.PAYLOAD_TYPE,
                "payload": base64.b64encode(evil).decode(),
                "signatures": [{"sig": base64.b64encode(key.sign(signature.pae(evil))).decode()}],
            }
        ).encode()
        layer = Descriptor.of(
            envelope,
            "application/vnd.dsse.envelope.v1+json",
            annotations={signature.LAYER_SIGNATURE: base64.b64encode(key.sign(envelope)).decode()},
        )
        repository = repository_with(PACKAGE)
        manifest = signature_writer.legacy_manifest((layer,))
        for suffix in (".sig", ".att"):
            tag = signature.legacy_tag(SUBJECT.digest).removesuffix(".sig") + suffix
            put(repository, manifest, envelope, tag=tag)
        assert "is not signed" in refused(found(repository))

    def test_as_simple_signing(self) -> None:
        """Signed as it stands, and carried as the other form."""
        key, evil = key_of("alice"), self.statement("https://spdx.dev/Document")
        layer = signature_writer.legacy_layer(evil, key.sign(evil))
        repository = repository_with(PACKAGE)
        manifest = signature_writer.legacy_manifest((layer,))
        put(repository, manifest, evil, tag=signature.legacy_tag(SUBJECT.digest))
        refused(found(repository))


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()


def only(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> Policy:
    return Policy.only_key(Key(name="pinned", pem=pem(key)))


P256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
SHA256 = hashes.SHA256()


def _raw(data: bytes) -> bytes:
    r, s_ = decode_dss_signature(P256.sign(data, ec.ECDSA(SHA256)))
    return r.to_bytes(32) + s_.to_bytes(32)


def _pss(data: bytes) -> bytes:
    return RSA.sign(data, padding.PSS(padding.MGF1(SHA256), padding.PSS.MAX_LENGTH), SHA256)


GOOD: dict[str, tuple[Policy, Callable[[bytes], bytes]]] = {
    "ecdsa": (only(P256), lambda d: P256.sign(d, ec.ECDSA(SHA256))),
    "rsa": (only(RSA), lambda d: RSA.sign(d, padding.PKCS1v15(), SHA256)),
    "ed25519": (only(ED), ED.sign),
}
CONFUSED: dict[str, tuple[Policy, Callable[[bytes], bytes]]] = {
    "ecdsa_for_rsa": (only(RSA), lambda d: P256.sign(d, ec.ECDSA(SHA256))),
    "rsa_for_ecdsa": (only(P256), lambda d: RSA.sign(d, padding.PKCS1v15(), SHA256)),
    "ed25519_for_ecdsa": (only(P256), ED.sign),
    "raw_r_and_s": (only(P256), _raw),
    "ecdsa_sha512": (only(P256), lambda d: P256.sign(d, ec.ECDSA(hashes.SHA512()))),
    "rsa_pss": (only(RSA), _pss),
    "rsa_sha1": (only(RSA), lambda d: RSA.sign(d, padding.PKCS1v15(), hashes.SHA1())),
    "rsa_sha512": (only(RSA), lambda d: RSA.sign(d, padding.PKCS1v15(), hashes.SHA512())),
    "ed25519_of_the_hash": (only(ED), lambda d: ED.sign(Digest.sha256(d).encoded.encode())),
    "all_zero": (only(P256), lambda _d: bytes.fromhex("3006020100020100")),
}


class TestKeyConfusion:
    """The scheme follows from the pinned key alone."""

    @pytest.mark.parametrize("way", GOOD)
    def test_the_scheme_of_the_key(self, way: str) -> None:
        policy, signer = GOOD[way]
        good = Candidate(form="legacy", signed=payload(), signature=signer(payload()))
        admitted(with_candidates(good), policy)

    @pytest.mark.parametrize("way", CONFUSED)
    def test_another_scheme(self, way: str) -> None:
        policy, signer = CONFUSED[way]
        evil = Candidate(form="legacy", signed=payload(), signature=signer(payload()))
        assert "unknown key" in refused(with_candidates(evil), policy)


class TestSilence:
    """A signature that does not say when it was made gets around nothing."""

    BARE = Candidate(form="legacy", signed=payload(), signature=key_of("alice").sign(payload()))

    def test_where_nothing_newer_was_accepted_it_counts(self) -> None:
        admitted(with_candidates(self.BARE), ALICE)

    def test_after_something_newer(self) -> None:
        marks = MemoryMarks()
        created = NOW - timedelta(days=100)
        other = Digest.sha256(b"other")
        marks.record(Mark(repository=REF.name, tag="1.0", created=created, digest=other))
        assert "says no time" in refused(with_candidates(self.BARE), marks=marks)

    def test_where_the_rule_has_a_greatest_age(self) -> None:
        aged = policy_for("ghcr.io/x", "alice", max_age="7d")
        assert "says no time; max_age is set" in refused(with_candidates(self.BARE), aged)


class TestOneForm:
    """R8: one rule for every form, and a bad one of one form hides no good one of the other."""

    @pytest.mark.parametrize("form", ["bundle", "legacy"])
    def test_the_same_refusal_in_either(self, form: str) -> None:
        artifact = signed_artifact("alice", REF.with_tag("0.9"))
        alone = tuple(
            replace(place, candidates=tuple(c for c in place.candidates if c.form == form))
            for place in artifact.places
        )
        assert "was made for ghcr.io/x/opensnoop:0.9, not for the tag 1.0" in refused(
            replace(artifact, places=alone)
        )

    @pytest.mark.parametrize("bad", ["bundle", "legacy"])
    def test_a_bad_one_of_the_other_form(self, bad: str) -> None:
        artifact = signed_artifact()
        spoilt = tuple(
            replace(
                place,
                candidates=tuple(
                    replace(c, signature=b"bad") if c.form == bad else c for c in place.candidates
                ),
            )
            for place in artifact.places
        )
        admitted(replace(artifact, places=spoilt), ALICE)


class TestOciReferrers:
    """The experimental referrers of cosign 2 hold the layers of the tag, and are judged alike."""

    @pytest.mark.parametrize(("signer", "good"), [("alice", True), ("mallory", False)])
    def test_read_and_judged_as_the_tag(self, signer: str, good: bool) -> None:
        said = payload()
        layer = signature_writer.legacy_layer(said, key_of(signer).sign(said))
        config = signature_writer.legacy_config((layer,))
        manifest = manifest_of(
            {
                "schemaVersion": 2,
                "mediaType": mediatypes.MANIFEST,
                "artifactType": mediatypes.COSIGN_SIGNATURE,
                "config": Descriptor.of(config, mediatypes.COSIGN_SIGNATURE).to_dict(),
                "layers": [layer.to_dict()],
                "subject": replace(SUBJECT, annotations={}).to_dict(),
            }
        )
        repository = repository_with(PACKAGE)
        put(repository, manifest, said, config, tag=None)
        if good:
            admitted(found(repository), ALICE)
        else:
            assert "unknown key" in refused(found(repository))


def test_nothing_of_the_store_makes_a_signature_twice_as_good() -> None:
    """The same signature in three places is one signer."""
    repository = repository_with(PACKAGE)
    sign_into(repository, SUBJECT)
    assert len(admitted(found(repository), ALICE).signers) == 1
