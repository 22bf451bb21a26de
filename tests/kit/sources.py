"""Small projects for the builder: written, built, and what came of them."""

import functools
import tempfile
from pathlib import Path
from typing import Any, Final

from bpfpack.builder.build import BuildOptions, BuildResult, build
from bpfpack.spec.errors import BuildError
from tests.kit.objects import CLANGS, tool

PRELUDE: Final = """#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"
"""
LICENSE: Final = 'char LICENSE[] SEC("license") = "GPL";\n'
RING: Final = """struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} events SEC(".maps");
"""
PROGRAM: Final = 'SEC("raw_tp/sys_enter") int probe(void *ctx) { return 0; }\n'
EXAMPLES: Final = Path(__file__).parents[2] / "examples"


def write_project(directory: Path, files: dict[str, str]) -> Path:
    """Write files, by their names; returns the directory."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def built(
    directory: Path,
    body: str,
    *,
    toml: str | None = None,
    clang: str = "clang",
    **options: Any,
) -> BuildResult:
    """Build ``body``, behind `PRELUDE` and before `LICENSE`, as test.bpf.c of a project."""
    files = {"test.bpf.c": PRELUDE + body + LICENSE}
    if toml is not None:
        files["bpfpack.toml"] = toml
    write_project(directory, files)
    try:
        return build(directory, BuildOptions(clang=clang, **options))
    except BuildError as e:
        e.add_note(e.log)
        raise


def line_in(body: str, fragment: str) -> int:
    """The line of test.bpf.c on which a fragment of the body stands."""
    text = PRELUDE + body
    return text[: text.index(fragment)].count("\n") + 1


def object_of(result: BuildResult) -> bytes:
    """The object inside the package."""
    return result.package.blobs[result.package.manifest.layers[0].digest]


@functools.cache
def _vmlinux_cache() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bpfpack-test-vmlinux-")


@functools.cache
def example(name: str, clang: str = CLANGS[0]) -> BuildResult:
    """Build one of the examples, once a run with each compiler."""
    tool(clang)
    return build(EXAMPLES / name, BuildOptions(clang=clang, cache=shared_cache()))


def shared_cache() -> Path:
    """Where all builds of a run find this kernel's vmlinux.h, which takes a second to make."""
    return Path(_vmlinux_cache().name, "vmlinux")
