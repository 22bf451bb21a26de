"""xdp-count builds with every clang and counts the packets that this test sends over a cable."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.spec.config import Output
from tests.kit.exampleruns import attached_to, shown
from tests.kit.kernelobjects import eventually
from tests.kit.network import ip_packet, network, send_packets
from tests.kit.objects import CLANGS
from tests.kit.sources import EXAMPLES, example

IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
TCP, UDP, ICMPV6 = 6, 17, 58


@pytest.fixture
def cable() -> Iterator[None]:
    with network():
        yield


def send() -> None:
    """Three packets of TCP, two of UDP over IPv6, and one of no IP at all."""
    send_packets("end1", IPV4, [ip_packet("192.0.2.1", "192.0.2.2", TCP)] * 3)
    send_packets("end1", IPV6, [ip_packet("2001:db8::1", "2001:db8::2", UDP)] * 2)
    send_packets("end1", ARP, [bytes(46)])


@pytest.mark.parametrize("clang", CLANGS)
def test_it_builds(clang: str) -> None:
    result = example("xdp-count", clang)
    assert result.warnings == ()
    assert [(p.name, p.option) for p in result.config.programs] == [("on_packet", "interface")]
    assert result.config.outputs == (
        Output(name="counts", map="counts", kind="table", interval_ms=1000, sort="packets"),
    )


@pytest.mark.kernel
@pytest.mark.usefixtures("cable")
@pytest.mark.parametrize("clang", CLANGS)
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_it_counts_what_comes_in(clang: str, mode: str) -> None:
    result = example("xdp-count", clang)
    with attached_to((f"end0:{mode}",), result) as session:
        counts = session.map("counts")

        def tally(ethertype: int, protocol: int) -> tuple[int, int]:
            found = counts.lookup(struct.pack("=HH", ethertype, protocol)) or b""
            each = [struct.unpack("=QQ", one) for one in counts.slots(found) if one]
            return sum(packets for packets, _ in each), sum(size for _, size in each)

        send()
        assert eventually(lambda: tally(ARP, 0) == (1, 60))
        assert tally(IPV4, TCP) == (3, 3 * (14 + 28))
        assert tally(IPV6, UDP) == (2, 2 * (14 + 48))
        send_packets("end0", IPV4, [ip_packet("192.0.2.2", "192.0.2.1", TCP)])
        assert tally(IPV4, TCP) == (3, 3 * (14 + 28))


@pytest.mark.kernel
@pytest.mark.usefixtures("cable")
def test_the_command_shows_it(tmp_path: Path) -> None:
    samples = shown(
        tmp_path / "home",
        EXAMPLES / "xdp-count",
        "--interface=end0",
        run=("--timeout=1s",),
        cause=send,
    )
    rows = [row for row in samples[-1]["rows"] if row["key"]["protocol"] != "icmpv6"]
    assert {
        "key": {"type": "ipv4", "protocol": "tcp"},
        "value": {"packets": 3, "size": 126},
    } in rows
    assert {
        "key": {"type": "ipv6", "protocol": "udp"},
        "value": {"packets": 2, "size": 124},
    } in rows
