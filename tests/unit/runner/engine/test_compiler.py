"""The tables are those of the compiler: what C stores where, the engine reads there."""

import json
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bpfpack.runner.engine.program import assemble
from bpfpack.runner.events.formatter import EventOutput, RecordType
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.record import RecordLayout
from tests.kit.enginehost import Arena, Host
from tests.kit.objects import CLANGS, TARGETS, run, tool

_STRUCTS = 40
_INTEGERS = {
    **{"signed char": (8, True), "unsigned char": (8, False), "short": (16, True)},
    **{"unsigned short": (16, False), "int": (32, True), "unsigned int": (32, False)},
    **{"long long": (64, True), "unsigned long long": (64, False)},
}


class _Source:
    """Structs with members of random types, and a variable of each with known values."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.text, self.expected = "enum color { RED, GREEN = 5, BLUE = 70000 };\n", list[Any]()
        for index in range(_STRUCTS):
            members, values, shown = self._members(self._dice.randint(1, 7), 0)
            packed = self._dice.choice(("", "", "__attribute__((packed))"))
            self.text += f"struct s{index} {{ {members} }} {packed};\n"
            self.text += f"struct s{index} v{index} = {{ {values} }};\n"
            self.expected.append(shown)

    def _members(self, count: int, depth: int) -> tuple[str, str, dict[str, Any]]:
        members, values, shown = "", [], dict[str, Any]()
        for index in range(count):
            name = f"m{index}"
            declared, value, shown[name] = self._member(name, depth)
            members += f"{declared}; "
            values.append(value)
        return members, ", ".join(values), shown

    def _member(self, name: str, depth: int) -> tuple[str, str, Any]:
        match self._dice.randint(0, 7 if depth < 2 else 6):
            case 0:
                kind = self._dice.choice(("int", "unsigned int", "long long", "unsigned long long"))
                width, signed = _INTEGERS[kind]
                bits = self._dice.randint(1, width)
                number = self._number(bits, signed)
                return f"{kind} {name} : {bits}", _literal(number), number
            case 1:
                return self._array(name)
            case 2:
                real = self._dice.choice((0.5, -2.25, 1e300, 3.0, 1e-7))
                return f"double {name}", repr(real), real
            case 3:
                label, number = self._dice.choice((("RED", 0), ("GREEN", 5), ("BLUE", 70000)))
                return f"enum color {name}", str(number), label
            case 4:
                flag = self._dice.random() < 0.5
                return f"_Bool {name}", str(int(flag)), flag
            case 5:
                text = self._dice.choice(("", "sh", "a,b", "fifteen letters"))
                return f"char {name}[16]", json.dumps(text), text
            case 7:
                members, values, shown = self._members(self._dice.randint(1, 4), depth + 1)
                return f"struct {{ {members} }} {name}", f"{{ {values} }}", shown
        kind = self._dice.choice(tuple(_INTEGERS))
        number = self._number(*_INTEGERS[kind])
        return f"{kind} {name}", _literal(number), number

    def _array(self, name: str) -> tuple[str, str, Any]:
        rows, columns = self._dice.randint(1, 3), self._dice.randint(1, 3)
        kind = self._dice.choice(("short", "int", "unsigned long long"))
        numbers = [[self._number(*_INTEGERS[kind]) for _ in range(columns)] for _ in range(rows)]
        values = ", ".join("{" + ", ".join(map(_literal, row)) + "}" for row in numbers)
        return f"{kind} {name}[{rows}][{columns}]", f"{{ {values} }}", numbers

    def _number(self, bits: int, signed: bool) -> int:
        low = -(1 << (bits - 1)) if signed else 0
        return self._dice.randint(low, low + (1 << bits) - 1)


def _literal(number: int) -> str:
    return f"({number + 1}LL - 1)" if number < 0 else f"{number}ULL"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("clang", CLANGS)
def test_values_are_read_where_the_compiler_put_them(
    tmp_path: Path, clang: str, target: str
) -> None:
    arena = Arena()
    for seed in range(3):
        source, out = _Source(seed), tmp_path / f"{seed}.o"
        (tmp_path / "x.c").write_text(source.text)
        flags = ("-g", "-O2", "-Wno-everything", "-target", target)
        run(tool(clang), *flags, "-c", tmp_path / "x.c", "-o", out)
        spec = ObjectSpec.from_bytes(out.read_bytes())
        variables = {v.name: v for v in spec.variables}
        for index, expected in enumerate(source.expected):
            found = variables[f"v{index}"]
            layout = RecordLayout.of(spec.types("the test"), found.type_id)
            assert json.loads(_shown(layout, [found.initial], arena)) == expected


def _shown(layout: RecordLayout, records: Sequence[bytes], arena: Arena) -> bytes:
    output = EventOutput(name="x", types=(RecordType(layout=layout),))
    return Host(partial(assemble, "json", output), arena).format(records)
