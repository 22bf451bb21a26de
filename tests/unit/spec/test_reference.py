"""References: what vectors cannot show."""

import pytest

from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError
from bpfpack.spec.reference import (
    Reference,
    canonical_host,
    valid_host,
    valid_repository,
    valid_tag,
)

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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ghcr.io", "GHCR.IO:443"),
        ("docker.io", "Registry-1.Docker.io:0443"),
        ("[2001:db8::1]:5000", "[2001:DB8:0:0:0:0:0:1]:05000"),
    ],
)
def test_one_registry_has_one_spelling(one: str, other: str) -> None:
    assert canonical_host(other) == one == canonical_host(one)


def test_a_port_that_tells_apart_is_kept() -> None:
    """Loopback is asked without TLS; without its port ``x`` is no registry."""
    for host in ("localhost:443", "127.0.0.2:443", "[::1]:443", "x:443", "ghcr.io:80", "a.b:0"):
        assert canonical_host(host) == host
