"""Outputs, from what is said of maps."""

from collections.abc import Mapping
from typing import Any, Final

from bpfpack.builder.diagnosis import Diagnosis
from bpfpack.builder.tags import output_tags
from bpfpack.builder.words import STACKS, Words, as_held
from bpfpack.spec import fields
from bpfpack.spec.agreement import MAPS_OF_OUTPUT, record_type
from bpfpack.spec.btf import Array, Int, Struct, Union
from bpfpack.spec.config import Output, check_reader
from bpfpack.spec.errors import SpecError
from bpfpack.spec.layout import members, resolve
from bpfpack.spec.mapspec import MapSpec
from bpfpack.spec.objectspec import ObjectSpec

#: What tools call the members of a key that says whose stacks it counts.
_USUAL: Final = {
    "kernel": ("kernel_stack_id", "kern_stack_id", "kstack_id", "kernel_stack", "kernel"),
    "user": ("user_stack_id", "ustack_id", "user_stack", "user"),
    "process": ("tgid", "pid"),
}


def make_outputs(
    spec: ObjectSpec, said: Mapping[str, Words], diagnosis: Diagnosis
) -> tuple[Output, ...]:
    """Return the outputs, by name; raises BuildError."""
    maps = {m.name: m for m in spec.maps}
    found: list[Output] = []
    for name, words in sorted(said.items()):
        if words.get("hidden"):
            continue
        try:
            output = _output(spec, maps, name, words)
            check_reader(output, found)
            found.append(output)
        except SpecError as e:
            tags = output_tags(str(words.get("map", name)))
            raise diagnosis.error(e, told=("outputs", name), tags=tags) from e
    return tuple(found)


def shown_types(spec: ObjectSpec, outputs: tuple[Output, ...]) -> list[int]:
    """Return the types that outputs show: of events, keys and values."""
    btf = spec.types("an output")
    maps = {m.name: m for m in spec.maps}
    found: list[int | None] = []
    for output in outputs:
        if output.kind == "events":
            found += [record_type(btf, event.type) for event in output.types]
        else:
            found += [maps[output.map].key_type_id, maps[output.map].value_type_id]
    return [type_id for type_id in found if type_id is not None]


def silent_buffers(spec: ObjectSpec, said: Mapping[str, Words]) -> list[str]:
    """Return the ring and perf buffers of which nobody says what they carry."""
    spoken = {words.get("map", name) for name, words in said.items()}
    kinds = MAPS_OF_OUTPUT["events"]
    return [m.name for m in spec.maps if m.type_name in kinds and m.name not in spoken]


def _output(spec: ObjectSpec, maps: Mapping[str, MapSpec], name: str, words: Words) -> Output:
    map_name = fields.string({"map": name, **words}, "map")
    if map_name not in maps:
        raise SpecError(f"no map {map_name!r} in the object")
    data: dict[str, Any] = {"name": name, "map": map_name}
    for word, key in (("unit", "unit"), ("sort", "sort"), ("interval", "intervalMs")):
        if word in words:
            data[key] = words[word]
    kind = _kind(words)
    found = maps[map_name]
    if found.type_name not in MAPS_OF_OUTPUT[kind]:
        raise SpecError(f"{kind} cannot come from a {found.type_name} map")
    if kind == "events":
        data |= _events(spec, words)
    elif kind == "histogram":
        data |= _histogram(spec, found, words)
    elif kind == "stacks":
        data |= _stacks(spec, found, words)
    return Output.from_dict({**data, "kind": kind})


def _kind(words: Words) -> str:
    """Return the kind that the words amount to; a TOML may say it in place of a tag."""
    kinds = {
        "events": "type" in words or "types" in words,
        "histogram": "histogram" in words,
        "table": bool(words.get("table")),
        "stacks": bool(words.get("stacks")),
    }
    found = [kind for kind, is_said in kinds.items() if is_said]
    if len(found) != 1:
        raise SpecError("say one of: type (or types), histogram, table, stacks")
    return found[0]


def _events(spec: ObjectSpec, words: Words) -> Words:
    btf = spec.types("an output")
    types: list[Words] = []
    for name, when in _named_types(words).items():
        plain = name.removeprefix("struct ").removeprefix("union ")
        type_id = record_type(btf, plain)
        if type_id is None:
            raise SpecError(f"no type {plain!r} in the object's BTF").with_hint(
                "the compiler keeps only types that something refers to"
            )
        if isinstance(when, int):
            when = _as_discriminator(spec, type_id, words.get("by"), when)
        types.append({"type": plain} if when is None else {"type": plain, "when": when})
    by = {} if "by" not in words else {"discriminator": words["by"]}
    return {"types": sorted(types, key=_order), **by}


def _named_types(words: Words) -> dict[str, Any]:
    """Return the types and what tells each apart: one, a list, or a table of them."""
    if "type" in words:
        return {fields.string(words, "type"): None}
    if isinstance(words["types"], list):
        return dict.fromkeys(fields.strings(words, "types", most=64))
    return dict(fields.mapping(words, "types"))


def _order(event: Words) -> tuple[int, str]:
    return (int(event.get("when", 0)), str(event["type"]))


def _as_discriminator(spec: ObjectSpec, type_id: int, by: object, when: int) -> int:
    """Return a number as the member that tells types apart would hold it."""
    btf = spec.types("an output")
    if isinstance(resolve(btf, type_id)[1], Struct | Union):
        for member in members(btf, type_id):
            if member.name == by:
                return as_held(btf, member.type_id, when)
    return when


def _histogram(spec: ObjectSpec, found: MapSpec, words: Words) -> Words:
    data: Words = {"scale": words["histogram"]}
    for word in ("step", "slots"):
        if word in words:
            data[word] = words[word]
    if "slots" not in data and found.value_type_id is not None:
        btf = spec.types("an output")
        _, kind = resolve(btf, found.value_type_id)
        if isinstance(kind, Struct):
            data["slots"] = "slots"
        elif not isinstance(kind, Array | Int):
            raise SpecError("the value holds no slots")
    return data


def _stacks(spec: ObjectSpec, found: MapSpec, words: Words) -> Words:
    """Return whose stacks they are and where; what nobody says is found by its usual name."""
    data: Words = {word: words[word] for word in STACKS if word in words}
    traces = [m.name for m in spec.maps if m.type_name == "stack_trace"]
    if len(traces) == 1:
        data.setdefault("traces", traces[0])
    btf, key = spec.types("an output"), found.key_type_id
    if key is not None and isinstance(resolve(btf, key)[1], Struct):
        named = {member.name for member in members(btf, key)}
        for word, usual in _USUAL.items():
            if name := next((name for name in usual if name in named), None):
                data.setdefault(word, name)
    return data
