"""Our bundles in the eyes of sigstore-js, which shares no code with cosign or with us."""

import pytest

from bpfpack.registry.trust import keys
from bpfpack.registry.trust.keys import PrivateKey
from bpfpack.registry.trust.sign import Signed, sign
from bpfpack.spec import signature, signature_writer
from bpfpack.spec.digest import Digest
from tests.kit.peers import js_verdict
from tests.kit.signing import NOW, REF, key_of, make_package, vector_key, vector_sign

pytestmark = pytest.mark.peers


def signed_by(key: PrivateKey) -> Signed:
    return sign(make_package().manifest.descriptor, REF, key, now=NOW)


@pytest.mark.parametrize("kind", ["ecdsa-p256", "rsa-3072"])
def test_our_bundle_is_good(kind: keys.Kind) -> None:
    key = keys.generate(kind)
    assert js_verdict(signed_by(key).bundle, key.public_pem) == "good"


def test_the_bundle_of_the_byte_vector_is_good() -> None:
    """The one that `tests/unit/spec/test_signature_vectors.py` writes down."""
    subject = "sha256:09414cf0e1620403c06d9d616031945c9657f6163aa8e8f9c5909c8a6a24ebca"
    name = "127.0.0.1:5055/demo/hello"
    notes = {"dev.bpfpack.ref": f"{name}:1", "dev.bpfpack.serial": "7"}
    payload = signature_writer.statement(Digest.parse(subject), name, notes)
    signed = vector_sign(signature.pae(payload))
    raw = signature_writer.bundle(payload, signed, vector_key().hint)
    assert Digest.sha256(raw).encoded.startswith("518944fb0eccdf24")
    assert js_verdict(raw, vector_key().public_pem) == "good"


def test_our_bundle_by_another_key_is_not() -> None:
    mine = signed_by(vector_key()).bundle
    assert "SIGNATURE_ERROR" in js_verdict(mine, key_of("mallory").public_pem)


def test_our_bundle_with_one_byte_changed_is_not() -> None:
    mine = signed_by(vector_key()).bundle
    at = mine.index(b'"payload":"') + 200
    other = b"A" if mine[at : at + 1] != b"A" else b"B"
    changed = mine[:at] + other + mine[at + 1 :]
    assert "SIGNATURE_ERROR" in js_verdict(changed, vector_key().public_pem)
