"""A network namespace with a cable in it, for the calling thread and what it starts."""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final

from tests.kit.objects import run, tool

# include/uapi/linux/sched.h; os.setns and os.unshare came with Python 3.12.
_CLONE_NEWNET: Final = 0x40000000
#: IEEE 802 local experimental EtherType 1: nobody else on the cable speaks it.
ETHERTYPE: Final = 0x88B5


@contextmanager
def network() -> Iterator[None]:
    """A namespace with ``lo`` and the two ends of a cable, ``end0`` and ``end1``, all up."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert libc.unshare(_CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            ip = tool("ip")
            run(ip, "link", "add", "end0", "type", "veth", "peer", "name", "end1")
            for name in ("lo", "end0", "end1"):
                run(ip, "link", "set", name, "up")
            yield
        finally:
            assert libc.setns(home, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(home)


def send(interface: str, frames: int) -> None:
    """Send frames of `ETHERTYPE` out of an interface; they have arrived on return."""
    send_packets(interface, ETHERTYPE, [bytes(46)] * frames)


def send_packets(interface: str, ethertype: int, packets: Sequence[bytes]) -> None:
    """Send packets to everyone on the cable; they have arrived on return."""
    header = b"\xff" * 6 + b"\x02" + b"\0" * 5 + ethertype.to_bytes(2, "big")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((interface, 0))
        for packet in packets:
            frame = header + packet
            assert out.send(frame) == len(frame)


def ip_packet(source: str, target: str, protocol: int, payload: bytes = bytes(8)) -> bytes:
    """A packet of IPv4 or IPv6, as the addresses are; nothing here looks at a checksum."""
    addresses = ip_address(source).packed + ip_address(target).packed
    if len(addresses) == 8:
        fields = (0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
        return struct.pack(">BBHHHBBH", *fields) + addresses + payload
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload
