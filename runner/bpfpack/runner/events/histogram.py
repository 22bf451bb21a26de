"""Histograms: maps whose values hold an array of counters, one for each range.

On a *log2* scale slot 0 counts 0 and 1, slot n counts from 2^n to 2^(n+1)-1, as programs
compute it with ``log2l``; on a *linear* scale slot n counts ``step`` numbers from n*step; on an
*exponential* scale each power of two has ``step`` slots, and numbers below have one each.
The last slot also has whatever was larger: ``to`` is null, and "..." in a table.

*table*: the time, and for each key its members, the ranges from the first to the last that
is not empty, and bars.  *json*: one line for each sample,
``{"time":..,"unit":..,"histograms":[{"key":..,"value":..,"count":..,"slots":[{"from":..,"to":..,
"count":..}]}]}`` with the slots that are not empty; ``value`` are the members beside the slots,
absent when there are none.  *csv*: a line for each slot that is not empty.

With an interval a sample shows what was added since the one before: the map is never emptied,
so that other readers and a crash lose nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.runner.events.counts import Counts
from bpfpack.runner.events.entries import Elements, Entries, Entry, Snapshot
from bpfpack.runner.events.formatter import OutputFormat, csv_cell, csv_quoted
from bpfpack.runner.events.jsonlines import JsonRow
from bpfpack.runner.events.tables import Lack, MapOutput
from bpfpack.runner.events.terminal import Screen
from bpfpack.runner.events.values import local, utc
from bpfpack.spec.config import Output
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.safetext import fit, json_string, printable

#: Keys that a terminal shows; the rest is counted.
_KEYS: Final = 32
_BAR: Final = 40
_NARROWEST: Final = 10
#: Beyond it there is no number to count.
_LARGEST: Final = 2**64 - 1


class _Histogram(NamedTuple):
    entry: Entry
    counts: list[int]


class Refreshed(NamedTuple):
    """A map as it is: all elements, what was ``added`` to their slots, and how much in all."""

    snapshot: Snapshot
    added: Counts
    totals: Sequence[int]

    @property
    def keys(self) -> int:
        """How many keys have something."""
        return len(self.totals) - self.totals.count(0)


class _Sample(NamedTuple):
    """The histograms that are shown; ``keys`` are those that have any, ``elements`` all."""

    shown: list[_Histogram]
    keys: int
    elements: int


class HistogramSampler:
    """Reads a map of slots and shows one histogram for each key.

    Raises UsageError for raw output, SpecError when ``said.slots`` is no array of counts.
    """

    def __init__(
        self,
        shape: OutputFormat,
        said: Output,
        output: MapOutput,
        elements: Elements,
        *,
        terminal: Screen | None = None,
        clock: WallClock | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        if shape == "raw":
            raise UsageError(f"{output.name} is a histogram, which has no raw form")
        self._shape, self._said, self._output, self._elements = shape, said, output, elements
        self._entries = Entries(output.key, output.value, elements, clock or SystemClock())
        self._place, self._slots = _slots_of(self._entries, said.slots or "value")
        self._others = [
            (i, c) for i, c in enumerate(self._entries.value.columns) if i != self._place
        ]
        self._ranges = _ranges(said, len(self._slots))
        self._starts = [
            f'{{"from":{start},"to":{"null" if end is None else end},"count":'
            for start, end in self._ranges
        ]
        self._beside = JsonRow([column for _, column in self._others])
        self._before: Snapshot | None = None
        self._terminal, self._now = terminal, now
        self._single = elements.max_entries == 1
        self._samples = 0

    def sample(self) -> bytes:
        """Read the map and return it as text; empty as long as nothing was counted."""
        found = self._shown(self.refresh())
        if not found.shown:
            return b""
        self._samples += 1
        match self._shape:
            case "json":
                lines = [self._json(found)]
            case "csv":
                lines = list(self._csv(found))
            case _:
                lines = self._table(found)
        return "".join(f"{line}\n" for line in lines).encode()

    def refresh(self) -> Refreshed:
        """Read the map, and find what was added since the last refresh."""
        snapshot = self._entries.read()
        added = snapshot.since(self._before, self._slots)
        if self._said.interval_ms is not None:
            self._before = snapshot
        return Refreshed(snapshot, added, added.totals())

    def _shown(self, refreshed: Refreshed) -> _Sample:
        snapshot, added, totals = refreshed
        most = _KEYS if self._shape == "table" and self._terminal else None
        columns = added.columns
        shown = [
            _Histogram(snapshot.entry(i, without=self._place), [column[i] for column in columns])
            for i in snapshot.largest(totals, most)
            if totals[i]
        ]
        snapshot.release()
        return _Sample(shown, refreshed.keys, len(snapshot))

    def _json(self, found: _Sample) -> str:
        unit = f'"unit":{json_string(self._said.unit)},' if self._said.unit else ""
        shown = ",".join(map(self._json_one, found.shown))
        more = self._lack(found).json()
        return (
            f'{{{self._output.tag()}"time":"{utc(self._now())}",{unit}'
            f'"histograms":[{shown}]{more}}}'
        )

    def _json_one(self, one: _Histogram) -> str:
        starts = self._starts
        slots = ",".join([f"{starts[i]}{count}}}" for i, count in enumerate(one.counts) if count])
        key = self._entries.key.json(one.entry.key)
        beside = self._beside([one.entry.value[i] for i, _ in self._others])
        value = f'"value":{beside},' if self._others else ""
        return f'{{"key":{key},{value}"count":{sum(one.counts)},"slots":[{slots}]}}'

    def _csv(self, found: _Sample) -> Iterator[str]:
        now = utc(self._now()) or ""
        self._output.tell_notes(self._lack(found).notes())
        columns = [*self._entries.key.columns, *(c for _, c in self._others)]
        if self._samples == 1:
            names = ["time", *(c.field.name for c in columns), "from", "to", "count"]
            yield ",".join(csv_quoted(printable(name)) for name in names)
        for one in found.shown:
            raws = [*one.entry.key, *(one.entry.value[i] for i, _ in self._others)]
            row = [csv_cell(column, raw) for column, raw in zip(columns, raws, strict=True)]
            first = ",".join([now, *row])
            for slot, count in enumerate(one.counts):
                if count:
                    start, end = self._ranges[slot]
                    yield f"{first},{start},{'' if end is None else end},{count}"

    def _table(self, found: _Sample) -> list[str]:
        name = "" if self._output.alone else f" {printable(self._output.name)}"
        lines = [f"{local(self._now())}{name}"]
        for one in found.shown:
            lines.extend(self._title(one.entry))
            lines.extend(self._bars(one.counts))
        if found.keys > len(found.shown):
            lines.append(f"({found.keys - len(found.shown)} more keys)")
        lines += [f"({note})" for note in self._lack(found).notes()]
        if self._terminal:
            lines = [fit(line, self._terminal.columns) for line in lines]
        return lines if self._samples == 1 else ["", *lines]

    def _title(self, entry: Entry) -> list[str]:
        """The members of key and value that say whose histogram it is."""
        named = [] if self._single else [*zip(self._entries.key.columns, entry.key, strict=True)]
        named += [(column, entry.value[i]) for i, column in self._others]
        texts = [(c.field.title, "" if raw is None else c.text(raw)) for c, raw in named]
        said = [f"{printable(title)}={text}" for title, text in texts if text]
        return ["", " ".join(said)] if said else []

    def _bars(self, counts: Sequence[int]) -> list[str]:
        """The ranges from the first to the last that is not empty.

        The longest bar is that of the largest count.
        """
        used = [i for i, count in enumerate(counts) if count]
        shown = range(used[0], used[-1] + 1)
        rows = [(_texts(*self._ranges[i]), counts[i]) for i in shown]
        low, high = (max(len(limits[side]) for limits, _ in rows) for side in (0, 1))
        digits = max(5, *(len(str(count)) for count in counts))
        room = self._terminal.columns - (low + high + digits + 9) if self._terminal else _BAR
        length = max(_NARROWEST, min(_BAR, room))
        unit = printable(self._said.unit or "value", 32)
        lines = [f"{unit:>{low + high + 4}}  {'count':>{digits}}"]
        largest = max(1, *counts)
        for (start, end), count in rows:
            bar = "*" * -(-count * length // largest)
            lines.append(f"{start:>{low}} -> {end:>{high}}  {count:>{digits}} |{bar:<{length}}|")
        return lines

    def _lack(self, found: _Sample) -> Lack:
        lack = self._output.lack(self._elements, found.elements)
        return lack._replace(keys=lack.keys and not self._single)


def limits(said: Output, slot: int) -> tuple[int, int]:
    """The smallest and largest number that a slot counts, were it not the last."""
    step = said.step
    if step is None:
        return (1 << slot if slot else 0), (2 << slot) - 1
    if said.scale == "linear":
        return slot * step, (slot + 1) * step - 1
    shift = max(0, slot // step - 1)
    start = slot - shift * step
    return start << shift, ((start + 1) << shift) - 1


def _ranges(said: Output, slots: int) -> list[tuple[int, int | None]]:
    """What each slot counts; the last one everything beyond, too."""
    found: list[tuple[int, int | None]] = [limits(said, slot) for slot in range(slots)]
    start, end = found[-1]
    return [*found[:-1], (start, end if end is not None and end >= _LARGEST else None)]


def _texts(start: int, end: int | None) -> tuple[str, str]:
    return str(start), "..." if end is None else str(end)


def _slots_of(entries: Entries, name: str) -> tuple[int, range]:
    """The column of the slots, and their numbers among the counts."""
    for i, column in enumerate(entries.value.columns):
        numbers = entries.counted(i)
        if column.field.name == name and numbers and len(column.field.dimensions) == 1:
            return i, numbers
    raise SpecError("not an array of counts", path=("slots", name))
