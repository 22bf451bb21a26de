"""Names of the functions of processes that have a root of their own."""

import subprocess
from pathlib import Path

import pytest

from bpfpack.runner.symbols.user import UserSymbols
from tests.kit.kernelobjects import eventually
from tests.kit.stripped import compiled
from tests.unit.runner.test_stack_symbols import code_offset

pytestmark = pytest.mark.kernel

CONTAINER = """
mount --bind "$1" "$1" && cd "$1" && mkdir -p old proc && pivot_root . old && exec /program
"""


@pytest.mark.parametrize("how", ["chroot", "container"])
def test_functions_of_a_process_with_another_root(tmp_path: Path, how: str) -> None:
    path = compiled(tmp_path, "-static")
    offset, _ = code_offset(path, "first")
    command = ["chroot", str(tmp_path), "/program"]
    if how == "container":
        command = ["unshare", "-m", "sh", "-c", CONTAINER, "sh", str(tmp_path)]
    symbols = UserSymbols()
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        comm = Path(f"/proc/{process.pid}/comm")
        assert eventually(lambda: comm.read_text() == "program\n")
        maps = Path(f"/proc/{process.pid}/maps")
        assert eventually(lambda: "[vdso]" in maps.read_text())
        (line,) = [x for x in maps.read_text().splitlines() if " r-xp " in x and "/program" in x]
        address = int(line.split("-")[0], 16) + offset - int(line.split()[2], 16)
        (frame,) = symbols.frames(process.pid, [address + 4])
    assert (frame.function, frame.offset) == ("first", 4)
    assert (frame.file == "/program") == (how == "container")
