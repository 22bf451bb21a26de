"""Maps as BTF describes them in ``.maps`` (libbpf's ``__uint`` and ``__type``)."""

from typing import Final

from bpfpack.spec.btf import Array, Btf, Enum, Enum64, FuncProto, Member, Ptr, Struct
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.layout import resolve, size_of
from bpfpack.spec.value import valuetype

# enum bpf_map_type of include/uapi/linux/bpf.h by number, spelt as bpftool does.
MAP_TYPES: Final = (
    "unspec", "hash", "array", "prog_array", "perf_event_array", "percpu_hash", "percpu_array",
    "stack_trace", "cgroup_array", "lru_hash", "lru_percpu_hash", "lpm_trie", "array_of_maps",
    "hash_of_maps", "devmap", "sockmap", "cpumap", "xskmap", "sockhash", "cgroup_storage",
    "reuseport_sockarray", "percpu_cgroup_storage", "queue", "stack", "sk_storage",
    "devmap_hash", "struct_ops", "ringbuf", "inode_storage", "task_storage", "bloom_filter",
    "user_ringbuf", "cgrp_storage", "arena", "insn_array",
)  # fmt: skip
_STRUCT_OPS: Final = MAP_TYPES.index("struct_ops")
# libbpf knows eleven.
_MOST_MEMBERS: Final = 64
_OF_MAPS: Final = (MAP_TYPES.index("array_of_maps"), MAP_TYPES.index("hash_of_maps"))
_PROG_ARRAY: Final = MAP_TYPES.index("prog_array")
_NUMBERS: Final = {
    "type", "max_entries", "map_flags", "numa_node", "map_extra", "pinning", "key_size",
    "value_size",
}  # fmt: skip


@valuetype
class MapSpec:
    """One map; sizes in bytes, ``type`` the kernel's number.

    ``var_id`` is the variable, whose decl tags are the map's; the key and value types are
    None where only sizes are given.  ``max_entries`` 0 leaves it to the loader.
    """

    name: str
    var_id: int
    type: int
    type_name: str
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    flags: int = 0
    extra: int = 0
    key_type_id: int | None = None
    value_type_id: int | None = None
    pinned: bool = False
    inner: "MapSpec | None" = None


def read_map(btf: Btf, name: str, var_id: int, type_id: int, *, nested: bool = False) -> MapSpec:
    """Return the map that the struct ``type_id`` defines; raises SpecError."""
    _, definition = resolve(btf, type_id)
    if not isinstance(definition, Struct):
        raise SpecError("not a struct that defines a map")
    if len(definition.members) > _MOST_MEMBERS:
        raise LimitExceeded(f"more than {_MOST_MEMBERS} members in a map definition")
    numbers: dict[str, int] = {}
    types: dict[str, int] = {}
    values: Member | None = None
    for member in definition.members:
        if member.name in _NUMBERS:
            numbers[member.name] = _number(btf, member)
        elif member.name in ("key", "value"):
            types[member.name] = _pointed(btf, member)
        elif member.name == "values":
            values = member
        else:
            raise SpecError("unknown in a map definition", path=(member.name,))
    kind = numbers.get("type", 0)
    if not 0 < kind < len(MAP_TYPES):
        raise SpecError(f"unknown map type {kind}", path=("type",))
    if numbers.get("pinning", 0) > 1:
        raise SpecError(f"unknown pinning {numbers['pinning']}", path=("pinning",))
    inner = None if values is None else _values(btf, name, var_id, kind, values, nested)
    return MapSpec(
        name=name,
        var_id=var_id,
        type=kind,
        type_name=MAP_TYPES[kind],
        key_size=_size(btf, "key", numbers, types),
        value_size=4 if values is not None else _size(btf, "value", numbers, types),
        max_entries=numbers.get("max_entries", 0),
        flags=numbers.get("map_flags", 0),
        extra=numbers.get("map_extra", 0),
        key_type_id=types.get("key"),
        value_type_id=types.get("value"),
        pinned=numbers.get("pinning", 0) == 1,
        inner=inner,
    )


def struct_ops_map(btf: Btf, name: str, var_id: int, type_id: int) -> MapSpec:
    """Return the map that libbpf makes of a variable in ``.struct_ops``."""
    return MapSpec(
        name=name,
        var_id=var_id,
        type=_STRUCT_OPS,
        type_name=MAP_TYPES[_STRUCT_OPS],
        key_size=4,
        value_size=size_of(btf, type_id),
        max_entries=1,
        value_type_id=type_id,
    )


def _number(btf: Btf, member: Member) -> int:
    """Return the number that ``__uint`` hides in an array, or ``__ulong`` in an enum."""
    _, found = resolve(btf, member.type_id)
    if isinstance(found, Ptr):
        _, found = resolve(btf, found.type_id)
        if isinstance(found, Array):
            return found.length
    elif isinstance(found, Enum | Enum64) and len(found.values) == 1:
        return found.values[0].value
    raise SpecError("not written with __uint", path=(member.name,))


def _pointed(btf: Btf, member: Member) -> int:
    _, found = resolve(btf, member.type_id)
    if not isinstance(found, Ptr):
        raise SpecError("not written with __type", path=(member.name,))
    return found.type_id


def _size(btf: Btf, what: str, numbers: dict[str, int], types: dict[str, int]) -> int:
    told, type_id = numbers.get(f"{what}_size"), types.get(what)
    if type_id is None:
        return told or 0
    size = size_of(btf, type_id)
    if told not in (None, size):
        raise SpecError(f"{told} bytes, and a type of {size}", path=(f"{what}_size",))
    return size


def _values(
    btf: Btf, name: str, var_id: int, kind: int, member: Member, nested: bool
) -> MapSpec | None:
    """Return the map inside a map of maps; None for a program array's functions."""
    _, array = resolve(btf, member.type_id)
    if not isinstance(array, Array) or array.length:
        raise SpecError("not written with __array", path=("values",))
    _, pointer = resolve(btf, array.element_id)
    if not isinstance(pointer, Ptr):
        raise SpecError("not an array of pointers", path=("values",))
    _, target = resolve(btf, pointer.type_id)
    if kind == _PROG_ARRAY and isinstance(target, FuncProto):
        return None
    if kind in _OF_MAPS and not nested:
        try:
            return read_map(btf, f"{name}.inner", var_id, pointer.type_id, nested=True)
        except SpecError as e:
            raise e.inside("values") from e
    raise SpecError(f"values in a map of type {MAP_TYPES[kind]}", path=("values",))
