"""How C lays out a type that BTF describes: sizes, members, arrays."""

from typing import Final, NamedTuple

from bpfpack.spec.btf import (
    Array,
    Btf,
    BtfType,
    Const,
    Enum,
    Enum64,
    Float,
    Int,
    Member,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS

# Pointers of BPF programs are 64 bits wide on every architecture.
POINTER_SIZE: Final = 8


class FlatMember(NamedTuple):
    """A member as C code names it: those of anonymous members count as the struct's own.

    ``bit_offset`` is from the start of the outermost type.  For a bit-field ``bit_size``
    is not 0; its bits are counted from the least significant in little-endian objects, from
    the most significant in big-endian ones, as the compiler lays them.  ``owner`` and
    ``component`` find its decl tags.
    """

    name: str
    type_id: int
    bit_offset: int
    bit_size: int
    owner: int
    component: int


def resolve(btf: Btf, type_id: int) -> tuple[int, BtfType]:
    """Return the type behind typedefs, qualifiers, type tags and variables, with its id.

    Raises LimitExceeded for a chain that is too long, such as a cycle.
    """
    for _ in range(LIMITS.btf_resolve_depth):
        found = btf[type_id]
        if not isinstance(found, Typedef | Const | Volatile | Restrict | TypeTag | Var):
            return type_id, found
        type_id = found.type_id
    raise LimitExceeded("type refers to itself or too deep", path=(".BTF", f"type {type_id}"))


def size_of(btf: Btf, type_id: int) -> int:
    """Return the size in bytes; raises SpecError for a type that has none."""
    count = 1
    for _ in range(LIMITS.btf_resolve_depth):
        type_id, found = resolve(btf, type_id)
        match found:
            case Ptr():
                return count * POINTER_SIZE
            case Int() | Float() | Struct() | Union() | Enum() | Enum64():
                return _bounded(count * found.size, type_id)
            case Array(element, _, length):
                count, type_id = _bounded(count * length, type_id), element
            case _:
                raise SpecError(f"{_what(found)} has no size", path=(".BTF", f"type {type_id}"))
    raise LimitExceeded("array nested too deep", path=(".BTF", f"type {type_id}"))


def members(btf: Btf, type_id: int) -> tuple[FlatMember, ...]:
    """Return the members of a struct or union, those of anonymous members in their place.

    Raises SpecError when it is neither, when a member does not lie within it, or when two
    members come to have one name.
    """
    type_id, found = resolve(btf, type_id)
    if not isinstance(found, Struct | Union):
        raise SpecError(f"{_what(found)} has no members", path=(".BTF", f"type {type_id}"))
    flattener = _Flattener(btf)
    flattener.add(type_id, found, 0, 0)
    return tuple(flattener.found.values())


def array_of(btf: Btf, type_id: int) -> tuple[int, tuple[int, ...]]:
    """Return the innermost element of an array and its dimensions, outermost first.

    A type that is no array has no dimensions.
    """
    dimensions: list[int] = []
    for _ in range(LIMITS.btf_resolve_depth):
        resolved, found = resolve(btf, type_id)
        if not isinstance(found, Array):
            return type_id, tuple(dimensions)
        dimensions.append(found.length)
        type_id = found.element_id
    raise LimitExceeded("array nested too deep", path=(".BTF", f"type {resolved}"))


class _Flattener:
    """Collects members by name, through anonymous ones, within bounds."""

    def __init__(self, btf: Btf) -> None:
        self._btf, self._seen = btf, 0
        self.found: dict[str, FlatMember] = {}

    def add(self, owner: int, aggregate: Struct | Union, base: int, depth: int) -> None:
        """Add the members of ``aggregate``, which lies ``base`` bits into the outermost."""
        self._seen += len(aggregate.members)
        if depth > LIMITS.btf_resolve_depth or self._seen > LIMITS.btf_members:
            raise LimitExceeded("type nested too deep", path=(".BTF", f"type {owner}"))
        for component, member in enumerate(aggregate.members):
            inner, kind = resolve(self._btf, member.type_id)
            offset, bits = _bits(member, kind)
            end = offset + (bits or 8 * size_of(self._btf, inner))
            # The kernel refuses it too (kernel/bpf/btf.c, btf_struct_resolve).
            if end > 8 * aggregate.size:
                path = (_what(aggregate), member.name)
                raise SpecError("does not lie within it", path=path)
            if member.name:
                if member.name in self.found:
                    path = (_what(aggregate), member.name)
                    raise SpecError("two members of this name", path=path)
                self.found[member.name] = FlatMember(
                    member.name, member.type_id, base + offset, bits, owner, component
                )
            # An unnamed bit-field is padding.
            elif isinstance(kind, Struct | Union):
                self.add(inner, kind, base + member.bit_offset, depth + 1)


def _bits(member: Member, kind: BtfType) -> tuple[int, int]:
    """Return offset and size in bits; old compilers describe a bit-field by its integer."""
    if not member.bit_size and isinstance(kind, Int) and kind.bits != kind.size * 8:
        return member.bit_offset + kind.bit_offset, kind.bits
    return member.bit_offset, member.bit_size


def _bounded(size: int, type_id: int) -> int:
    if size > LIMITS.object:
        raise LimitExceeded(f"larger than {LIMITS.object} bytes", path=(".BTF", f"type {type_id}"))
    return size


def _what(found: BtfType) -> str:
    word = type(found).__name__.lower()
    name = getattr(found, "name", "")
    return f"{word} {name}" if name else word
