"""Perf buffers: what the processors hold, staged in the engine's memory."""

import os
import struct
from collections.abc import Iterator

import pytest

from bpfpack.runner.engine.host import Engine
from bpfpack.runner.session import Session
from tests.kit.enginestreams import raw_stream
from tests.kit.kernelobjects import EVENTS, opened

pytestmark = pytest.mark.kernel

EVERYTHING = 1 << 62
ME = {"me": struct.pack("=I", os.getpid())}
SOURCE = """
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4);
         __uint(value_size, 4); } events SEC(".maps");
const volatile u32 me; u64 sequence;
SEC("tp/syscalls/sys_enter_getpgid") int program(void *ctx)
{
    u64 record[3] = {};
    if (caller() != me) return 0;
    record[0] = __sync_fetch_and_add(&sequence, 1);
    bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, record, 20);
    return 0;
}
"""
#: 20 bytes, and a u32 for their number, are 24: nothing is padded.
SIZE = 20


@pytest.fixture
def session() -> Iterator[Session]:
    with opened(SOURCE, outputs=(EVENTS,), values=ME) as made:
        yield made


def numbers(output: bytes | memoryview) -> list[int]:
    data = bytes(output)
    assert len(data) % SIZE == 0
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), SIZE)]


def call(times: int) -> None:
    for _ in range(times):
        os.getpgid(0)


@pytest.mark.parametrize("output", [64, 512 * 1024])
@pytest.mark.parametrize("most", [1, 7, EVERYTHING])
def test_every_record_arrives_once_and_in_order(session: Session, output: int, most: int) -> None:
    with Engine(output=output) as engine:
        stream = raw_stream(engine, session.map("events"), pages=8)
        session.attach()
        seen: list[int] = []
        for _ in range(5):
            call(100)
            while (taken := stream.take(most)).records:
                assert taken.records <= most
                seen += numbers(taken.output)
        assert seen == list(range(500))
        assert stream.lost() == 0
        stream.close()


def test_what_finds_no_room_is_counted(session: Session) -> None:
    with Engine() as engine:
        stream = raw_stream(engine, session.map("events"), pages=1)
        session.attach()
        call(1000)
        session.detach()
        seen = []
        while (taken := stream.take(EVERYTHING)).records:
            seen += numbers(taken.output)
        assert 0 < len(seen) < 1000
        assert len(seen) + (stream.lost() or 0) == 1000
        stream.close()
        stream.close()
