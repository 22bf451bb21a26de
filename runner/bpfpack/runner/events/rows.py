"""From the bytes of a record to one raw value for each of its fields.

Nothing is read past the end of a record, however long its type says it is: a field that
is not all there is missing (None), a string cut short is what there is of it.  What a
record has after its type is ignored, unless its last field goes on to the end.
"""

import struct
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final, NamedTuple, TypeAlias

from bpfpack.runner.events.clock import WallClock
from bpfpack.runner.events.values import BYTE_ORDERS, Meaning, Value, meaning
from bpfpack.spec.record import Field, RecordLayout
from bpfpack.spec.safetext import printable


class Column(NamedTuple):
    """One field, ready to be shown: ``value`` and ``text`` take its raw value.

    ``value`` None means that the raw value is a number that is shown as it is.
    """

    field: Field
    value: Callable[[Any], Value] | None
    text: Callable[[Any], str]
    width: int
    right: bool


class Rows:
    """The visible fields of one layout, and how to read them all at once."""

    def __init__(self, layout: RecordLayout, clock: WallClock) -> None:
        order = BYTE_ORDERS[layout.byte_order]
        readers = [
            _Reader(f, meaning(f, layout.byte_order, clock), order)
            for f in layout.fields
            if not f.hidden
        ]
        self.columns: Final = tuple(r.column for r in readers)
        self._readers = readers
        self._together, self._alone = _split(readers, order)
        # Never past the end of a record, whatever a layout says of its size.
        self._size = max(layout.size, self._together.size)

    def read(self, memory: memoryview, offset: int, length: int) -> Sequence[Any]:
        """One raw value for each column, None for one that is missing."""
        if length < self._size:
            record = memory[offset : offset + length]
            return [reader.read(record) for reader in self._readers]
        raws = self._together.unpack_from(memory, offset)
        if not self._alone:
            return raws
        record, mixed = memory[offset : offset + length], list(raws)
        for index, reader in self._alone:
            mixed.insert(index, reader.read(record))
        return mixed


def _split(
    readers: Sequence["_Reader"], order: str
) -> tuple[struct.Struct, Sequence[tuple[int, "_Reader"]]]:
    """One struct for all that follows another in memory, and the rest with its places."""
    code, end, alone = order, 0, []
    for index, reader in enumerate(readers):
        if reader.flexible or reader.offset < end:
            alone.append((index, reader))
            continue
        code += f"{reader.offset - end}x{reader.code}"
        end = reader.offset + reader.size
    return struct.Struct(code), alone


class _Reader:
    """Reads one field of a record of any length."""

    def __init__(self, field: Field, element: Meaning, order: str) -> None:
        self.offset, self.size = field.offset, field.size * prod(field.dimensions)
        self.flexible = not self.size
        self.code = f"{self.size}s" if field.dimensions else element.code
        self._struct = struct.Struct(order + self.code)
        self._may_be_short = field.base == "string" and not field.dimensions
        value, text = _scalar(element)
        if field.dimensions:
            value, text = _array(field, struct.Struct(order + element.code), value, text)
        self.column = Column(field, value, text, element.width, element.right)

    def read(self, record: memoryview) -> Any:
        """The raw value, or None."""
        end = self.offset + self.size
        if self.flexible:
            end = len(record)
        elif end > len(record) and not self._may_be_short:
            return None
        elif not self._may_be_short:
            return self._struct.unpack_from(record, self.offset)[0]
        return bytes(record[self.offset : end]) if self.offset < len(record) else None


_Value: TypeAlias = Callable[[Any], Value]
_Text: TypeAlias = Callable[[Any], str]


def _scalar(element: Meaning) -> tuple[_Value | None, _Text]:
    """Value and text of a raw element."""
    _, load, value, text, _, _ = element
    if text is None:
        text = _text_of(value)
    if load is None:
        return value, text
    return (
        load if value is None else lambda raw: value(load(raw)),
        lambda raw: text(load(raw)),
    )


def _text_of(value: _Value | None) -> _Text:
    return str if value is None else lambda raw: plain_text(value(raw))


def plain_text(value: Value) -> str:
    """A value as one safe line: nothing for null, lists as in JSON but without quotes.

    >>> plain_text([1, True, None, "a;b"])
    '1,true,,a;b'
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return ",".join(plain_text(v) for v in value)
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _array(
    field: Field, element: struct.Struct, value: _Value | None, text: _Text
) -> tuple[_Value, _Text]:
    """Value and text of a raw array of elements."""

    def elements(raw: bytes) -> list[Any]:
        # Of a flexible array the record may end in the middle of an element.
        whole = len(raw) - len(raw) % element.size
        return [found[0] for found in element.iter_unpack(raw[:whole])]

    def values(raw: bytes) -> Value:
        found = elements(raw)
        shown = found if value is None else [value(one) for one in found]
        for length in reversed(field.dimensions[1:]):
            shown = [shown[i : i + length] for i in range(0, len(shown), length)]
        return shown

    def texts(raw: bytes) -> str:
        return printable(",".join(text(one) for one in elements(raw)))

    return values, texts
