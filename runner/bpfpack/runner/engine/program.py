"""The table compiler: an output and a form become the image that drives the engine."""

from collections.abc import Callable, Sequence
from typing import Final

from bpfpack.runner.engine.forms import COLUMNS, FRAMED, RAW, TABLE, EngineForm, Form, form_of
from bpfpack.runner.engine.image import (
    CASE,
    FIELD,
    NUMBER,
    OP,
    RANGE,
    TYPE,
    ZONE,
    Image,
    Table,
    wide,
)
from bpfpack.runner.engine.labels import can_be
from bpfpack.runner.engine.operations import (
    Operation,
    Room,
    is_big,
    put_field,
    put_literal,
    put_operation,
    put_unknown,
)
from bpfpack.runner.engine.zones import zones
from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.runner.events.formatter import EventOutput, Known
from bpfpack.spec.errors import SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.record import RecordLayout
from bpfpack.spec.safetext import unsafe_ranges

#: BP_SLACK of ``runner/engine/engine.h``.
_SLACK: Final = 32
#: A column becomes so wide at most, unless its title is wider.
_WIDEST: Final = 64
_CLOCKS: Final = ("mono", "boot", "tai", "real")
#: ``enum bp_select``.
_ONE, _SIZES, _VALUE = range(3)
#: Forms without text, and what they need for a record.
_BARE: Final = {RAW: Room(0, 1), COLUMNS: Room(0, 1), FRAMED: Room(16, 1)}
#: A bound of a line that no memory of the engine has room for.
_LONGEST: Final = 1 << 28


def assemble(
    shape: EngineForm,
    output: EventOutput,
    at: int,
    *,
    clock: WallClock | None = None,
    columns: int = 0,
    filtered: bytes | None = None,
    grouped: Callable[[Image], int] | None = None,
) -> bytes:
    """Return the image for address ``at``, a multiple of 8.

    It begins with the offsets of the clocks and, as u32, the columns of the terminal (0: lines
    are not cut); the host may change both at any time.  ``filtered`` is what a filter compiled;
    ``grouped`` puts the tables of groups, or of columns, that records go to: none is shown.
    Raises SpecError for what the engine cannot show: the reference formatter then may.
    """
    clock = clock or SystemClock()
    known = Known(output, clock)
    form = form_of(shape, known)
    compiler = _Compiler(Image(at), known, form)
    return compiler.image(clock, columns, filtered, grouped)


class _Compiler:
    """Compiles one output."""

    def __init__(self, image: Image, known: Known, form: Form) -> None:
        self._image, self._known, self._form = image, known, form
        self._fields: list[int] = []

    def image(
        self,
        clock: WallClock,
        columns: int,
        filtered: bytes | None,
        grouped: Callable[[Image], int] | None,
    ) -> bytes:
        """Compile everything."""
        image, form, layouts = self._image, self._form, self._layouts()
        types = [self._known_type(i, layout) for i, layout in enumerate(layouts)]
        types.append(self._unknown())
        at = image.table(TYPE, types).at
        select, cases, discriminator = self._selection()
        separator = image.text(form.separator)
        changes = image.table(ZONE, zones() if self._shows_local() else [])
        first = [clock.offset(name) for name in _CLOCKS]
        head = (
            *(columns, 0, form.code, select, at, len(types) - 1, *cases, discriminator),
            *(image.bytes_(filtered) if filtered else 0,),
            *image.table(NUMBER, [(width,) for width in form.widths]),
            *(*image.text(""), *separator, 0),
            *(*changes, *self._ranges()),
            grouped(image) if grouped else 0,
        )
        image.bytes_(bytes(_SLACK))
        size = image.size
        return image.finish(*first, head[0], size, *head[2:], -1, -1, bytes(24), bytes(8))

    def _layouts(self) -> Sequence[RecordLayout]:
        return [t.layout for t in self._known.output.types]

    def _shows_local(self) -> bool:
        return self._form.code == TABLE and any(
            f.format == "timestamp" for layout in self._layouts() for f in layout.fields
        )

    def _ranges(self) -> tuple[int, ...]:
        """Code points that are escaped, take no column, take two."""
        from bpfpack.spec.widths import COMBINING, DOUBLED

        is_table = self._form.code == TABLE
        tables = (
            () if self._form.code in _BARE else unsafe_ranges(),
            COMBINING if is_table else (),
            DOUBLED if is_table else (),
        )
        return tuple(word for table in tables for word in self._image.table(RANGE, list(table)))

    def _known_type(self, index: int, layout: RecordLayout) -> tuple[int, ...]:
        image, manner = self._image, self._form.manner
        fields = self._put_fields(index, layout)
        if self._form.code in _BARE:
            return self._type(*fields, [], _BARE[self._form.code])
        visible = [(i, f) for i, f in enumerate(layout.fields) if not f.hidden]
        operations = []
        for cell in self._form.types[index]:
            if cell.index is None:
                operations.append(put_literal(image, cell.before, column=cell.column))
                continue
            place, one = visible[cell.index]
            operations.append(
                put_operation(
                    image, manner, one, fields.at + place * FIELD.size,
                    before=cell.before, swapped=is_big(one, layout.byte_order),
                    column=cell.column, right=cell.right,
                )
            )  # fmt: skip
        return self._type(*fields, operations)

    def _put_fields(self, index: int, layout: RecordLayout) -> Table:
        """Where the fields of a type lie."""
        rows = [put_field(self._image, f, layout.byte_order) for f in layout.fields]
        fields = self._image.table(FIELD, rows)
        if not index:
            self._fields = [fields.at + i * FIELD.size for i in range(fields.length)]
        return fields

    def _unknown(self) -> tuple[int, ...]:
        if self._form.code in _BARE:
            return self._type(0, 0, [], _BARE[self._form.code])
        first, *rest = self._form.unknown
        if not rest:
            return self._type(0, 0, [put_literal(self._image, first)])
        shown = put_unknown(self._image, first, self._form.manner)
        return self._type(0, 0, [shown, put_literal(self._image, rest[0])])

    def _type(
        self,
        at: int,
        count: int,
        operations: Sequence[Operation],
        room: Room = Room(0),  # noqa: B008 - a tuple
    ) -> tuple[int, ...]:
        for one in operations:
            room = room.plus(one.room)
        padding = sum(max(_WIDEST, width) + 1 for width in self._form.widths)
        fixed = room.fixed + padding + len(self._form.separator) + _SLACK
        if fixed >= _LONGEST or room.factor >= _LONGEST or len(operations) > LIMITS.fields + 1:
            raise SpecError("a line would be too long")
        ops = self._image.table(OP, [one.packed for one in operations])
        return (at, count, *ops, fixed, room.factor, 0)

    def _selection(self) -> tuple[int, tuple[int, int], int]:
        """How types are told apart: the way, the cases, and the field that is looked at."""
        output, image = self._known.output, self._image
        if len(output.types) == 1:
            return _ONE, (0, 0), 0
        if output.discriminator is None:
            sizes = sorted((-t.layout.size, i) for i, t in enumerate(output.types))
            rows = [(-size, 0, i, 0) for size, i in sizes]
            return _SIZES, image.table(CASE, rows), 0
        layout = output.types[0].layout
        place, found = next(
            (i, f) for i, f in enumerate(layout.fields) if f.name == output.discriminator
        )
        whens = {t.when: i for i, t in enumerate(output.types) if t.when is not None}
        rows = [(*wide(when), i, 0) for when, i in whens.items() if can_be(found, when)]
        return _VALUE, image.table(CASE, rows), self._fields[place]
