"""Key files: cosign's format, other tools' keys, and what is refused."""

import base64
import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from bpfpack.registry.trust import keyfiles, keys, passwords, secretbox
from bpfpack.registry.trust.check import CryptographyCheck
from bpfpack.spec.errors import NotFound, SpecError, StoreError, TrustError, UsageError
from bpfpack.spec.limits import LIMITS
from tests.kit.signing import vector_key, vector_secret

PASSWORD = b"correct horse"
CHECK = CryptographyCheck()
Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def document_of(pem: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(b"".join(pem.splitlines()[1:-1])))
    return found


def armoured(document: dict[str, Any], kind: str = keys.PEM_TYPE) -> bytes:
    text = base64.b64encode(json.dumps(document).encode()).decode()
    return f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n".encode()


def locked_with(cost: int, der: bytes, password: bytes = PASSWORD) -> bytes:
    """A key file of any cost, as older and newer cosign wrote it."""
    document = document_of(keys.lock_pkcs8(b"", password))
    document["kdf"]["params"]["N"] = cost
    salt = base64.b64decode(document["kdf"]["salt"])
    key = hashlib.scrypt(password, salt=salt, n=cost, r=8, p=1, maxmem=2**28, dklen=32)
    nonce = base64.b64decode(document["cipher"]["nonce"])
    document["ciphertext"] = base64.b64encode(secretbox.seal(der, nonce, key)).decode()
    return armoured(document)


def pem_of(key: Private, form: s.PrivateFormat = s.PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(s.Encoding.PEM, form, s.NoEncryption())


def public_of(key: Private) -> str:
    public = key.public_key()
    return public.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


class TestKeyFile:
    @pytest.mark.parametrize("cost", [32768, 65536, 131072])
    def test_the_three_costs(self, cost: int) -> None:
        pem = locked_with(cost, vector_key().pkcs8)
        assert keys.unlock(pem, PASSWORD).fingerprint == vector_key().fingerprint

    def test_both_labels(self) -> None:
        pem = keys.lock(vector_key(), PASSWORD)
        old = pem.replace(b"SIGSTORE", b"COSIGN")
        assert keys.unlock(old, PASSWORD).pkcs8 == keys.unlock(pem, PASSWORD).pkcs8
        assert keys.is_locked(old)
        assert not keys.is_locked(pem_of(vector_secret()))

    def test_an_empty_password(self) -> None:
        pem = keys.lock(vector_key(), b"")
        assert keys.unlock(pem, b"").fingerprint == vector_key().fingerprint
        with pytest.raises(TrustError):
            keys.unlock(pem, b"x")

    def test_rsa(self, rsa_key: rsa.RSAPrivateKey) -> None:
        key = keys.import_key(pem_of(rsa_key))
        again = keys.unlock(keys.lock(key, PASSWORD), PASSWORD)
        CHECK.verify(again.public_pem, b"data", again.sign(b"data"))

    def test_no_two_files_are_alike(self) -> None:
        assert keys.lock(vector_key(), b"x") != keys.lock(vector_key(), b"x")

    @pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 63, 64, 65, 138, 1000])
    def test_the_box_at_every_edge_of_its_blocks(self, size: int) -> None:
        plain, nonce, key = os.urandom(size), os.urandom(24), os.urandom(32)
        assert secretbox.open_box(secretbox.seal(plain, nonce, key), nonce, key) == plain

    def test_the_box_against_a_published_vector(self) -> None:
        """D. J. Bernstein, "Cryptography in NaCl", section 10: the example in full."""
        key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
        nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
        plain = bytes.fromhex(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc"
            "e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31"
            "0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde"
            "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864"
            "5e0705"
        )
        box = secretbox.seal(plain, nonce, key)
        assert box.hex() == (
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce"
            "48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c972"
            "71d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae"
            "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b3"
            "7973f622a43d14a6599b1f654cb45a74e355a5"
        )


class TestRefusedKeyFiles:
    def test_a_wrong_password(self) -> None:
        with pytest.raises(TrustError, match="wrong password"):
            keys.unlock(keys.lock(vector_key(), PASSWORD), b"wrong horse")

    @pytest.mark.parametrize("at", [0, 15, 16, -1])
    def test_a_flipped_byte(self, at: int) -> None:
        document = document_of(keys.lock(vector_key(), PASSWORD))
        box = bytearray(base64.b64decode(document["ciphertext"]))
        box[at] ^= 1
        document["ciphertext"] = base64.b64encode(box).decode()
        with pytest.raises(TrustError):
            keys.unlock(armoured(document), PASSWORD)

    @pytest.mark.parametrize("size", [0, 15, 16, 17, 100])
    def test_truncated(self, size: int) -> None:
        document = document_of(keys.lock(vector_key(), PASSWORD))
        box = base64.b64decode(document["ciphertext"])[:size]
        document["ciphertext"] = base64.b64encode(box).decode()
        with pytest.raises((SpecError, TrustError)):
            keys.unlock(armoured(document), PASSWORD)

    @pytest.mark.parametrize(
        "params",
        [
            {"N": 2**30, "r": 8, "p": 1},
            {"N": 16384, "r": 8, "p": 1},
            {"N": 65536, "r": 2**20, "p": 1},
            {"N": 65536, "r": 8, "p": 2},
            {"N": 65536, "r": 8},
            {"N": 65536, "r": 8, "p": 1, "x": 1},
            {"N": "65536", "r": 8, "p": 1},
        ],
    )
    def test_other_costs_are_refused_before_they_are_paid(self, params: dict[str, Any]) -> None:
        document = document_of(keys.lock(vector_key(), PASSWORD))
        document["kdf"]["params"] = params
        with pytest.raises(SpecError):
            keys.unlock(armoured(document), PASSWORD)

    @pytest.mark.parametrize(
        ("part", "key", "value"),
        [
            ("kdf", "name", "pbkdf2"),
            ("kdf", "salt", ""),
            ("kdf", "salt", "é"),
            ("cipher", "name", "aes"),
            ("cipher", "nonce", "AAAA"),
            ("cipher", "extra", "x"),
        ],
    )
    def test_other_members(self, part: str, key: str, value: str) -> None:
        document = document_of(keys.lock(vector_key(), PASSWORD))
        document[part][key] = value
        with pytest.raises(SpecError):
            keys.unlock(armoured(document), PASSWORD)

    @pytest.mark.parametrize(
        "pem",
        [
            *(b"", b"x", b"\xff" * 100, b"-----BEGIN X-----", b"-----BEGIN -----\n-----END -----"),
            b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n!\n"
            b"-----END ENCRYPTED SIGSTORE PRIVATE KEY-----",
            b"x" * 70000,
        ],
    )
    def test_no_pem(self, pem: bytes) -> None:
        for read in (lambda p: keys.unlock(p, b""), keys.import_key, keys.is_locked):
            with pytest.raises(SpecError):
                read(pem)

    def test_sec1_inside(self) -> None:
        sec1 = vector_secret().private_bytes(
            s.Encoding.DER, s.PrivateFormat.TraditionalOpenSSL, s.NoEncryption()
        )
        with pytest.raises(SpecError):
            keys.unlock(keys.lock_pkcs8(sec1, PASSWORD), PASSWORD)

    def test_no_key_inside(self) -> None:
        with pytest.raises(SpecError):
            keys.unlock(keys.lock_pkcs8(b"not a key", PASSWORD), PASSWORD)


def _kept(key: keys.PrivateKey) -> keys.PrivateKey:
    return keys.unlock(keys.lock(key, PASSWORD), PASSWORD)


class TestImport:
    @pytest.mark.parametrize("form", [s.PrivateFormat.PKCS8, s.PrivateFormat.TraditionalOpenSSL])
    def test_pkcs8_sec1_and_pkcs1(self, form: s.PrivateFormat, rsa_key: rsa.RSAPrivateKey) -> None:
        for key in (vector_secret(), rsa_key):
            taken = keys.import_key(pem_of(key, form))
            assert taken.public_pem == public_of(key)
            CHECK.verify(taken.public_pem, b"data", taken.sign(b"data"))

    @pytest.mark.parametrize(
        "make",
        [
            lambda: ec.generate_private_key(ec.SECP224R1()),
            lambda: ec.generate_private_key(ec.SECP256K1()),
            lambda: ed448.Ed448PrivateKey.generate(),
            lambda: rsa.generate_private_key(65537, 1024),
            lambda: rsa.generate_private_key(65537, 5120),
        ],
    )
    def test_refused_kinds(self, make: Any) -> None:
        with pytest.raises(SpecError, match="bpfpack signs with"):
            keys.import_key(pem_of(make()))

    @pytest.mark.parametrize(
        "make",
        [
            lambda: ec.generate_private_key(ec.SECP384R1()),
            lambda: ec.generate_private_key(ec.SECP521R1()),
            lambda: ed25519.Ed25519PrivateKey.generate(),
        ],
    )
    def test_keys_of_which_cosign_must_be_told_sign_and_are_warned_of(self, make: Any) -> None:
        key = make()
        for taken in (keys.import_key(pem_of(key)), _kept(keys.import_key(pem_of(key)))):
            assert taken.public_pem == public_of(key)
            CHECK.verify(taken.public_pem, b"data", taken.sign(b"data"))
            assert "cosign" in str(keys.public_warning(taken.public_pem))

    def test_a_locked_key_is_not_imported_unread(self) -> None:
        with pytest.raises(SpecError):
            keys.import_key(keys.lock(vector_key(), b""))
        with pytest.raises(SpecError) as caught:
            keys.unlock(pem_of(vector_secret()), b"")
        assert "--import" in str(caught.value.hint)


class TestCheck:
    """The scheme follows from the pinned key."""

    def test_rsa_is_pkcs1_and_never_pss(self, rsa_key: rsa.RSAPrivateKey) -> None:
        pem = public_of(rsa_key)
        CHECK.verify(pem, b"x", rsa_key.sign(b"x", padding.PKCS1v15(), hashes.SHA256()))
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        for bad in (
            rsa_key.sign(b"x", pss, hashes.SHA256()),
            rsa_key.sign(b"x", padding.PKCS1v15(), hashes.SHA512()),
            rsa_key.sign(b"y", padding.PKCS1v15(), hashes.SHA256()),
        ):
            with pytest.raises(TrustError):
                CHECK.verify(pem, b"x", bad)

    @pytest.mark.parametrize(
        ("curve", "native"), [(ec.SECP384R1(), hashes.SHA384()), (ec.SECP521R1(), hashes.SHA512())]
    )
    def test_larger_curves_with_either_digest_and_a_warning(
        self, curve: ec.EllipticCurve, native: hashes.HashAlgorithm
    ) -> None:
        key = ec.generate_private_key(curve)
        for digest in (native, hashes.SHA256()):
            CHECK.verify(public_of(key), b"x", key.sign(b"x", ec.ECDSA(digest)))
        with pytest.raises(TrustError):
            CHECK.verify(public_of(key), b"y", key.sign(b"x", ec.ECDSA(native)))
        assert "key of P-" in str(keys.public_warning(public_of(key)))

    def test_ed25519_with_a_warning(self) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        CHECK.verify(public_of(key), b"x", key.sign(b"x"))
        assert "Ed25519" in str(keys.public_warning(public_of(key)))

    def test_no_warning_for_what_round_trips(self, rsa_key: rsa.RSAPrivateKey) -> None:
        assert keys.public_warning(public_of(rsa_key)) is None
        assert keys.public_warning(vector_key().public_pem) is None

    def test_p256_takes_no_other_digest(self) -> None:
        signature = vector_secret().sign(b"x", ec.ECDSA(hashes.SHA384()))
        with pytest.raises(TrustError):
            CHECK.verify(vector_key().public_pem, b"x", signature)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: ec.generate_private_key(ec.SECP224R1()),
            lambda: ec.generate_private_key(ec.SECP256K1()),
            lambda: rsa.generate_private_key(65537, 1024),
        ],
    )
    def test_refused_kinds(self, make: Any) -> None:
        with pytest.raises(SpecError):
            CHECK.verify(public_of(make()), b"x", b"")

    def test_a_point_that_is_not_on_the_curve(self) -> None:
        lines = vector_key().public_pem.splitlines()
        der = bytearray(base64.b64decode("".join(lines[1:-1])))
        der[-1] ^= 1
        bad = "\n".join([lines[0], base64.b64encode(der).decode(), lines[-1]])
        with pytest.raises(SpecError):
            CHECK.verify(bad, b"x", b"")


class TestFiles:
    def test_written_once_and_for_us_alone(self, tmp_path: Path) -> None:
        base = tmp_path / "made" / "identity"
        key, pub = keyfiles.write_pair(base, b"one", b"public")
        assert (key.stat().st_mode & 0o777, pub.stat().st_mode & 0o077) == (0o600, 0o044)
        with pytest.raises(UsageError, match="never overwritten"):
            keyfiles.write_pair(base, b"two", b"other")
        assert keyfiles.read_private(str(key), {}) == b"one"
        assert keyfiles.read_public(str(pub), {}) == "public"
        assert sorted(base.parent.iterdir()) == [key, pub]

    def test_half_a_pair_is_taken_back(self, tmp_path: Path) -> None:
        (tmp_path / "x.pub").write_bytes(b"mine")
        with pytest.raises(UsageError, match=r"x\.pub exists"):
            keyfiles.write_pair(tmp_path / "x", b"one", b"public")
        assert [p.name for p in tmp_path.iterdir()] == ["x.pub"]

    def test_what_makes_half_a_pair_whole_is_said(self, tmp_path: Path) -> None:
        keyfiles.write_pair(tmp_path / "x", b"one", b"public")[1].unlink()
        with pytest.raises(UsageError, match=r"x\.key exists") as caught:
            keyfiles.write_pair(tmp_path / "x", b"two", b"public")
        assert caught.value.hint and "pubkey --key" in caught.value.hint

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "x.key").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UsageError):
            keyfiles.write_pair(tmp_path / "x", b"one", b"public")
        assert not (tmp_path / "elsewhere").exists()
        with pytest.raises(StoreError):
            keyfiles.read_private(str(tmp_path / "x.key"), {})

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
    def test_a_private_key_that_others_can_read_or_write(self, tmp_path: Path, mode: int) -> None:
        path, _ = keyfiles.write_pair(tmp_path / "x", b"one", b"public")
        path.chmod(mode)
        with pytest.raises(StoreError, match="others can"):
            keyfiles.read_private(str(path), {})

    def test_from_the_environment(self) -> None:
        assert keyfiles.read_private("env://KEY", {"KEY": "text"}) == b"text"
        assert keyfiles.read_public("env://KEY", {"KEY": "text"}) == "text"
        with pytest.raises(NotFound):
            keyfiles.read_private("env://KEY", {})

    @pytest.mark.parametrize("text", ["text", "x" * (LIMITS.key_file + 1)])
    def test_a_private_key_does_not_stay_in_the_environment(self, text: str) -> None:
        environ = {"KEY": text, "OTHER": "stays"}
        with contextlib.suppress(SpecError):
            keyfiles.read_private("env://KEY", environ)
        assert environ == {"OTHER": "stays"}

    def test_what_is_missing(self, tmp_path: Path) -> None:
        for path in (tmp_path / "no.key", tmp_path / "no" / "no.key"):
            with pytest.raises(NotFound):
                keyfiles.read_private(str(path), {})
            with pytest.raises(NotFound):
                keyfiles.read_public(str(path), {})

    def test_a_public_key_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "x.pub").write_bytes(b"\xff")
        with pytest.raises(SpecError):
            keyfiles.read_public(str(tmp_path / "x.pub"), {})
        with pytest.raises(StoreError):
            keyfiles.read_public(str(tmp_path), {})


class TestPasswords:
    BOTH = ("BPFPACK_PASSWORD", "COSIGN_PASSWORD")

    def test_in_the_documented_order(self, tmp_path: Path) -> None:
        file = tmp_path / "password"
        file.write_bytes(b"from file\r\nsecond line")
        read, write = os.pipe()
        os.write(write, b"from fd\n")
        os.close(write)
        sources: dict[str, Any] = {"file": file, "fd": read, "prompt": lambda: "asked"}
        for name, told in (("file", b"from file"), ("fd", b"from fd"), ("prompt", b"asked")):
            environ = dict.fromkeys(self.BOTH, "from env")
            assert passwords.obtain(environ, **sources) == told
            assert environ == {}
            del sources[name]
        os.close(read)
        assert passwords.obtain(dict(zip(self.BOTH, ("ours", "theirs"), strict=True))) == b"ours"
        assert passwords.obtain({"COSIGN_PASSWORD": "theirs"}) == b"theirs"
        assert passwords.obtain({"BPFPACK_PASSWORD": ""}) == b""

    def test_nowhere(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError) as caught:
            passwords.obtain({})
        assert "--password-file" in str(caught.value.hint)
        with pytest.raises(UsageError):
            passwords.obtain({}, file=tmp_path / "none")
        with pytest.raises(UsageError):
            passwords.obtain({}, fd=2**20)

    def test_an_endless_file(self) -> None:
        with pytest.raises(SpecError):
            passwords.obtain({}, file=Path("/dev/zero"))
