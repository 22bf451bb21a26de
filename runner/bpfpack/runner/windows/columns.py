"""The columns of a window: keys as their fields are shown, and what is told of each group."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from bpfpack.runner.events.clock import WallClock
from bpfpack.runner.events.formatter import kind_name
from bpfpack.runner.events.rows import Column, Rows
from bpfpack.runner.events.values import Value, duration_text, size_text
from bpfpack.runner.windows.asking import Aggregate
from bpfpack.runner.windows.grouping import Grouping
from bpfpack.runner.windows.groups import Group, Sums
from bpfpack.runner.windows.sketches import Number
from bpfpack.spec.record import Field
from bpfpack.spec.safetext import printable

#: What stands in the place of a key for all that no group was left for.
OTHER: Final = "_other"
_UNITS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_WIDTH: Final = 8
Raws: TypeAlias = Sequence[Any]


class WindowColumns:
    """Turns groups into rows of raw values, None for what is missing."""

    def __init__(self, grouping: Grouping, clock: WallClock) -> None:
        self._grouping = grouping
        self._rows = Rows(grouping.layout, clock) if grouping.keys else None
        self._kinds = [kind_name(t.layout.type) for t in grouping.output.types]
        places = {m.name: i for i, m in enumerate(grouping.measures)}
        self._shown = [
            (one, places[one.field] if one.field else None) for one in grouping.asked.show
        ]
        keys = list(self._rows.columns) if self._rows else []
        if grouping.kind is not None:
            keys.insert(grouping.kind, _column(grouping.asked.by[grouping.kind], None, str))
        #: How many of the columns are keys.
        self.keys: Final = len(keys)
        shown = [self._told(one, place) for one, place in self._shown]
        self.columns: Final[tuple[Column, ...]] = (*keys, *shown)
        #: What each is called: as it was asked for.
        self.names: Final = (*grouping.asked.by, *(one.name for one in grouping.asked.show))

    def read(self, group: Group) -> Raws:
        """All raw values of a group."""
        return [*self.key(group), *(self.one(group, i) for i in range(len(self._shown)))]

    def key(self, group: Group) -> Raws:
        """The raw values of its key."""
        key = group.key
        if key is None:
            return [None] * self.keys
        missing, kind = (int.from_bytes(key[at : at + 4], "little") for at in (0, 4))
        raws = list(self._rows.read(memoryview(key), 0, len(key))) if self._rows else []
        found = [None if missing >> i & 1 else raw for i, raw in enumerate(raws)]
        if self._grouping.kind is not None:
            told = self._kinds[kind - 1] if 0 < kind <= len(self._kinds) else None
            found.insert(self._grouping.kind, told)
        return found

    def one(self, group: Group, place: int) -> Number | None:
        """One of the values that are told of a group."""
        about, measure = self._shown[place]
        return group.count if measure is None else _value(about, group.sums(measure))

    def _told(self, about: Aggregate, measure: int | None) -> Column:
        field = None if measure is None else self._grouping.measures[measure].field
        return _column(about.name, _number, _text_of(field), right=True)


def _value(about: Aggregate, sums: Sums) -> Number | None:
    """What an aggregate says; of no number at all there is a sum only."""
    if about.function == "sum":
        return sums.total
    if not sums.count:
        return None
    match about.function:
        case "min":
            return sums.least
        case "max":
            return sums.most
        case "avg":
            return sums.total / sums.count
    if about.share is None or sums.sketch is None:
        raise AssertionError(about)
    return sums.sketch.quantile(about.share, sums.least, sums.most)


def _column(
    name: str,
    value: Callable[[Any], Value] | None,
    text: Callable[[Any], str],
    *,
    right: bool = False,
) -> Column:
    field = Field(
        path=(name,), type="", offset=0, size=8, base="uint", signed=False, format="dec", title=name
    )
    return Column(field, value, text, _WIDTH, right)


def _number(number: Number) -> Value:
    """A number for machines: one of more than 64 bits is text, as everywhere."""
    if isinstance(number, float):
        return number if math.isfinite(number) else None
    return number if -(1 << 63) <= number < 1 << 64 else str(number)


def _text_of(field: Field | None) -> Callable[[Number], str]:
    """A number for people, in the unit of its field."""
    if field is not None and field.format == "duration":
        scale = _UNITS[field.unit or "ns"]
        return lambda number: duration_text(round(number * scale))
    if field is not None and field.format == "bytes":
        return lambda number: size_text(round(number))
    if field is not None and field.base == "float":
        return lambda number: f"{number:g}"
    return _plain


def _plain(number: Number) -> str:
    """A whole number, or one with two decimals.

    >>> _plain(7), _plain(2.0), _plain(12.345)
    ('7', '2', '12.35')
    """
    if isinstance(number, int):
        return str(number)
    return printable(f"{number:.2f}".rstrip("0").rstrip("."))
