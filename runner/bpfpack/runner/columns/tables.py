"""Columns in the engine's memory: their tables (``runner/engine/fill.h``), and reading them out."""

import mmap
import struct
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from bpfpack.runner.columns.schema import ColumnOf, Schema, Shape, Slot, elements_of
from bpfpack.runner.engine.host import Program
from bpfpack.runner.engine.image import FIELD, Image
from bpfpack.runner.engine.operations import put_field
from bpfpack.runner.engine.program import assemble
from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.record import Field

if TYPE_CHECKING:
    from bpfpack.runner.engine.host import Engine
    from bpfpack.runner.engine.memory import Memory

COLUMN: Final = struct.Struct("<6I")
CELL: Final = struct.Struct("<6I")
FILL: Final = struct.Struct("<4I")
#: Rows of one call, at most and at least.
_MOST_ROWS, _LEAST_ROWS = 16384, 64
#: Bytes that all numbers of a call take, about, and all texts, beside those of one record.
_BYTES: Final = 32 << 20
#: A text that has its own length is at least so long before the columns must be laid out anew.
_OPEN_TEXT: Final = 4096
#: See `room` in ``runner/engine/fill.c``.
_LEAST_TEXT, _SLACK, _GROWS = 64, 32, 3
#: ``end`` of what no record of a type has.
_SKEW: Final = 192
_NEVER: Final = 0xFFFF_FFFF
#: BP_SLOT_PLAIN: what `Slot` says is how a number is read otherwise.
_PLAIN: Final = 9
_U32: Final = struct.Struct("<I")


class Filled(NamedTuple):
    """What is in the buffers of one column, copied.

    ``present`` is None where every slot has a value; ``slots`` are numbers or i32 ends, ``data``
    the bytes of texts, ``elements`` the column of the elements of lists.
    """

    slot_count: int
    present: bytes | None
    slots: bytes
    data: bytes | None
    elements: "Filled | None"


class _Area:
    """One column's memory, that of a list's elements within."""

    def __init__(
        self, memory: "Memory", column: ColumnOf, at: tuple[int, int], room: "_Room"
    ) -> None:
        self._memory, self._room = memory, room
        self._at, self._inner = at
        self._width = column.shape.width
        self._is_list = column.shape.depth > 0
        self._fields = [field for field in column.fields if field is not None]
        self._longest = _OPEN_TEXT
        #: Bytes of the bits of the column, and of those of its elements.
        self._bits = {self._at: 0, self._inner: 0}
        self._lay_out()

    def make_room(self, length: int) -> None:
        """Have room for a record of so many bytes; raises EngineError."""
        if length > self._longest and any(field.flexible for field in self._fields):
            self._longest = length
            self._lay_out()

    def _lay_out(self) -> None:
        """Begin with no rows."""
        rows = self._room.rows
        if not self._is_list:
            self._put(self._at, self._width, rows, self._text_size())
            return
        most = max(map(self._elements, self._fields))
        flexible = any(field.flexible for field in self._fields)
        slots = most + 4 * rows if flexible else most * rows
        self._put(self._inner, self._width, slots, self._text_size())
        self._put(self._at, 0, rows, slots, data=self._inner)

    def _elements(self, field: Field) -> int:
        return elements_of(field) or self._longest // field.size + 1

    def _text_size(self) -> int:
        """Bytes of texts: one record at least, and as many as the share."""
        if self._width or not self._fields:
            return 0
        most = max(map(self._text_of, self._fields))
        return most + min(self._room.rows * most, self._room.text)

    def _text_of(self, field: Field) -> int:
        count = self._elements(field) if field.dimensions else 1
        return count * (max(_LEAST_TEXT, _GROWS * (field.size or self._longest)) + _SLACK)

    def _put(self, at: int, width: int, slots: int, size: int, *, data: int = 0) -> None:
        memory = self._memory
        self._bits[at] = slots // 8 + 1
        present = memory.write(b"\xff" * self._bits[at])
        # Rows of all columns in one line of a cache would drive each other out.
        skew = self._room.skew()
        numbers = memory.place((width or 4) * (slots + 1) + skew) + skew
        where = data or (memory.place(size) if size else 0)
        memory.view(at, COLUMN.size)[:] = COLUMN.pack(present, numbers, where, size, width, 0)

    def read(self, count: int, *, inner: bool = False) -> Filled:
        """Copy ``count`` slots, and have all present again."""
        at, memory = self._inner if inner else self._at, self._memory
        present, slots, data, size, width, nulls = COLUMN.unpack(memory.view(at, COLUMN.size))
        bits = None
        if nulls:
            # All of them: also a row that found no room has left its marks.
            view = memory.view(present, self._bits[at])
            bits = bytes(view[: -(-count // 8)])
            view[:] = b"\xff" * len(view)
            memory.view(at, COLUMN.size)[:] = COLUMN.pack(present, slots, data, size, width, 0)
        if width:
            numbers = bytes(memory.view(slots, width * count))
            return Filled(count, bits, numbers, None, None)
        ends = bytes(memory.view(slots, 4 * (count + 1)))
        (end,) = _U32.unpack_from(ends, 4 * count)
        if self._is_list and not inner:
            return Filled(count, bits, ends, None, self.read(end, inner=True))
        return Filled(count, bits, ends, bytes(memory.view(data, end)), None)


class _Room:
    """Rows of one call, and bytes of the texts of a column."""

    def __init__(self, rows: int, text: int) -> None:
        self.rows, self.text = rows, text
        self._skew = 0

    def skew(self) -> int:
        """How far behind the beginning of a page the next column begins."""
        self._skew = (self._skew + _SKEW) % mmap.PAGESIZE
        return self._skew


class ColumnProgram(Program):
    """An image that fills columns, and these."""

    def __init__(
        self,
        engine: "Engine",
        schema: Schema,
        *,
        filtered: bytes | None = None,
        clock: WallClock | None = None,
    ) -> None:
        """Raises SpecError for what the engine cannot read, EngineError where it has no room."""
        clock, memory, columns = clock or SystemClock(), engine.memory, schema.columns
        room = _room(columns)
        #: Rows that a call may show.
        self.rows: Final = room.rows
        size = COLUMN.size * len(columns)
        heads = memory.place(2 * size)
        places = [heads + COLUMN.size * i for i in range(len(columns))]
        self._areas = [
            _Area(memory, column, (at, at + size), room)
            for column, at in zip(columns, places, strict=True)
        ]
        image = assemble(
            "arrow",
            schema.output,
            memory.next,
            clock=clock,
            filtered=filtered,
            grouped=partial(put_fill, schema, heads),
        )
        super().__init__(engine, memory.write(image), clock)

    def make_room(self, needed: int) -> None:
        """See `Program`: ``needed`` is the length of the record."""
        for area in self._areas:
            area.make_room(needed)

    def read(self, rows: int) -> list[Filled]:
        """Copy what the last call has filled."""
        return [area.read(rows) for area in self._areas]


def _room(columns: Sequence[ColumnOf]) -> _Room:
    size = sum(map(_slot_size, columns))
    texts = sum(not column.shape.width for column in columns)
    rows = max(_LEAST_ROWS, min(_MOST_ROWS, _BYTES // size))
    return _Room(rows, _BYTES // max(1, texts))


def _slot_size(column: ColumnOf) -> int:
    """Bytes of a row, without those of texts."""
    elements = [elements_of(field) or 4 for field in column.fields if field is not None]
    return (column.shape.width or 4) * max(elements, default=1) + 4


def put_fill(schema: Schema, columns: int, image: Image) -> int:
    """Put a ``struct bp_fill`` for columns at an address into an image; return its address."""
    rows = []
    types = schema.output.types
    for place, kind in enumerate(types):
        for column in schema.columns:
            rows.append(_cell(image, column, column.fields[place], kind.layout.byte_order, place))
    rows += [(0, 0, 0, _NEVER, 0, 0)] * len(schema.columns)
    cells = image.table(CELL, rows).at
    return image.bytes_(FILL.pack(columns, len(schema.columns), cells, 0))


def _cell(
    image: Image, column: ColumnOf, field: Field | None, byte_order: ByteOrder, place: int
) -> tuple[int, ...]:
    if column.shape.slot == Slot.TYPE:
        return (0, Slot.TYPE, place, 0, 0, 0)
    if field is None:
        return (0, 0, 0, _NEVER, 0, 0)
    row = put_field(image, field, byte_order)
    at = image.table(FIELD, [row]).at
    kind = _PLAIN if _is_plain(column.shape, field, swapped=bool(row[8])) else column.shape.slot
    return (at, kind, field.offset, row[3], bool(field.dimensions), 0)


def _is_plain(shape: Shape, field: Field, *, swapped: bool) -> bool:
    is_number = shape.slot == Slot.NUMBER and not field.dimensions and not field.bits
    return is_number and field.size == shape.width and not (swapped and field.size > 1)
