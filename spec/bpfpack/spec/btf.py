"""BTF: the types of a BPF object (Documentation/bpf/btf.rst of the kernel).

`Btf.parse` scans the types once and checks that each lies inside; a type is decoded,
and its references checked, when it is first asked for: a kernel's own types are many.
`Btf.validate` asks for all, as is done of an object's.  The types are `NamedTuple` for the
reason `elf` gives.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS


class Void(NamedTuple):
    """Type 0, which no record stands for."""


class Int(NamedTuple):
    """An integer; ``bits`` below ``size * 8`` makes it a bit-field of old compilers."""

    name: str
    size: int
    signed: bool
    char: bool
    bool: bool
    bit_offset: int
    bits: int


class Ptr(NamedTuple):
    """A pointer; always 8 bytes for BPF."""

    type_id: int


class Array(NamedTuple):
    """An array; ``length`` 0 is a flexible one."""

    element_id: int
    index_id: int
    length: int


class Member(NamedTuple):
    """One member; ``bit_size`` is 0 unless it is a bit-field, ``name`` empty if anonymous."""

    name: str
    type_id: int
    bit_offset: int
    bit_size: int


class Struct(NamedTuple):
    """A struct, ``name`` empty when anonymous."""

    name: str
    size: int
    members: tuple[Member, ...]


class Union(NamedTuple):
    """A union, ``name`` empty when anonymous."""

    name: str
    size: int
    members: tuple[Member, ...]


class Enumerator(NamedTuple):
    """One name of an enum and its value, sign applied."""

    name: str
    value: int


class Enum(NamedTuple):
    """An enum of values to 32 bits."""

    name: str
    size: int
    signed: bool
    values: tuple[Enumerator, ...]


class Fwd(NamedTuple):
    """A struct or union that is declared and not defined."""

    name: str
    union: bool


class Typedef(NamedTuple):
    """A second name."""

    name: str
    type_id: int


class Volatile(NamedTuple):
    """The qualifier."""

    type_id: int


class Const(NamedTuple):
    """The qualifier."""

    type_id: int


class Restrict(NamedTuple):
    """The qualifier."""

    type_id: int


class Func(NamedTuple):
    """A function; ``linkage`` 0 static, 1 global, 2 extern."""

    name: str
    type_id: int
    linkage: int


class Param(NamedTuple):
    """One parameter; a last one without name and type is the ellipsis."""

    name: str
    type_id: int


class FuncProto(NamedTuple):
    """What a function takes and returns."""

    return_id: int
    params: tuple[Param, ...]


class Var(NamedTuple):
    """A global variable; ``linkage`` 0 static, 1 global, 2 extern."""

    name: str
    type_id: int
    linkage: int


class SectionVar(NamedTuple):
    """Where a variable lies in its section; 0 until the object is linked."""

    type_id: int
    offset: int
    size: int


class DataSec(NamedTuple):
    """The variables of one section."""

    name: str
    size: int
    variables: tuple[SectionVar, ...]


class Float(NamedTuple):
    """A floating point number."""

    name: str
    size: int


class DeclTag(NamedTuple):
    """``btf_decl_tag``; ``component`` is a member or argument, -1 the whole."""

    name: str
    type_id: int
    component: int


class TypeTag(NamedTuple):
    """``btf_type_tag``."""

    name: str
    type_id: int


class Enum64(NamedTuple):
    """An enum with values to 64 bits."""

    name: str
    size: int
    signed: bool
    values: tuple[Enumerator, ...]


# fmt: off
BtfType: TypeAlias = (
    Void | Int | Ptr | Array | Struct | Union | Enum | Fwd | Typedef | Volatile | Const | Restrict
    | Func | FuncProto | Var | DataSec | Float | DeclTag | TypeTag | Enum64
)
# fmt: on

# The record's number is the index; enum btf_kind of include/uapi/linux/btf.h.
_KINDS: Final[tuple[type[BtfType], ...]] = (
    Void, Int, Ptr, Array, Struct, Union, Enum, Fwd, Typedef, Volatile, Const, Restrict,
    Func, FuncProto, Var, DataSec, Float, DeclTag, TypeTag, Enum64,
)  # fmt: skip
# Bytes after the common 12, fixed and for each of vlen.
_FIXED: Final = (0, 4, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 4, 0, 0)
_EACH: Final = (0, 0, 0, 0, 12, 12, 8, 0, 0, 0, 0, 0, 0, 8, 0, 12, 0, 0, 0, 12)

_MAGIC: Final = 0xEB9F
_HEADER_SIZE: Final = 24


class Btf:
    """The types of one object, by id."""

    __slots__ = (
        "_cache",
        "_data",
        "_kinds",
        "_names",
        "_names_left",
        "_prefix",
        "_starts",
        "_tags",
        "byte_order",
    )

    def __init__(self, data: bytes, names: bytes, span: tuple[int, int], prefix: str) -> None:
        self._data, self._names, self._prefix = data, names, prefix
        self._cache: dict[int, BtfType] = {0: Void()}
        self._starts, self._kinds = _scan(data, span, prefix)
        self.byte_order: Final[ByteOrder] = "little" if prefix == "<" else "big"
        self._names_left = LIMITS.btf_names
        self._tags: dict[tuple[int, int], list[int]] | None = None

    @classmethod
    def parse(cls, data: bytes, byte_order: ByteOrder) -> "Btf":
        """Parse the content of ``.BTF``; raises SpecError."""
        if len(data) > LIMITS.btf:
            raise LimitExceeded(f"larger than {LIMITS.btf} bytes", path=(".BTF",))
        if len(data) < _HEADER_SIZE:
            raise SpecError("shorter than its header", path=(".BTF",))
        prefix = "<" if byte_order == "little" else ">"
        magic, version, _, length = struct.unpack_from(f"{prefix}HBBI", data)
        if magic != _MAGIC:
            raise SpecError(f"not BTF in {byte_order}-endian order", path=(".BTF",))
        if version != 1:
            raise SpecError(f"unknown version {version}", path=(".BTF",))
        types, types_size, strings, strings_size = struct.unpack_from(f"{prefix}IIII", data, 8)
        end = max(types + types_size, strings + strings_size)
        if length < _HEADER_SIZE or length + end > len(data) or types % 4:
            raise SpecError("parts outside it", path=(".BTF",))
        if types < strings + strings_size and strings < types + types_size:
            raise SpecError("types and strings overlap", path=(".BTF",))
        names = data[length + strings : length + strings + strings_size]
        if names[:1] != b"\0" or names[-1:] != b"\0":
            raise SpecError("strings do not begin and end with NUL", path=(".BTF",))
        return cls(data, names, (length + types, length + types + types_size), prefix)

    def __len__(self) -> int:
        """The number of types, Void among them."""
        return len(self._starts)

    def __getitem__(self, type_id: int) -> BtfType:
        """Return a type; raises SpecError when there is none or it is malformed."""
        found = self._cache.get(type_id)
        if found is None:
            if not 0 <= type_id < len(self._starts):
                raise SpecError("no such type", path=(".BTF", f"type {type_id}"))
            found = self._cache[type_id] = self._decode(type_id)
        return found

    def kind(self, type_id: int) -> type[BtfType]:
        """Return the class of a type without decoding it."""
        return _KINDS[self._kinds[type_id]]

    def validate(self) -> None:
        """Decode every type; raises SpecError for one that is malformed or holds itself.

        libbpf follows references without a look at where they lead.
        """
        for type_id in range(len(self)):
            _ = self[type_id]
        self._check_loops()

    def _check_loops(self) -> None:
        """Go down into what each type holds; raises SpecError where the way comes back."""
        done, way = bytearray(len(self)), bytearray(len(self))
        for root in range(len(self)):
            open_ = [root]
            while open_:
                type_id = open_[-1]
                if done[type_id] or way[type_id]:
                    # All that it holds has been gone through, or it was put here twice.
                    way[type_id], done[type_id] = 0, 1
                    open_.pop()
                    continue
                way[type_id] = 1
                for held in _held(self._cache[type_id]):
                    if way[held]:
                        raise SpecError("holds itself", path=(".BTF", f"type {held}"))
                    if not done[held]:
                        open_.append(held)

    def find(self, kind: type[BtfType], name: str) -> int | None:
        """Return the id of the first type of that kind and name."""
        wanted = name.encode() + b"\0"
        for type_id in self.ids(kind):
            (offset,) = struct.unpack_from(f"{self._prefix}I", self._data, self._starts[type_id])
            if self._names.startswith(wanted, offset):
                return type_id
        return None

    def ids(self, kind: type[BtfType]) -> Iterator[int]:
        """Yield the ids of all types of that kind, ascending."""
        number, at = _KINDS.index(kind), 0
        while (at := self._kinds.find(number, at)) >= 0:
            yield at
            at += 1

    def tags_of(self, type_id: int, component: int = -1) -> tuple[str, ...]:
        """Return the decl tags on a type, or on one member or argument of it, by id."""
        if self._tags is None:
            self._tags = {}
            layout = struct.Struct(f"{self._prefix}IIIi")
            for tag in self.ids(DeclTag):
                name, _, target, part = layout.unpack_from(self._data, self._starts[tag])
                self._tags.setdefault((target, part), []).append(name)
        return tuple(self.string(name) for name in self._tags.get((type_id, component), ()))

    def string(self, offset: int) -> str:
        """Return the string at ``offset`` of the string section."""
        try:
            return _text(self._names, offset)
        except SpecError as e:
            raise e.inside(".BTF") from e

    def spelling(self, type_id: int) -> str:
        """Return the type as C spells it, "struct event *" or "char[16]"."""
        return _Speller(self).spell(type_id, "", 0)

    def _decode(self, type_id: int) -> BtfType:
        start, prefix = self._starts[type_id], self._prefix
        name, info, word = struct.unpack_from(f"{prefix}III", self._data, start)
        record = _Record(self, name, info & 0xFFFF, bool(info >> 31), word, start + 12)
        try:
            return _DECODERS[self._kinds[type_id]](record)
        except SpecError as e:
            raise e.inside(f"type {type_id}").inside(".BTF") from e


def _text(names: bytes, offset: int) -> str:
    end = names.find(b"\0", offset, offset + LIMITS.btf_name + 1)
    if end < 0:
        if len(names) - offset > LIMITS.btf_name:
            raise LimitExceeded(f"name longer than {LIMITS.btf_name} bytes")
        raise SpecError("name outside the strings")
    try:
        return names[offset:end].decode()
    except UnicodeDecodeError as e:
        raise SpecError("name is not UTF-8") from e


def _scan(data: bytes, span: tuple[int, int], prefix: str) -> tuple[list[int], bytes]:
    """Return where each type starts and of which kind it is; 0 is Void."""
    at, end = span
    starts, kinds, unpack = [0], bytearray(1), struct.Struct(f"{prefix}I").unpack_from
    while at < end:
        if at + 12 > end:
            raise SpecError("cut short", path=(".BTF", f"type {len(starts)}"))
        (info,) = unpack(data, at + 4)
        kind = info >> 24 & 0x1F
        if not 0 < kind < len(_KINDS):
            raise SpecError(f"unknown kind {kind}", path=(".BTF", f"type {len(starts)}"))
        if len(starts) >= LIMITS.btf_types:
            raise LimitExceeded(f"more than {LIMITS.btf_types} types", path=(".BTF",))
        starts.append(at)
        kinds.append(kind)
        at += 12 + _FIXED[kind] + _EACH[kind] * (info & 0xFFFF)
    if at != end:
        raise SpecError("cut short", path=(".BTF", f"type {len(starts) - 1}"))
    return starts, bytes(kinds)


def _held(found: BtfType) -> Iterable[int]:
    """Return the types of which a value of the type consists."""
    match found:
        case Struct() | Union():
            return [m.type_id for m in found.members]
        case Array():
            return (found.element_id,)
        case Typedef() | Volatile() | Const() | Restrict() | TypeTag():
            return (found.type_id,)
        case _:
            return ()


class _Speller:
    """Spells types as C declares them; ``left`` bounds the work on types that fan out."""

    def __init__(self, btf: Btf) -> None:
        self._btf, self._left = btf, LIMITS.btf_spelling

    def spell(self, type_id: int, declarator: str, depth: int) -> str:
        """Spell a type around what stands in the place of the name."""
        self._left -= 1
        if depth > LIMITS.btf_resolve_depth or self._left < 0:
            raise LimitExceeded("type nested too deep", path=(".BTF", f"type {type_id}"))
        found, depth = self._btf[type_id], depth + 1
        match found:
            case Ptr(target):
                # `*` binds less than `[]` and `()`.
                star = f"*{declarator}"
                wrapped = self._btf.kind(target) in (Array, FuncProto)
                return self.spell(target, f"({star})" if wrapped else star, depth)
            case Array(element, _, count):
                return self.spell(element, f"{declarator}[{count or ''}]", depth)
            case FuncProto(returned, params):
                listed = ", ".join(self._param(p, depth) for p in params) or "void"
                return self.spell(returned, f"{declarator}({listed})", depth)
            case Const(target) | Volatile(target) | Restrict(target):
                return self._qualified(type(found).__name__.lower(), target, declarator, depth)
            case TypeTag(_, target) | Var(_, target, _) | Func(_, target, _):
                return self.spell(target, declarator, depth)
            case _:
                gap = "" if declarator[:1] in ("", "[") else " "
                return f"{_base_name(found)}{gap}{declarator}"

    def _qualified(self, word: str, target: int, declarator: str, depth: int) -> str:
        if self._btf.kind(target) is Ptr:
            gap = "" if declarator[:1] in ("", "[", ")") else " "
            return self.spell(target, f"{word}{gap}{declarator}", depth)
        return f"{word} {self.spell(target, declarator, depth)}"

    def _param(self, param: Param, depth: int) -> str:
        if not param.name and not param.type_id:
            return "..."
        return self.spell(param.type_id, "", depth)


def _base_name(found: BtfType) -> str:
    match found:
        case Void():
            return "void"
        case Struct(name) | Union(name) | Enum(name) | Enum64(name):
            word = "enum" if isinstance(found, Enum64) else type(found).__name__.lower()
            return f"{word} {name}" if name else f"{word} {{...}}"
        case Fwd(name, union):
            return f"{'union' if union else 'struct'} {name}"
        case Int(name) | Typedef(name) | Float(name) | DataSec(name) | DeclTag(name):
            return name
        case _:
            raise SpecError("not the type of a value", path=(".BTF",))


class _Record(NamedTuple):
    """One type as it lies in the section; ``word`` is its size or type."""

    btf: Btf
    name_offset: int
    vlen: int
    flag: bool
    word: int
    extra: int

    @property
    def name(self) -> str:
        return self.string(self.name_offset)

    def string(self, offset: int) -> str:
        """Return a name, within what all names together may take."""
        text = _text(self.btf._names, offset)
        self.btf._names_left -= len(text)
        if self.btf._names_left < 0:
            raise LimitExceeded(f"names take more than {LIMITS.btf_names} bytes")
        return text

    def fields(self, layout: str) -> tuple[int, ...]:
        return struct.unpack_from(self.btf._prefix + layout, self.btf._data, self.extra)

    def each(self, layout: str) -> Iterator[tuple[int, ...]]:
        size = struct.calcsize("=" + layout) * self.vlen
        data = self.btf._data[self.extra : self.extra + size]
        return struct.iter_unpack(self.btf._prefix + layout, data)

    def ref(self, type_id: int | None = None) -> int:
        """Return the type referred to, which must be there."""
        target = self.word if type_id is None else type_id
        if target >= len(self.btf):
            raise SpecError(f"refers to type {target} of {len(self.btf)}")
        return target


def _int(r: _Record) -> Int:
    (info,) = r.fields("I")
    encoding, offset, bits = info >> 24 & 0xF, info >> 16 & 0xFF, info & 0xFF
    if r.word not in (1, 2, 4, 8, 16) or not 0 < bits + offset <= r.word * 8 or not bits:
        raise SpecError(f"integer of {bits} bits in {r.word} bytes")
    return Int(
        r.name, r.word, bool(encoding & 1), bool(encoding & 2), bool(encoding & 4), offset, bits
    )


def _array(r: _Record) -> Array:
    element, index, count = r.fields("III")
    return Array(r.ref(element), r.ref(index), count)


def _members(r: _Record) -> tuple[Member, ...]:
    found: list[Member] = []
    for name, type_id, offset in r.each("III"):
        # With the flag the upper 8 bits are the size of a bit-field.
        size, offset = (offset >> 24, offset & 0xFFFFFF) if r.flag else (0, offset)
        if offset + size > r.word * 8:
            raise SpecError(f"member {len(found)} outside it")
        found.append(Member(r.string(name), r.ref(type_id), offset, size))
    return tuple(found)


def _enumerators(r: _Record) -> tuple[Enumerator, ...]:
    layout = "Ii" if r.flag else "II"
    return tuple(Enumerator(r.string(name), value) for name, value in r.each(layout))


def _enum(r: _Record) -> Enum:
    return Enum(r.name, _enum_size(r), r.flag, _enumerators(r))


def _enum64(r: _Record) -> Enum64:
    found = []
    for name, low, high in r.each("III"):
        value = high << 32 | low
        value -= (value >> 63 << 64) if r.flag else 0
        found.append(Enumerator(r.string(name), value))
    return Enum64(r.name, _enum_size(r), r.flag, tuple(found))


def _enum_size(r: _Record) -> int:
    if r.word not in (1, 2, 4, 8):
        raise SpecError(f"enum of {r.word} bytes")
    return r.word


def _proto(r: _Record) -> FuncProto:
    params = tuple(Param(r.string(n), r.ref(type_id)) for n, type_id in r.each("II"))
    return FuncProto(r.ref(), params)


def _func(r: _Record) -> Func:
    if r.btf.kind(r.ref()) is not FuncProto:
        raise SpecError("function without prototype")
    return Func(r.name, r.word, r.vlen)


def _var(r: _Record) -> Var:
    return Var(r.name, r.ref(), r.fields("I")[0])


def _datasec(r: _Record) -> DataSec:
    found = tuple(SectionVar(r.ref(t), offset, size) for t, offset, size in r.each("III"))
    return DataSec(r.name, r.word, found)


def _float(r: _Record) -> Float:
    if r.word not in (2, 4, 8, 12, 16):
        raise SpecError(f"float of {r.word} bytes")
    return Float(r.name, r.word)


_DECODERS: Final = (
    lambda r: Void(),
    _int,
    lambda r: Ptr(r.ref()),
    _array,
    lambda r: Struct(r.name, r.word, _members(r)),
    lambda r: Union(r.name, r.word, _members(r)),
    _enum,
    lambda r: Fwd(r.name, r.flag),
    lambda r: Typedef(r.name, r.ref()),
    lambda r: Volatile(r.ref()),
    lambda r: Const(r.ref()),
    lambda r: Restrict(r.ref()),
    _func,
    _proto,
    _var,
    _datasec,
    _float,
    lambda r: DeclTag(r.name, r.ref(), r.fields("i")[0]),
    lambda r: TypeTag(r.name, r.ref()),
    _enum64,
)
