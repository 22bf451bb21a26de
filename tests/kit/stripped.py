"""Programs without symbols, and the files that those were moved to."""

import lzma
from pathlib import Path

from tests.kit.objects import run, tool

SOURCE = """
#include <unistd.h>
int first(int n) { return n + 1; }
static __attribute__((used)) int second(int n) { return first(n); }
__attribute__((noreturn)) static void never(void) { _exit(0); }
int main(void) { char c; read(0, &c, 1); second(1); never(); }
"""


def compiled(folder: Path, *flags: str) -> Path:
    """A program that waits until its input ends."""
    (folder / "a.c").write_text(SOURCE)
    run(tool("cc"), "-O0", "-w", *flags, "-o", folder / "program", folder / "a.c")
    return folder / "program"


def debug_file(path: Path, to: Path) -> Path:
    """Move a program's symbols into a file of their own."""
    to.parent.mkdir(parents=True, exist_ok=True)
    run(tool("objcopy"), "--only-keep-debug", path, to)
    run(tool("strip"), path)
    return to


def packed(path: Path, data: bytes) -> None:
    """Put data where a program has its packed symbols."""
    section = path.parent / "section"
    section.write_bytes(data)
    run(tool("objcopy"), "--add-section", f".gnu_debugdata={section}", path)


def linked_program(folder: Path) -> bytes:
    """A program that names a debug file, and has its symbols packed as well."""
    path = compiled(folder)
    moved = debug_file(path, folder / "program.debug")
    packed(path, lzma.compress(moved.read_bytes()))
    run(tool("objcopy"), f"--add-gnu-debuglink={moved}", path)
    return path.read_bytes()
