"""The tools that a build needs, and the package of each that is missing."""

import os
import platform
import re
import shutil
from pathlib import Path
from typing import Final

from bpfpack.spec.errors import BuildError, UsageError
from bpfpack.spec.value import valuetype

#: Tool to Debian's package of it.
PACKAGES: Final = {"clang": "clang", "llvm-strip": "llvm", "bpftool": "bpftool"}
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"
_BPF_HEADERS: Final = ("/usr/local/include", "/usr/include")


@valuetype
class Architecture:
    """A target: its name to users, for `bpf_tracing.h` and in Debian's include path."""

    name: str
    define: str
    multiarch: str


ARCHITECTURES: Final = {
    a.name: a
    for a in (
        Architecture(name="x86_64", define="x86", multiarch="x86_64-linux-gnu"),
        Architecture(name="aarch64", define="arm64", multiarch="aarch64-linux-gnu"),
        Architecture(name="riscv64", define="riscv", multiarch="riscv64-linux-gnu"),
        Architecture(name="ppc64le", define="powerpc", multiarch="powerpc64le-linux-gnu"),
        Architecture(name="armv7", define="arm", multiarch="arm-linux-gnueabihf"),
        Architecture(name="loongarch64", define="loongarch", multiarch="loongarch64-linux-gnu"),
    )
}
_ALIASES: Final = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armv7l": "armv7",
    "arm": "armv7",
    "ppc64el": "ppc64le",
}


def architecture(name: str | None = None) -> Architecture:
    """Return a target by uname's or Go's name, this machine's when None; raises UsageError.

    >>> architecture("linux/arm64").define
    'arm64'
    """
    asked = (name or platform.machine()).removeprefix("linux/")
    found = ARCHITECTURES.get(_ALIASES.get(asked, asked))
    if found is None:
        raise UsageError(f"no architecture {asked!r}").with_hint(
            f"one of {', '.join(ARCHITECTURES)}"
        )
    return found


def find_tool(name: str) -> Path:
    """Return the absolute path of a tool, ``clang-19`` among them; raises BuildError.

    Debian gives a versioned `llvm-strip-N` to who installs `clang-N` alone: any will do.
    """
    path = f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"
    found = shutil.which(name, path=path)
    if found is None and name == "llvm-strip":
        found = next(
            filter(None, (shutil.which(f"{name}-{v}", path=path) for v in _VERSIONS)), None
        )
    if found is None:
        if (package := _package(name)) is None:
            raise BuildError(f"{name!r} is not a program that is here")
        raise BuildError(f"{name} is not installed").with_hint(
            f"Debian, Ubuntu: apt install {package}"
        )
    return Path(found).absolute()


_VERSIONS: Final = range(30, 13, -1)


def _package(tool: str) -> str | None:
    """Return Debian's package of a tool, None for what it does not have."""
    if re.fullmatch(r"clang-[0-9]{1,2}", tool):
        return tool
    return PACKAGES.get(tool)


def include_directories(target: Architecture) -> tuple[Path, ...]:
    """Return the system's header directories for a target; raises BuildError without libbpf's."""
    if not any(Path(place, "bpf/bpf_helpers.h").is_file() for place in _BPF_HEADERS):
        raise BuildError("libbpf's headers (bpf/bpf_helpers.h) are not installed").with_hint(
            "Debian, Ubuntu: apt install libbpf-dev"
        )
    places = [Path(place) for place in _BPF_HEADERS]
    return tuple(p for p in (*places, Path("/usr/include", target.multiarch)) if p.is_dir())
