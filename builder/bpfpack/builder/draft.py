"""A bpfpack.toml to start from, for an object that says nothing of itself."""

from collections.abc import Iterator

from bpfpack.spec.agreement import MAPS_OF_OUTPUT
from bpfpack.spec.btf import Btf, Struct
from bpfpack.spec.mapspec import MapSpec
from bpfpack.spec.objectspec import ObjectSpec

_MOST_TYPES = 12


def toml_draft(spec: ObjectSpec) -> str:
    """Return the text, with a choice of types where the object leaves it open."""
    lines = ['# version = "1.0"', '# license = "GPL-2.0-only"', '# description = ""']
    for found in spec.maps:
        lines += _output(spec, found)
    for program in spec.programs:
        lines += ["", f"# [programs.{program.name}]  # {program.section}", "# optional = true"]
    return "\n".join(lines) + "\n"


def _output(spec: ObjectSpec, found: MapSpec) -> list[str]:
    if found.type_name in MAPS_OF_OUTPUT["events"]:
        types = list(_event_types(spec.types("an output")))[:_MOST_TYPES]
        choice = " | ".join(f'"{name}"' for name in types) or "no struct in the object's BTF"
        only = types[0] if len(types) == 1 else ""
        return ["", f"[outputs.{found.name}]", f'type = "{only}"  # {choice}']
    if found.type_name in MAPS_OF_OUTPUT["table"]:
        return [
            "",
            f"# [outputs.{found.name}]",
            '# table = true  # or histogram = "log2"',
            "# interval = 1000",
        ]
    return []


def _event_types(btf: Btf) -> Iterator[str]:
    """Yield the structs that may be events: neither a map's definition nor the kernel's.

    The kernel's own are those that CO-RE reads, most of them far larger or without members.
    """
    for type_id in btf.ids(Struct):
        found = btf[type_id]
        if isinstance(found, Struct) and found.name and found.members and found.size <= 8192:
            yield found.name
