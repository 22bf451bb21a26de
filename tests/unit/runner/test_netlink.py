"""rtnetlink messages: built, parsed, and refused."""

import errno
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.runner._native.netlink import Netlink, attribute, attributes, nested, parse, read
from bpfpack.runner.netns import Namespace, Unseen
from bpfpack.spec.errors import KernelError

RTM_GETLINK = 18
RTM_NEWLINK = 16
RTM_DELQDISC = 37
IFLA_IFNAME = 3
IFINFOMSG = struct.Struct("=BxHiII")


def message(body: bytes, *, length: int | None = None, type_: int = 3) -> bytes:
    size = 16 + len(body) if length is None else length
    return struct.pack("=IHHII", size, type_, 0, 1, 0) + body + bytes(-len(body) % 4)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=5))
def test_attributes_come_back(made: list[tuple[int, bytes]]) -> None:
    assert attributes(b"".join(attribute(*one) for one in made)) == dict(made)


def test_nested_attributes_lose_their_flag() -> None:
    found = attributes(nested(2, attribute(6, b"fd"), attribute(8, b"flag")))
    assert attributes(found[2]) == {6: b"fd", 8: b"flag"}


@given(st.binary(max_size=200))
def test_any_bytes_are_attributes_or_an_error(data: bytes) -> None:
    try:
        attributes(data)
    except KernelError as e:
        assert e.errno == errno.EBADMSG


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_an_error(data: bytes) -> None:
    try:
        list(parse(data))
    except KernelError as e:
        assert e.errno == errno.EBADMSG


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (message(b"body")[:10], "10 bytes after the last message"),
        (message(b"body", length=15), "a message of 15 bytes"),
        (message(b"body", length=21), "a message of 21 bytes in 20"),
        (message(b"body", length=0), "a message of 0 bytes"),
    ],
)
def test_a_message_of_a_wrong_length_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(KernelError, match=told):
        list(parse(data))


@pytest.mark.parametrize("length", [0, 3, 9])
def test_an_attribute_of_a_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(KernelError, match=f"an attribute of {length} bytes in 8"):
        attributes(struct.pack("=HH4x", length, 1))


def test_an_answer_that_is_too_short_is_refused() -> None:
    with pytest.raises(KernelError, match="an answer of 3 bytes"):
        read(struct.Struct("=I").unpack_from, b"abc")


def test_the_kernel_answers() -> None:
    """What `socket` says of this namespace's interfaces, rtnetlink says as well."""
    with Netlink.open() as net:
        found = {}
        for answer in net.dump(RTM_GETLINK, IFINFOMSG.pack(0, 0, 0, 0, 0)):
            assert answer.type == RTM_NEWLINK
            index = IFINFOMSG.unpack_from(answer.body)[2]
            name = attributes(answer.body[IFINFOMSG.size :])[IFLA_IFNAME]
            found[index] = name.rstrip(b"\0").decode()
    assert found == dict(socket.if_nameindex())


def test_what_the_kernel_refuses_is_told_in_its_words() -> None:
    no_such = struct.pack("=B3xiIII", 0, 2**31 - 1, 0xFFFF0000, 0xFFFFFFF1, 0)
    with Netlink.open() as net:
        with pytest.raises(KernelError) as caught:
            net.request(RTM_DELQDISC, no_such)
        # As user it is refused before the interface is looked for.
        assert caught.value.errno in (errno.ENODEV, errno.EPERM)
        # An error ends one request, not the socket.
        assert net.dump(RTM_GETLINK, IFINFOMSG.pack(0, 0, 0, 0, 0))


def test_a_namespace_is_known_by_its_number_and_cookie() -> None:
    with Netlink.open() as net:
        here = Namespace.of(net)
        assert here.inode == Path("/proc/self/ns/net").stat().st_ino
        assert here.cookie == net.cookie
    assert Namespace.from_dict(here.to_dict()) == here
    with here.netlink() as again:
        assert again is not None
    with Namespace(inode=here.inode, cookie=1).netlink() as found:
        assert found is None
    with pytest.raises(Unseen), Namespace(inode=1).netlink():
        pass
