"""Ring and perf buffers and maps of a live kernel, fed by what the tests do."""

import contextlib
import errno
import itertools
import os
import select
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from bpfpack.runner._native.btf import possible_cpus
from bpfpack.runner._native.buffers import Filling, NativePerf
from bpfpack.runner._native.libbpf import ENOTSUPP
from bpfpack.runner._native.maps import BatchBuffers
from bpfpack.runner.buffers import PerfBufferSource, RingBufferSource, open_source
from bpfpack.runner.losses import CountedSource, LossCounter
from bpfpack.runner.maps import Map
from bpfpack.runner.session import Session
from bpfpack.spec.errors import KernelError, Unsupported, UsageError
from bpfpack.spec.objectspec import ObjectSpec
from tests.kit.kernelobjects import EVENTS, compile_text, opened

pytestmark = pytest.mark.kernel

ME = {"me": struct.pack("=I", os.getpid())}
EVENT = struct.Struct("=QII")
RING = """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 16384); } events SEC(".maps");
const volatile u32 me; u64 sequence;
SEC("tp/syscalls/sys_enter_getpgid") int program(void *ctx)
{
    struct event *e;
    if (caller() != me) return 0;
    e = bpf_ringbuf_reserve(&events, sizeof *e, 0);
    if (!e) return 0;
    e->sequence = sequence++; e->pid = me; e->tag = 7;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""
PERF = """
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4);
         __uint(value_size, 4); } events SEC(".maps");
const volatile u32 me; u64 sequence;
SEC("tp/syscalls/sys_enter_getpgid") int program(void *ctx)
{
    struct event e = {};
    if (caller() != me) return 0;
    e.sequence = __sync_fetch_and_add(&sequence, 1); e.pid = me; e.tag = 7;
    bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof e);
    return 0;
}
"""
COUNTING = (
    PERF.replace("    bpf_perf_event_output(", "    if (bpf_perf_event_output(")
    .replace("sizeof e);", "sizeof e)) __sync_fetch_and_add(&__bpfpack_lost_events, 1);")
    .replace('SEC("tp/', 'static u64 __bpfpack_lost_events;\nSEC("tp/')
)
MAPS = """
#define MAP(NAME, TYPE, COUNT) \\
    struct { __uint(type, BPF_MAP_TYPE_##TYPE); __uint(max_entries, COUNT); \\
             __type(key, u32); __type(value, u32); } NAME SEC(".maps")
MAP(array, ARRAY, 10);
MAP(hash, HASH, 20000);
MAP(lru, LRU_HASH, 100);
MAP(cpu_array, PERCPU_ARRAY, 3);
MAP(cpu_hash, PERCPU_HASH, 300);
const volatile u32 me;
SEC("raw_tp/sys_enter") int program(void *ctx)
{
    u32 key = 1, *slot;
    if (caller() != me) return 0;
    slot = bpf_map_lookup_elem(&cpu_array, &key);
    if (slot) ++*slot;
    return 0;
}
"""


def _cause(count: int) -> None:
    for _ in range(count):
        os.getpgid(0)


@contextlib.contextmanager
def one_cpu() -> Iterator[None]:
    """Stay on one CPU, so that all records go into one ring."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def hopping() -> Iterator[Callable[[], None]]:
    """Go on to the next CPU at each call."""
    before = os.sched_getaffinity(0)
    cpus = itertools.cycle(sorted(before))
    try:
        yield lambda: os.sched_setaffinity(0, {next(cpus)})
    finally:
        os.sched_setaffinity(0, before)


def _sequences(source: RingBufferSource | PerfBufferSource, most: int = 10_000) -> list[int]:
    found = []
    while (batch := source.drain(most)) is not None:
        for at, size in batch.records:
            assert size >= EVENT.size and at % 8 == 0
            sequence, pid, tag = EVENT.unpack_from(batch.memory, at)
            assert (pid, tag) == (os.getpid(), 7)
            found.append(sequence)
    return found


def _u32(number: int) -> bytes:
    return struct.pack("=I", number)


class TestRing:
    def test_every_record_arrives_once_and_in_order(self) -> None:
        with opened(RING, outputs=(EVENTS,), values=ME) as session:
            source = session.sources["events"]
            assert isinstance(source, RingBufferSource)
            assert source.drain(10) is None
            session.attach()
            seen = []
            for _ in range(20):
                _cause(100)
                seen += _sequences(source)
            assert seen == list(range(2000))

    def test_the_descriptor_says_when_there_is_something(self) -> None:
        with opened(RING, outputs=(EVENTS,), values=ME) as session, select.epoll() as epoll:
            source = session.sources["events"]
            epoll.register(source.fd, select.EPOLLIN)
            session.attach()
            assert epoll.poll(0) == []
            _cause(1)
            assert [fd for fd, _ in epoll.poll(5)] == [source.fd]
            assert source.drain(10) is not None
            assert epoll.poll(0) == []

    def test_a_batch_holds_no_more_than_asked_for(self) -> None:
        with opened(RING, outputs=(EVENTS,), values=ME) as session:
            session.attach()
            _cause(10)
            session.detach()
            source = session.sources["events"]
            sizes = []
            while (batch := source.drain(4)) is not None:
                sizes.append(len(batch.records))
            assert sizes == [4, 4, 2]

    def test_memory_is_bounded_and_nothing_is_lost_at_its_edge(self) -> None:
        with opened(RING, values=ME) as session:
            source = RingBufferSource(session.map("events"), capacity=40)
            try:
                session.attach()
                _cause(9)
                session.detach()
                assert _sequences(source) == list(range(9))
            finally:
                source.close()

    def test_how_full_it_was_is_told_and_loss_is_not_made_up(self) -> None:
        with opened(RING, outputs=(EVENTS,), values=ME) as session:
            session.attach()
            _cause(1000)  # of 24 bytes each, into 16 KiB
            session.detach()
            batch = session.sources["events"].drain(10_000)
            assert batch is not None
            assert session.sources["events"].lost() is None
            assert batch.fill is not None and batch.fill > 0.99
            assert len(batch.records) == 16384 // 24

    def test_an_interrupt_in_the_callback_surfaces_from_drain(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with opened(RING, values=ME) as session:
            source = RingBufferSource(session.map("events"))
            try:
                session.attach()
                _cause(2)
                session.detach()

                def interrupted(address: int, size: int) -> bool:
                    raise KeyboardInterrupt

                monkeypatch.setattr(source._filling, "add", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    source.drain(10)
            finally:
                source.close()

    def test_a_closed_source_cannot_be_drained(self) -> None:
        with opened(RING, values=ME) as session:
            source = open_source(session.map("events"))
            source.close()
            source.close()
            with pytest.raises(ValueError, match="closed"):
                source.drain(1)


class TestPerf:
    def test_every_record_arrives_once(self) -> None:
        with opened(PERF, outputs=(EVENTS,), values=ME) as session:
            source = session.sources["events"]
            assert isinstance(source, PerfBufferSource)
            session.attach()
            seen = []
            for _ in range(10):
                _cause(100)
                seen += _sequences(source)
            assert sorted(seen) == list(range(1000))

    @pytest.mark.parametrize("most", [7, 10_000])
    def test_what_processors_saw_in_turn_comes_in_that_order(self, most: int) -> None:
        with opened(PERF, outputs=(EVENTS,), values=ME) as session:
            source = session.sources["events"]
            assert isinstance(source, PerfBufferSource)
            session.attach()
            with hopping() as hop:
                for _ in range(300):
                    hop()
                    _cause(1)
            assert _sequences(source, most) == list(range(300))

    def test_unordered_they_come_as_each_processor_has_them(self) -> None:
        with opened(PERF, values=ME) as session:
            source = PerfBufferSource(session.map("events"), ordered=False)
            try:
                session.attach()
                with hopping() as hop:
                    for _ in range(300):
                        hop()
                        _cause(1)
                found = _sequences(source)
                assert sorted(found) == list(range(300))
                cpus = len(os.sched_getaffinity(0))
                assert cpus == 1 or found != list(range(300))
            finally:
                source.close()

    def test_a_batch_holds_no_more_than_asked_for(self) -> None:
        with opened(PERF, outputs=(EVENTS,), values=ME) as session:
            session.attach()
            _cause(50)
            session.detach()
            source = session.sources["events"]
            sizes, total = [], 0
            while (batch := source.drain(7)) is not None:
                sizes.append(len(batch.records))
                total += len(batch.records)
            assert max(sizes) == 7
            assert total == 50

    def test_memory_is_bounded_and_nothing_is_lost_at_its_edge(self) -> None:
        with opened(PERF, values=ME) as session:
            source = PerfBufferSource(session.map("events"), capacity=48)
            try:
                session.attach()
                _cause(30)
                session.detach()
                assert sorted(_sequences(source)) == list(range(30))
            finally:
                source.close()

    def test_losses_are_counted_though_no_record_announces_them(self) -> None:
        with opened(PERF, values=ME) as session, one_cpu():
            source = PerfBufferSource(session.map("events"), pages=1)
            try:
                assert source.lost() == 0
                session.attach()
                _cause(1000)  # of 32 bytes each, into a page
                session.detach()
                kept = len(_sequences(source))
                assert 0 < kept < 1000
                assert source.lost() == 1000 - kept
            finally:
                source.close()

    def test_a_kernel_that_does_not_count_leaves_it_unknown(self) -> None:
        filling = Filling(4096)
        with opened(PERF, values=ME) as session, one_cpu():
            fd = session.map("events").fd
            with NativePerf(fd, 1, filling, counts=False) as native:
                session.attach()
                _cause(1000)
                session.detach()
                filling.begin(10_000)
                native.drain()
                assert 0 < len(filling.records) < 1000
                assert native.lost() is None

    def test_what_the_program_counts_is_not_counted_again(self) -> None:
        """The kernel saw the same records that the program failed to put in."""
        with opened(COUNTING, values=ME) as session, one_cpu():
            spec = ObjectSpec.from_bytes(compile_text(COUNTING))
            source = PerfBufferSource(session.map("events"), pages=1)
            try:
                counter = LossCounter.of(spec, "events", session.map)
                assert counter is not None
                counted = CountedSource(source, counter)
                session.attach()
                _cause(1000)
                session.detach()
                kept = len(_sequences(source))
                assert 0 < kept < 1000
                assert counted.lost() == source.lost() == 1000 - kept
            finally:
                source.close()


def test_a_map_that_carries_no_events_is_refused() -> None:
    with opened(MAPS) as session, pytest.raises(Unsupported, match="carries no events"):
        open_source(session.map("hash"))


class TestMaps:
    @pytest.fixture
    def session(self) -> Session:
        return opened(MAPS, values=ME)

    @pytest.fixture(autouse=True)
    def _closing(self, session: Session) -> object:
        yield
        session.close()

    def test_elements_come_and_go(self, session: Session) -> None:
        table = session.map("hash")
        assert table.lookup(_u32(1)) is None
        table.update(_u32(1), _u32(2))
        table.update(_u32(1), _u32(3))
        assert table.lookup(_u32(1)) == _u32(3)
        assert table.delete(_u32(1))
        assert not table.delete(_u32(1))

    def test_a_wrong_size_never_reaches_the_kernel(self, session: Session) -> None:
        table = session.map("hash")
        with pytest.raises(UsageError, match="3 bytes"):
            table.lookup(b"abc")
        with pytest.raises(UsageError, match="5 bytes"):
            table.update(_u32(1), b"abcde")

    @pytest.mark.parametrize("count", [0, 1, 20_000])
    def test_a_hash_is_read_whole(self, session: Session, count: int) -> None:
        table = session.map("hash")
        for i in range(count):
            table.update(_u32(i), _u32(i + 1))
        found = list(table.items())
        assert len(found) == count
        assert dict(found) == {_u32(i): _u32(i + 1) for i in range(count)}

    @pytest.mark.parametrize("name", ["array", "lru", "cpu_hash", "cpu_array"])
    def test_batches_and_the_walk_agree(self, session: Session, name: str) -> None:
        table = session.map(name)
        if name in ("lru", "cpu_hash"):
            for i in range(20):
                table.update(_u32(i), table_value(table, i))
        assert sorted(table.items()) == sorted(table._walk(set()))
        assert len(list(table.items())) == (
            20 if name in ("lru", "cpu_hash") else table.max_entries
        )

    def test_a_small_chunk_grows_to_the_largest_bucket(self, session: Session) -> None:
        table = session.map("hash")
        for i in range(20_000):
            table.update(_u32(i), _u32(i))
        import bpfpack.runner.maps as module

        before, module._BATCH_BYTES = module._BATCH_BYTES, 8  # type: ignore[misc]  # one element
        try:
            assert len(dict(table.items())) == 20_000
        finally:
            module._BATCH_BYTES = before  # type: ignore[misc]  # as it was

    @pytest.mark.parametrize("walk", [False, True])
    def test_a_walk_survives_deletion(self, session: Session, walk: bool) -> None:
        table = session.map("hash")
        for i in range(1000):
            table.update(_u32(i), _u32(i))
        seen = []
        for key, _ in table._walk(set()) if walk else table.items():
            seen.append(key)
            table.delete(key)
        assert len(seen) == len(set(seen)) == 1000

    @pytest.mark.parametrize("name", ["hash", "cpu_hash"])
    @pytest.mark.parametrize("walk", [False, True])
    def test_keys_that_stay_are_read_once_whatever_others_do(
        self, session: Session, name: str, walk: bool
    ) -> None:
        table = session.map(name)
        stay = {_u32(i): table_value(table, i) for i in range(100)}
        for key, value in stay.items():
            table.update(key, value)
        done = threading.Event()

        def churn() -> None:
            for i in itertools.cycle(range(100, 200)):
                table.update(_u32(i), table_value(table, i))
                table.delete(_u32((i + 50 - 100) % 100 + 100))
                if done.is_set():
                    return

        other = threading.Thread(target=churn)
        other.start()
        try:
            for _ in range(50):
                found = list(table._walk(set()) if walk else table.items())
                assert len({key for key, _ in found}) == len(found)
                kept = {key: value for key, value in found if key in stay}
                # Of a walk only so many steps are promised, and each deletion costs some.
                assert kept == stay if not walk else kept.items() <= stay.items()
                gone = {key for key, _ in found} - stay.keys()
                assert gone <= {_u32(i) for i in range(100, 200)}
        finally:
            done.set()
            other.join()

    @pytest.mark.parametrize("name", ["hash", "lru", "cpu_hash", "array", "cpu_array"])
    @pytest.mark.parametrize("batches", [True, False])
    def test_what_is_taken_is_gone(
        self, session: Session, name: str, batches: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not batches:
            monkeypatch.setattr("bpfpack.runner.maps._BATCHED", frozenset())
        table = session.map(name)
        keys = range(3 if name == "cpu_array" else 10 if name == "array" else 20)
        for i in keys:
            table.update(_u32(i), table_value(table, i))
        assert dict(table.take()) == {_u32(i): table_value(table, i) for i in keys}
        left = dict(table.items())
        assert left == (
            {} if "array" not in name else {_u32(i): table_value(table, 0) for i in keys}
        )

    @pytest.mark.parametrize("name", ["hash", "lru", "cpu_hash", "array", "cpu_array"])
    @pytest.mark.parametrize("code", [errno.EINVAL, ENOTSUPP], ids=["before 5.6", "before 5.13"])
    @pytest.mark.parametrize("take", [False, True])
    def test_kernels_without_batches(
        self, session: Session, name: str, code: int, take: bool
    ) -> None:
        table = session.map(name)
        for i in range(3):
            table.update(_u32(i), table_value(table, i))
        everything = dict(table.items())

        class Refusing(BatchBuffers):
            def call(self, fd: int, *, delete: bool) -> tuple[int, int]:
                return 0, code

        old = Map(table._native, Refusing)
        assert dict(old.take() if take else old.items()) == everything
        assert everything.items() >= {_u32(i): table_value(table, i) for i in range(3)}.items()
        left = dict(table.items())
        if take:
            assert not any(map(any, left.values()))
            assert bool(left) == ("array" in name)
        else:
            assert left == everything

    def test_arrays_refuse_to_be_emptied_in_batches(self, session: Session) -> None:
        """Should a kernel learn it, `Map.take` may learn it too."""
        for name in ("array", "cpu_array"):
            buffers = BatchBuffers(4, 8 * possible_cpus(), 10)
            assert buffers.call(session.map(name).fd, delete=True) == (0, ENOTSUPP)

    def test_values_per_cpu_add_up(self, session: Session) -> None:
        session.attach()
        _cause(100)
        session.detach()
        table = session.map("cpu_array")
        value = table.lookup(_u32(1))
        assert value is not None
        slots = table.slots(value)
        assert len(slots) == possible_cpus()
        assert sum(struct.unpack("=I", slot)[0] for slot in slots) >= 100
        assert table.lookup(_u32(99)) is None

    def test_a_map_is_unusable_once_its_session_is_closed(self, session: Session) -> None:
        table = session.map("hash")
        session.close()
        with pytest.raises(ValueError, match="closed"):
            table.lookup(_u32(1))

    def test_an_unknown_map_is_an_error(self, session: Session) -> None:
        with pytest.raises(KernelError):
            session.map("nothing")


def table_value(table: Map, number: int) -> bytes:
    """A value for one key, the same on every CPU."""
    return (
        b"".join(_u32(number).ljust(8, b"\0") for _ in range(possible_cpus()))
        if (table.per_cpu)
        else _u32(number)
    )
