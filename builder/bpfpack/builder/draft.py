"""A bpfpack.toml to start from, for an object that says nothing of itself."""

from collections.abc import Iterator
from typing import Final

from bpfpack.spec.agreement import MAPS_OF_OUTPUT, record_type
from bpfpack.spec.btf import Btf, Func, FuncProto, Ptr, Struct
from bpfpack.spec.config import Config, Param
from bpfpack.spec.errors import SpecError
from bpfpack.spec.layout import resolve
from bpfpack.spec.mapspec import MapSpec
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.record import RecordLayout

_MOST_TYPES: Final = 12
_MOST_FIELDS: Final = 32
_STACKS: Final = "stack_trace"


def toml_draft(spec: ObjectSpec, config: Config) -> str:
    """Return the text, with a choice of types where the object leaves it open.

    ``config`` is what is known of the object without it.
    """
    lines = ['# version = "1.0"', '# license = "GPL-2.0-only"', '# description = ""']
    for found in spec.maps:
        lines += _output(spec, found)
    for param in config.params:
        lines += _param(param)
    for program in spec.programs:
        lines += ["", f"# [programs.{program.name}]  # {program.section}", "# optional = true"]
    return "\n".join(lines) + "\n"


def _output(spec: ObjectSpec, found: MapSpec) -> list[str]:
    if found.type_name in MAPS_OF_OUTPUT["events"]:
        return ["", f"[outputs.{found.name}]", *_carried(spec)]
    if found.type_name in MAPS_OF_OUTPUT["table"]:
        stacks = any(m.type_name == _STACKS for m in spec.maps)
        return [
            "",
            f"# [outputs.{found.name}]",
            f'# table = true  # or histogram = "log2"{", stacks = true" if stacks else ""}',
            "# interval = 1000",
        ]
    return []


def _carried(spec: ObjectSpec) -> list[str]:
    """The line that says what a buffer carries, and its members where that is no question."""
    types = list(_event_types(spec, spec.types("an output")))[:_MOST_TYPES]
    if not types:
        return [
            'type = ""  # the object describes no struct that may be it: its source must refer to',
            "           # one, as `const struct event *unused __attribute__((unused));` does",
        ]
    if len(types) > 1:
        choice = " | ".join(f'"{name}"' for name in types)
        return [f'type = ""  # {choice}']
    return [f'type = "{types[0]}"', "", f"[fields.{types[0]}]", *_fields(spec, types[0])]


def _fields(spec: ObjectSpec, name: str) -> Iterator[str]:
    btf = spec.types("an output")
    type_id = record_type(btf, name)
    try:
        fields = RecordLayout.of(btf, type_id or 0).fields
    except SpecError:
        return
    for each in fields[:_MOST_FIELDS]:
        if not each.hidden and not any("[" in step for step in each.path):
            path = f'"{each.name}"' if len(each.path) > 1 else each.name
            yield f'# {path} = {{ title = "{each.title}", format = "{each.format}" }}'


def _param(param: Param) -> list[str]:
    return [
        "",
        f"# [params.{param.variable}]",
        f'# option = "{param.option}"',
        '# short = ""',
        '# help = ""',
    ]


def _event_types(spec: ObjectSpec, btf: Btf) -> Iterator[str]:
    """Yield the structs that may be events: neither what maps hold nor what programs are given.

    Nor the kernel's own, which CO-RE reads, most of them far larger or without members.
    """
    others = {resolve(btf, t)[0] for m in spec.maps for t in (m.key_type_id, m.value_type_id) if t}
    others |= set(_contexts(spec, btf))
    for type_id in btf.ids(Struct):
        found = btf[type_id]
        if (
            isinstance(found, Struct)
            and found.name
            and found.members
            and found.size <= 8192
            and type_id not in others
        ):
            yield found.name


def _contexts(spec: ObjectSpec, btf: Btf) -> Iterator[int]:
    programs = {p.name for p in spec.programs}
    for type_id in btf.ids(Func):
        function = btf[type_id]
        if isinstance(function, Func) and function.name in programs:
            proto = btf[function.type_id]
            for param in proto.params if isinstance(proto, FuncProto) else ():
                _, pointer = resolve(btf, param.type_id)
                if isinstance(pointer, Ptr):
                    yield resolve(btf, pointer.type_id)[0]
