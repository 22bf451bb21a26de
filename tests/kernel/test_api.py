"""The embedding API with a real kernel; the program is the one of docs/embedding.md."""

import asyncio
import functools
import gc
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import bpfpack.runner as runner
from bpfpack.builder.build import BuildOptions, build
from bpfpack.spec.config import Config
from bpfpack.spec.errors import UsageError
from bpfpack.spec.package import Package
from bpfpack.spec.trust import VerifiedArtifact
from tests.kit.kernelobjects import EVENTS, admitted, compile_text, descriptors, eventually, held

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[2] / "docs/embedding.md"


def blocks(language: str) -> list[str]:
    """The blocks of the page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.M | re.S)


@functools.cache
def content() -> Package:
    """The page's program, built."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "calls.bpf.c")
        source.write_text(blocks("c")[0])
        return build(source, BuildOptions()).package


def artifact() -> VerifiedArtifact:
    with pytest.warns(runner.InsecureWarning, match="UNVERIFIED CODE"):
        return runner.insecure(content(), reason="a test")


@pytest.fixture
def session() -> Iterator[runner.PackageSession]:
    before = descriptors()
    with runner.open(artifact()).load(params={"pid": os.getpid()}) as loaded:
        yield loaded
    gc.collect()
    assert descriptors() == before
    assert held() == set()


def calls(count: int = 1) -> None:
    for _ in range(count):
        os.getpgid(0)


def test_nothing_comes_before_attaching_and_all_after(session: runner.PackageSession) -> None:
    events = session.output("events")
    calls()
    assert events.take() is None
    with session.attached():
        calls(5)
    calls()
    with pytest.raises(ValueError, match="batch has ended"), one(events) as batch:
        assert [event["words"] for event in batch] == [[n, 7, 0] for n in range(1, 6)]
        assert [event["mood"] for event in batch] == ["CALM"] * 3 + ["BUSY"] * 2
        assert [json.loads(line) for line in batch.json().splitlines()] == list(batch)
        assert {len(view) for view in batch.views()} == {events.layouts[0].size}
        assert batch.lost == 0 == events.lost()
        batch.close()
        batch.json()
    assert list(events.batches(timeout=0)) == []


def one(events: runner.EventReader) -> runner.RecordBatch:
    (batch,) = events.batches(timeout=0)
    return batch


def test_batches_are_as_large_as_asked(session: runner.PackageSession) -> None:
    with session.attached():
        calls(10)
    sizes = [len(b) for b in session.output("events").batches(timeout=0, max_records=4)]
    assert sizes == [4, 4, 2]
    with pytest.raises(UsageError, match="batch of 0"):
        session.output("events").take(0)


def test_a_wait_ends_with_an_event_of_another_thread(session: runner.PackageSession) -> None:
    """Without a timeout: it would hang if the wait did not see the event."""
    with session.attached():
        found = session.output("events").batches()
        timer = threading.Timer(0.05, calls)
        timer.start()
        assert len(next(found)) == 1
        timer.join()


def test_a_batch_outlives_its_session_and_what_reads_does_not() -> None:
    with runner.open(artifact()).load(params={"pid": os.getpid()}) as session:
        with session.attached():
            calls(3)
        events, counts, values = session.output("events"), session.map("counts"), session.globals
        batch = one(events)
        (view, *_) = batch.views()
    session.close()
    gc.collect()
    assert [event["words"][0] for event in batch] == [1, 2, 3]
    assert len(bytes(view)) == len(view)
    batch.close()
    with pytest.raises(ValueError, match="released"):
        view.tobytes()
    for use in (
        events.take,
        lambda: next(events.batches()),
        lambda: events.fd,
        events.lost,
        lambda: counts[{"pid": 1}],
        lambda: list(counts),
        lambda: values["seen"],
        lambda: session.map("counts"),
        lambda: session.output("events"),
        session.attach,
        session.__enter__,
    ):
        with pytest.raises(ValueError):
            use()


def test_events_with_asyncio(session: runner.PackageSession) -> None:
    async def first(count: int) -> list[int]:
        found: list[int] = []
        async for batch in session.output("events"):
            with batch:
                found += [event["words"][0] for event in batch]
            if len(found) >= count:
                return found
        raise AssertionError

    async def both() -> list[int]:
        asyncio.get_running_loop().call_later(0.02, calls)
        asyncio.get_running_loop().call_later(0.04, calls, 2)
        return await first(3)

    with session.attached():
        assert asyncio.run(both()) == [1, 2, 3]


@pytest.mark.parametrize("flood", [False, True], ids=["idle", "flood"])
def test_cancellation_leaves_nothing(flood: bool) -> None:
    before = descriptors()

    async def watch(started: asyncio.Event) -> None:
        async with runner.open(artifact()).load(params={"pid": os.getpid()}) as session:
            with session.attached():
                started.set()
                async for batch in session.output("events"):
                    calls(2 * len(batch) if flood else 0)

    async def cancelled() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(watch(started))
        await started.wait()
        calls()
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    gc.collect()
    assert descriptors() == before
    assert held() == set()


def test_maps_are_dicts(session: runner.PackageSession) -> None:
    counts, limits = session.map("counts"), session.map("limits")
    me = {"pid": os.getpid()}
    with session.attached():
        calls(4)
    assert counts.per_cpu and sum(counts[me]) == 4 and len(counts[me]) == counts.raw.cpus
    counts[{"pid": 1}] = list(range(counts.raw.cpus))
    assert {key["pid"]: sum(values) for key, values in counts.items()} == {
        os.getpid(): 4,
        1: sum(range(counts.raw.cpus)),
    }
    assert sorted(key["pid"] for chunk in counts.chunks() for key, _ in chunk) == sorted(
        (1, os.getpid())
    )
    assert len(list(counts.take())) == 2 and list(counts) == []

    limits[3] = {"most": 4, "mood": "BUSY", "note": "hé"}
    assert limits[3] == {"most": 4, "mood": "BUSY", "note": "hé"} == limits.get(3)
    assert 3 in limits and 4 not in limits and limits.get(4, "none") == "none"
    assert limits.max_entries == 16 and limits.value_layout is not None
    del limits[3]
    for use in (lambda: limits[3], lambda: limits.__delitem__(3)):
        with pytest.raises(KeyError):
            use()
    with pytest.raises(UsageError, match="value of limits: lacks mood, note"):
        limits[3] = {"most": 4}
    with pytest.raises(UsageError, match="one for each CPU"):
        counts[me] = 3


def test_globals_are_read_and_written_while_it_runs(session: runner.PackageSession) -> None:
    values = session.globals
    assert sorted(values) == ["paused", "seen", "step", "target_pid"] and len(values) == 4
    assert "seen" in values and "gone" not in values
    with session.attached():
        calls(2)
        values["paused"] = 1
        calls(7)
        values["paused"] = 0
        values["seen"] += 100
        values["step"] = 7
        calls()
    assert (values["seen"], values["target_pid"]) == (109, os.getpid())
    with pytest.raises(UsageError, match="constant once it is loaded"):
        values["target_pid"] = 1
    with pytest.raises(UsageError, match="no global is called 'gone'"):
        values["gone"] = 1
    with pytest.raises(UsageError, match="global paused: -1: not between"):
        values["paused"] = -1


def test_a_plan_says_what_is_set_before_loading() -> None:
    package = runner.open(artifact())
    assert list(package.params) == ["pid"] and package.config.name == "calls"
    planned = package.plan(
        {"pid": "7"}, constants={"seen": 40, "target_pid": os.getpid()}, map_sizes={"counts": 7}
    )
    with package.load(planned) as session:
        with session.attached():
            calls(2)
        assert session.globals["seen"] == 42 and session.plan is planned
        assert session.map("counts").max_entries == 7
    for wrong in ({"pdi": 1}, {"pid": "x"}, {"pid": 2**40}):
        with pytest.raises(UsageError):
            package.plan(wrong)
    with pytest.raises(UsageError, match="part of the plan"):
        package.load(planned, {"pid": 1})


def test_what_is_not_there_is_said(session: runner.PackageSession) -> None:
    with pytest.raises(UsageError, match="has no output 'x'"):
        session.output("x")
    with pytest.raises(UsageError, match="counts is table, no events"):
        session.output("counts")
    with pytest.raises(UsageError, match="has no map 'x'"):
        session.map("x")
    with pytest.raises(UsageError, match="has no iterator 'x'"):
        session.text("x")
    with session.attached(), pytest.raises(UsageError, match="is attached"):
        session.attach()


def test_columns_of_arrow_outlive_batch_and_session() -> None:
    pa = pytest.importorskip("pyarrow")
    with runner.open(artifact()).load(params={"pid": os.getpid()}) as session:
        with session.attached():
            calls(2)
        with one(session.output("events")) as batch:
            columns, dicts = batch.to_arrow(), list(batch)
    gc.collect()
    assert columns.schema == pa.schema(
        [
            ("time", pa.timestamp("ns", tz="UTC")),
            ("pid", pa.int32()),
            ("mood", pa.dictionary(pa.int32(), pa.string())),
            ("comm", pa.string()),
            ("words", pa.list_(pa.uint32())),
        ]
    )
    rest = columns.drop_columns(["time"]).to_pylist()
    assert rest == [{k: v for k, v in d.items() if k != "time"} for d in dicts]
    assert [int(t.value) for t in columns["time"]] == [nanoseconds(d["time"]) for d in dicts]


def nanoseconds(text: str) -> int:
    whole, _, rest = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9 + int(rest)


def test_signal_handlers_and_descriptors_are_left_alone() -> None:
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    standard = [os.fstat(fd) for fd in (0, 1, 2)]
    threads = threading.active_count()
    with runner.open(artifact()).load(params={"pid": os.getpid()}) as session, session.attached():
        calls()
        one(session.output("events"))
        assert {n: signal.getsignal(n) for n in signal.valid_signals()} == handlers
        assert threading.active_count() == threads
    assert [(s.st_dev, s.st_ino) for s in standard] == [
        (s.st_dev, s.st_ino) for s in (os.fstat(fd) for fd in (0, 1, 2))
    ]


def test_the_blocks_of_the_page_run(tmp_path: Path) -> None:
    (tmp_path / "calls.bpf.c").write_text(blocks("c")[0])
    (tmp_path / "page.py").write_text("\n".join(blocks("python")))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
        f"BPFPACK_{name}_DIR": str(tmp_path / name.lower())
        for name in ("CONFIG", "DATA", "STATE", "CACHE", "RUN")
    }
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "page.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_lines_are_those_of_the_batches_whichever_makes_them() -> None:
    def watched(read: Callable[[runner.PackageSession], list[dict[str, Any]]]) -> Any:
        with runner.open(artifact()).load(params={"pid": os.getpid()}) as session:
            with session.attached():
                calls(500)
            return [{k: v for k, v in e.items() if k != "time"} for e in read(session)]

    def lines(session: runner.PackageSession, **options: Any) -> list[dict[str, Any]]:
        reader = session.lines("events", **options)
        found = b"".join(reader.chunks(timeout=0)).splitlines()
        assert (reader.records, reader.lost()) == (500, 0) and reader.shown == len(found)
        return [json.loads(line) for line in found]

    batches = watched(
        lambda session: [e for b in session.output("events").batches(timeout=0) for e in b]
    )
    assert watched(lines) == batches and len(batches) == 500
    few = watched(lambda s: lines(s, filter="mood == CALM or words[0] > 499", fields="words,pid"))
    assert few == [{"words": [n, 7, 0], "pid": os.getpid()} for n in (1, 2, 3, 500)]


def test_lines_of_other_formats_begin_with_their_header(session: runner.PackageSession) -> None:
    reader = session.lines("events", "csv", fields="pid,mood")
    with session.attached():
        calls(2)
    assert reader.take() == f"pid,mood\n{os.getpid()},CALM\n{os.getpid()},CALM\n".encode()
    assert reader.take() is None
    for again in (session.lines, session.output):
        with pytest.raises(UsageError, match="read"):
            again("events")
    session.close()
    with pytest.raises(ValueError, match="is closed"):
        reader.take()


def test_lines_that_cannot_be_are_refused_before_anything_is_read(
    session: runner.PackageSession,
) -> None:
    shape: Any = "folded"
    with pytest.raises(UsageError, match="not folded"):
        session.lines("events", shape)
    with pytest.raises(UsageError, match="moood"):
        session.lines("events", filter="moood == CALM")
    with pytest.raises(UsageError, match="whole records"):
        session.lines("events", "raw", fields="pid")
    assert session.output("events").take() is None


def test_lines_without_an_engine_say_so_and_are_the_same(
    session: runner.PackageSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("bpfpack.runner.engine.module.FILE", tmp_path / "missing")
    with pytest.warns(RuntimeWarning, match="read by plain Python"):
        reader = session.lines("events", "json", filter="words[0] != 2", fields="words")
    with session.attached():
        calls(3)
    assert b"".join(reader.chunks(timeout=0)) == b'{"words":[1,7,0]}\n{"words":[3,7,0]}\n'


def test_lines_with_asyncio(session: runner.PackageSession) -> None:
    async def first() -> bytes:
        asyncio.get_running_loop().call_later(0.02, calls)
        async for lines in session.lines("events", fields="words"):
            return lines
        raise AssertionError

    with session.attached():
        assert asyncio.run(first()) == b'{"words":[1,7,0]}\n'


def test_a_table_is_sampled_as_it_is_shown(session: runner.PackageSession) -> None:
    with session.attached():
        calls(3)
    found = session.sample("counts")
    assert found is not None
    assert found["rows"] == [{"key": {"pid": os.getpid()}, "value": 3}]
    with pytest.raises(UsageError, match="events is events, nothing"):
        session.sample("events")


PERF = """
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(key, u32); __type(value, u32); }
events SEC(".maps");
struct event *keep;
const volatile u32 me;
u32 sequence;
SEC("tp/syscalls/sys_enter_getpgid") int on_call(void *ctx)
{
    struct event e = {.pid = me};
    if (caller() != me) return 0;
    e.sequence = sequence++;
    bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof e);
    return 0;
}
"""


def test_perf_buffers_are_read_the_same_way() -> None:
    artifact = admitted(compile_text(PERF), Config(name="perf", outputs=(EVENTS,)))
    package = runner.open(artifact)
    planned = package.plan(constants={"me": os.getpid()})
    with package.load(planned) as session:
        with session.attached():
            calls(3)
        with one(session.output("events")) as batch:
            assert [e["sequence"] for e in batch] == [0, 1, 2]
    with package.load(planned) as session, session.attached():
        calls(2)
        reader = session.lines("events", fields="sequence", filter="sequence > 0")
        assert b"".join(reader.chunks(timeout=0)) == b'{"sequence":1}\n'
        assert (reader.records, reader.shown) == (2, 1)


def test_stacks_are_sampled_with_the_names_of_functions() -> None:
    with pytest.warns(runner.InsecureWarning):
        verified = runner.insecure(
            build(PAGE.parents[1] / "examples/profile", BuildOptions()).package, reason="a test"
        )
    with runner.open(verified).load(params={"pid": os.getpid()}) as session:
        (name,) = session.outputs
        assert session.sample(name) is None
        with session.attached():
            counts = session.map("counts")
            # What the kernel works for us is found by its symbols, wherever Python is.
            assert eventually(
                lambda: len(os.urandom(1 << 22)) > 0 and sum(sum(v) for _, v in counts.items()) > 9
            )
        found = session.sample(name)
        assert found is not None and found["stacks"]
        frames = [frame for stack in found["stacks"] for frame in stack["kernel"] or ()]
        assert any("function" in frame for frame in frames)


@pytest.mark.parametrize("engine", [True, False], ids=["engine", "plain"])
def test_columns_of_the_engine_are_those_of_batches(
    engine: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pa = pytest.importorskip("pyarrow")
    if not engine:
        monkeypatch.setattr("bpfpack.runner.engine.module.FILE", tmp_path / "missing")
    package = runner.open(artifact())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with package.load(params={"pid": os.getpid()}) as session:
            with session.attached():
                calls(500)
            batches = session.output("events").batches(timeout=0)
            batch = pa.Table.from_batches([b.to_arrow() for b in batches])
        with package.load(params={"pid": os.getpid()}) as session:
            reader = session.columns("events", filter="words[0] != 7")
            with session.attached():
                calls(500)
            found = pa.Table.from_batches(list(reader.chunks(timeout=0)))
            assert (reader.records, reader.shown, reader.lost()) == (500, 499, 0)
            with pytest.raises(UsageError, match="being read"):
                session.lines("events")
    assert [w.filename for w in told] == ([] if engine else [__file__] * 2)
    gc.collect()
    assert found.schema == batch.schema
    rest = [e for e in batch.drop_columns(["time"]).to_pylist() if e["words"][0] != 7]
    assert found.drop_columns(["time"]).to_pylist() == rest and len(rest) == 499


@pytest.mark.parametrize("engine", [True, False], ids=["engine", "plain"])
def test_batches_are_filtered_before_python_sees_them(
    session: runner.PackageSession, engine: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not engine:
        monkeypatch.setattr("bpfpack.runner.engine.module.FILE", tmp_path / "missing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if not engine else "error")
        events = session.output("events", filter="words[0] in (2, 3)")
    with session.attached():
        calls(5)
    with one(events) as batch:
        assert [e["words"][0] for e in batch] == [2, 3]
    assert session.output("events") is events and events.take() is None
    with session.attached():
        calls(2)
    assert events.take() is None
    with pytest.raises(UsageError, match="being read"):
        session.output("events", filter="pid > 1")
