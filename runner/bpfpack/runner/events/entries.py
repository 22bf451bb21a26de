"""The elements of a map as rows: what histograms and sampled tables are made of.

The values that the CPUs of a per-CPU map keep are added up where they are counts (integers
shown as plain numbers, sizes or durations, and arrays of these); anything else is that of
the first CPU that has something.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from bpfpack.runner.events.clock import WallClock
from bpfpack.runner.events.jsonlines import JsonRow, dump
from bpfpack.runner.events.rows import Column, Rows, plain_text
from bpfpack.spec.record import Field, RecordLayout

# include/uapi/linux/bpf.h, ``enum bpf_map_type``: arrays are always full.
_ARRAYS: Final = frozenset({2, 6})
_LRU: Final = frozenset({9, 10})
_COUNTS: Final = ("dec", "bytes", "duration")


class Elements(Protocol):
    """A map that can be read; `bpfpack.runner.maps.Map` is one."""

    type: int
    max_entries: int

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """Every key once, and its value or its values one after the other."""
        ...

    def slots(self, value: bytes) -> list[bytes]:
        """The value of each CPU, or the one value."""
        ...


class Entry(NamedTuple):
    """One element: its raw key, and one raw value for each column of key and value."""

    id: bytes
    key: Sequence[Any]
    value: Sequence[Any]


class Side:
    """Keys, or values, as columns and as JSON; a single number or text is not wrapped."""

    def __init__(self, layout: RecordLayout, clock: WallClock, plain_name: str) -> None:
        self._rows = Rows(layout, clock)
        self.columns = tuple(_counted(c) for c in self._rows.columns)
        self._object = JsonRow(self.columns)
        self._plain = [c.field.path for c in self.columns] == [(plain_name,)]

    def read(self, data: bytes) -> list[Any]:
        """One raw value for each column."""
        raws = self._rows.read(memoryview(data), 0, len(data))
        return [
            before.value(raw) if after is not before and before.value and raw is not None else raw
            for before, after, raw in zip(self._rows.columns, self.columns, raws, strict=True)
        ]

    def json(self, raws: Sequence[Any]) -> str:
        """The raw values as JSON."""
        if not self._plain:
            return self._object(raws)
        ((column, raw),) = zip(self.columns, raws, strict=True)
        return dump(raw if raw is None or column.value is None else column.value(raw))


def _counted(column: Column) -> Column:
    """An array of counts as a list of numbers from the start, so that it can be added up."""
    if not (is_count(column.field) and column.field.dimensions):
        return column
    return column._replace(value=lambda numbers: numbers, text=plain_text)


def is_count(field: Field) -> bool:
    """Whether adding the field's numbers up means something."""
    return (
        field.base in ("int", "uint")
        and field.format in _COUNTS
        and field.size <= 8
        and not field.bits
    )


class Entries:
    """Reads the elements of one map again and again."""

    def __init__(self, key: RecordLayout, value: RecordLayout, clock: WallClock) -> None:
        self.clock = clock
        self.key, self.value = Side(key, clock, "key"), Side(value, clock, "value")

    def read(self, elements: Elements) -> list[Entry]:
        """Every element of the map now; raises what the map raises."""
        self.clock.refresh()
        found = []
        for key, data in elements.items():
            cpus = [self.value.read(one) for one in elements.slots(data)]
            raws = cpus[0] if len(cpus) == 1 else self._together(cpus)
            found.append(Entry(key, self.key.read(key), raws))
        return found

    def _together(self, cpus: Sequence[Sequence[Any]]) -> list[Any]:
        return [
            _total(raws) if is_count(column.field) else _first(raws)
            for column, raws in zip(self.value.columns, zip(*cpus, strict=True), strict=True)
        ]


def _total(raws: Sequence[Any]) -> Any:
    if isinstance(raws[0], list):
        return [_total(numbers) for numbers in zip(*raws, strict=True)]
    return sum(raws)


def _first(raws: Sequence[Any]) -> Any:
    return next((raw for raw in raws if raw and (not isinstance(raw, bytes) or any(raw))), raws[0])


def may_miss(elements: Elements, count: int) -> bool:
    """Whether the map may lack keys: it evicts them, or has no room for more."""
    return elements.type in _LRU or (elements.type not in _ARRAYS and count >= elements.max_entries)
