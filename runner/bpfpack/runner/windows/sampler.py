"""Windows as they are shown: a block, lines of JSON or of cells at the end of each.

*table*: the time, how long the window was, titles and rows; on a terminal that shows nothing else
each takes the place of the one before.  *json*, *json-array*: an object for each row, with
``time``, the end of the window, and ``seconds``, how long it was; for what no group was left for
``"_other":true``.  *csv*, *tsv*: the same two in front of each row, ``_other`` in the first key.
Rows are sorted by the first value that is shown, from the largest, unless told.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
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
    ) -> None:
        self._shape, self._groups, self._output = shape, groups, grouping.output
        self._clock = clock or SystemClock()
        self._about = WindowColumns(grouping, self._clock)
        self._order = [(self._place(name), largest) for name, largest in order]
        self._order = self._order or [(self._about.keys, True)]
        self._limit, self._terminal = limit, terminal
        self._now, self._ticks = now, ticks
        self._block = Columns(self._about.columns, terminal)
        self._begun, self._windows, self._rows, self._drawn = ticks(), 0, 0, 0

    def begin(self) -> bytes | None:
        """Begin the first window now; return what stands before all of them."""
        self._begun = self._ticks()
        return b"[\n" if self._shape == "json-array" else None

    def sample(self) -> bytes:
        """End a window; what follows is of the next one."""
        self._clock.refresh()
        groups, end = self._groups.take(), self._ticks()
        lasted, self._begun = round((end - self._begun) / _BILLION, 3), end
        if not groups and not self._about.keys:
            groups = [_Nothing()]
        self._windows += 1
        match self._shape:
            case "json" | "json-array":
                lines = self._json(groups, lasted)
            case "csv" | "tsv":
                lines = self._cells(groups, lasted)
            case _:
                lines = self._table(groups, lasted)
        text = "".join(f"{line}\n" for line in lines)
        return (self._over(len(lines)) + text if self._shape == "table" else text).encode()

    def _place(self, name: str) -> int:
        names = self._about.names
        if name not in names:
            from bpfpack.runner.filters.names import near

            error = UsageError(f"--sort: windows have no column {printable(name, 80)!r}")
            raise error.with_hint(near(name, names).replace("the fields", "its columns"))
        return names.index(name)

    def _sorted(self, groups: Sequence[Group], most: int | None = None) -> list[Group]:
        """The first rows; what no group was left for comes last."""
        if self._limit is not None:
            most = self._limit if most is None else min(most, self._limit)
        named = sorted((g for g in groups if g.key is not None), key=lambda g: g.key or b"")
        # A sort keeps the order of equals: the first column is the last to be sorted by.
        for place, largest in reversed(self._order):
            named.sort(key=partial(self._rising, place, largest), reverse=largest)
        return [*named, *(g for g in groups if g.key is None)][:most]

    def _rising(self, place: int, largest: bool, group: Group) -> tuple[Any, ...]:
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

    def _json(self, groups: Sequence[Group], lasted: float) -> list[str]:
        about, first = self._about, ""
        if not self._output.alone:
            first = f"{json_string(self._free('output'))}:{json_string(self._output.name)},"
        first += f'{json_string(self._free("time"))}:"{utc(self._now())}",'
        first += f"{json_string(self._free('seconds'))}:{lasted!r}"
        names = [json_string(name) for name in about.names]
        lines = []
        for group in self._sorted(groups):
            members = [first] if group.key is not None else [first, f'"{OTHER}":true']
            for name, column, raw in zip(names, about.columns, about.read(group), strict=True):
                value = raw if column.value is None or raw is None else column.value(raw)
                members.append(f"{name}:{dump(value)}")
            comma = "," if self._shape == "json-array" and self._rows else ""
            lines.append(f"{comma}{{{','.join(members)}}}")
            self._rows += 1
        return lines

    def _cells(self, groups: Sequence[Group], lasted: float) -> list[str]:
        about, form = self._about, SEPARATED[self._shape]
        lines = []
        if self._windows == 1:
            names = [self._free("time"), self._free("seconds"), *about.names]
            lines.append(form.between.join(form.quoted(printable(name)) for name in names))
        now = utc(self._now()) or ""
        for group in self._sorted(groups):
            raws = about.read(group)
            row = [
                cell_text(column, raw, form.quoted)
                for column, raw in zip(about.columns, raws, strict=True)
            ]
            lines.append(form.between.join([now, repr(lasted), *self._named(group, row)]))
        return lines

    def _table(self, groups: Sequence[Group], lasted: float) -> list[str]:
        about = self._about
        most = max(1, self._terminal.lines - _AROUND) if self._terminal else None
        shown = self._sorted(groups, most)
        rows = [self._named(g, cells(about.columns, about.read(g))) for g in shown]
        for row in rows:
            self._block.widen(row)
        name = "" if self._output.alone else f" {printable(self._output.name)}"
        head = f"{local(self._now())}{name}  {lasted:g}s"
        lines = [head if self._terminal is None else fit(head, self._terminal.columns)]
        lines += [self._block.header(), *map(self._block.line, rows)]
        if len(groups) > len(shown):
            lines.append(f"({len(groups) - len(shown)} more)")
        return lines

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
