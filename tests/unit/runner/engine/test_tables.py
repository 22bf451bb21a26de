"""The structs of the image are those of the C."""

import re
import struct
import subprocess
from pathlib import Path
from typing import Final

import pytest

from bpfpack.runner.engine import image
from bpfpack.runner.engine.operations import Kind, Style
from tests.kit.enginehost import SOURCES, WARNINGS, sources

_STRUCTS: Final = {
    "bp_text": image.TEXT,
    "bp_field": image.FIELD,
    "bp_label": image.LABEL,
    "bp_labels": image.LABELS,
    "bp_flags": image.FLAGS,
    "bp_op": image.OP,
    "bp_type": image.TYPE,
    "bp_case": image.CASE,
    "bp_range": image.RANGE,
    "bp_zone": image.ZONE,
    "bp_program": image.PROGRAM,
}


@pytest.mark.parametrize("flags", [("-m64",), ("--target=wasm32",)])
def test_structs_have_the_size_that_is_packed(tmp_path: Path, flags: tuple[str, ...]) -> None:
    checks = [
        f'_Static_assert(sizeof(struct {name}) == {layout.size}, "{name}");'
        for name, layout in _STRUCTS.items()
    ]
    checks += [
        '_Static_assert(__builtin_offsetof(struct bp_program, columns) == 32, "columns");',
        '_Static_assert(__builtin_offsetof(struct bp_program, widths) == 72, "widths");',
        '_Static_assert(__builtin_offsetof(struct bp_program, utc_second) == 136, "utc");',
    ]
    source = tmp_path / "check.c"
    source.write_text('#include "table.h"\n' + "\n".join(checks) + "\n")
    command = ["clang", "-std=c11", *flags, "-fsyntax-only", f"-I{SOURCES}", str(source)]
    subprocess.run(command, check=True)


def test_packed_structs_have_no_gaps() -> None:
    for name, layout in _STRUCTS.items():
        aligned = struct.Struct(layout.format.replace("<", "@"))
        assert aligned.size == layout.size, name


@pytest.mark.parametrize(("name", "kinds"), [("bp_kind", Kind), ("bp_style", Style)])
def test_numbers_have_their_names(name: str, kinds: type[Kind] | type[Style]) -> None:
    text = (SOURCES / "table.h").read_text()
    found = re.search(rf"enum {name} {{(.*?)}};", text, re.DOTALL)
    assert found is not None
    body = re.sub(r"/\*.*?\*/", "", found[1], flags=re.DOTALL)
    names = [word.strip().removeprefix("BP_") for word in body.split(",") if word.strip()]
    assert names == [kind.name for kind in kinds]


@pytest.mark.parametrize("compiler", ["clang", "clang-16", "clang-19"])
@pytest.mark.parametrize("flags", [("-m64",), ("--target=wasm32", "-matomics", "-mbulk-memory")])
def test_compilers_have_nothing_to_say(
    tmp_path: Path, compiler: str, flags: tuple[str, ...]
) -> None:
    for source in sources():
        command = [compiler, "-std=c11", "-O2", "-ffreestanding", *flags, *WARNINGS]
        subprocess.run([*command, "-c", "-o", str(tmp_path / "x.o"), source], check=True)
