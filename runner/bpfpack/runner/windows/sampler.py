"""Windows as they are shown: a block, lines of JSON or of cells at the end of each.

*table*: the time, how long the window was, titles and rows; on a terminal that shows nothing else
each takes the place of the one before.  *json*, *json-array*: an object for each row, with
``time``, the end of the window, and ``seconds``, how long it was; for what no group was left for
``"_other":true``.  *csv*, *tsv*: the same two in front of each row, ``_other`` in the first key.
Rows are sorted by the first value that is shown, from the largest, unless told.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.runner.events.formatter import SEPARATED, OutputFormat, cell_text, cells
from bpfpack.runner.events.jsonlines import dump
from bpfpack.runner.events.table import Columns
from bpfpack.runner.events.terminal import Screen
from bpfpack.runner.events.values import local, utc
from bpfpack.runner.windows.columns import OTHER, WindowColumns
from bpfpack.runner.windows.grouping import Grouping
from bpfpack.runner.windows.groups import Group, Groups, Sums
from bpfpack.spec.errors import UsageError
from bpfpack.spec.safetext import fit, json_string, printable

#: Forms that windows have.
SHAPES: Final = ("table", "json", "json-array", "csv", "tsv")
#: Lines of a terminal that a block needs besides its rows: time, titles, rest, prompt.
_AROUND: Final = 4
#: Seconds that a piece of a window takes to be made: a ring of 256 KiB has room for 3,000 events.
_MOMENT: Final = 0.005
_BILLION: Final = 1_000_000_000


class _Nothing:
    """The one group of a window without keys in which nothing happened."""

    key, count = bytes(8), 0

    def sums(self, measure: int) -> Sums:
        """See `Group`."""
        return Sums(count=0, total=0, least=0, most=0, sketch=None)


class WindowSampler:
    """Ends a window each time it is asked for a sample, and shows what it held.

    ``order`` are columns to sort by, each with whether its largest comes first; ``limit`` is the
    number of rows.  Raises UsageError for a column that there is none of.
    """

    def __init__(
        self,
        shape: OutputFormat,
        grouping: Grouping,
        groups: Groups,
        *,
        order: Sequence[tuple[str, bool]] = (),
        limit: int | None = None,
        terminal: Screen | None = None,
        clock: WallClock | None = None,
        now: Callable[[], int] = time.time_ns,
        ticks: Callable[[], int] = time.monotonic_ns,
        moment: float = _MOMENT,
    ) -> None:
        self._shape, self._groups, self._output = shape, groups, grouping.output
        self._clock = clock or SystemClock()
        self._about = WindowColumns(grouping, self._clock)
        self._order = [(self._place(name), largest) for name, largest in order]
        self._order = self._order or [(self._about.keys, True)]
        self._limit, self._terminal = limit, terminal
        self._now, self._ticks, self._moment = now, ticks, moment
        self._pieces: Iterator[str] | None = None
        self._block = Columns(self._about.columns, terminal)
        self._begun, self._windows, self._rows, self._drawn = ticks(), 0, 0, 0

    def begin(self) -> bytes | None:
        """Begin the first window now; return what stands before all of them."""
        self._begun = self._ticks()
        return b"[\n" if self._shape == "json-array" else None

    @property
    def more(self) -> bool:
        """Whether pieces of the last window are left."""
        return self._pieces is not None

    def sample(self) -> bytes:
        """End a window, and show what takes no longer than a moment; or show the next piece.

        Meanwhile a small buffer would be full.
        """
        if self._pieces is None:
            self._pieces = self._window()
        until, found = time.monotonic() + self._moment, []
        for piece in self._pieces:
            found.append(piece)
            if time.monotonic() >= until:
                break
        else:
            self._pieces = None
        return "".join(found).encode()

    def _window(self) -> Iterator[str]:
        """A whole window, in pieces of little work."""
        self._clock.refresh()
        groups, end, now = self._groups.take(), self._ticks(), self._now()
        lasted, self._begun = round((end - self._begun) / _BILLION, 3), end
        if not groups and not self._about.keys:
            groups = [_Nothing()]
        self._windows += 1
        match self._shape:
            case "json" | "json-array":
                yield from self._json(groups, now, lasted)
            case "csv" | "tsv":
                yield from self._cells(groups, now, lasted)
            case _:
                yield from self._table(groups, now, lasted)

    def _place(self, name: str) -> int:
        names = self._about.names
        if name not in names:
            from bpfpack.runner.filters.names import near

            error = UsageError(f"--sort: windows have no column {printable(name, 80)!r}")
            raise error.with_hint(near(name, names).replace("the fields", "its columns"))
        return names.index(name)

    def _sort(self, groups: Sequence[Group], into: list[Group], most: int | None) -> Iterator[str]:
        """Find the first rows; what no group was left for comes last."""
        named: list[tuple[Sequence[Any], bytes, Group]] = []
        for group in groups:
            if group.key is not None:
                ranks = [self._rank(place, largest, group) for place, largest in self._order]
                named.append((ranks, group.key, group))
            yield ""
        named.sort(key=lambda row: row[1])
        # A sort keeps the order of equals: the first column is the last to be sorted by.
        for place in reversed(range(len(self._order))):
            named.sort(key=lambda row: row[0][place], reverse=self._order[place][1])
        into += [row[2] for row in named]
        into += [group for group in groups if group.key is None]
        del into[most if most is not None else len(into) :]

    def _rank(self, place: int, largest: bool, group: Group) -> tuple[Any, ...]:
        about = self._about
        if place >= about.keys:
            value: Any = about.one(group, place - about.keys)
        else:
            raw, column = about.key(group)[place], about.columns[place]
            value = raw if column.value is None or raw is None else column.value(raw)
        if value is None:
            return (-1 if largest else 2,)  # last, either way
        return (0, value) if isinstance(value, int | float) else (1, str(value))

    def _free(self, name: str) -> str:
        while name in self._about.names:
            name = f"_{name}"
        return name

    def _json(self, groups: Sequence[Group], now: int, lasted: float) -> Iterator[str]:
        about, first = self._about, ""
        if not self._output.alone:
            first = f"{json_string(self._free('output'))}:{json_string(self._output.name)},"
        first += f'{json_string(self._free("time"))}:"{utc(now)}",'
        first += f"{json_string(self._free('seconds'))}:{lasted!r}"
        names = [json_string(name) for name in about.names]
        shown: list[Group] = []
        yield from self._sort(groups, shown, self._limit)
        for group in shown:
            members = [first] if group.key is not None else [first, f'"{OTHER}":true']
            for name, column, raw in zip(names, about.columns, about.read(group), strict=True):
                value = raw if column.value is None or raw is None else column.value(raw)
                members.append(f"{name}:{dump(value)}")
            comma = "," if self._shape == "json-array" and self._rows else ""
            yield f"{comma}{{{','.join(members)}}}\n"
            self._rows += 1

    def _cells(self, groups: Sequence[Group], now: int, lasted: float) -> Iterator[str]:
        about, form = self._about, SEPARATED[self._shape]
        if self._windows == 1:
            names = [self._free("time"), self._free("seconds"), *about.names]
            yield form.between.join(form.quoted(printable(name)) for name in names) + "\n"
        first = [utc(now) or "", repr(lasted)]
        shown: list[Group] = []
        yield from self._sort(groups, shown, self._limit)
        for group in shown:
            raws = about.read(group)
            row = [
                cell_text(column, raw, form.quoted)
                for column, raw in zip(about.columns, raws, strict=True)
            ]
            yield form.between.join([*first, *self._named(group, row)]) + "\n"

    def _table(self, groups: Sequence[Group], now: int, lasted: float) -> Iterator[str]:
        """A block is one piece: nothing else comes between its lines."""
        about, most = self._about, self._limit
        if self._terminal is not None:
            room = max(1, self._terminal.lines - _AROUND)
            most = room if most is None else min(most, room)
        shown: list[Group] = []
        yield from self._sort(groups, shown, most)
        rows = []
        for group in shown:
            rows.append(self._named(group, cells(about.columns, about.read(group))))
            self._block.widen(rows[-1])
            yield ""
        name = "" if self._output.alone else f" {printable(self._output.name)}"
        head = f"{local(now)}{name}  {lasted:g}s"
        lines = [head if self._terminal is None else fit(head, self._terminal.columns)]
        lines += [self._block.header(), *map(self._block.line, rows)]
        if len(groups) > len(shown):
            lines.append(f"({len(groups) - len(shown)} more)")
        yield self._over(len(lines)) + "".join(f"{line}\n" for line in lines)

    def _named(self, group: Group, row: list[str]) -> list[str]:
        """A row that says so where it is of what no group was left for."""
        return [OTHER, *row[1:]] if group.key is None else row

    def _over(self, lines: int) -> str:
        """What stands before a block: nothing, an empty line, or the way to the last one's place.

        The cursor goes up so many lines, and what is there and below is erased (ECMA-48, CPL
        and ED).  Nothing else is changed of the terminal, so that a run may be killed at any time.
        """
        before, self._drawn = self._drawn, lines
        if not before:
            return ""
        live = self._terminal is not None and self._output.alone
        return f"\x1b[{before}F\x1b[J" if live else "\n"
