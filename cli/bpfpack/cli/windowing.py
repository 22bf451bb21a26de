"""``--every``, ``--by`` and ``--show``: events told of by window, not one by one.

All is checked before anything is loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from bpfpack.cli.run_options import RunRequest
from bpfpack.cli.units import count, seconds
from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.formatter import EventOutput
from bpfpack.runner.events.loop import Sampled
from bpfpack.runner.filters.names import split
from bpfpack.runner.windows.asking import Asked, parse_window
from bpfpack.runner.windows.grouping import Grouping, make_groupings
from bpfpack.runner.windows.plain import PlainGroups
from bpfpack.runner.windows.sampler import SHAPES, WindowSampler
from bpfpack.spec.errors import UsageError
from bpfpack.spec.limits import LIMITS

if TYPE_CHECKING:
    from bpfpack.runner.engine.host import Engine, Program
    from bpfpack.runner.events.formatter import Formatter, OutputFormat
    from bpfpack.runner.events.terminal import Screen
    from bpfpack.runner.windows.groups import Groups

#: The shortest window, in seconds: less than a screen shows, or a pipe's reader reads.
_SHORTEST: Final = 0.01


class Windows:
    """The windows of a run, one after the other, of each output of events."""

    def __init__(
        self,
        asked: Asked,
        events: Sequence[tuple[EventOutput, "OutputFormat"]],
        order: Sequence[tuple[str, bool]],
        limit: int | None,
    ) -> None:
        found = make_groupings(asked, [output for output, _ in events])
        self._groupings: Mapping[str, Grouping] = {g.output.name: g for g in found}
        self._shapes = {output.name: shape for output, shape in events}
        self._asked, self._order, self._limit = asked, order, limit
        self._groups: dict[str, Groups] = {}
        self._samplers: dict[str, WindowSampler] = {}
        # A column that there is not is told now.
        for name, grouping in self._groupings.items():
            self._sampler(name, PlainGroups(grouping), None)

    def program(self, engine: "Engine", name: str, filtered: bytes | None) -> "Program":
        """What the engine runs for an output; raises SpecError where it cannot, EngineError."""
        from bpfpack.runner.engine.program import assemble
        from bpfpack.runner.windows.tables import EngineGroups

        grouping = self._groupings[name]
        groups = EngineGroups(engine, grouping)
        made = partial(assemble, "raw", grouping.output, filtered=filtered, grouped=groups.put)
        program = engine.load(made)
        self._groups[name] = groups.readout(program)
        return program

    def formatter(self, name: str) -> "Formatter":
        """What takes the records of an output in plain Python, and formats none of them."""
        self._groups[name] = groups = PlainGroups(self._groupings[name])
        return _Counting(groups, partial(self.begin, name))

    def begin(self, name: str) -> bytes | None:
        """Begin the first window of an output; return what stands before all of them."""
        return self._samplers[name].begin()

    def sampled(self, terminal: "Screen | None") -> list[Sampled]:
        """What ends the windows and shows them."""
        for name, groups in self._groups.items():
            self._samplers[name] = self._sampler(name, groups, terminal)
        return [
            Sampled(sampler=s, interval=self._asked.seconds, more=partial(_has_more, s))
            for s in self._samplers.values()
        ]

    def _sampler(self, name: str, groups: "Groups", terminal: "Screen | None") -> WindowSampler:
        return WindowSampler(
            self._shapes[name],
            self._groupings[name],
            groups,
            order=self._order,
            limit=self._limit,
            terminal=terminal,
        )

    def warnings(self) -> list[str]:
        """What there is to say once the run has ended."""
        found = []
        if other := sum(groups.other for groups in self._groups.values()):
            found.append(
                f"--by: a window had more than {LIMITS.window_keys:,} keys; {other:,} events of"
                " others are in _other"
            )
        if lacking := sum(groups.lacking for groups in self._groups.values()):
            found.append(f"--show: quantiles lack {lacking:,} numbers, which had no room")
        return found


def _has_more(sampler: WindowSampler) -> bool:
    return sampler.more


class _Counting:
    """Counts the records of batches: see `Formatter`."""

    def __init__(self, groups: PlainGroups, begin: Callable[[], bytes | None]) -> None:
        self._groups, self.header = groups, begin

    def format(self, batch: Batch) -> bytes:
        """There is nothing to print before the window ends."""
        for offset, length in batch.records:
            self._groups.add(batch.memory[offset : offset + length])
        return b""


def windows_of(
    request: RunRequest, events: Sequence[tuple[EventOutput, "OutputFormat"]]
) -> Windows | None:
    """Return the windows that the options ask for, None for none; raises UsageError."""
    every = request.value("every")
    if every is None:
        for name in ("by", "show"):
            if request.flag(name):
                raise UsageError(f"--{name} is of windows").with_hint("--every 1s makes them")
        return None
    lasts = seconds(every, "--every")
    if lasts < _SHORTEST:
        raise UsageError(f"--every: windows last 10ms or more, not {every[:40]}")
    if not events:
        raise UsageError("--every: no events are shown")
    if request.flag("fields"):
        raise UsageError("--fields: windows show what --by and --show name")
    if request.value("on_slow") == "drop":
        raise UsageError("--on-slow: all events are counted, and windows are waited for")
    for _, shape in events:
        if shape not in SHAPES:
            known = ", ".join(SHAPES[:-1])
            raise UsageError(f"--every: windows are shown as {known} or {SHAPES[-1]}")
    asked = parse_window(lasts, request.value("by"), request.value("show"))
    sort, limit = request.value("sort"), request.value("limit")
    names = [] if sort is None else split(sort, "--sort")
    order = [(name.removeprefix("-"), name[0] == "-") for name in names]
    return Windows(asked, events, order, None if limit is None else count(limit, "--limit"))
