"""The structs of columns are those of the C."""

import subprocess
from pathlib import Path

import pytest

from bpfpack.runner.columns.schema import Slot
from bpfpack.runner.columns.tables import CELL, COLUMN, FILL
from tests.kit.enginehost import SOURCES


@pytest.mark.parametrize("flags", [("-m64",), ("--target=wasm32",)])
def test_structs_and_numbers_are_those_that_are_packed(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    structs = {"bp_column": COLUMN, "bp_cell": CELL, "bp_fill": FILL}
    checks = [
        f'sizeof(struct {name}) == {layout.size}, "{name}"' for name, layout in structs.items()
    ]
    checks += [f'BP_SLOT_{slot.name} == {slot.value}, "{slot.name}"' for slot in Slot]
    source = tmp_path / "check.c"
    lines = [f"_Static_assert({check});" for check in checks]
    source.write_text('#include "fill.h"\n' + "\n".join(lines) + "\n")
    command = ["clang", "-std=c11", *flags, "-fsyntax-only", f"-I{SOURCES}", str(source)]
    subprocess.run(command, check=True)
