"""Ring buffers walked where they are, in the engine's memory, while the kernel writes."""

import gc
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.runner.engine.host import Engine
from bpfpack.runner.session import Session
from bpfpack.spec.errors import EngineError, KernelError, Unsupported
from tests.kit.enginestreams import raw_stream
from tests.kit.floods import Checker, CopyingReader, counted, flood, flowing
from tests.kit.kernelobjects import EVENTS, opened

pytestmark = pytest.mark.kernel

EVERYTHING = 1 << 62
ME = {"me": struct.pack("=I", os.getpid())}
#: Records of all sizes, every third one thrown away.
SIZES = """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 16384); } NAMES;
const volatile u32 me; u64 sequence;
SEC("tp/syscalls/sys_enter_getpgid") int program(void *ctx)
{
    u64 at = sequence++, *e;
    u32 *small;
    if (caller() != me) return 0;
    if (at % 2) {
        small = bpf_ringbuf_reserve(&events, 4, 0);
        if (small) { *small = at; bpf_ringbuf_submit(small, 0); }
        return 0;
    }
    e = bpf_ringbuf_reserve(&events, 40, 0);
    if (!e) return 0;
    for (int i = 0; i < 5; i++) e[i] = at << i;
    if (at % 3) bpf_ringbuf_submit(e, 0); else bpf_ringbuf_discard(e, 0);
    return 0;
}
"""
SIZES = SIZES.replace("NAMES", 'events SEC(".maps")')
TWO = SIZES.replace("} events SEC", '} events SEC(".maps"), other SEC').replace(
    "sequence++, *e;", "sequence++, *e; u32 n = at; bpf_ringbuf_output(&other, &n, 4, 0);"
)


@pytest.fixture
def sizes() -> Iterator[Session]:
    with opened(SIZES, outputs=(EVENTS,), values=ME) as session:
        session.attach()
        yield session


def call(times: int) -> None:
    for _ in range(times):
        os.getpgid(0)


def mapped() -> int:
    """How many pieces of BPF maps this process has mapped."""
    return Path("/proc/self/maps").read_text().count("bpf-map")


@pytest.mark.parametrize(
    ("count", "words", "slow"), [(10_000_000, 8, False), (20_000, 64, True)], ids=["fast", "slow"]
)
def test_no_record_is_torn(count: int, words: int, slow: bool) -> None:
    checker = Checker(words)
    with flood(1 << 20, words=words, slow=slow) as session, Engine() as engine:
        stream = raw_stream(engine, session.map("events"))
        with flowing(session, count):
            while checker.seen < count:
                taken = stream.take(EVERYTHING)
                checker.take(memoryview(taken.output))
        assert counted(session)[0] == count
    assert (checker.seen, checker.torn) == (count, 0)


def test_a_reader_that_copies_first_tears_records() -> None:
    """The test above can fail: so it would, were the span copied before it is walked."""
    with flood(1 << 16, words=64, slow=True) as session:
        reader = CopyingReader(session, 64)
        with flowing(session, 1 << 40):
            while not reader.torn:
                reader.take()
        reader.close()


def test_it_takes_what_libbpf_takes(sizes: Session) -> None:
    source, batches = sizes.sources["events"], []
    call(300)
    while batch := source.drain(1000):
        batches += [bytes(batch.memory[at : at + size]) for at, size in batch.records]
    bss = sizes.map(".bss")
    bss.update(bytes(4), bytes(bss.value_size))
    call(300)
    with Engine() as engine:
        taken = raw_stream(engine, sizes.map("events")).take(EVERYTHING)
        assert bytes(taken.output) == b"".join(batches)
        assert taken.records == taken.shown == len(batches) == 250
        assert not taken.busy
        assert not taken.more
    assert {len(record) for record in batches} == {4, 40}


@pytest.mark.parametrize("most", [1, 7, 64])
def test_what_was_taken_makes_room_and_no_more_is_taken_than_asked(
    sizes: Session, most: int
) -> None:
    with Engine() as engine:
        stream, records = raw_stream(engine, sizes.map("events")), 0
        for _ in range(50):
            call(120)
            while taken := stream.take(most).records:
                assert taken <= most
                records += taken
            assert stream.take(most).fill == 0
        assert records == 50 * 100


def test_output_that_is_full_is_taken_in_parts(sizes: Session) -> None:
    with Engine(output=128) as engine:
        stream = raw_stream(engine, sizes.map("events"))
        call(60)
        parts = []
        while (taken := stream.take(EVERYTHING)).records:
            parts.append(bytes(taken.output))
            assert taken.more or len(parts) > 1
        assert sum(map(len, parts)) == 30 * 4 + 20 * 40


def test_one_record_that_is_larger_than_the_output_makes_it_grow(sizes: Session) -> None:
    with Engine(output=16) as engine:
        stream = raw_stream(engine, sizes.map("events"))
        call(3)
        parts = []
        while (taken := stream.take(EVERYTHING)).records:
            parts.append(len(taken.output))
        assert sum(parts) == 4 + 40
        assert engine.output_size >= 40


def test_several_rings_are_walked_by_one_engine() -> None:
    with opened(TWO, values=ME) as session, Engine() as engine:
        streams = [raw_stream(engine, session.map(name)) for name in ("events", "other")]
        session.attach()
        call(6)
        first, second = (bytes(stream.take(EVERYTHING).output) for stream in streams)
        assert struct.unpack("=6I", second) == (0, 1, 2, 3, 4, 5)
        assert len(first) == 3 * 4 + 2 * 40
        assert mapped() >= 4


def test_what_may_only_be_read_is_not_written_but_a_trap(sizes: Session) -> None:
    with Engine() as engine:
        ring = sizes.map("events")
        place = engine.memory.map_ring(ring.fd, ring.max_entries)
        call(2)
        before = bytes(engine.memory.view(place.producer, 4096 + 2 * place.size))
        for address in (place.producer, place.data, place.data + 2 * place.size - 64):
            with pytest.raises(EngineError, match="trap"):
                engine.enter(address)
        assert bytes(engine.memory.view(place.producer, 4096 + 2 * place.size)) == before
        # It goes on afterwards.
        assert raw_stream(engine, ring).take(EVERYTHING).records == 1


def test_rings_are_unmapped_at_the_end_even_where_views_are_left(sizes: Session) -> None:
    before = mapped()
    engine = Engine()
    stream = raw_stream(engine, sizes.map("events"))
    call(2)
    taken = stream.take(EVERYTHING)
    assert mapped() > before
    engine.close()
    assert mapped() == before
    with pytest.raises(ValueError, match="closed"):
        stream.take(EVERYTHING)
    del engine, stream
    gc.collect()
    assert len(bytes(taken.output)) == 4


def test_what_is_no_ring_is_an_error_and_leaves_nothing_mapped(sizes: Session) -> None:
    before = mapped()
    with Engine() as engine:
        with pytest.raises(Unsupported, match="carries no events"):
            raw_stream(engine, sizes.map(".bss"))
        for fd, size in ((sizes.map(".rodata").fd, 4096), (-1, 4096), (0, 1 << 20)):
            with pytest.raises(KernelError):
                engine.memory.map_ring(fd, size)
        with pytest.raises(EngineError, match="no room"):
            engine.memory.map_ring(sizes.map("events").fd, 1 << 32)
    assert mapped() == before
