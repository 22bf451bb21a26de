"""Whether packages can be built on this host."""

from collections.abc import Iterator
from pathlib import Path

from bpfpack.builder import toolchain
from bpfpack.spec.errors import BuildError, UsageError
from bpfpack.spec.finding import Finding


def findings() -> Iterator[Finding]:
    """Look for each tool; never raises for what is missing."""
    for tool in toolchain.PACKAGES:
        yield _tool(tool)
    yield _headers()
    yield _types()


def _tool(name: str) -> Finding:
    try:
        return Finding.ok(name, str(toolchain.find_tool(name)))
    except BuildError as e:
        return Finding.warning(name, f"{e}: `build` needs it", e.hint or f"install {name}")


def _headers() -> Finding:
    try:
        places = toolchain.include_directories(toolchain.architecture())
    except (BuildError, UsageError) as e:
        return Finding.warning("libbpf headers", str(e), e.hint or "install libbpf-dev")
    return Finding.ok("libbpf headers", ", ".join(map(str, places)))


def _types() -> Finding:
    if Path("/sys/kernel/btf/vmlinux").exists():
        return Finding.ok("vmlinux.h", "from this kernel's BTF")
    return Finding.warning(
        "vmlinux.h",
        "this kernel has no BTF to make it from",
        "build with --vmlinux FILE, a vmlinux.h from another host",
    )
