"""Sampled tables: the elements of a map, sorted, at each moment that it is read.

*table*: a block for each sample: its time, titles and rows, cut to the terminal's height.
*json*: one line for each sample, ``{"time":..,"rows":[{"key":..,"value":..}]}``, where a key
or value that is no struct stands alone; ``"incomplete":true`` when the map evicts keys or
is full.  *csv*: a header once, then a line for each row, which begins with the time; what is
missing is told beside.
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
from bpfpack.spec.record import Field, RecordLayout
from bpfpack.spec.safetext import json_string, printable
from bpfpack.spec.value import valuetype

#: Lines of a terminal that a block needs besides its rows: empty, time, titles, rest, prompt.
_AROUND: Final = 5


@valuetype
class MapOutput:
    """What samplers know of their output; ``alone`` is False when there are others.

    ``lost`` reads how many updates the program counted that found no room.  ``tell`` is given
    what is wrong with a sample in a format that has no place for it.
    """

    name: str
    key: RecordLayout
    value: RecordLayout
    alone: bool = True
    lost: Callable[[], int] | None = None
    tell: Callable[[list[str]], None] | None = None

    def tag(self) -> str:
        """The first members of each line of JSON."""
        return "" if self.alone else f'"output":{json_string(self.name)},'

    def lack(self, elements: Elements, count: int) -> "Lack":
        """What is missing of a map in which ``count`` elements were found."""
        return Lack(self.lost() if self.lost else 0, may_miss(elements, count))

    def tell_notes(self, notes: list[str]) -> None:
        """Say beside the output what is wrong with a sample."""
        if notes and self.tell:
            self.tell(notes)


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


@valuetype
class View:
    """What a user wants of a table: the rows that ``keeps`` keeps, given their raw values.

    They are sorted by the columns ``order``, each with whether its largest comes first, and at most
    ``limit`` are shown, of these ``columns``, by their `column_names`.  None is the table's own.
    """

    keeps: Callable[[Sequence[Any]], bool] | None = None
    order: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None
    columns: tuple[str, ...] | None = None


_ALL: Final = View()


def column_names(key: Sequence[Field], value: Sequence[Field]) -> list[str]:
    """The names of the columns, with the side in front when one is on both."""
    keys, values = [f.name for f in key], [f.name for f in value]
    if set(keys) & set(values) or "time" in (*keys, *values):
        return [*(f"key.{name}" for name in keys), *(f"value.{name}" for name in values)]
    return [*keys, *values]


class TableSampler:
    """Reads a map and shows it as a table; ``sort`` is the package's own choice.

    Raises UsageError for raw output, SpecError for a ``sort`` that is no member.
    """

    def __init__(
        self,
        shape: OutputFormat,
        output: MapOutput,
        elements: Elements,
        *,
        sort: str | None = None,
        view: View = _ALL,
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
        self._names = column_names(
            [c.field for c in self._entries.key.columns],
            [c.field for c in self._entries.value.columns],
        )
        self._view = view
        self._order_by = [(self._names.index(name), reverse) for name, reverse in view.order]
        self._shown: Sequence[int] = range(len(self._columns))
        if view.columns is not None:
            self._shown = [self._names.index(name) for name in view.columns]
        self._terminal, self._now = terminal, now
        self._block = Columns([self._columns[i] for i in self._shown], terminal)
        self._row = self._row_of()
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

    def _sorted(self, snapshot: Snapshot, most: int | None = None) -> tuple[list[Entry], int]:
        """The first rows, and how many there are; in the order that was asked for, else numbers
        from the largest, text from A."""
        keeps, limit = self._view.keeps, self._view.limit
        if limit is not None:
            most = limit if most is None else min(most, limit)
        numbers = self._entries.counted(self._sort - len(self._entries.key.columns))
        if numbers is not None and len(numbers) == 1 and not self._order_by and keeps is None:
            order = snapshot.largest(snapshot.counts.columns[numbers.start], most)
            return [snapshot.entry(i) for i in order], len(snapshot)
        entries = [snapshot.entry(i) for i in range(len(snapshot))]
        if keeps is not None:
            entries = [entry for entry in entries if keeps(_raws(entry))]
        # The key decides between equals, so that rows do not dance.
        entries.sort(key=lambda entry: entry.id)
        # A sort keeps the order of equals: the first column is the last to be sorted by.
        for place, reverse in reversed(self._order_by):
            entries.sort(key=partial(self._rising, place), reverse=reverse)
        if not self._order_by:
            entries.sort(key=self._order)
        return entries[:most], len(entries)

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
        rows = ",".join(map(self._row, self._sorted(snapshot)[0]))
        more = self._lack(snapshot).json()
        return f'{{{self._output.tag()}"time":"{utc(self._now())}","rows":[{rows}]{more}}}'

    def _row_of(self) -> Callable[[Entry], str]:
        """What makes JSON of a row: of its key and its value what is shown of them."""
        key, value = self._entries.key, self._entries.value
        keys = len(key.columns)
        shown = sorted(self._shown)
        if len(shown) == len(self._columns):
            return lambda e: f'{{"key":{key.json(e.key)},"value":{value.json(e.value)}}}'
        left = key.only([i for i in shown if i < keys])
        right = value.only([i - keys for i in shown if i >= keys])

        def row(entry: Entry) -> str:
            sides = (
                f'"key":{left(entry.key)}' if left else "",
                f'"value":{right(entry.value)}' if right else "",
            )
            return "{" + ",".join(filter(None, sides)) + "}"

        return row

    def _csv(self, snapshot: Snapshot) -> list[str]:
        now = utc(self._now()) or ""
        self._output.tell_notes(self._lack(snapshot).notes())
        lines = []
        if self._samples == 1:
            names = ["time", *(self._names[i] for i in self._shown)]
            lines.append(",".join(csv_quoted(printable(name)) for name in names))
        for entry in self._sorted(snapshot)[0]:
            raws = _raws(entry)
            row = [csv_cell(self._columns[i], raws[i]) for i in self._shown]
            lines.append(",".join([now, *row]))
        return lines

    def _table(self, snapshot: Snapshot) -> list[str]:
        name = "" if self._output.alone else f" {printable(self._output.name)}"
        most = max(1, self._terminal.lines - _AROUND) if self._terminal else None
        entries, found = self._sorted(snapshot, most)
        columns = [self._columns[i] for i in self._shown]
        chosen = ([raws[i] for i in self._shown] for raws in map(_raws, entries))
        rows = [cells(columns, raws) for raws in chosen]
        for row in rows:
            self._block.widen(row)
        lines = [f"{local(self._now())}{name}", self._block.header()]
        lines.extend(map(self._block.line, rows))
        if found > len(entries):
            lines.append(f"({found - len(entries)} more)")
        lines += [f"({note})" for note in self._lack(snapshot).notes()]
        return lines if self._samples == 1 else ["", *lines]


def _raws(entry: Entry) -> list[Any]:
    return [*entry.key, *entry.value]
