"""tc-count builds with every clang and counts the packets that this test sends over a cable."""

import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from bpfpack.runner.session import Session
from bpfpack.spec.config import Output
from tests.kit.exampleruns import attached_to, shown
from tests.kit.kernelobjects import eventually
from tests.kit.network import ip_packet, network, send_packets
from tests.kit.objects import CLANGS
from tests.kit.sources import EXAMPLES, example

IPV4, IPV6 = 0x0800, 0x86DD
UDP = 17
IN, OUT = 0, 1


@pytest.fixture
def cable() -> Iterator[None]:
    with network():
        yield


def exchange() -> None:
    """Two packets in and one out over IPv4, one in over IPv6."""
    send_packets("end1", IPV4, [ip_packet("192.0.2.1", "192.0.2.2", UDP)] * 2)
    send_packets("end0", IPV4, [ip_packet("192.0.2.2", "192.0.2.1", UDP)])
    send_packets("end1", IPV6, [ip_packet("2001:db8::1", "2001:db8::2", UDP)])


def tally(session: Session, direction: int, address: str) -> tuple[int, int]:
    """Packets and bytes from or to an address."""
    key = struct.pack("=I16s", direction, ip_address(address).packed)
    found = session.map("counts").lookup(key) or b""
    each = [struct.unpack("=QQ", one) for one in session.map("counts").slots(found) if one]
    return sum(packets for packets, _ in each), sum(size for _, size in each)


@pytest.mark.parametrize("clang", CLANGS)
def test_it_builds(clang: str) -> None:
    result = example("tc-count", clang)
    assert result.warnings == ()
    assert [(p.name, p.option) for p in result.config.programs] == [
        ("incoming", "interface"),
        ("outgoing", "interface"),
    ]
    assert result.config.outputs == (
        Output(name="counts", map="counts", kind="table", interval_ms=1000, sort="size"),
    )


@pytest.mark.kernel
@pytest.mark.usefixtures("cable")
@pytest.mark.parametrize("clang", CLANGS)
def test_it_counts_both_directions(clang: str) -> None:
    result = example("tc-count", clang)
    with attached_to(("end0",), result) as session:
        exchange()
        assert eventually(lambda: tally(session, IN, "2001:db8::1") == (1, 14 + 48))
        assert tally(session, IN, "::ffff:192.0.2.1") == (2, 2 * (14 + 28))
        assert tally(session, OUT, "::ffff:192.0.2.1") == (1, 14 + 28)


@pytest.mark.kernel
@pytest.mark.usefixtures("cable")
def test_the_command_shows_it(tmp_path: Path) -> None:
    samples = shown(
        tmp_path / "home",
        EXAMPLES / "tc-count",
        "--interface=end0",
        run=("--timeout=1s",),
        cause=exchange,
    )
    rows = samples[-1]["rows"]
    peer = "::ffff:192.0.2.1"
    assert {
        "key": {"direction": "in", "address": peer},
        "value": {"packets": 2, "size": 84},
    } in rows
    assert {
        "key": {"direction": "out", "address": peer},
        "value": {"packets": 1, "size": 42},
    } in rows
