"""Sampled tables: the elements of a map, sorted, at each moment that it is read.

*table*: a block for each sample: its time, titles and rows, cut to the terminal's height.
*json*: one line for each sample, ``{"time":..,"rows":[{"key":..,"value":..}]}``, where a key
or value that is no struct stands alone; ``"incomplete":true`` when the map evicts keys or
is full.  *csv*: a header once, then a line for each row, which begins with the time.
Rows are sorted by the member that the package names, otherwise by the first count of the
value; numbers from the largest, text from A.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.runner.events.entries import Elements, Entries, Entry, Snapshot, is_count, may_miss
from bpfpack.runner.events.formatter import OutputFormat, cells, csv_cell, csv_quoted
from bpfpack.runner.events.table import Columns
from bpfpack.runner.events.terminal import Screen
from bpfpack.runner.events.values import local, utc
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.record import RecordLayout
from bpfpack.spec.safetext import json_string, printable
from bpfpack.spec.value import valuetype

#: Lines of a terminal that a block needs besides its rows: empty, time, titles, rest, prompt.
_AROUND: Final = 5


@valuetype
class MapOutput:
    """What samplers know of their output; ``alone`` is False when there are others.

    ``lost`` reads how many updates the program counted that found no room.
    """

    name: str
    key: RecordLayout
    value: RecordLayout
    alone: bool = True
    lost: Callable[[], int] | None = None

    def tag(self) -> str:
        """The first members of each line of JSON."""
        return "" if self.alone else f'"output":{json_string(self.name)},'

    def lack(self, elements: Elements, count: int) -> "Lack":
        """What is missing of a map in which ``count`` elements were found."""
        return Lack(self.lost() if self.lost else 0, may_miss(elements, count))


class Lack(NamedTuple):
    """Updates that were lost, as far as the program counts them, and whether keys may be."""

    updates: int
    keys: bool

    def json(self) -> str:
        """The last members of a line of JSON."""
        incomplete = ',"incomplete":true' if self.updates or self.keys else ""
        return incomplete + (f',"updates_lost":{self.updates}' if self.updates else "")

    def notes(self) -> list[str]:
        """The same for people."""
        found = []
        if self.updates:
            noun = "update" if self.updates == 1 else "updates"
            found.append(f"the map had no room for {self.updates} {noun}")
        if self.keys:
            found.append("the map is full or evicts keys: some may be missing")
        return found


class TableSampler:
    """Reads a map and shows it as a table.

    ``sort`` is the package's own choice, ``order`` the user's: columns to sort by, each with
    whether its largest comes first; ``limit`` is the number of rows.
    Raises UsageError for raw output, SpecError for a ``sort`` that is no member.
    """

    def __init__(
        self,
        shape: OutputFormat,
        output: MapOutput,
        elements: Elements,
        *,
        sort: str | None = None,
        order: Sequence[tuple[str, bool]] = (),
        limit: int | None = None,
        terminal: Screen | None = None,
        clock: WallClock | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        if shape == "raw":
            raise UsageError(f"{output.name} is a table, which has no raw form")
        self._shape, self._output, self._elements = shape, output, elements
        self._entries = Entries(output.key, output.value, elements, clock or SystemClock())
        self._columns = (*self._entries.key.columns, *self._entries.value.columns)
        self._sort = self._sorting(sort)
        self._order_by = [(self._place(name), reverse) for name, reverse in order]
        self._limit = limit
        self._terminal, self._now = terminal, now
        self._block = Columns(self._columns, terminal)
        self._samples = 0

    def sample(self) -> bytes:
        """Read the map and return it as text."""
        snapshot = self._entries.read()
        self._samples += 1
        match self._shape:
            case "json":
                lines = [self._json(snapshot)]
            case "csv":
                lines = self._csv(snapshot)
            case _:
                lines = self._table(snapshot)
        return "".join(f"{line}\n" for line in lines).encode()

    def _sorting(self, name: str | None) -> int:
        """The column that rows are sorted by."""
        keys, names = len(self._entries.key.columns), [c.field.name for c in self._columns]
        counts = [i for i, c in enumerate(self._columns) if i >= keys and is_count(c.field)]
        if name is None:
            return counts[0] if counts else 0
        if name in names[keys:]:
            return names.index(name, keys)
        if name in names:
            return names.index(name)
        raise SpecError("no such member", path=("sort", name))

    def _place(self, name: str) -> int:
        """The column of a name, as tables show it or as CSV does; raises UsageError."""
        plain = [c.field.name for c in self._columns]
        for names in (self._names(), plain):
            if name in names:
                return names.index(name)
        from difflib import get_close_matches

        near = get_close_matches(name[:80], plain, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"--sort: {self._output.name} has no column {name[:80]!r}").with_hint(
            f"{meant}its columns are {', '.join(self._names())}"
        )

    def _sorted(self, snapshot: Snapshot, most: int | None = None) -> list[Entry]:
        """The first rows, in the order that was asked for; else numbers from the largest, text
        from A."""
        if self._limit is not None:
            most = self._limit if most is None else min(most, self._limit)
        if self._order_by:
            return self._ordered(snapshot)[:most]
        numbers = self._entries.counted(self._sort - len(self._entries.key.columns))
        if numbers is not None and len(numbers) == 1:
            order = snapshot.largest(snapshot.counts.columns[numbers.start], most)
            return [snapshot.entry(i) for i in order]
        entries = [snapshot.entry(i) for i in range(len(snapshot))]
        # The key decides between equals, so that rows do not dance.
        entries.sort(key=lambda entry: (self._order(entry), entry.id))
        return entries[:most]

    def _ordered(self, snapshot: Snapshot) -> list[Entry]:
        entries = [snapshot.entry(i) for i in range(len(snapshot))]
        entries.sort(key=lambda entry: entry.id)
        # A sort keeps the order of equals: the first column is the last to be sorted by.
        for place, reverse in reversed(self._order_by):
            entries.sort(key=partial(self._rising, place), reverse=reverse)
        return entries

    def _rising(self, place: int, entry: Entry) -> tuple[int, Any]:
        raw, column = _raws(entry)[place], self._columns[place]
        value = raw if column.value is None or raw is None else column.value(raw)
        if isinstance(value, int | float):
            return (0, value)
        return (1, "" if raw is None else column.text(raw))

    def _order(self, entry: Entry) -> tuple[int, Any]:
        raw, column = _raws(entry)[self._sort], self._columns[self._sort]
        value = raw if column.value is None or raw is None else column.value(raw)
        if isinstance(value, int | float):
            return (0, -value)
        return (1, "" if raw is None else column.text(raw))

    def _lack(self, snapshot: Snapshot) -> Lack:
        return self._output.lack(self._elements, len(snapshot))

    def _json(self, snapshot: Snapshot) -> str:
        key, value = self._entries.key, self._entries.value
        rows = ",".join(
            f'{{"key":{key.json(entry.key)},"value":{value.json(entry.value)}}}'
            for entry in self._sorted(snapshot)
        )
        more = self._lack(snapshot).json()
        return f'{{{self._output.tag()}"time":"{utc(self._now())}","rows":[{rows}]{more}}}'

    def _csv(self, snapshot: Snapshot) -> list[str]:
        now = utc(self._now()) or ""
        lines = []
        if self._samples == 1:
            names = ["time", *self._names()]
            lines.append(",".join(csv_quoted(printable(name)) for name in names))
        for entry in self._sorted(snapshot):
            row = [
                csv_cell(column, raw)
                for column, raw in zip(self._columns, _raws(entry), strict=True)
            ]
            lines.append(",".join([now, *row]))
        return lines

    def _names(self) -> list[str]:
        """The names of the columns, with the side in front when one is on both."""
        keys = [c.field.name for c in self._entries.key.columns]
        values = [c.field.name for c in self._entries.value.columns]
        if set(keys) & set(values) or "time" in (*keys, *values):
            return [*(f"key.{name}" for name in keys), *(f"value.{name}" for name in values)]
        return [*keys, *values]

    def _table(self, snapshot: Snapshot) -> list[str]:
        name = "" if self._output.alone else f" {printable(self._output.name)}"
        most = max(1, self._terminal.lines - _AROUND) if self._terminal else None
        entries = self._sorted(snapshot, most)
        rows = [cells(self._columns, _raws(entry)) for entry in entries]
        for row in rows:
            self._block.widen(row)
        lines = [f"{local(self._now())}{name}", self._block.header()]
        lines.extend(map(self._block.line, rows))
        if len(snapshot) > len(entries):
            lines.append(f"({len(snapshot) - len(entries)} more)")
        lines += [f"({note})" for note in self._lack(snapshot).notes()]
        return lines if self._samples == 1 else ["", *lines]


def _raws(entry: Entry) -> list[Any]:
    return [*entry.key, *entry.value]
