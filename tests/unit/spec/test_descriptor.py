"""Descriptors: what vectors cannot show."""

from bpfpack.spec.descriptor import Descriptor, Platform
from bpfpack.spec.digest import Digest


def test_it_writes_what_it_read() -> None:
    data = {
        "mediaType": "text/plain",
        "digest": str(Digest.sha256(b"hi")),
        "size": 2,
        "artifactType": "application/x",
        "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"},
        "annotations": {"b": "1", "a": "2"},
        "data": "aGk=",
    }
    found = Descriptor.from_dict(data)
    assert found.to_dict() == data
    assert list(found.to_dict()) == list(data)
    assert found.data == b"hi"


def test_it_describes_bytes_at_hand() -> None:
    made = Descriptor.of(b"hi", "text/plain", annotations={"org.opencontainers.image.title": "x"})
    assert (made.size, made.digest, made.title) == (2, Digest.sha256(b"hi"), "x")
    assert Descriptor.of(b"", "text/plain").title is None
    assert set(Descriptor.of(b"", "text/plain").to_dict()) == {"mediaType", "digest", "size"}


def test_a_platform_in_words() -> None:
    assert str(Platform(os="linux", architecture="arm64", variant="v8")) == "linux/arm64/v8"
    assert str(Platform(os="linux", architecture="amd64")) == "linux/amd64"
