"""The flat layout of a record: what a formatter reads, leaf by leaf.

Builder, reference formatter and event engine all take it from here.  A struct inside a struct
gives dotted names, an anonymous one none of its own, an array of structs one name for each
element; an array of numbers is one field with dimensions.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Final, Literal, NamedTuple

from bpfpack.spec.btf import (
    Btf,
    BtfType,
    Const,
    Enum,
    Enum64,
    Float,
    Int,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from bpfpack.spec.displays import FieldDisplay
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.layout import FlatMember, array_of, members, resolve, size_of
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import field, replace, valuetype

Base = Literal["int", "uint", "bool", "float", "enum", "pointer", "string", "bytes"]

_NUMBERS: Final = ("int", "uint", "enum")
# What a format can be said of: bases, and sizes in bytes where they matter.
_FITS: Final[Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]]] = {
    "dec": ((*_NUMBERS, "bool", "pointer", "float"), ()),
    "hex": ((*_NUMBERS, "bool", "pointer", "bytes"), ()),
    "ipv4": (("int", "uint", "bytes"), (4,)),
    "ipv6": (("bytes",), (16,)),
    "port": (("int", "uint"), (2, 4)),
    "timestamp": (("int", "uint"), (4, 8)),
    "duration": (("int", "uint"), (4, 8)),
    "errno": (_NUMBERS, ()),
    "signal": (_NUMBERS, ()),
    "syscall": (_NUMBERS, ()),
    "enum": ((*_NUMBERS, "bool"), ()),
    "flags": (_NUMBERS, ()),
    "user": (("int", "uint"), (4,)),
    "group": (("int", "uint"), (4,)),
    "pid": (("int", "uint"), (4,)),
    "path": (("string",), ()),
    "string": (("string",), ()),
    # A count of bytes; of one byte it would be an array of raw bytes, meant as hex.
    "bytes": (("int", "uint"), (2, 4, 8)),
}
_PLAIN_FORMAT: Final[Mapping[Base, str]] = {
    "int": "dec",
    "uint": "dec",
    "bool": "dec",
    "float": "dec",
    "enum": "enum",
    "pointer": "hex",
    "string": "string",
    "bytes": "hex",
}
# These take a whole struct as one field.
_WHOLE: Final = ("hex", "ipv4", "ipv6")
_PLAIN: Final = FieldDisplay()
_PIDS: Final = ("pid", "tgid", "ppid", "tid")
_TEXTS: Final = ("comm", "name", "path", "filename", "fname")


@valuetype
class Field:
    """One leaf of a record.

    ``offset`` and ``size`` in bytes; of an array, ``size`` is that of one element, and of a
    string or of bytes the whole length.  ``dimensions`` are outermost first; the first, or
    the size of a string or of bytes, is 0 when it goes on to the end of the record.
    A bit-field is the ``bits`` bits above the lowest ``shift`` of the integer that its bytes
    hold in the order of the record; ``bits`` is 0 for everything else.
    """

    path: tuple[str, ...]
    type: str
    offset: int
    size: int
    base: Base
    signed: bool
    format: str
    title: str
    shift: int = 0
    bits: int = 0
    dimensions: tuple[int, ...] = ()
    labels: Mapping[int, str] = field(default_factory=dict)
    hidden: bool = False
    unit: str | None = None
    clock: str | None = None
    order: str | None = None

    @property
    def name(self) -> str:
        """The path with dots."""
        return ".".join(self.path)

    @property
    def flexible(self) -> bool:
        """Say whether it goes on to the end of the record."""
        return 0 in (self.size, *self.dimensions)


@valuetype
class RecordLayout:
    """A record of at least ``size`` bytes; more when ``flexible``, in its last field."""

    type: str
    size: int
    byte_order: ByteOrder
    fields: tuple[Field, ...]
    flexible: bool

    @classmethod
    def of(
        cls,
        btf: Btf,
        type_id: int,
        display: Mapping[str, FieldDisplay] | None = None,
        *,
        name: str = "value",
    ) -> "RecordLayout":
        """Lay out a type; one that is no struct becomes a single field called ``name``.

        ``display`` is keyed by dotted path, without the index of array elements.
        Raises SpecError, naming the member, for what cannot be shown as asked.
        """
        found = _Builder(btf, display or {}).fields(type_id, name)
        return cls(
            type=btf.spelling(type_id),
            size=size_of(btf, type_id),
            byte_order=btf.byte_order,
            fields=found,
            flexible=found[-1].flexible,
        )

    def field(self, name: str) -> Field | None:
        """Return the field of that dotted name."""
        return next((f for f in self.fields if f.name == name), None)


class _Place(NamedTuple):
    """A member on its way to become fields; ``key`` is its path without subscripts."""

    path: tuple[str, ...]
    key: str
    type_id: int
    bit_offset: int
    bit_size: int
    hidden: bool


class _Builder:
    """Walks a type and yields its fields."""

    def __init__(self, btf: Btf, display: Mapping[str, FieldDisplay]) -> None:
        self._btf, self._display = btf, display
        self._used: set[str] = set()
        self._count = 0
        # Of a type that stands in many places, or has many names, there is one copy.
        self._members_of: dict[int, tuple[FlatMember, ...]] = {}
        self._labels_of: dict[int, Mapping[int, str]] = {}

    def fields(self, type_id: int, name: str) -> tuple[Field, ...]:
        """Return the fields of the outermost type, checked as a whole."""
        place = _Place((name,), name, type_id, 0, 0, False)
        _, kind = resolve(self._btf, type_id)
        if isinstance(kind, Struct | Union) and self._told(place) not in _WHOLE:
            found = tuple(self._members(place._replace(path=(), key="")))
        else:
            found = tuple(self._member(place))
        if not found:
            raise SpecError("has nothing to show", path=(self._btf.spelling(type_id),))
        if unknown := sorted(set(self._display) - self._used):
            raise SpecError("no such member", path=(unknown[0],))
        for each in found[:-1]:
            if each.flexible:
                raise SpecError("flexible array that is not the last", path=each.path)
        return found

    def _told(self, place: _Place) -> str | None:
        """Return the format that is asked for, or that types and names suggest."""
        display = self._display.get(place.key, _PLAIN)
        asked = display.format or ("enum" if display.labels else None)
        if asked or place.bit_size:  # what types and names suggest is meant for whole members
            return asked
        return _inferred(self._btf, place.type_id, place.path[-1])

    def _bound(self, place: _Place) -> None:
        # Structs without members count too: there can be a great many in few bytes.
        self._count += 1
        if self._count > LIMITS.fields:
            raise LimitExceeded(f"more than {LIMITS.fields} fields", path=place.path)

    def _members(self, place: _Place) -> Iterator[Field]:
        if len(place.path) > LIMITS.btf_resolve_depth:
            raise LimitExceeded("nested too deep", path=place.path)
        self._bound(place)
        listed = self._members_of.get(place.type_id)
        if listed is None:
            listed = self._members_of[place.type_id] = members(self._btf, place.type_id)
        for member in listed:
            yield from self._member(
                _Place(
                    (*place.path, member.name),
                    f"{place.key}.{member.name}" if place.key else member.name,
                    member.type_id,
                    place.bit_offset + member.bit_offset,
                    member.bit_size,
                    place.hidden,
                )
            )

    def _member(self, place: _Place) -> Iterator[Field]:
        self._bound(place)
        display = self._display.get(place.key, _PLAIN)
        self._used.add(place.key)
        if display.hidden or _is_padding(place.path[-1]):
            place = place._replace(hidden=True)
        element, dimensions = array_of(self._btf, place.type_id)
        _, kind = resolve(self._btf, element)
        told = self._told(place)
        if isinstance(kind, Struct | Union) and told not in _WHOLE:
            if replace(display, hidden=False) != _PLAIN:
                raise SpecError("a struct is shown by its members", path=place.path)
            yield from self._elements(place, element, dimensions)
        else:
            try:
                leaf = self._leaf(place, display, told)
            except SpecError as e:
                raise e.inside(".".join(place.path)) from e
            yield leaf

    def _elements(
        self, place: _Place, type_id: int, dimensions: tuple[int, ...]
    ) -> Iterator[Field]:
        """Yield the fields of a struct, or of each struct of an array."""
        if 0 in dimensions:
            raise SpecError("flexible array of structs cannot be shown", path=place.path)
        size = size_of(self._btf, type_id)
        for index in range(prod(dimensions)):
            name = f"{place.path[-1]}{_subscript(index, dimensions)}"
            yield from self._members(
                place._replace(
                    path=(*place.path[:-1], name),
                    type_id=type_id,
                    bit_offset=place.bit_offset + index * size * 8,
                )
            )

    def _leaf(self, place: _Place, display: FieldDisplay, told: str | None) -> Field:
        element, dimensions = array_of(self._btf, place.type_id)
        resolved, kind = resolve(self._btf, element)
        base, size, dimensions = _shape(kind, size_of(self._btf, element), dimensions, told)
        labels = self._labels_of.get(resolved)
        if labels is None:
            labels = self._labels_of[resolved] = _labels(kind)
        shown = told or _PLAIN_FORMAT[base]
        _check(base, size, dimensions, shown, place)
        offset, size, shift = _extent(place, size, self._btf.byte_order)
        return Field(
            path=place.path,
            type=self._btf.spelling(place.type_id),
            offset=offset,
            size=size,
            base=base,
            signed=_is_signed(kind, base),
            format=shown,
            title=display.title or ".".join(place.path),
            shift=shift,
            bits=place.bit_size,
            dimensions=dimensions,
            labels={**labels, **display.labels} if display.labels else labels,
            hidden=place.hidden,
            unit=display.unit,
            clock=display.clock,
            order=display.order,
        )


def _shape(
    kind: BtfType, size: int, dimensions: tuple[int, ...], told: str | None
) -> tuple[Base, int, tuple[int, ...]]:
    """Return base, size and dimensions of a leaf that is shown as ``told``."""
    if isinstance(kind, Struct | Union):
        return "bytes", size, dimensions
    base = _base(kind)
    if dimensions and size == 1 and base in ("int", "uint"):
        # The last dimension of an array of bytes is the length of each string or address.
        if told in ("string", "path"):
            return "string", dimensions[-1], dimensions[:-1]
        if told in _WHOLE:
            return "bytes", dimensions[-1], dimensions[:-1]
    if told == "ipv6":
        return "bytes", size * prod(dimensions), ()
    return base, size, dimensions


def _base(kind: BtfType) -> Base:
    match kind:
        case Int():
            return "bool" if kind.bool else "int" if kind.signed else "uint"
        case Enum() | Enum64():
            return "enum"
        case Ptr():
            return "pointer"
        case Float(_, 4 | 8):
            return "float"
        case _:
            raise SpecError(f"{type(kind).__name__.lower()} cannot be shown")


def _is_signed(kind: BtfType, base: Base) -> bool:
    return base in ("int", "enum") and isinstance(kind, Int | Enum | Enum64) and kind.signed


def _labels(kind: BtfType) -> dict[int, str]:
    """Return the names of an enum's values; the first of several for one value."""
    # Before version 15 clang cuts the values of a 64-bit enum to 32: better none than wrong.
    if not isinstance(kind, Enum | Enum64) or (isinstance(kind, Enum) and kind.size > 4):
        return {}
    labels: dict[int, str] = {}
    for name, value in kind.values:
        labels.setdefault(value, name)
    return labels


def _check(base: Base, size: int, dimensions: tuple[int, ...], shown: str, place: _Place) -> None:
    """Raise unless ``shown`` can be said of such a field."""
    bases, sizes = _FITS.get(shown, ((), ()))
    if base not in bases or (sizes and size not in sizes):
        raise SpecError(f"{base} of {size} bytes cannot be shown as {shown}")
    if 0 in dimensions[1:] or (not size and dimensions):
        raise SpecError("array of nothing cannot be shown")
    if place.bit_size and (base == "bytes" or dimensions or shown == "ipv4"):
        raise SpecError(f"bit-field cannot be shown as {shown}")


def _extent(place: _Place, size: int, byte_order: ByteOrder) -> tuple[int, int, int]:
    """Return offset, size in bytes, and shift of the bytes that hold a member."""
    offset, bit = divmod(place.bit_offset, 8)
    if not place.bit_size:
        if bit:
            raise SpecError("does not start at a byte")
        return offset, size, 0
    size = (bit + place.bit_size + 7) // 8
    # A big-endian compiler fills the bits of a byte from the most significant one.
    return offset, size, bit if byte_order == "little" else size * 8 - bit - place.bit_size


def _inferred(btf: Btf, type_id: int, name: str) -> str | None:
    """Return the format that types and names suggest, None for the plain one."""
    element, dimensions = array_of(btf, type_id)
    aliases, kind = _aliases(btf, element)
    match kind:
        case Struct("in6_addr", 16) | Union("in6_addr", 16):
            return "ipv6"
        case Struct("in_addr", 4):
            return "ipv4"
        case Int("char", 1) if dimensions:
            return "string"
        case Int(_, 1, False) if dimensions and not kind.bool:
            return "string" if name in _TEXTS else "hex"
        case Int(_, 4) if "pid_t" in aliases or name in _PIDS:
            return "pid"
        case Int(_, 4) if "__be32" in aliases:
            return "ipv4"
        case Int(_, 2) if "__be16" in aliases and name.endswith("port"):
            return "port"
        case _:
            return None


def _aliases(btf: Btf, type_id: int) -> tuple[set[str], BtfType]:
    """Return the names of the typedefs on the way to a type, and the type."""
    names = set()
    end, kind = resolve(btf, type_id)
    while type_id != end:
        match btf[type_id]:
            case Typedef(name, type_id):
                names.add(name)
            case Const(type_id) | Volatile(type_id) | Restrict(type_id):
                pass
            case TypeTag(_, type_id) | Var(_, type_id):
                pass
    return names, kind


def _is_padding(name: str) -> bool:
    return name.strip("_0123456789") in ("pad", "padding")


def _subscript(index: int, dimensions: tuple[int, ...]) -> str:
    """Spell the position of an element, "[1][2]"."""
    text = ""
    for length in reversed(dimensions):
        index, rest = divmod(index, length)
        text = f"[{rest}]{text}"
    return text
