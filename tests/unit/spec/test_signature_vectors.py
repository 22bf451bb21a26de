"""Every byte of both of cosign's forms, as cosign was measured to accept them."""

import base64
import hashlib

from bpfpack.registry.trust import keys
from bpfpack.registry.trust.check import CryptographyCheck
from bpfpack.spec import signature, signature_writer
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from tests.kit.signing import pkcs8_der, vector_key, vector_secret, vector_sign

SUBJECT = Digest.parse("sha256:09414cf0e1620403c06d9d616031945c9657f6163aa8e8f9c5909c8a6a24ebca")
REPOSITORY = "127.0.0.1:5055/demo/hello"
PAYLOAD_SIGNATURE = (
    "MEYCIQC8b3cBV/0yZ2UiLz7UeATwTdFk9ZesDXGM8WsDNyIv1AIhANHGsmz8U220po8wcxsb5FoOltPvJ3Dyd"
    "ncADKR9T54P"
)
PAE_SIGNATURE = (
    "MEUCIE5e1WyKD/qPtW/4OA4q9vdAy7/R2+DeXWP1FUheor3bAiEAvK2sOgDG+WwgSsDiJeBXA7ETvzFdyzxya"
    "XOa4tl0Ftc="
)


def payload() -> bytes:
    optional = {"dev.bpfpack.serial": "7", "creator": "bpfpack"}
    return signature_writer.legacy_payload(SUBJECT, f"{REPOSITORY}:1", optional)


def statement() -> bytes:
    notes = {"dev.bpfpack.serial": "7", signature.REF: f"{REPOSITORY}:1"}
    return signature_writer.statement(SUBJECT, REPOSITORY, notes)


def is_bytes(data: bytes, size: int, sha256: str) -> None:
    assert (len(data), hashlib.sha256(data).hexdigest()) == (size, sha256)


def test_private_key_in_pkcs8() -> None:
    is_bytes(
        pkcs8_der(vector_secret()),
        138,
        "be045d1037cb97a0858c3af5c325db0e4043a11f46e1fd8a3a82f71884be12d2",
    )


def test_key_file() -> None:
    pem = keys.lock(vector_key(), b"bpfpack", salt=bytes(range(32)), nonce=bytes(range(24)))
    is_bytes(pem, 653, "9e59299ae96666b0ee777ab580ef4cb1b59708be5bfd047804bdb306454d6606")
    document = base64.b64decode("".join(pem.decode().splitlines()[1:-1]))
    is_bytes(document, 414, "689d5524a178373eb6bffd378fbcc15b41b1943316c83188cc94b7af6c2f4035")
    assert keys.unlock(pem, b"bpfpack").fingerprint == vector_key().fingerprint


def test_hint() -> None:
    assert vector_key().hint == "jjYUsa64FwHKH9+o6vsKhLzupzcPdsakGjauXIFIiAA="


def test_legacy_payload_and_its_signature() -> None:
    is_bytes(payload(), 285, "f19debb8f45164fd7a9352e9f587387d64047ddead9b525a792bbd3bbe4b13c9")
    made = vector_sign(payload())
    assert base64.b64encode(made).decode() == PAYLOAD_SIGNATURE
    CryptographyCheck().verify(vector_key().public_pem, payload(), made)


def test_legacy_config_and_manifest() -> None:
    layer = signature_writer.legacy_layer(payload(), base64.b64decode(PAYLOAD_SIGNATURE))
    is_bytes(
        signature_writer.legacy_config((layer,)),
        233,
        "276760873b8d6d5c76f5bf53e20bfc7cef68100fe7556f4cc73a17d34f3b79a6",
    )
    is_bytes(
        signature_writer.legacy_manifest((layer,)).raw,
        558,
        "9080ca23d4e98da091784e759a6271d4c33339c943431c9f80521259cbb485ac",
    )


def test_statement_and_its_encoding() -> None:
    is_bytes(statement(), 337, "7f3f1ad837375ed0ab59b61b470c8934139937d20bd7294bcab39efc4d44db0d")
    encoded = signature.pae(statement())
    is_bytes(encoded, 380, "1cb22332ebae430d7eeb29066631cae9e93e31b904b351d269af6406338ac9be")
    assert base64.b64encode(vector_sign(encoded)).decode() == PAE_SIGNATURE


def test_bundle_and_its_manifest() -> None:
    bundle = signature_writer.bundle(
        statement(), base64.b64decode(PAE_SIGNATURE), vector_key().hint
    )
    is_bytes(bundle, 803, "518944fb0eccdf248a5106821c2839539b096274098e57fafd16baae1b505172")
    subject = Descriptor(
        media_type="application/vnd.oci.image.manifest.v1+json", digest=SUBJECT, size=394
    )
    manifest = signature_writer.bundle_manifest(bundle, subject, "2026-01-01T00:00:00Z")
    is_bytes(manifest.raw, 814, "bfa64cb60aaca7214f0f650b128731f19af027b1b217ad2b221e5fe45a2cbf4b")


def test_bare_payload_says_null() -> None:
    bare = signature_writer.legacy_payload(SUBJECT, "127.0.0.1:5055/c/legacy", None)
    assert bare.decode() == (
        '{"critical":{"identity":{"docker-reference":"127.0.0.1:5055/c/legacy"},'
        f'"image":{{"docker-manifest-digest":"{SUBJECT}"}},'
        '"type":"cosign container image signature"},"optional":null}'
    )


def test_payload_is_escaped_as_go_does() -> None:
    made = signature_writer.legacy_payload(SUBJECT, "h.io/a", {"k": "<&>é\u2028\u2029"})
    assert made.endswith('"optional":{"k":"\\u003c\\u0026\\u003eé\\u2028\\u2029"}}'.encode())


def test_pae_counts_bytes_and_takes_an_empty_payload() -> None:
    assert signature.pae("é".encode(), "t/é") == "DSSEv1 4 t/é 2 é".encode()
    assert signature.pae(b"", "t") == b"DSSEv1 1 t 0 "
