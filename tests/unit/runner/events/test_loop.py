"""The loop over a source that is a real descriptor, and in a process of its own."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.formatter import EventOutput, make_formatter
from bpfpack.runner.events.loop import Loop, Result, Sampled
from bpfpack.runner.events.sink import Sink
from bpfpack.runner.events.stop import StopSignals
from bpfpack.runner.events.stream import Stream
from tests.kit.records import FixedClock, batch, field, layout, output

REPO = Path(__file__).parents[4]
NUMBERS = output(layout(field("n", "uint", 0, 1)))


class Source:
    """Records put in by a test; readable while there are some."""

    def __init__(self, *records: bytes, lost: int | None = 0) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.records, self.losses = list(records), lost
        if records:
            os.eventfd_write(self.fd, 1)

    def drain(self, max_records: int) -> Batch | None:
        taken, self.records = self.records[:max_records], self.records[max_records:]
        if not taken:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.fd)
            return None
        return batch(*taken)

    def lost(self) -> int | None:
        return self.losses


class Harness:
    """A loop whose output is a pipe that the test reads."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.stop = StopSignals()
        self.detached = 0

    def run(self, *streams: Stream, samplers: tuple[Sampled, ...] = (), **limits: Any) -> Result:
        with self.stop:
            sink = Sink(self.writing, wake_fd=self.stop.fd)
            loop = Loop(
                streams=streams, samplers=samplers, sink=sink, stop=self.stop,
                detach=self.detach, **limits,
            )  # fmt: skip
            result = loop.run()
            sink.close()
        return result

    def detach(self) -> None:
        self.detached += 1

    def text(self) -> str:
        os.set_blocking(self.reading, False)
        try:
            return os.read(self.reading, 1 << 16).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
def harness() -> Iterator[Harness]:
    made = Harness()
    yield made
    os.close(made.reading)
    os.close(made.writing)


def stream(source: Any, of: EventOutput = NUMBERS, shape: Any = "json") -> Stream:
    return Stream(source=source, formatter=make_formatter(shape, of, clock=FixedClock()))


def test_events_are_shown_and_the_timeout_ends_it(harness: Harness) -> None:
    source = Source(b"\1", b"\2")
    result = harness.run(stream(source), timeout=0.02)
    assert harness.text() == '{"n":1}\n{"n":2}\n'
    assert result == Result(reason="timeout", events=2, lost=0, dropped=0)
    assert harness.detached == 1


def test_the_end_may_be_further_than_one_wait_reaches(harness: Harness) -> None:
    class Late(Source):
        asked = 0

        def drain(self, max_records: int) -> Batch | None:
            self.asked += 1
            return super().drain(max_records) if self.asked > 1 else None

    source = Late(b"\1")
    result = harness.run(stream(source), timeout=60 * 86400, max_events=1)
    assert (result.reason, source.asked) == ("max-events", 2)


def test_max_events_is_exact(harness: Harness) -> None:
    source = Source(b"\1", b"\2", b"\3")
    result = harness.run(stream(source), max_events=2)
    assert harness.text() == '{"n":1}\n{"n":2}\n'
    assert (result.reason, result.events, source.records) == ("max-events", 2, [b"\3"])


@pytest.mark.parametrize("drops", [True, False])
def test_a_slow_reader_is_waited_for_or_what_it_misses_is_counted(
    harness: Harness, drops: bool
) -> None:
    count, empty, found = 100_000, threading.Event(), bytearray()
    target = os.eventfd(0)
    over = os.eventfd(0)

    class Told(Source):
        def drain(self, max_records: int) -> Batch | None:
            taken = super().drain(max_records)
            if taken is None:
                os.eventfd_write(over, 1)
            if taken is None or not drops:
                empty.set()
            return taken

    def read() -> None:
        empty.wait()
        while data := os.read(harness.reading, 1 << 16):
            found.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    source = Told(*(b"\1" for _ in range(count)))
    result = harness.run(stream(source), drops=drops, target_fd=over)
    os.close(over)
    os.dup2(os.open(os.devnull, os.O_WRONLY), harness.writing)
    reader.join()
    os.close(target)
    assert (result.events, result.lost, result.dropped) == (count, 0, 0)
    assert found.count(b"\n") == count - result.left_out
    assert bytes(found) == b'{"n":1}\n' * found.count(b"\n")
    assert (result.left_out > 0) == drops


def test_what_is_left_when_it_ends_is_shown_after_detaching(harness: Harness) -> None:
    source = Source()

    def late() -> None:
        source.records.append(b"\7")

    harness.detach = late  # type: ignore[method-assign]  # the last event comes while detaching
    result = harness.run(stream(source), timeout=0)
    assert harness.text() == '{"n":7}\n'
    assert result.events == 1


def test_it_ends_with_its_target_and_shows_what_is_left(harness: Harness) -> None:
    source, target = Source(), os.eventfd(0)

    def late() -> None:
        harness.detached += 1
        source.records = [b"\2"]

    harness.detach = late  # type: ignore[method-assign]  # what comes while detaching
    os.eventfd_write(target, 1)
    try:
        result = harness.run(stream(source), target_fd=target, timeout=60)
    finally:
        os.close(target)
    assert (result.reason, harness.text(), harness.detached) == ("target-ended", '{"n":2}\n', 1)


def test_its_target_ends_it_however_much_comes(harness: Harness) -> None:
    """It is not only asked when nothing else is to be done."""

    class Busy(Source):
        def drain(self, max_records: int) -> Batch | None:
            os.eventfd_write(target, 1)
            return batch(b"\1") if not harness.detached else None

    source, target = Busy(), os.eventfd(0)
    try:
        result = harness.run(stream(source), target_fd=target)
    finally:
        os.close(target)
    assert (result.reason, result.events) == ("target-ended", 1)


def test_the_last_event_asked_for_is_shown_after_detaching(harness: Harness) -> None:
    """A slow reader keeps no program attached once its last event is there."""
    source = Source(b"\1", b"\2")
    seen = []

    def detach() -> None:
        seen.append(harness.text())

    harness.detach = detach  # type: ignore[method-assign]  # looks at what was shown by then
    harness.run(stream(source), max_events=2)
    assert (seen, harness.text()) == ([""], '{"n":1}\n{"n":2}\n')


def test_loss_is_exact_or_unknown(harness: Harness) -> None:
    counted = stream(Source(b"\1", lost=4))
    assert harness.run(counted, timeout=0).lost == 4
    assert harness.run(stream(Source(lost=0)), timeout=0).lost == 0
    for records in ([b"\1"], []):
        unknown = stream(Source(*records, lost=None))
        assert harness.run(counted, unknown, timeout=0).lost is None


def test_what_is_lost_while_detaching_counts_but_not_after_the_last_event(
    harness: Harness,
) -> None:
    source = Source(b"\1", b"\2", lost=0)

    def late() -> None:
        source.losses = 7

    harness.detach = late  # type: ignore[method-assign]  # more is lost while detaching
    assert harness.run(stream(source), max_events=1).lost == 0
    source.losses = 0
    assert harness.run(stream(source), timeout=0).lost == 7


def test_tables_of_two_outputs_print_a_block_each(harness: Harness) -> None:
    first = stream(Source(b"\1"), output(layout(field("a", "uint", 0, 1)), alone=False), "table")
    named = EventOutput(name="others", types=NUMBERS.types, alone=False)
    second = stream(Source(b"\2"), named, "table")
    harness.run(first, second, timeout=0)
    assert harness.text() == "events:\n   A\n   1\n\nothers:\n   N\n   2\n"


def test_a_header_comes_before_the_first_event(harness: Harness) -> None:
    harness.run(stream(Source(), shape="csv"), timeout=0)
    assert harness.text() == "n\n"


class Counter:
    """Says how often it was sampled."""

    def __init__(self) -> None:
        self.count = 0

    def sample(self) -> bytes:
        self.count += 1
        return b"%d\n" % self.count


def test_a_sampler_without_interval_is_read_once_at_the_end(harness: Harness) -> None:
    result = harness.run(samplers=(Sampled(sampler=Counter(), interval=None),), timeout=0.01)
    assert harness.text() == "1\n"
    assert result.events == 1


def test_samples_count_as_events_when_there_are_no_others(harness: Harness) -> None:
    result = harness.run(samplers=(Sampled(sampler=Counter(), interval=0.001),), max_events=3)
    assert harness.text() == "1\n2\n3\n"
    assert (result.reason, result.events) == ("max-events", 3)


@pytest.mark.parametrize("interval", [None, 0.001])
def test_events_come_between_the_pieces_of_a_sample(
    harness: Harness, interval: float | None
) -> None:
    class Pieces(Counter):
        def more(self) -> bool:
            return self.count % 3 != 0

    pieces = Pieces()
    sampled = Sampled(sampler=pieces, interval=interval, more=pieces.more)
    harness.run(stream(Source(b"\7", b"\7", b"\7")), samplers=(sampled,), timeout=0.05)
    count = pieces.count
    lines = harness.text().splitlines()
    # Whole samples, however the run ends, and one after its end.
    assert count and count % 3 == 0
    assert [line for line in lines if not line.startswith("{")] == [
        str(n + 1) for n in range(count)
    ]
    if interval is None:
        assert lines[-3:] == ["1", "2", "3"]


@pytest.mark.parametrize("interval", [None, 60.0])
def test_a_sampler_is_read_when_something_waits_for_it(
    harness: Harness, interval: float | None
) -> None:
    reading, writing = os.pipe()

    class Rung(Counter):
        def sample(self) -> bytes:
            if not self.count:
                os.read(reading, 1)
            return super().sample()

    os.write(writing, b"x")
    sampled = Sampled(sampler=Rung(), interval=interval, fd=reading)
    result = harness.run(samplers=(sampled,), max_events=1)
    os.close(reading)
    os.close(writing)
    assert (harness.text(), result.reason) == ("1\n", "max-events")


@pytest.mark.parametrize(
    ("number", "reason"),
    [(signal.SIGINT, "sigint"), (signal.SIGTERM, "sigterm"), (signal.SIGHUP, "sighup")],
)
def test_a_signal_ends_it_with_its_reason(harness: Harness, number: int, reason: str) -> None:
    class Signalling(Counter):
        def sample(self) -> bytes:
            # Only once: the second would end the tests.
            if not self.count:
                os.kill(os.getpid(), number)
            return super().sample()

    before = signal.getsignal(number)
    result = harness.run(samplers=(Sampled(sampler=Signalling(), interval=0.001),))
    assert result.reason == reason
    assert signal.getsignal(number) is before


def test_a_reader_that_goes_away_ends_an_idle_loop() -> None:
    with Child("json", 0) as child:
        child.stdout.close()
        assert child.result()["reason"] == "closed-pipe"


class Child:
    """`tests.kit.loopchild`, ready; ended by the test or killed."""

    def __init__(self, *args: object, **popen: Any) -> None:
        popen.setdefault("stdout", subprocess.PIPE)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kit.loopchild", *map(str, args)],
            stderr=subprocess.PIPE, cwd=REPO, **popen,
        )  # fmt: skip
        assert self.process.stderr is not None
        self._stderr = self.process.stderr
        assert self._stderr.readline() == b"ready\n"

    @property
    def stdout(self) -> Any:
        return self.process.stdout

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        self._stderr.close()
        if self.stdout is not None:
            self.stdout.close()

    def result(self) -> dict[str, Any]:
        """The result, once the process has ended."""
        text = self._stderr.read()
        self.process.wait()
        found: dict[str, Any] = json.loads(text)
        return found


def _fill(child: Child) -> None:
    """Wait until the child can write no more."""
    with Path(f"/proc/{child.process.pid}/fd/1").open("wb", buffering=0) as end:
        os.set_blocking(end.fileno(), False)
        poller = select.poll()
        poller.register(end, select.POLLOUT)
        while poller.poll(0):
            pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_although_the_reader_has_stopped(number: int) -> None:
    # A batch of these does not fit into a pipe twice: when it is full, one is half written.
    with Child("json", 4000) as child:
        _fill(child)
        child.process.send_signal(number)
        result = child.result()
        text = child.stdout.read()
        shown = [json.loads(line)["n"] for line in text.splitlines()]
        assert text.endswith(b"\n")
        assert shown == list(range(len(shown)))
        assert result["reason"] == ("sigint" if number == signal.SIGINT else "sigterm")
        assert result["dropped"] > 0
        assert result["events"] == len(shown) + result["dropped"]


def test_a_second_signal_ends_the_process_at_once() -> None:
    with Child("json", 100) as child:
        # Both are pending when it continues.
        child.process.send_signal(signal.SIGSTOP)
        child.process.send_signal(signal.SIGTERM)
        child.process.send_signal(signal.SIGINT)
        child.process.send_signal(signal.SIGCONT)
        assert child.process.wait() in (128 + signal.SIGINT, 128 + signal.SIGTERM)


def test_head_ends_it_quietly() -> None:
    with Child("csv", 7) as child:
        head = subprocess.run(
            ["head", "-n", "3"], stdin=child.stdout, capture_output=True, check=True
        )
        child.stdout.close()
        assert head.stdout == b"n\n0\n1\n"
        assert child.result()["reason"] == "closed-pipe"
        assert child.process.returncode == 0


def test_max_events_through_a_pipe_is_exact_and_complete() -> None:
    with Child("json", 1000, 12_345) as child:
        lines = child.stdout.read().splitlines()
        assert len(lines) == 12_345
        assert child.result()["events"] == 12_345


def test_a_closed_terminal_ends_it() -> None:
    ours, theirs = pty.openpty()
    with Child("table", 0, stdout=theirs, start_new_session=True) as child:
        os.close(theirs)
        os.close(ours)
        assert child.result()["reason"] == "closed-pipe"


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.reason is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
