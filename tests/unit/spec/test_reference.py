"""References: what vectors cannot show."""

import pytest

from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError
from bpfpack.spec.reference import Reference, valid_host, valid_repository, valid_tag

DIGEST = Digest.sha256(b"")


def test_a_bare_name_has_no_registry_to_ask() -> None:
    bare = Reference.parse("opensnoop:1.0")
    assert bare.is_bare
    with pytest.raises(SpecError, match="names no registry") as caught:
        _ = bare.api_host
    assert caught.value.hint == "write the registry too, such as ghcr.io/you/opensnoop"


def test_another_tag_drops_the_digest() -> None:
    pinned = Reference.parse(f"ghcr.io/x:1@{DIGEST}")
    assert str(pinned.with_tag("2")) == "ghcr.io/x:2"
    assert str(pinned.with_tag(None)) == "ghcr.io/x"
    assert str(Reference.parse("ghcr.io/x:1").with_digest(DIGEST)) == f"ghcr.io/x:1@{DIGEST}"


def test_what_is_put_together_is_checked_too() -> None:
    for registry, repository, tag in (
        ("ghcr.io", "../x", None),
        ("ghcr.io/x", "y", None),
        ("ghcr.io", "x", "a b"),
        (None, "X", None),
    ):
        with pytest.raises(SpecError):
            Reference(registry, repository, tag)


def test_the_parts_alone() -> None:
    assert valid_host("[::1]:5000") and not valid_host("a_b") and not valid_host("a\n")
    assert valid_tag("1.0") and not valid_tag("") and not valid_tag("1.0\n")
    assert valid_repository("a/b") and not valid_repository("a/b\n")
    assert not valid_repository("a" * 256)


def test_a_long_fault_is_told_in_short() -> None:
    with pytest.raises(SpecError) as caught:
        Reference.parse("X" * 10_000)
    assert len(str(caught.value)) < 200
