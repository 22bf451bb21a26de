"""Bytes as Python values: the very values that JSON has, as `bpfpack.runner.events.values` says.

Members keep their names and nesting, hidden ones are left out, and an array of structs is a
list.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from bpfpack.runner.events.clock import WallClock
from bpfpack.runner.events.formatter import Known
from bpfpack.runner.events.jsonlines import Tree, tree_of
from bpfpack.runner.events.rows import Column, Rows
from bpfpack.spec.record import RecordLayout

#: A record: members by name; values are bool, int, float, str, None, lists and dicts of these.
Record: TypeAlias = dict[str, Any]
_Grown: TypeAlias = Callable[[Sequence[Any]], Any]


class RowDecoder:
    """Turns the raw values of one type's columns into a dict."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """Raise SpecError for names that cannot stand in one object."""
        self._columns = columns
        self._members = _members(tree_of([c.field for c in columns]))

    def values(self, raws: Sequence[Any]) -> list[Any]:
        """One value for each column, None for one that is missing."""
        return [
            raw if raw is None or column.value is None else column.value(raw)
            for column, raw in zip(self._columns, raws, strict=True)
        ]

    def __call__(self, raws: Sequence[Any]) -> Record:
        """The members by name."""
        values = self.values(raws)
        return {name: grown(values) for name, grown in self._members}


def _members(tree: Tree) -> list[tuple[str, _Grown]]:
    return [(str(name), _grown(inside)) for name, inside in tree.items()]


def _grown(inside: "Tree | int") -> _Grown:
    if isinstance(inside, int):
        return _leaf(inside)
    members = _members(inside)
    if all(isinstance(step, int) for step in inside):
        return lambda values: [grown(values) for _, grown in members]
    return lambda values: {name: grown(values) for name, grown in members}


def _leaf(index: int) -> _Grown:
    return lambda values: values[index]


class EventDecoder:
    """Turns the records of one output into dicts.

    Of several types ``type`` comes first, the name of the struct; a record of no known type
    is ``{"unknown": hex}``.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._rows = [RowDecoder(rows.columns) for rows in known.rows]

    def __call__(self, memory: memoryview, offset: int, length: int) -> Record:
        """One record; never raises for its contents."""
        known = self._known
        index = known.select(memory, offset, length)
        if index is None:
            return {**dict(known.members(None)), "unknown": memory[offset : offset + length].hex()}
        raws = known.rows[index].read(memory, offset, length)
        return {**dict(known.members(index)), **self._rows[index](raws)}


class ValueDecoder:
    """Keys, values or globals of one layout; a single number or text is not wrapped."""

    def __init__(self, layout: RecordLayout, clock: WallClock, plain_name: str) -> None:
        self._clock = clock
        self._rows = Rows(layout, clock)
        self._row = RowDecoder(self._rows.columns)
        self._plain = [c.field.path for c in self._rows.columns] == [(plain_name,)]

    def __call__(self, data: bytes) -> Any:
        """The value of these bytes."""
        self._clock.refresh()
        raws = self._rows.read(memoryview(data), 0, len(data))
        return self._row.values(raws)[0] if self._plain else self._row(raws)
