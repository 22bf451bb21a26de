"""Digests: what vectors cannot show."""

import hashlib

import pytest

from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_it_hashes_by_its_own_algorithm(algorithm: str) -> None:
    expected = Digest(algorithm, hashlib.new(algorithm, b"hello").hexdigest())
    assert expected.of(b"hello") == expected
    assert expected.of(memoryview(b"xhello")[1:]) == expected
    assert expected.of(b"hellO") != expected
    hasher = expected.new_hash()
    hasher.update(b"hel")
    hasher.update(b"lo")
    assert hasher.hexdigest() == expected.encoded


def test_it_is_a_key_and_has_an_order() -> None:
    one, two = Digest.sha256(b"1"), Digest.sha256(b"2")
    assert len({one, Digest.parse(str(one)), two}) == 2
    assert sorted([one, two]) == sorted([two, one])
    assert len(one.short) == 12 and one.encoded.startswith(one.short)


@pytest.mark.parametrize("value", [None, 7, b"sha256:" + b"0" * 64, ["sha256"]])
def test_only_text_can_be_one(value: object) -> None:
    with pytest.raises(SpecError, match="not a string"):
        Digest.parse(value)


def test_no_other_can_be_made() -> None:
    for algorithm, encoded in (("sha256", "../" * 21 + "x"), ("md5", "0" * 32), ("", "")):
        with pytest.raises(SpecError):
            Digest(algorithm, encoded)
