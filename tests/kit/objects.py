"""Compiles the objects of `tests/testdata`, once a run with each compiler."""

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import pytest

TESTDATA: Final = Path(__file__).parent.parent / "testdata"
CLANGS: Final = ("clang-14", "clang-16", "clang-19")
TARGETS: Final = ("bpfel", "bpfeb")


def tool(name: str) -> str:
    """Return the path of a program, or skip the test."""
    for folder in (None, "/usr/sbin:/sbin"):
        if found := shutil.which(name, path=folder):
            return found
    pytest.skip(f"needs {name}")


def run(*command: str | Path) -> str:
    """Run a program that must succeed, and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def compiled(
    name: str, clang: str = CLANGS[0], target: str = "bpfel", *flags: str, debug: bool = True
) -> Path:
    """Return the object made of ``name.bpf.c``."""
    flags = (*flags, "-g") if debug else flags
    out = _directory() / f"{name}.{clang}.{target}{''.join(flags)}.o"
    run(
        *(tool(clang), *flags, "-O2", "-Wall", "-Werror", "-target", target),
        *("-c", TESTDATA / f"{name}.bpf.c", "-o", out),
    )
    return out


@functools.cache
def stripped(source: Path) -> Path:
    """Return the object without DWARF."""
    out = source.with_suffix(".stripped.o")
    run(tool("llvm-strip"), "-g", source, "-o", out)
    return out


@functools.cache
def linked(*sources: Path) -> Path:
    """Return the objects linked into one."""
    out = _directory() / ("+".join(s.stem for s in sources) + ".linked.o")
    run(tool("bpftool"), "gen", "object", out, *sources)
    return out


@functools.cache
def _directory() -> Path:
    path = Path(tempfile.mkdtemp(prefix="bpfpack-objects-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path
