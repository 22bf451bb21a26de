"""The event loop: sources and samplers in, bytes to a sink, until something ends it.

Waiting follows one rule.  Idle, it sleeps in epoll and shows an event as soon as it comes.
After two wake-ups within 5 ms it drains, sleeps 3 ms, and drains again until a pass finds
nothing, so that a busy buffer costs a few hundred wake-ups a second, not one for each event;
it sleeps less where a buffer was more than a quarter full.  While nothing is there but a record
that is still being written it sleeps 50 us, then twice that, up to 1 ms: the buffer is readable
all the time.

Ending, in this order: ``detach`` is called, so that no more comes; what is left is
drained and shown.  After a signal a sink that takes nothing for 100 ms is given up, and what
it did not take is counted; after any other end the reader may take its time.
"""

import contextlib
import select
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

from bpfpack.runner.events.sink import LONGEST_WAIT, Sink
from bpfpack.runner.events.stop import StopReason, StopSignals
from bpfpack.runner.events.stream import NOTHING, EventStream, Taken
from bpfpack.spec.value import valuetype

Reason = Literal["timeout", "max-events", "closed-pipe", "target-ended", "all-gone"] | StopReason

#: Records asked for at once where nothing else bounds them; a stream takes fewer.
_MOST: Final = 1 << 62
_CLOSE_WAKEUPS: Final = 0.005
_PAUSE: Final = 0.003
#: Share of a buffer that fills up while the loop sleeps.
_SLEPT_FULL: Final = 0.25
#: A deadline that has passed: nothing is waited for.
_AT_ONCE: Final = 0.0
#: Seconds for which a record that is being written is left alone: at first, and at most.
_BACK_OFF: Final = (0.00005, 0.001)
#: Seconds without progress after which a sink is given up once a signal has ended the run.
_GRACE: Final = 0.1
#: Seconds for counting what a reader that has stopped will never see.
_COUNTING: Final = 0.05
#: Seconds for draining after the end, should somebody still produce.
_LAST_DRAIN: Final = 1.0


class Sampler(Protocol):
    """A map that is read from time to time; a sample is output that is ready to print."""

    def sample(self) -> bytes:
        """Read the map once; empty when there is nothing to show."""
        ...


class Watch(Protocol):
    """Sees what the run is about go away."""

    @property
    def fd(self) -> int:
        """Readable when there may be something to see."""
        ...

    def all_gone(self) -> bool:
        """Whether nothing is left, without waiting."""
        ...


@valuetype
class Sampled:
    """A sampler, read every ``interval`` seconds and once at the end; None: only then.

    With ``fd`` it is also read when that is readable.  A sample that takes long comes in pieces:
    ``more`` says whether some are left, and between them events are taken.
    """

    sampler: Sampler
    interval: float | None
    fd: int | None = None
    more: Callable[[], bool] | None = None


@valuetype
class Result:
    """How a run went.

    ``events`` are the records shown (samples, when there is no stream), ``filtered`` those
    that were not to be shown, ``lost`` those that never came: exact, or None where nobody could
    count them.  ``dropped`` lines (bytes, for raw output) were formatted but not taken by the
    reader.  ``fill`` is the largest share of a kernel buffer seen in use.  ``sampled`` says that
    there was no stream, only maps.  ``left_out`` are the events that were dropped, as asked,
    because the reader was slow.
    """

    reason: Reason
    events: int
    lost: int | None
    dropped: int
    fill: float | None = None
    sampled: bool = False
    filtered: int = 0
    left_out: int = 0

    def summary(self) -> str:
        """One line for stderr.

        >>> Result(reason="timeout", events=3, lost=None, dropped=0, fill=0.95).summary()
        '3 events, loss unknown (possible: a buffer was 95% full)'
        >>> Result(reason="sigint", events=1, lost=0, dropped=2).summary()
        '1 event, 0 lost, 2 not written: the reader had stopped'
        >>> Result(reason="timeout", events=1, lost=0, dropped=0, filtered=9).summary()
        '1 event (9 filtered out), 0 lost'
        """
        noun = "sample" if self.sampled else "event"
        out = f" ({self.filtered} filtered out)" if self.filtered else ""
        parts = [f"{self.events} {noun}{'' if self.events == 1 else 's'}{out}"]
        if not self.sampled:
            parts.append(self._loss())
        if self.left_out:
            parts.append(f"{self.left_out} dropped: the reader was slow")
        if self.dropped:
            parts.append(f"{self.dropped} not written: the reader had stopped")
        return ", ".join(parts)

    def _loss(self) -> str:
        if self.lost is not None:
            return f"{self.lost} lost"
        if self.fill is not None and self.fill > 0.9:
            return f"loss unknown (possible: a buffer was {self.fill:.0%} full)"
        return "loss unknown"

    def stats(self) -> str:
        """The same as a JSON object.

        >>> Result(reason="sigint", events=3, lost=None, dropped=0, fill=0.25).stats()
        '{"reason":"sigint","events":3,"filtered":0,"lost":null,"dropped":0,"unwritten":0,"fill":0.25}'
        """
        lost = "null" if self.lost is None else str(self.lost)
        fill = "null" if self.fill is None else f"{self.fill:.4g}"
        return (
            f'{{"reason":"{self.reason}","events":{self.events},"filtered":{self.filtered},'
            f'"lost":{lost},"dropped":{self.left_out},"unwritten":{self.dropped},"fill":{fill}}}'
        )


class Loop:
    """One run; `run` is called once.

    ``timeout`` is in seconds from the start of `run`; ``max_events`` is exact; the run ends
    when ``target_fd`` becomes readable or ``watch`` sees nothing left; ``footer`` stands behind
    the last event.  ``drops``: while the sink takes nothing events are dropped, and counted;
    otherwise it is waited for.  The caller owns everything it passes in and closes it, the sink
    included.
    """

    def __init__(
        self,
        *,
        streams: Sequence[EventStream],
        samplers: Sequence[Sampled],
        sink: Sink,
        stop: StopSignals,
        detach: Callable[[], None],
        timeout: float | None = None,
        max_events: int | None = None,
        target_fd: int | None = None,
        watch: Watch | None = None,
        footer: bytes = b"",
        drops: bool = False,
    ) -> None:
        self._streams, self._sink, self._stop, self._detach = streams, sink, stop, detach
        self._samplers = samplers
        self._timeout, self._max_events = timeout, max_events
        self._target_fd, self._watch, self._footer = target_fd, watch, footer
        self._target: select.poll | None = None
        self._deadline: float | None = None
        self._due: list[float | None] = []
        #: When samples began of which pieces are left, by their samplers' places.
        self._begun: dict[int, float] = {}
        self._drops = drops
        self._events = self._filtered = self._left_out = 0
        self._discarded = 0
        self._fill: float | None = None
        self._shown: EventStream | None = None

    def run(self) -> Result:
        """Show events until a signal, the timeout, the last event or the reader ends it."""
        now = time.monotonic()
        self._deadline = None if self._timeout is None else now + self._timeout
        self._due = [None if s.interval is None else now + s.interval for s in self._samplers]
        if len(self._streams) == 1:
            self._announce(self._streams[0])
        with select.epoll() as waiting:
            self._register(waiting)
            reason = self._until_reason(waiting)
        # What is lost after the last event that was asked for is no loss.
        enough = reason == "max-events"
        lost = self._lost() if enough else None
        self._detach()
        if reason != "closed-pipe":
            self._show_rest(exact=enough)
        return Result(
            reason=reason,
            events=self._events,
            lost=lost if enough else self._lost(),
            dropped=self._sink.dropped + self._discarded,
            fill=self._fill,
            sampled=not self._streams,
            filtered=self._filtered,
            left_out=self._left_out,
        )

    def _register(self, waiting: select.epoll) -> None:
        waiting.register(self._stop.fd, select.EPOLLIN)
        for stream in self._streams:
            waiting.register(stream.fd, select.EPOLLIN)
        for sampled in self._samplers:
            if sampled.fd is not None:
                waiting.register(sampled.fd, select.EPOLLIN)
        if self._target_fd is not None:
            waiting.register(self._target_fd, select.EPOLLIN)
            self._target = select.poll()
            self._target.register(self._target_fd, select.POLLIN)
        if self._watch is not None:
            waiting.register(self._watch.fd, select.EPOLLIN)
        # A regular file cannot be watched, and does not go away.
        with contextlib.suppress(PermissionError):
            # No event asked for: that the reader went away is told all the same.
            waiting.register(self._sink.fd, 0)

    def _until_reason(self, waiting: select.epoll) -> Reason:
        woken, often, held = float("-inf"), False, _BACK_OFF[0]
        while (reason := self._reason()) is None:
            passed = self._pass()
            if self._left() <= 0:
                continue  # what was the last is shown after detaching: the reader may be slow
            if (not passed.more or self._sink.due) and not self._flush():
                continue
            if passed.records:
                held = _BACK_OFF[0]
                if often and not passed.more:
                    self._pause(_PAUSE * min(1.0, _SLEPT_FULL / (passed.fill or _SLEPT_FULL)))
            elif passed.busy:
                self._pause(held)
                held = min(2 * held, _BACK_OFF[1])
            else:
                self._sleep(waiting)
                now = time.monotonic()
                often, woken = now - woken < _CLOSE_WAKEUPS, now
        return reason

    def _flush(self) -> bool:
        """Write what waits; False when something ends the run before all went out."""
        if self._drops:
            self._sink.flush(_AT_ONCE)
            return True
        return self._sink.flush(self._deadline)

    def _pause(self, seconds: float) -> None:
        select.select([self._stop.fd], [], [], seconds)

    def _reason(self) -> Reason | None:
        if self._stop.reason is not None:
            return self._stop.reason
        if self._sink.closed:
            return "closed-pipe"
        if self._left() <= 0:
            return "max-events"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "timeout"
        if self._target is not None and self._target.poll(0):
            return "target-ended"
        if self._watch is not None and self._watch.all_gone():
            return "all-gone"
        return None

    def _left(self) -> int:
        if self._max_events is None:
            return _MOST
        return self._max_events - self._events + self._left_out

    def _pass(self) -> "_Pass":
        """Take one batch of each stream and each sample that is due."""
        passed = _Pass()
        for stream in self._streams:
            passed.add(self._take(stream))
        now = time.monotonic()
        for i, sampled in enumerate(self._samplers):
            due = self._due[i]
            if due is not None and now >= due and self._left() > 0:
                self._sample(sampled.sampler)
                self._due[i] = self._next(i, now)
        return passed

    def _next(self, place: int, now: float) -> float | None:
        """When a sampler that was read is to be read again."""
        sampled, began = self._samplers[place], self._begun.pop(place, now)
        if sampled.more is not None and sampled.more():
            self._begun[place] = began
            return now
        # From now, not from when it was due: a slow reader gets no burst.
        return None if sampled.interval is None else max(now, began + sampled.interval)

    def _take(self, stream: EventStream) -> Taken:
        left = self._left()
        if left <= 0:
            return NOTHING
        if self._drops and not self._sink.has_room():
            skipped = stream.skip(left)
            self._account(skipped)
            self._left_out += skipped.shown
            return skipped
        taken = stream.take(left)
        self._account(taken)
        if taken.size:
            self._announce(stream)
            self._sink.send(taken.output, _AT_ONCE if self._drops else self._deadline)
        return taken

    def _account(self, taken: Taken) -> None:
        self._events += taken.shown
        self._filtered += taken.records - taken.shown
        if taken.fill is not None:
            self._fill = max(taken.fill, self._fill or 0.0)

    def _lost(self) -> int | None:
        counts = [stream.lost() for stream in self._streams]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def _announce(self, stream: EventStream) -> None:
        """Print the header of a block when the output changes."""
        if stream is self._shown:
            return
        header = stream.header()
        if header is not None:
            self._sink.write(b"\n" + header if self._shown is not None else header)
        self._shown = stream

    def _sample(self, sampler: Sampler) -> None:
        text = sampler.sample()
        self._sink.write(text)
        if text and not self._streams:
            self._events += 1

    def _sample_whole(self, sampled: Sampled) -> None:
        """All that is left of a sample, and all of the last one."""
        more = sampled.more or (lambda: False)
        while more():
            self._sample(sampled.sampler)
        self._sample(sampled.sampler)
        while more():
            self._sample(sampled.sampler)

    def _sleep(self, waiting: select.epoll) -> None:
        times = [due for due in (self._deadline, *self._due) if due is not None]
        left = max(0.0, min(times) - time.monotonic()) if times else LONGEST_WAIT
        if self._drops:
            self._watch_sink(waiting, select.EPOLLOUT if self._sink.waiting else 0)
        for fd, events in waiting.poll(min(left, LONGEST_WAIT)):
            if fd == self._sink.fd and events & ~select.EPOLLOUT:
                self._sink.closed = True
            for i, sampled in enumerate(self._samplers):
                if sampled.fd == fd:
                    self._due[i] = 0.0

    def _watch_sink(self, waiting: select.epoll, events: int) -> None:
        with contextlib.suppress(FileNotFoundError):  # a regular file, which cannot be watched
            waiting.modify(self._sink.fd, events)

    def _show_rest(self, *, exact: bool) -> None:
        """Print what is left after the end; after a signal give up a reader that takes nothing."""
        spent = 0.0
        moving = self._finish()
        while moving and not exact and spent < _LAST_DRAIN:
            began = time.monotonic()
            took = [self._take(stream).records for stream in self._streams]
            spent += time.monotonic() - began
            if not any(took):
                break
            moving = self._finish()
        if moving:
            for sampled in self._samplers:
                if self._left() > 0 or self._streams:
                    self._sample_whole(sampled)
            self._sink.write(self._footer)
            moving = self._finish()
        if not moving:
            self._give_up()

    def _finish(self) -> bool:
        """Write what waits; False when a signal has come and the reader takes nothing."""
        return self._sink.flush() or self._sink.finish(_GRACE)

    def _give_up(self) -> None:
        self._sink.drop()
        until = time.monotonic() + _COUNTING
        for stream in self._streams:
            while time.monotonic() < until and (skipped := stream.skip(_MOST)).records:
                self._account(skipped)
                self._discarded += skipped.shown if self._sink.lines else skipped.size


class _Pass:
    """What one pass over the streams found."""

    def __init__(self) -> None:
        self.records, self.more, self.busy = 0, False, False
        self.fill = 0.0

    def add(self, taken: Taken) -> None:
        """Count one stream in."""
        self.records += taken.records
        self.more |= taken.more
        self.busy |= taken.busy
        self.fill = max(self.fill, taken.fill or 0.0)
