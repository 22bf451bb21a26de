"""What the engine does with each field in each form: kind, style, names, and the room it takes."""

from collections.abc import Callable
from enum import IntEnum
from math import prod
from typing import Final, NamedTuple

from bpfpack.runner.engine.image import NUMBER, Image
from bpfpack.runner.engine.labels import (
    Named,
    can_be,
    error_names,
    number_names,
    put_flags,
    put_labels,
    width_of,
)
from bpfpack.spec.displays import CLOCKS
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.record import Field
from bpfpack.spec.value import valuetype


class Kind(IntEnum):
    """``enum bp_kind``."""

    U8 = 0
    U16 = 1
    U32 = 2
    U64 = 3
    S32 = 4
    S64 = 5
    DECIMAL = 6
    WIDE = 7
    HEX = 8
    BOOL = 9
    REPR = 10
    GENERAL = 11
    LABEL = 12
    ERRNO = 13
    FLAGS = 14
    UTC = 15
    LOCAL = 16
    DURATION = 17
    SIZE = 18
    IPV4 = 19
    IPV6 = 20
    HEXDUMP = 21
    STRING = 22
    UNKNOWN = 23
    LITERAL = 24
    LIST = 25
    JOINED = 26


class Style(IntEnum):
    """``enum bp_style``."""

    JSON = 0
    YAML = 1
    PLAIN = 2
    SHOWN = 3


#: ``enum bp_base``.
_BASES: Final = {"float": 1, "string": 2, "bytes": 3}
_NANOSECONDS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_ADDRESSES: Final = {"ipv4": (Kind.IPV4, 4), "ipv6": (Kind.IPV6, 16)}
_UNSIGNED: Final = {1: Kind.U8, 2: Kind.U16, 4: Kind.U32, 8: Kind.U64}
_SIGNED: Final = {4: Kind.S32, 8: Kind.S64}
#: Bytes that a value takes at most, where it is not said by its field.
_ROOM: Final = {
    **{
        Kind.U8: 3,
        Kind.U16: 5,
        Kind.U32: 10,
        Kind.U64: 20,
        Kind.S32: 11,
        Kind.S64: 20,
        Kind.DECIMAL: 20,
        Kind.WIDE: 42,
        Kind.HEX: 40,
    },
    **{
        Kind.BOOL: 5,
        Kind.REPR: 26,
        Kind.GENERAL: 16,
        Kind.UTC: 32,
        Kind.LOCAL: 16,
        Kind.DURATION: 24,
        Kind.SIZE: 16,
    },
    **{Kind.IPV4: 17, Kind.IPV6: 47},
}
#: ``enum bp_swap``.
_BIG, _REVERSED = 1, 2
#: BP_QUICK_SIGNED of ``runner/engine/table.h``.
_QUICK_SIGNED: Final = 16
_NUMBER_ROOM: Final = 42
#: Characters that a cell shows, and the bytes of text that can matter for them.
_CHARACTERS: Final = 4096
_LOOKED_AT: Final = 4 * _CHARACTERS + 4
_MOST: Final = 1 << 32
#: 128 bits may begin inside of a byte.
_NUMBER_SIZE: Final = 17


class Room(NamedTuple):
    """Bytes that something takes at most: ``fixed``, and ``factor`` for each of the record."""

    fixed: int
    factor: int = 0

    def plus(self, other: "Room") -> "Room":
        """Room for both."""
        return Room(self.fixed + other.fixed, self.factor + other.factor)


@valuetype
class Manner:
    """How values are written in a form.

    ``style`` is that of text, ``label`` writes a name, ``nested`` is the manner of what stands
    in a list (CSV has JSON there), ``requote`` says that text is quoted where it asks for it.
    """

    style: int
    label: Callable[[str], str]
    missing: str = ""
    nested: "Manner | None" = None
    requote: bool = False

    @property
    def is_text(self) -> bool:
        """Say whether it is for people: a table."""
        return self.style == Style.SHOWN

    @property
    def is_json(self) -> bool:
        """Say whether text stands in quotes."""
        return self.style in (Style.JSON, Style.YAML)


class Operation(NamedTuple):
    """One ``struct bp_op`` and the room it takes with its literal."""

    packed: tuple[int, ...]
    room: Room


def put_field(image: Image, field: Field, byte_order: ByteOrder) -> tuple[int, ...]:
    """One ``struct bp_field``; raises SpecError for what no record can have."""
    _check(field)
    big = is_big(field, byte_order)
    swap = (_BIG if big else 0) | (_REVERSED if _is_reversed(field, byte_order) else 0)
    inner = [prod(field.dimensions[i:]) for i in range(1, len(field.dimensions))]
    return (
        *(field.offset, field.size, prod(field.dimensions), _end(field)),
        image.table(NUMBER, [(n,) for n in inner]).at,
        *(len(field.dimensions), _BASES.get(field.base, 0), field.signed),
        *(swap, field.shift, field.bits),
        *(CLOCKS.index(field.clock or "mono"), _quick(field, swapped=big)),
        _NANOSECONDS[field.unit or "ns"],
    )


def _check(field: Field) -> None:
    """Raise SpecError for what the engine's reading of a field takes for granted."""
    shape = (field.size, *field.dimensions)
    if min(field.offset, *shape) < 0 or field.offset + prod(filter(None, shape)) >= _MOST:
        raise SpecError("outside any record", path=field.path)
    if 0 in field.dimensions[1:] or (field.dimensions and not field.size):
        raise SpecError("array of nothing", path=field.path)
    if len(field.dimensions) > LIMITS.btf_resolve_depth:
        raise SpecError("too many dimensions", path=field.path)
    if field.base not in ("string", "bytes"):
        _check_number(field)


def _check_number(field: Field) -> None:
    if not 0 < field.size <= _NUMBER_SIZE:
        raise SpecError(f"number of {field.size} bytes", path=field.path)
    if not 0 <= field.bits <= 128 or not 0 <= field.shift < 128:
        raise SpecError("no bits of a number", path=field.path)
    if field.shift + field.bits > 8 * field.size or (field.shift and not field.bits):
        raise SpecError("bits outside their number", path=field.path)


def _end(field: Field) -> int:
    """A record that is shorter has no value of this field."""
    if field.flexible or (field.base == "string" and not field.dimensions):
        return field.offset + 1
    return field.offset + field.size * prod(field.dimensions)


def _quick(field: Field, *, swapped: bool) -> int:
    if swapped or field.bits or field.size not in (4, 8):
        return 0
    return field.size + (_QUICK_SIGNED if field.signed else 0)


def _is_reversed(field: Field, byte_order: ByteOrder) -> bool:
    return field.format in _ADDRESSES and field.order == "host" and byte_order == "little"


def is_big(field: Field, byte_order: ByteOrder) -> bool:
    """Say whether the most significant byte of a number is the first."""
    return byte_order == "big" or (field.format == "port" and field.order != "host")


def put_operation(
    image: Image,
    manner: Manner,
    field: Field,
    address: int,
    *,
    before: str = "",
    swapped: bool,
    column: int = 0,
    right: bool = False,
) -> Operation:
    """What prints ``field``, which stands at ``address``, after a literal."""
    literal, missing = image.text(before), image.text(manner.missing)
    how = manner
    scalar = not field.dimensions
    if manner.nested and (not scalar or field.format == "flags"):
        how = manner.nested
    kind = _kind(field, text=how.is_text, swapped=swapped)
    named = _names(image, kind, how, field)
    room = _room(kind, how.style, field, named)
    outer = kind if scalar else Kind.JOINED if manner.is_text else Kind.LIST
    is_quoted = how.is_json and _is_quoted(kind, field)
    is_text = kind == Kind.STRING or how is not manner
    requote = manner.requote and is_text
    if requote:
        room = Room(2 * room.fixed + 2, 2 * room.factor)
    packed = (
        *literal,
        *(outer, how.style, ord('"') if is_quoted else 0, kind, requote, right, column),
        *(_end(field), field.offset, address, named.at if named else 0),
        *missing,
    )
    return Operation(packed, room.plus(Room(literal.size + max(missing.size, 4))))


def put_literal(image: Image, text: str, *, column: int = 0) -> Operation:
    """What prints a literal alone."""
    literal = image.text(text)
    packed = (*literal, Kind.LITERAL, 0, 0, 0, 0, 0, column, 0, 0, 0, 0, 0, 0)
    return Operation(packed, Room(literal.size))


def put_unknown(image: Image, before: str, manner: Manner) -> Operation:
    """What prints a record of no known type as digits."""
    literal = image.text(before)
    packed = (*literal, Kind.UNKNOWN, manner.style, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    return Operation(packed, Room(literal.size, 2))


def _kind(field: Field, *, text: bool, swapped: bool) -> Kind:
    if field.base == "string":
        return Kind.STRING
    if field.format in _ADDRESSES:
        kind, size = _ADDRESSES[field.format]
        if field.size != size:
            raise SpecError(f"{field.format} of {field.size} bytes", path=field.path)
        return kind
    if field.base == "bytes":
        return Kind.HEXDUMP
    if field.base == "float" and field.size not in (4, 8):
        raise SpecError(f"float of {field.size} bytes", path=field.path)
    match field.format:
        case "hex":
            return Kind.HEX
        case "enum" | "signal" | "syscall":
            return Kind.LABEL
        case "flags":
            return Kind.FLAGS
        case "timestamp":
            return _narrow(field, Kind.LOCAL if text else Kind.UTC)
        case "duration" if text:
            return _narrow(field, Kind.DURATION)
        case "bytes" if text:
            return _narrow(field, Kind.SIZE)
        case "errno" if text:
            return Kind.ERRNO
        case "user" | "group" if text:
            return Kind.LABEL
    if field.base == "bool" and field.format == "dec":
        return Kind.BOOL
    if field.base == "float":
        return Kind.GENERAL if text else Kind.REPR
    return _plain(field, swapped=swapped)


def _narrow(field: Field, kind: Kind) -> Kind:
    if width_of(field) > 64:
        raise SpecError(f"{field.format} of {width_of(field)} bits", path=field.path)
    return kind


def _plain(field: Field, *, swapped: bool) -> Kind:
    if width_of(field) > 64 or field.size > 8:
        return Kind.WIDE
    if field.bits or (swapped and field.size > 1):
        return Kind.DECIMAL
    return (_SIGNED if field.signed else _UNSIGNED).get(field.size, Kind.DECIMAL)


def _is_quoted(kind: int, field: Field) -> bool:
    """Say whether the value is text in JSON, but for names, which have their quotes."""
    if kind == Kind.WIDE:  # told as text only where it is shown as a plain number
        return field.format in ("dec", "string", "path", "ipv4", "ipv6")
    return kind in (Kind.HEX, Kind.UTC, Kind.IPV4, Kind.IPV6, Kind.HEXDUMP)


def _names(image: Image, kind: int, manner: Manner, field: Field) -> Named | None:
    if kind == Kind.FLAGS:
        return put_flags(image, field, manner.label, json=not manner.is_text)
    if kind == Kind.ERRNO:
        return put_labels(image, {n: manner.label(name) for n, name in error_names().items()})
    if kind != Kind.LABEL:
        return None
    labels = field.labels if field.format == "enum" else number_names(field.format)
    shown = {n: manner.label(label) for n, label in labels.items() if can_be(field, n)}
    return put_labels(image, shown)


def _room(kind: Kind, style: int, field: Field, named: Named | None) -> Room:
    """Room for a field, all of its elements."""
    if named is not None:
        one = max(named.longest, _NUMBER_ROOM)
    elif kind in (Kind.STRING, Kind.HEXDUMP):
        one, each = _text_room(kind, style, field.size)
        if not field.size:
            return Room(one, each)
    else:
        one = _ROOM[kind]
    if not field.dimensions:
        return Room(one)
    depth = len(field.dimensions)
    element = one + 1 + 2 * depth
    if field.flexible:
        return Room(2 * depth + 2, -(-element // field.size) if field.size else element)
    return Room(2 * depth + 2 + element * prod(field.dimensions))


def _text_room(kind: int, style: int, size: int) -> tuple[int, int]:
    """Room for text or digits of so many bytes, and for each when they are not known."""
    if kind == Kind.HEXDUMP:
        return 2 * size + 2, 2
    if style in (Style.JSON, Style.YAML):
        return 6 * size + 2, 6
    return 4 * (size if style == Style.PLAIN else min(size, _LOOKED_AT)) + 4, 4
