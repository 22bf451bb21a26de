"""The elements of a map as rows: what histograms and sampled tables are made of.

The values that the CPUs of a per-CPU map keep are added up where they are counts (integers
shown as plain numbers, sizes or durations, and arrays of these); anything else is that of
the first CPU that has something.

A map is read without a step of Python for each element (`counts`); an `Entry` is made of
those that are shown.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from heapq import nlargest
from math import prod
from typing import Any, Final, NamedTuple, Protocol

from bpfpack.runner.events.clock import WallClock
from bpfpack.runner.events.counts import Adder, Counts, joined, runs_between
from bpfpack.runner.events.jsonlines import JsonRow, dump
from bpfpack.runner.events.rows import Column, Rows, plain_text
from bpfpack.spec.record import Field, RecordLayout
from bpfpack.spec.value import replace

# include/uapi/linux/bpf.h, ``enum bpf_map_type``: arrays are always full.
_ARRAYS: Final = frozenset({2, 6})
_LRU: Final = frozenset({9, 10})
_COUNTS: Final = ("dec", "bytes", "duration")


class Chunk(Protocol):
    """Some elements: their keys one after the other, and their values."""

    @property
    def keys(self) -> memoryview:
        """Valid until the next chunk is read, as are the values."""
        ...

    @property
    def values(self) -> memoryview:
        """Of each element the values of all CPUs."""
        ...

    @property
    def elements(self) -> int:
        """How many."""
        ...


class Elements(Protocol):
    """A map that can be read; `bpfpack.runner.maps.Map` is one.

    Each key has ``cpus`` values of ``value_size`` bytes, ``stride`` bytes from one to the next.
    """

    type: int
    key_size: int
    value_size: int

    @property
    def max_entries(self) -> int:
        """Room for so many."""
        ...

    @property
    def stride(self) -> int:
        """See above."""
        ...

    @property
    def cpus(self) -> int:
        """See above."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """Every key once."""
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

    def only(self, places: Sequence[int]) -> Callable[[Sequence[Any]], str] | None:
        """What makes JSON of some columns, in their own order; None for none of them."""
        if not places:
            return None
        if len(places) == len(self.columns):
            return self.json
        chosen = JsonRow([self.columns[i] for i in places])
        return lambda raws: chosen([raws[i] for i in places])


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

    def __init__(
        self, key: RecordLayout, value: RecordLayout, elements: Elements, clock: WallClock
    ) -> None:
        self.clock, self._elements = clock, elements
        self.key, self.value = Side(key, clock, "key"), Side(value, clock, "value")
        shown = [c.field for c in self.value.columns]
        counted = [i for i, f in enumerate(shown) if _added_up(f, elements.value_size)]
        self._adder = Adder(
            [shown[i] for i in counted],
            stride=elements.stride,
            cpus=elements.cpus,
            byte_order=value.byte_order,
        )
        self._ranges = _ranges(counted, shown)
        self._others = [i for i in range(len(shown)) if i not in self._ranges]
        rest = replace(value, fields=tuple(shown[i] for i in self._others))
        self._rest = Rows(rest, clock) if self._others else None

    def read(self) -> "Snapshot":
        """Every element of the map now; raises what the map raises."""
        self.clock.refresh()
        keys, counts, values = list[bytes](), list[Counts](), list[bytes]()
        for chunk in self._elements.chunks():
            keys.append(bytes(chunk.keys))
            counts.append(self._adder.read(chunk.values, chunk.elements))
            if self._rest:
                values.append(bytes(chunk.values))
        together = joined(counts, self._adder.columns)
        return Snapshot(self, b"".join(keys), together, b"".join(values))

    def keys(self) -> Iterator[bytes]:
        """The raw keys of all elements now."""
        size = self.key_size
        for chunk in self._elements.chunks():
            keys = bytes(chunk.keys)
            yield from (keys[i : i + size] for i in range(0, len(keys), size))

    @property
    def key_size(self) -> int:
        """Bytes of a key."""
        return self._elements.key_size

    def counted(self, column: int) -> range | None:
        """The numbers of a column of the value among the counts, None when it is no count."""
        return self._ranges.get(column)

    def raws(
        self, counts: Counts, values: bytes, index: int, without: int | None = None
    ) -> list[Any]:
        """One raw value for each column of one element, None for the column ``without``."""
        found: list[Any] = [None] * len(self.value.columns)
        for i, numbers in self._ranges.items():
            if i == without:
                continue
            shape = self.value.columns[i].field.dimensions
            found[i] = _shaped([counts.columns[n][index] for n in numbers], shape)
        if self._rest is not None:
            memory, size, stride = memoryview(values), self._elements.value_size, self._stride
            starts = range(index * self._total, (index + 1) * self._total, stride)
            cpus = [self._rest.read(memory, start, size) for start in starts]
            for i, raws in zip(self._others, zip(*cpus, strict=True), strict=True):
                found[i] = _first(raws)
        return found

    @property
    def _stride(self) -> int:
        return self._elements.stride

    @property
    def _total(self) -> int:
        return self._elements.stride * self._elements.cpus


class Snapshot:
    """All elements of a map at one moment, by their indices."""

    def __init__(self, entries: Entries, keys: bytes, counts: Counts, values: bytes) -> None:
        self._entries, self._keys, self._values = entries, keys, values
        self.counts: Final = counts

    def __len__(self) -> int:
        return self.counts.elements

    @cached_property
    def ids(self) -> Sequence[bytes]:
        """The raw keys."""
        size = self._entries.key_size
        return [self._keys[i : i + size] for i in range(0, len(self._keys), size)]

    def entry(self, index: int, *, without: int | None = None) -> Entry:
        """One element, a column of its value left out; not after `release`."""
        key = self.id(index)
        value = self._entries.raws(self.counts, self._values, index, without)
        return Entry(key, self._entries.key.read(key), value)

    def id(self, index: int) -> bytes:
        """The raw key of one element."""
        size = self._entries.key_size
        return self._keys[index * size : (index + 1) * size]

    def release(self) -> None:
        """Keep what later snapshots are compared with, and let go of the rest."""
        self._values = b""

    def since(self, before: "Snapshot | None", columns: range) -> Counts:
        """What was counted since then; all of an element that is new or came back."""
        now = self.counts.only(columns)
        if before is None:
            return now
        then = before.counts.only(columns)
        if self._keys != before._keys:
            then = then.arranged(runs_between(before.ids, self.ids))
        return now.since(then)

    def largest(self, numbers: Sequence[int], most: int | None = None) -> list[int]:
        """The indices of the ``most`` largest numbers, the largest first, equals by their keys."""
        found: Iterable[int] = range(len(numbers))
        if most is not None and most < len(numbers):
            least = nlargest(most, numbers)[-1]
            found = [i for i, number in enumerate(numbers) if number >= least]
        # The key decides between equals, so that rows do not dance.
        return sorted(found, key=lambda i: (-numbers[i], self.id(i)))[:most]


def _added_up(field: Field, size: int) -> bool:
    """Whether a field is a count that every value is long enough for."""
    return (
        is_count(field)
        and not field.flexible
        and field.offset + field.size * prod(field.dimensions) <= size
    )


def _ranges(counted: Sequence[int], shown: Sequence[Field]) -> dict[int, range]:
    found, start = {}, 0
    for i in counted:
        found[i] = range(start, start + prod(shown[i].dimensions))
        start = found[i].stop
    return found


def _shaped(numbers: list[Any], dimensions: Sequence[int]) -> Any:
    """A number, or nested lists of them."""
    if not dimensions:
        return numbers[0]
    for length in reversed(dimensions[1:]):
        numbers = [numbers[i : i + length] for i in range(0, len(numbers), length)]
    return numbers


def _first(raws: Sequence[Any]) -> Any:
    return next((raw for raw in raws if raw and (not isinstance(raw, bytes) or any(raw))), raws[0])


def may_miss(elements: Elements, count: int) -> bool:
    """Whether the map may lack keys: it evicts them, or has no room for more."""
    return elements.type in _LRU or (elements.type not in _ARRAYS and count >= elements.max_entries)
