"""softirqs builds with every clang and measures the soft interrupts that this test causes."""

import json
import os
import socket
import struct
from pathlib import Path

import pytest

from bpfpack.runner.session import Session
from bpfpack.spec.config import Output
from tests.kit.exampleruns import attached, set_global, shown
from tests.kit.objects import CLANGS
from tests.kit.sources import EXAMPLES, example

#: include/linux/interrupt.h, NET_RX_SOFTIRQ.
NET_RX = struct.pack("=I", 3)


def receive(packets: int = 50) -> None:
    """Send packets over loopback, each received in a soft interrupt before it can be read."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
    ):
        there.bind(("127.0.0.1", 0))
        for _ in range(packets):
            here.sendto(b"x", there.getsockname())
            there.recv(1)


def counted(session: Session, kind: bytes) -> list[int]:
    """The counts of a kind of soft interrupt that each processor has."""
    found = session.map("took").lookup(kind) or b""
    return [sum(struct.unpack("=64Q", one)) for one in session.map("took").slots(found) if one]


@pytest.mark.parametrize("clang", CLANGS)
def test_it_builds(clang: str) -> None:
    result = example("softirqs", clang)
    assert result.warnings == ()
    assert result.config.outputs == (
        Output(name="took", map="took", kind="histogram", scale="log2", unit="us", slots="slots"),
    )


@pytest.mark.kernel
@pytest.mark.parametrize("clang", CLANGS)
def test_each_processor_counts(clang: str) -> None:
    result = example("softirqs", clang)
    before = os.sched_getaffinity(0)
    with attached(result) as session:
        try:
            for cpu in before:
                os.sched_setaffinity(0, {cpu})
                receive()
        finally:
            os.sched_setaffinity(0, before)
        counts = counted(session, NET_RX)
    assert len(counts) >= len(before)
    assert all(counts[cpu] > 0 for cpu in before)


@pytest.mark.kernel
def test_one_processor_alone() -> None:
    result = example("softirqs")
    with attached(result, **set_global(result, "cpu", 4095)) as session:
        receive()
        assert list(session.map("took").items()) == []


@pytest.mark.kernel
def test_the_command_shows_it(tmp_path: Path) -> None:
    samples = shown(tmp_path / "home", EXAMPLES / "softirqs", run=("--timeout=1s",), cause=receive)
    (sample,) = samples
    assert {"kind": "net_rx"} in [one["key"] for one in sample["histograms"]], json.dumps(sample)
    assert sample["unit"] == "us"
