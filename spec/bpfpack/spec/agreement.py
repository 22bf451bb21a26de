"""Whether a config and an object agree (SPEC.md, section 5).

What a config says of programs, maps, globals, types and sizes is a copy of what the object
holds; a copy that differs is refused before anything else is done with either.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

from bpfpack.spec.btf import (
    Array,
    Btf,
    BtfType,
    Enum,
    Enum64,
    Float,
    Int,
    Struct,
    Typedef,
    Union,
    Volatile,
)
from bpfpack.spec.code import ProgramSpec
from bpfpack.spec.config import (
    TARGET_PID,
    Config,
    EventType,
    Map,
    Output,
    Param,
    Program,
    Value,
)
from bpfpack.spec.displays import FieldDisplay
from bpfpack.spec.errors import ConfigMismatch, SpecError
from bpfpack.spec.layout import array_of, resolve
from bpfpack.spec.mapspec import MapSpec
from bpfpack.spec.objectspec import ObjectSpec, Variable
from bpfpack.spec.record import Field, RecordLayout

#: Which types of map an output of each kind can read.
MAPS_OF_OUTPUT: Final[Mapping[str, tuple[str, ...]]] = {
    "events": ("ringbuf", "perf_event_array"),
    "histogram": ("hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash"),
    "table": ("hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash"),
    "stacks": ("hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash"),
}
#: BPF_F_STACK_BUILD_ID: no addresses but places in files (include/uapi/linux/bpf.h).
_BUILD_IDS: Final = 1 << 5
_T = TypeVar("_T")
_QUALIFIERS: Final = re.compile(r"\b(?:const|volatile) ")


def check_config(spec: ObjectSpec, config: Config) -> None:
    """Return when everything the config says of the object is so.

    Raises ConfigMismatch, whose path leads to what is not.
    """
    with _mismatch():
        if config.requirements.byte_order != spec.byte_order:
            raise SpecError(f"object is {spec.byte_order}-endian", path=("requirements",))
        programs = {p.name: p for p in spec.programs}
        _each("programs", config.programs, lambda p: _check_program(p, programs))
        maps = {m.name: m for m in spec.maps}
        _each("maps", config.maps, lambda m: _check_map(m, maps))
        variables = {v.name: v for v in spec.variables if v.const}
        _each("params", config.params, lambda p: _check_param(spec, p, variables))
        _each("outputs", config.outputs, lambda o: _check_output(spec, config, o, maps))
        for name in config.fields:
            if record_type(spec.types("a display"), name) is None:
                raise SpecError("no such type", path=("fields", name))


def record_type(btf: Btf, name: str) -> int | None:
    """Return the type that a config means by a name: a struct, a union or a typedef."""
    for kind in (Struct, Union, Typedef):
        if (found := btf.find(kind, name)) is not None:
            return found
    return None


def type_name(btf: Btf, type_id: int) -> str | None:
    """Return the name under which a config speaks of a type, None when it has none.

    It is that of the struct or union, or else of the innermost typedef.
    """
    end, kind = resolve(btf, type_id)
    if isinstance(kind, Struct | Union) and kind.name:
        return kind.name
    name = None
    while type_id != end:
        found = btf[type_id]
        if isinstance(found, Typedef):
            name = found.name
        type_id = found.type_id  # type: ignore[union-attr]  # resolve() came this way
    return name


def display_of(config: Config, btf: Btf, type_id: int) -> Mapping[str, FieldDisplay]:
    """Return what a config says of the members of a type."""
    return config.fields.get(type_name(btf, type_id) or "", {})


def event_layout(spec: ObjectSpec, config: Config, event: EventType) -> RecordLayout:
    """Lay out what an events output carries; raises SpecError."""
    btf = spec.types("an output")
    type_id = record_type(btf, event.type)
    if type_id is None:
        raise SpecError("no such type", path=(event.type,))
    return RecordLayout.of(btf, type_id, display_of(config, btf, type_id))


def key_value_layouts(
    spec: ObjectSpec, config: Config, found: MapSpec
) -> tuple[RecordLayout, RecordLayout]:
    """Lay out key and value of a map; raises SpecError when it has no types.

    A key or value that is no struct is one field called ``key`` or ``value``.
    """
    btf = spec.types("an output")
    if found.key_type_id is None or found.value_type_id is None:
        raise SpecError("map without key and value types")
    key, value = found.key_type_id, found.value_type_id
    return (
        RecordLayout.of(btf, key, display_of(config, btf, key), name="key"),
        RecordLayout.of(btf, value, display_of(config, btf, value), name="value"),
    )


def check_role(btf: Btf, param: Param, variable: Variable) -> None:
    """Raise SpecError when a param cannot hold what its role asks for."""
    _, kind = resolve(btf, variable.type_id)
    is_number = isinstance(kind, Int) and not kind.bool and kind.size >= 4
    if param.role == TARGET_PID and not is_number:
        raise SpecError(f"{param.type} cannot hold the number of a process", path=("role",))


def is_volatile(btf: Btf, type_id: int) -> bool:
    """Say whether a variable, or the elements of an array, are ``volatile``."""
    element, _ = array_of(btf, type_id)
    for start in (type_id, element):
        end, at = resolve(btf, start)[0], start
        while at != end:
            if btf.kind(at) is Volatile:
                return True
            at = btf[at].type_id  # type: ignore[union-attr]  # resolve() came this way
    return False


def option_type(btf: Btf, type_id: int) -> str:
    """Spell the type of a param, without qualifiers; raises SpecError if it cannot be one.

    A param is a bool, an integer, an enum, a floating point number or a ``char`` array.
    """
    element, dimensions = array_of(btf, type_id)
    _, kind = resolve(btf, element)
    is_char = isinstance(kind, Int) and (kind.char or kind.name == "char")
    is_text = is_char and len(dimensions) == 1
    if not is_text and (dimensions or not isinstance(kind, Int | Enum | Enum64 | Float)):
        raise SpecError(f"{btf.spelling(type_id)} cannot be an option")
    spelling = _QUALIFIERS.sub("", btf.spelling(type_id))
    return "bool" if spelling == "_Bool" else spelling


def enumerators(kind: BtfType) -> dict[str, int]:
    """Return the names of an enum's values, none for what is no enum.

    Before version 15 clang cuts the values of a 64-bit enum to 32: better none than wrong.
    """
    if not isinstance(kind, Enum | Enum64) or (isinstance(kind, Enum) and kind.size > 4):
        return {}
    return {v.name: v.value for v in kind.values}


def initial_value(spec: ObjectSpec, variable: Variable) -> Value:
    """Return the value a param has before it is set; raises SpecError if it cannot be one.

    An enum's is the name, a ``char`` array's the text before the first NUL.
    """
    btf = spec.types("an option")
    option_type(btf, variable.type_id)
    _, kind = resolve(btf, variable.type_id)
    data = variable.initial
    match kind:
        case Array():
            return data.split(b"\0", 1)[0].decode(errors="replace")
        case Float(_, size):
            order = "<" if spec.byte_order == "little" else ">"
            value: float = struct.unpack(f"{order}{'f' if size == 4 else 'd'}", data)[0]
            return value
        case Int() if kind.bool:
            return any(data)
        case Int() | Enum() | Enum64():
            number = int.from_bytes(data, spec.byte_order, signed=kind.signed)
            names = {value: name for name, value in enumerators(kind).items()}
            return names.get(number, number)
        case _:
            raise SpecError(f"{btf.spelling(variable.type_id)} cannot be an option")


def _check_program(program: Program, programs: Mapping[str, ProgramSpec]) -> None:
    found = _known(programs, program.name)
    _same("section", program.section, found.section)
    if program.attach or program.option:
        from bpfpack.spec.targets import check_targets  # most programs say nothing of them

        check_targets(found.kind, program.attach, program.option)


def _check_map(said: Map, maps: Mapping[str, MapSpec]) -> None:
    found = _known(maps, said.name)
    _same("type", said.type, found.type_name)
    _same("keySize", said.key_size, found.key_size)
    _same("valueSize", said.value_size, found.value_size)
    _same("maxEntries", said.max_entries, found.max_entries)


def _check_param(spec: ObjectSpec, param: Param, variables: Mapping[str, Variable]) -> None:
    variable = _known(variables, param.variable)
    btf = spec.types("an option")
    _same("type", param.type, option_type(btf, variable.type_id))
    check_role(btf, param, variable)
    if param.default is not None:
        _same("default", param.default, initial_value(spec, variable))


def _check_output(
    spec: ObjectSpec, config: Config, output: Output, maps: Mapping[str, MapSpec]
) -> None:
    found = _known(maps, output.map)
    if found.type_name not in MAPS_OF_OUTPUT[output.kind]:
        raise SpecError(f"{output.kind} cannot come from a {found.type_name} map", path=("map",))
    if output.kind == "events":
        _check_events(spec, config, output, found)
        return
    key, value = key_value_layouts(spec, config, found)
    if output.kind == "histogram":
        slots = output.slots or "value"
        if not _is_slots(value.field(slots)):
            raise SpecError("not an array of counters", path=(slots,))
    if output.kind == "stacks":
        _check_stacks(output, key, value, maps)
    if output.sort and value.field(output.sort) is None and key.field(output.sort) is None:
        raise SpecError("no such member", path=("sort", output.sort))


def _check_events(spec: ObjectSpec, config: Config, output: Output, source: MapSpec) -> None:
    layouts = [event_layout(spec, config, event) for event in output.types]
    if output.discriminator is None:
        if len({layout.size for layout in layouts}) != len(layouts):
            raise SpecError("types of one size need a discriminator", path=("types",))
        if source.type_name == "perf_event_array":
            _check_perf_sizes([layout.size for layout in layouts])
        return
    tellers = [layout.field(output.discriminator) for layout in layouts]
    places = {t and (t.offset, t.size, t.signed) for t in tellers}
    if None in places or len(places) != 1:
        raise SpecError("not at one place in all types", path=("discriminator",))


def _check_perf_sizes(sizes: list[int]) -> None:
    if len({perf_size(size) for size in sizes}) != len(sizes):
        raise SpecError("types of one size in a perf buffer need a discriminator", path=("types",))


def perf_size(size: int) -> int:
    """Return how long a record of a perf buffer is that was written with that size.

    The kernel pads it, so that with its length before it, it fills units of 8 bytes
    (include/linux/perf_event.h, perf_sample_save_raw_data).

    >>> [perf_size(n) for n in (1, 4, 5, 8, 12, 13)]
    [4, 4, 12, 12, 12, 20]
    """
    return ((size + 4 + 7) & ~7) - 4


def _check_stacks(
    output: Output, key: RecordLayout, value: RecordLayout, maps: Mapping[str, MapSpec]
) -> None:
    for word in ("kernel", "user", "process"):
        name = getattr(output, word)
        if name is not None and not _is_number(key.field(name)):
            raise SpecError("no integer of 4 bytes in the key", path=(word, name))
    if not any(f.base in ("int", "uint") and not f.dimensions for f in value.fields):
        raise SpecError("the value holds no count", path=("map",))
    traces = maps.get(output.traces or "")
    if traces is None or traces.type_name != "stack_trace":
        raise SpecError("not a stack_trace map", path=("traces",))
    if traces.flags & _BUILD_IDS or traces.value_size % 8:
        raise SpecError("a map of no addresses", path=("traces",))


def _is_number(found: Field | None) -> bool:
    return (
        found is not None
        and found.base in ("int", "uint")
        and found.size == 4
        and not (found.dimensions or found.bits)
    )


def _is_slots(found: Field | None) -> bool:
    return found is not None and found.base in ("int", "uint") and len(found.dimensions) == 1


def _each(key: str, items: tuple[_T, ...], check: Callable[[_T], None]) -> None:
    for i, item in enumerate(items):
        try:
            check(item)
        except SpecError as e:
            raise e.inside(f"{key}[{i}]") from e


def _known(among: Mapping[str, _T], name: str) -> _T:
    if name not in among:
        raise SpecError(f"{name!r} is not in the object")
    return among[name]


def _same(key: str, said: object, found: object) -> None:
    if type(said) is not type(found) or said != found:
        raise SpecError(f"{said!r}, and {found!r} in the object", path=(key,))


@contextmanager
def _mismatch() -> Iterator[None]:
    try:
        yield
    except SpecError as e:
        raise ConfigMismatch(e.reason, path=e.path) from e
