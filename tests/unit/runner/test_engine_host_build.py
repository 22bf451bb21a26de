"""How the engine is compiled: the same bytes each time, and by name what is lacking."""

import os
import subprocess
from pathlib import Path

import pytest

from bpfpack.runner.engine import module

REPO = Path(__file__).resolve().parents[3]
SCRIPT = REPO / "scripts/build-engine"


def test_the_same_sources_give_the_same_bytes_which_are_those_installed(tmp_path: Path) -> None:
    """If this fails after a change of the C, ``scripts/build-engine`` was not run."""
    for name in ("one.wasm", "two.wasm"):
        subprocess.run([SCRIPT, tmp_path / name], check=True)
    assert (tmp_path / "one.wasm").read_bytes() == (tmp_path / "two.wasm").read_bytes()
    assert (tmp_path / "one.wasm").read_bytes() == module.FILE.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.wasm", "two.wasm"]


@pytest.mark.parametrize("there", [(), ("clang",)])
def test_what_is_lacking_is_named(tmp_path: Path, there: tuple[str, ...]) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("dirname", "echo", "mktemp", "rm"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    for tool in there:
        # A clang without its linker: it tells the bare name, as the real one does.
        (tools / tool).write_text("#!/bin/sh\necho wasm-ld\n")
        (tools / tool).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", SCRIPT, tmp_path / "engine.wasm"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(tools)},
    )
    lacking = "wasm-ld" if there else "clang"
    assert done.returncode == 1
    assert f"{lacking} not found: install clang and lld" in done.stderr
    assert not (tmp_path / "engine.wasm").exists()
