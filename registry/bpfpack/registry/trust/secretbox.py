"""NaCl's secretbox, XSalsa20-Poly1305, for key files of a few hundred bytes.

The salsa20 core is written out, since the cryptography package has none; Poly1305 is its own.
Source: D. J. Bernstein, "Extending the Salsa20 nonce" and "Salsa20 specification".
"""

import struct
from collections.abc import Sequence
from typing import Final

from bpfpack.spec.errors import TrustError

KEY: Final = 32
NONCE: Final = 24
TAG: Final = 16

_MASK: Final = 0xFFFFFFFF
_SIGMA: Final = struct.unpack("<4I", b"expand 32-byte k")
# A column round and a row round: target, two sources, rotation.
_DOUBLE_ROUND: Final = (
    (4, 0, 12, 7), (8, 4, 0, 9), (12, 8, 4, 13), (0, 12, 8, 18),
    (9, 5, 1, 7), (13, 9, 5, 9), (1, 13, 9, 13), (5, 1, 13, 18),
    (14, 10, 6, 7), (2, 14, 10, 9), (6, 2, 14, 13), (10, 6, 2, 18),
    (3, 15, 11, 7), (7, 3, 15, 9), (11, 7, 3, 13), (15, 11, 7, 18),
    (1, 0, 3, 7), (2, 1, 0, 9), (3, 2, 1, 13), (0, 3, 2, 18),
    (6, 5, 4, 7), (7, 6, 5, 9), (4, 7, 6, 13), (5, 4, 7, 18),
    (11, 10, 9, 7), (8, 11, 10, 9), (9, 8, 11, 13), (10, 9, 8, 18),
    (12, 15, 14, 7), (13, 12, 15, 9), (14, 13, 12, 13), (15, 14, 13, 18),
)  # fmt: skip


def seal(plain: bytes, nonce: bytes, key: bytes) -> bytes:
    """Return tag and ciphertext; a nonce must never be used twice with one key."""
    one_time, stream = _streams(len(plain), nonce, key)
    cipher = _xor(plain, stream)
    return _poly1305(one_time, cipher) + cipher


def open_box(box: bytes, nonce: bytes, key: bytes) -> bytes:
    """Return the plaintext; raises TrustError, before decrypting, when the tag is wrong."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    one_time, stream = _streams(max(len(box) - TAG, 0), nonce, key)
    try:
        Poly1305.verify_tag(one_time, box[TAG:], box[:TAG])
    except InvalidSignature as e:
        raise TrustError("wrong password, or a damaged key file") from e
    return _xor(box[TAG:], stream)


def _poly1305(one_time: bytes, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    return Poly1305.generate_tag(one_time, data)


def _streams(size: int, nonce: bytes, key: bytes) -> tuple[bytes, bytes]:
    """Return the Poly1305 key and ``size`` bytes of key stream."""
    if len(key) != KEY or len(nonce) != NONCE:
        raise ValueError("secretbox takes a key of 32 bytes and a nonce of 24")
    subkey = _hsalsa20(key, nonce[:16])
    blocks = [_salsa20(subkey, nonce[16:], i) for i in range((size + KEY + 63) // 64)]
    stream = b"".join(blocks)
    return stream[:KEY], stream[KEY : KEY + size]


def _xor(data: bytes, stream: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))


def _state(key: bytes, middle: bytes) -> list[int]:
    k, n, s = struct.unpack("<8I", key), struct.unpack("<4I", middle), _SIGMA
    return [s[0], *k[:4], s[1], *n, s[2], *k[4:], s[3]]


def _rounds(state: Sequence[int]) -> list[int]:
    x = list(state)
    for _ in range(10):
        for target, a, b, shift in _DOUBLE_ROUND:
            total = (x[a] + x[b]) & _MASK
            x[target] ^= ((total << shift) | (total >> (32 - shift))) & _MASK
    return x


def _hsalsa20(key: bytes, nonce: bytes) -> bytes:
    x = _rounds(_state(key, nonce))
    return struct.pack("<8I", x[0], x[5], x[10], x[15], *x[6:10])


def _salsa20(key: bytes, nonce: bytes, counter: int) -> bytes:
    state = _state(key, nonce + struct.pack("<Q", counter))
    mixed = zip(_rounds(state), state, strict=True)
    return struct.pack("<16I", *((a + b) & _MASK for a, b in mixed))
