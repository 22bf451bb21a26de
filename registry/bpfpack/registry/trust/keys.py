"""Key pairs: made, read and kept as cosign keeps them.

A private key file is a PEM block around JSON: scrypt makes a key of the password, NaCl's
secretbox seals the PKCS#8 DER.  Only cosign's three sets of scrypt parameters are accepted:
others could cost any amount of memory.  (sigstore/cosign, specs/SIGNATURE_SPEC.md and
pkg/cosign/keys.go; secure-systems-lab/go-securesystemslib, encrypted.go)
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from bpfpack.registry.trust import secretbox
from bpfpack.registry.trust.check import CURVES, RSA_SIZES
from bpfpack.spec import fields, strictjson
from bpfpack.spec.errors import SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.policy import fingerprint, public_der
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    _Secret = EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey

Kind = Literal["ecdsa-p256", "rsa-2048", "rsa-3072", "rsa-4096"]

PEM_TYPE: Final = "ENCRYPTED SIGSTORE PRIVATE KEY"
_PEM_TYPES: Final = (PEM_TYPE, "ENCRYPTED COSIGN PRIVATE KEY")
_PLAIN_TYPES: Final = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
_SALT: Final = 32
_N_WRITTEN: Final = 65536
_N_READ: Final = (32768, 65536, 131072)


@valuetype(kw_only=False)
class PrivateKey:
    """An unlocked key that can sign: ECDSA, RSA of 2048 to 4096 bits, or Ed25519."""

    _secret: "_Secret"

    def sign(self, data: bytes) -> bytes:
        """Sign with the scheme of the key: ECDSA in DER or PKCS#1 v1.5 over SHA-256; Ed25519.

        SHA-256 on every curve, since `cosign verify` takes no other without being told.
        """
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

        if isinstance(self._secret, ec.EllipticCurvePrivateKey):
            return self._secret.sign(data, ec.ECDSA(hashes.SHA256()))
        if isinstance(self._secret, rsa.RSAPrivateKey):
            return self._secret.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self._secret.sign(data)

    @property
    def public_pem(self) -> str:
        """The public half, as ``cosign.pub`` holds it."""
        from cryptography.hazmat.primitives import serialization as s

        public = self._secret.public_key()
        return public.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key's DER, in hex."""
        return fingerprint(self.public_pem)

    @property
    def hint(self) -> str:
        """The same in base64, as bundles carry it."""
        digest = hashlib.sha256(public_der(self.public_pem)).digest()
        return base64.b64encode(digest).decode()

    @property
    def pkcs8(self) -> bytes:
        """The private key as unencrypted PKCS#8 DER."""
        from cryptography.hazmat.primitives import serialization as s

        return self._secret.private_bytes(s.Encoding.DER, s.PrivateFormat.PKCS8, s.NoEncryption())


def generate(kind: Kind = "ecdsa-p256") -> PrivateKey:
    """Make a new key."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if kind == "ecdsa-p256":
        return PrivateKey(ec.generate_private_key(ec.SECP256R1()))
    return PrivateKey(rsa.generate_private_key(65537, int(kind.removeprefix("rsa-"))))


def lock(
    key: PrivateKey, password: bytes, *, salt: bytes | None = None, nonce: bytes | None = None
) -> bytes:
    """Return the key file; ``salt`` and ``nonce`` are given by tests alone."""
    return lock_pkcs8(key.pkcs8, password, salt=salt, nonce=nonce)


def lock_pkcs8(
    der: bytes, password: bytes, *, salt: bytes | None = None, nonce: bytes | None = None
) -> bytes:
    """Seal PKCS#8 DER under a password, as cosign does."""
    salt = salt or secrets.token_bytes(_SALT)
    nonce = nonce or secrets.token_bytes(secretbox.NONCE)
    box = secretbox.seal(der, nonce, _derive(password, salt, _N_WRITTEN))
    document = {
        "kdf": {
            "name": "scrypt",
            "params": {"N": _N_WRITTEN, "r": 8, "p": 1},
            "salt": base64.b64encode(salt).decode(),
        },
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(box).decode(),
    }
    return _armour(PEM_TYPE, strictjson.dumps(document))


def unlock(pem: bytes, password: bytes) -> PrivateKey:
    """Open a key file of cosign's format.

    Raises SpecError for a malformed file or a refused key, TrustError for a wrong password.
    """
    return _usable(unlock_pkcs8(pem, password), "PRIVATE KEY")


def unlock_pkcs8(pem: bytes, password: bytes) -> bytes:
    """Return what is sealed in a key file; raises as `unlock` does."""
    kind, body = _disarm(pem)
    if kind not in _PEM_TYPES:
        raise SpecError(f"not a key file of bpfpack or cosign, but {kind}").with_hint(
            "bpfpack keygen --import FILE takes PEM keys of other tools"
        )
    data = strictjson.loads_object(body, LIMITS.key_file)
    fields.only(data, "kdf", "cipher", "ciphertext")
    with fields.inside("kdf"):
        salt, cost = _kdf(fields.mapping(data, "kdf"))
    with fields.inside("cipher"):
        nonce = _nonce(fields.mapping(data, "cipher"))
    box = _bytes(data, "ciphertext")
    if len(box) < secretbox.TAG:
        raise SpecError("shorter than its tag", path=("ciphertext",))
    return secretbox.open_box(box, nonce, _derive(password, salt, cost))


def plain_pem(key: PrivateKey) -> bytes:
    """Return the key unencrypted, for the host key alone."""
    return _armour("PRIVATE KEY", key.pkcs8)


def is_locked(pem: bytes) -> bool:
    """Say whether a PEM file needs a password by its label; raises SpecError."""
    return _disarm(pem)[0] in _PEM_TYPES


def import_key(pem: bytes) -> PrivateKey:
    """Read an unencrypted PEM key: PKCS#8, SEC1 or PKCS#1; raises SpecError."""
    kind, der = _disarm(pem)
    if kind not in _PLAIN_TYPES:
        raise SpecError(f"not an unencrypted private key, but {kind}")
    return _usable(der, kind)


def public_warning(pem: str) -> str | None:
    """Say what is odd about a public key; raises SpecError for one that is not accepted.

    With P-384, P-521 and Ed25519 cosign makes signatures that it does not verify unless told
    how.  Here they verify, and what is signed here it verifies.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    from bpfpack.registry.trust.check import load_public

    key = load_public(pem)
    if isinstance(key, rsa.RSAPublicKey):
        return None
    if isinstance(key, ec.EllipticCurvePublicKey):
        name = {"secp256r1": None, "secp384r1": "P-384"}.get(key.curve.name, "P-521")
    else:
        name = "Ed25519"
    if name is None:
        return None
    return f"what cosign signs with a key of {name} it does not verify with its default flags"


def _usable(der: bytes, kind: str) -> PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_armour(kind, der), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise SpecError("no private key in the expected encoding") from e
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return PrivateKey(key)
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size in RSA_SIZES:
        return PrivateKey(key)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return PrivateKey(key)
    raise SpecError(
        "bpfpack signs with ECDSA P-256/384/521, RSA of 2048 to 4096 bits and Ed25519 only"
    ).with_hint("bpfpack keygen makes a key that others take too")


def _derive(password: bytes, salt: bytes, cost: int) -> bytes:
    # OpenSSL refuses more than 32 MiB unless told; scrypt needs 128 * N * r.
    room = 128 * 8 * cost + 2**20
    return hashlib.scrypt(password, salt=salt, n=cost, r=8, p=1, maxmem=room, dklen=secretbox.KEY)


def _kdf(data: Mapping[str, Any]) -> tuple[bytes, int]:
    fields.only(data, "name", "params", "salt")
    if fields.string(data, "name") != "scrypt":
        raise SpecError("not scrypt", path=("name",))
    with fields.inside("params"):
        params = fields.mapping(data, "params")
        fields.only(params, "N", "r", "p")
        cost = fields.integer(params, "N")
        if (fields.integer(params, "r"), fields.integer(params, "p")) != (8, 1):
            raise SpecError("scrypt parameters that cosign does not accept")
        if cost not in _N_READ:
            raise SpecError("a cost that cosign does not accept", path=("N",))
    salt = _bytes(data, "salt")
    if len(salt) != _SALT:
        raise SpecError(f"not {_SALT} bytes", path=("salt",))
    return salt, cost


def _nonce(data: Mapping[str, Any]) -> bytes:
    fields.only(data, "name", "nonce")
    if fields.string(data, "name") != "nacl/secretbox":
        raise SpecError("not nacl/secretbox", path=("name",))
    nonce = _bytes(data, "nonce")
    if len(nonce) != secretbox.NONCE:
        raise SpecError(f"not {secretbox.NONCE} bytes", path=("nonce",))
    return nonce


def _bytes(data: Mapping[str, Any], key: str) -> bytes:
    try:
        return base64.b64decode(fields.string(data, key), validate=True)
    except (binascii.Error, ValueError) as e:
        if isinstance(e, SpecError):
            raise
        raise SpecError("not base64", path=(key,)) from e


def _armour(kind: str, body: bytes) -> bytes:
    text = base64.b64encode(body).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""]).encode()


def _disarm(pem: bytes) -> tuple[str, bytes]:
    """Return label and content of the one PEM block of a file; raises SpecError."""
    if len(pem) > LIMITS.key_file:
        raise SpecError(f"a key file of more than {LIMITS.key_file} bytes")
    lines = pem.decode("ascii", "replace").strip().splitlines()
    first, last = (lines[0].strip(), lines[-1].strip()) if lines else ("", "")
    kind = first.removeprefix("-----BEGIN ").removesuffix("-----")
    if not kind or first != f"-----BEGIN {kind}-----" or last != f"-----END {kind}-----":
        raise SpecError("not one PEM block")
    try:
        body = base64.b64decode("".join(line.strip() for line in lines[1:-1]), validate=True)
    except (binascii.Error, ValueError) as e:
        raise SpecError("not base64 inside the PEM block") from e
    return kind, body
