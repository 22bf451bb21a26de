"""What the fields of records become as columns.

| field                        | column                                                         |
|------------------------------|----------------------------------------------------------------|
| integer, pointer, duration   | integer of 8, 16, 32 or 64 bits, the least that holds its bits  |
| more than 64 bits            | string of its decimal digits                                   |
| bool, float                  | bool; float or double, NaN and infinities as they are           |
| enum, signal, syscall        | dictionary of strings; a number without a name as its digits    |
| flags                        | list of strings: the names, then the rest in hex                |
| string, path                 | string; what is no UTF-8 is U+FFFD                              |
| bytes                        | binary                                                         |
| ipv4, ipv6                   | string                                                         |
| timestamp                    | timestamp in nanoseconds, UTC; null before 1970 and after 2262   |
| array                        | list, one in the other for each dimension; names are strings    |

Nested members have dotted names.  What a record is too short for is null.  Of an output with
several types each column has a place for all; ``type``, the first one, names the type.
"""

from enum import IntEnum
from math import prod
from typing import Final, NamedTuple

from bpfpack.runner.events.formatter import EventOutput, free_name, kind_name
from bpfpack.spec.errors import SpecError
from bpfpack.spec.record import Field
from bpfpack.spec.value import valuetype

#: Fields whose numbers have names.
_NAMED: Final = ("enum", "signal", "syscall", "flags")


class Slot(IntEnum):
    """``enum bp_slot`` of ``runner/engine/fill.h``."""

    NUMBER = 0
    BOOL = 1
    TIME = 2
    TEXT = 3
    BYTES = 4
    WIDE = 5
    IPV4 = 6
    IPV6 = 7
    TYPE = 8


class Shape(NamedTuple):
    """What a column is made of.

    ``width`` are the bytes of a number, 0 of what has its own length.  ``depth`` are the
    dimensions of an array, and ``lengths`` those of all but the first.
    """

    slot: Slot
    width: int = 0
    signed: bool = False
    floating: bool = False
    named: bool = False
    flags: bool = False
    depth: int = 0
    lengths: tuple[int, ...] = ()


@valuetype
class ColumnOf:
    """A column: ``fields`` are what fills it, one for each type of the output, None for none."""

    name: str
    shape: Shape
    fields: tuple[Field | None, ...]

    @property
    def field(self) -> Field | None:
        """What gives it its names; None for the one of types."""
        return next((f for f in self.fields if f is not None), None)


@valuetype
class Schema:
    """The columns of an output; ``kinds`` are the names of its types where it has several."""

    output: EventOutput
    columns: tuple[ColumnOf, ...]
    kinds: tuple[str, ...]


def schema_of(output: EventOutput) -> Schema:
    """Return the columns; raises SpecError for none, or where types disagree about a name."""
    layouts = [t.layout for t in output.types]
    found: dict[str, list[Field | None]] = {name: [None] * len(layouts) for name in output.order}
    for place, layout in enumerate(layouts):
        for field in layout.fields:
            if not field.hidden:
                found.setdefault(field.name, [None] * len(layouts))[place] = field
    columns = [_column(name, fields) for name, fields in found.items() if any(fields)]
    if not columns:
        raise SpecError("has nothing to show", path=(output.name,))
    kinds = [kind_name(layout.type) for layout in layouts] if len(layouts) > 1 else []
    if kinds:
        shape = Shape(Slot.TYPE, width=4, signed=True, named=True)
        name = free_name(output, "type")
        columns.insert(0, ColumnOf(name=name, shape=shape, fields=(None,) * len(layouts)))
    return Schema(output=output, columns=tuple(columns), kinds=tuple(kinds))


def _column(name: str, fields: list[Field | None]) -> ColumnOf:
    present = [field for field in fields if field is not None]
    shapes = {shape_of(field) for field in present}
    if len(shapes) > 1 or (shape_of(present[0]).named and len({_names(f) for f in present}) > 1):
        raise SpecError("types of records disagree about it", path=tuple(name.split(".")))
    return ColumnOf(name=name, shape=shapes.pop(), fields=tuple(fields))


def _names(field: Field) -> tuple[object, ...]:
    """What the names of its numbers depend on."""
    width = field.bits or 8 * field.size
    return field.format, width, field.signed, tuple(sorted(field.labels.items()))


def shape_of(field: Field) -> Shape:
    """Return what the column of a field is made of; raises SpecError."""
    shape = _scalar(field)
    return shape._replace(depth=len(field.dimensions), lengths=tuple(field.dimensions[1:]))


def _scalar(field: Field) -> Shape:
    if field.base == "string":
        return Shape(Slot.TEXT)
    if field.format in ("ipv4", "ipv6"):
        if field.size != (4 if field.format == "ipv4" else 16):
            raise SpecError(f"{field.format} of {field.size} bytes", path=field.path)
        return Shape(Slot.IPV4 if field.format == "ipv4" else Slot.IPV6)
    if field.base == "bytes":
        return Shape(Slot.BYTES)
    if field.base == "float":
        if field.size not in (4, 8):
            raise SpecError(f"float of {field.size} bytes", path=field.path)
        return Shape(Slot.NUMBER, width=field.size, floating=True)
    if field.base == "bool" and field.format == "dec":
        return Shape(Slot.BOOL, width=1)
    return _number(field)


def _number(field: Field) -> Shape:
    bits, named = field.bits or 8 * field.size, field.format in _NAMED
    flags = field.format == "flags"
    if bits > 64:
        if field.format == "timestamp":
            raise SpecError(f"timestamp of {bits} bits", path=field.path)
        return Shape(Slot.WIDE, named=named, flags=flags)
    if field.format == "timestamp":
        return Shape(Slot.TIME, width=8, signed=True)
    width = next(size for size in (1, 2, 4, 8) if bits <= 8 * size)
    return Shape(Slot.NUMBER, width=width, signed=field.signed, named=named, flags=flags)


def elements_of(field: Field) -> int:
    """How many elements an array has, 0 when they go on to the end of the record."""
    return prod(field.dimensions)
