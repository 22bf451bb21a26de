"""Checks one signature with one pinned key; the scheme follows from the key alone.

ECDSA P-256 with SHA-256; P-384 and P-521 with their native digest, then with SHA-256, as
cosign's versions differ; RSA of 2048 to 4096 bits with PKCS#1 v1.5 and SHA-256; Ed25519.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bpfpack.spec.errors import SpecError, TrustError
from bpfpack.spec.policy import public_der

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey

RSA_SIZES: Final = range(2048, 4097)
CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
# SubjectPublicKeyInfo of an uncompressed P-256 point, up to the point (RFC 5480).
_P256_SPKI: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


class CryptographyCheck:
    """The `SignatureCheck` of this product."""

    def verify(self, key_pem: str, signed: bytes, signature: bytes) -> None:
        """Return for a good signature; raises TrustError, and SpecError for a bad key."""
        verify(load_public(key_pem), signed, signature)


@lru_cache(maxsize=64)
def load_public(pem: str) -> "PublicKey":
    """Parse a public key of an accepted kind; raises SpecError."""
    from cryptography.exceptions import UnsupportedAlgorithm

    der = public_der(pem)
    try:
        # Importing `serialization` costs 5 ms, and P-256 does not need it.
        key = _p256(der) if der.startswith(_P256_SPKI) else _any(der)
    except SpecError:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise SpecError("not a usable public key", path=("pem",)) from e
    return key


def verify(key: "PublicKey", signed: bytes, signature: bytes) -> None:
    """Return for a good signature; raises TrustError."""
    from cryptography.exceptions import InvalidSignature

    try:
        _verify(key, signed, signature)
    except InvalidSignature as e:
        raise TrustError("the signature is not by this key, or of other bytes") from e


def _p256(der: bytes) -> "PublicKey":
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), der[len(_P256_SPKI) :])


def _any(der: bytes) -> "PublicKey":
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key = load_der_public_key(der)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES:
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_SIZES:
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise SpecError("neither ECDSA P-256/384/521, RSA 2048 to 4096 nor Ed25519", path=("pem",))


def _verify(key: "PublicKey", signed: bytes, signature: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    if isinstance(key, ec.EllipticCurvePublicKey):
        _verify_ecdsa(key, signed, signature)
        return
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        key.verify(signature, signed)


def _verify_ecdsa(key: "EllipticCurvePublicKey", signed: bytes, signature: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    native = {"secp384r1": hashes.SHA384, "secp521r1": hashes.SHA512}.get(key.curve.name)
    if native is not None:
        try:
            key.verify(signature, signed, ec.ECDSA(native()))
        except InvalidSignature:
            pass
        else:
            return
    key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
