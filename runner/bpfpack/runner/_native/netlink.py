"""rtnetlink by a plain socket: requests, their answers, and attributes (rtnetlink(7)).

libbpf's ``bpf_tc_*`` would do for attaching.  What undoes an attachment must also see every
filter of an interface, whosever it is, and mark the qdisc that it makes, which those
functions cannot; and it runs in a process of its own that has no other use for libbpf.
"""

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, Self, TypeVar

from bpfpack.runner._native import netns
from bpfpack.spec.errors import KernelError
from bpfpack.spec.limits import LIMITS

_T = TypeVar("_T")

# include/uapi/linux/netlink.h
NLM_F_ECHO: Final = 0x8
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
_F_REQUEST: Final = 0x1
_F_ACK: Final = 0x4
_F_DUMP: Final = 0x300
_F_CAPPED: Final = 0x100
_F_ACK_TLVS: Final = 0x200
_MSG_ERROR: Final = 0x2
_MSG_DONE: Final = 0x3
_SOL_NETLINK: Final = 270
_CAP_ACK: Final = 10
_EXT_ACK: Final = 11
_ATTR_MSG: Final = 1
_TYPE_MASK: Final = 0x3FFF
_NESTED: Final = 1 << 15
# include/uapi/asm-generic/socket.h; Linux 5.14.
_SO_NETNS_COOKIE: Final = 71
# include/uapi/linux/sockios.h; Linux 4.10.
_SIOCGSKNS: Final = 0x894C

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = struct.Struct("=i")
#: The kernel fills dumps in pieces of at most 32 KiB (af_netlink.c, netlink_dump).
_PIECE: Final = 64 * 1024
#: Answers are there when the request returns; this ends what should be impossible.
_SECONDS: Final = 10


class Message(NamedTuple):
    """One answer: its type, and what follows the header."""

    type: int
    body: bytes


class _Raw(NamedTuple):
    type: int
    flags: int
    sequence: int
    body: bytes


def attribute(type_: int, payload: bytes) -> bytes:
    """One attribute, padded.

    >>> attribute(1, b"bpf\\0").hex()
    '0800010062706600'
    >>> attribute(1, b"x").hex()
    '0500010078000000'
    """
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, type_) + payload + bytes(-length % 4)


def nested(type_: int, *inner: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(type_ | _NESTED, b"".join(inner))


def text(value: str) -> bytes:
    """A string as attributes carry it."""
    return value.encode() + b"\0"


def attributes(data: bytes) -> dict[int, bytes]:
    """Parse attributes, the last of a type wins; raises KernelError.

    >>> attributes(attribute(1, b"x") + attribute(2, b"yz"))
    {1: b'x', 2: b'yz'}
    """
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, type_ = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            raise _malformed(f"an attribute of {length} bytes in {len(data)}")
        found[type_ & _TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[length + -length % 4 :]
    return found


class Netlink:
    """A socket to the traffic control of one network namespace."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket, self._sequence = sock, 0

    @classmethod
    def open(cls, namespace: int | None = None) -> Self:
        """Open one in this thread's namespace, or in that of a descriptor; raises KernelError."""
        if namespace is None:
            return cls(_socket())
        with netns.entered(namespace):
            return cls(_socket())

    @property
    def cookie(self) -> int | None:
        """The namespace's number, unique until the next boot; None before Linux 5.14."""
        try:
            raw = self._socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError as e:
            if e.errno == errno.ENOPROTOOPT:
                return None
            raise KernelError(e.errno or 0, str(e.strerror), "SO_NETNS_COOKIE") from e
        return int(struct.unpack("=Q", raw)[0])

    def namespace(self) -> int:
        """A descriptor of the network namespace that it is in; raises KernelError.

        Needs CAP_NET_ADMIN there.
        """
        with _mapped("SIOCGSKNS"):
            return fcntl.ioctl(self._socket, _SIOCGSKNS)

    def request(self, type_: int, body: bytes, *, flags: int = 0) -> list[Message]:
        """Send one request and wait until it is done; raises KernelError, with the kernel's words.

        What it answers beside its acknowledgement is returned.
        """
        return self._collect(type_, _F_REQUEST | _F_ACK | flags, body)

    def dump(self, type_: int, body: bytes) -> list[Message]:
        """Ask for all there is of something; raises KernelError."""
        return self._collect(type_, _F_REQUEST | _F_DUMP, body)

    def close(self) -> None:
        """Give the descriptor back; a second time does nothing."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _collect(self, type_: int, flags: int, body: bytes) -> list[Message]:
        self._sequence += 1
        with _mapped("rtnetlink"):
            header = _HEADER.pack(_HEADER.size + len(body), type_, flags, self._sequence, 0)
            self._socket.send(header + body)
        found: list[Message] = []
        while True:
            for raw in parse(self._receive()):
                if raw.sequence != self._sequence:
                    continue
                if raw.type in (_MSG_ERROR, _MSG_DONE):
                    _check(raw)
                    return found
                found.append(Message(raw.type, raw.body))
            if len(found) > LIMITS.netlink_messages:
                raise KernelError(
                    errno.EMSGSIZE, f"more than {LIMITS.netlink_messages} answers", "rtnetlink"
                )

    def _receive(self) -> bytes:
        with _mapped("rtnetlink"):
            while True:
                data, _, flags, (sender, _groups) = self._socket.recvmsg(_PIECE)
                if flags & socket.MSG_TRUNC:
                    raise _malformed("an answer larger than the kernel makes them")
                # Any process may send to a netlink socket; the kernel is number 0.
                if sender == 0:
                    return data


def parse(data: bytes) -> Iterator[_Raw]:
    """The messages of one piece; raises KernelError.

    >>> list(parse(bytes.fromhex("10000000030000000100000000000000")))
    [_Raw(type=3, flags=0, sequence=1, body=b'')]
    """
    while data:
        if len(data) < _HEADER.size:
            raise _malformed(f"{len(data)} bytes after the last message")
        length, type_, flags, sequence, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            raise _malformed(f"a message of {length} bytes in {len(data)}")
        yield _Raw(type_, flags, sequence, data[_HEADER.size : length])
        data = data[length + -length % 4 :]


def _check(raw: _Raw) -> None:
    """Raise what an acknowledgement or the end of a dump reports."""
    code = read(_ERROR.unpack_from, raw.body)[0] if raw.body else 0
    if code < 0:
        told = _words(raw) or os.strerror(-code)
        raise KernelError(-code, told, "rtnetlink")


def _words(raw: _Raw) -> str:
    """What the kernel says besides the number (Linux 4.12, "netlink: extended ACK reporting")."""
    if not raw.flags & _F_ACK_TLVS or not raw.flags & _F_CAPPED:
        return ""
    # The header of the request comes back, without its body: the acknowledgement is capped.
    tail = raw.body[_ERROR.size + _HEADER.size :]
    return attributes(tail).get(_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")


def read(unpack: Callable[[bytes], _T], data: bytes) -> _T:
    """Unpack the beginning of an answer; raises KernelError when it is too short."""
    try:
        return unpack(data)
    except struct.error as e:
        raise _malformed(f"an answer of {len(data)} bytes") from e


def _socket() -> socket.socket:
    with _mapped("rtnetlink"):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            sock.settimeout(_SECONDS)
            sock.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
            sock.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        except BaseException:
            sock.close()
            raise
        return sock


def _malformed(what: str) -> KernelError:
    return KernelError(errno.EBADMSG, what, "rtnetlink")


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    try:
        yield
    except KernelError:
        raise
    except OSError as e:
        raise KernelError(e.errno or errno.ETIMEDOUT, e.strerror or str(e), what) from e
