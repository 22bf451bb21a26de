"""vmlinux.h: the kernel's types as one header, made by bpftool from BTF."""

import os
import struct
import tempfile
from pathlib import Path
from typing import Final

from bpfpack.builder import sandbox
from bpfpack.builder.sandbox import Identity
from bpfpack.builder.toolchain import find_tool
from bpfpack.spec.errors import BuildError, LimitExceeded
from bpfpack.spec.limits import LIMITS

KERNEL_BTF: Final = Path("/sys/kernel/btf/vmlinux")
_NOTES: Final = Path("/sys/kernel/notes")
_NT_GNU_BUILD_ID: Final = 3
_BTF_MAGIC: Final = (b"\x9f\xeb", b"\xeb\x9f")
_ELF_MAGIC: Final = b"\x7fELF"


def running_kernel(cache: Path | None = None) -> bytes:
    """Return the header of the running kernel, kept in ``cache`` by its build id.

    Raises BuildError when the kernel has no BTF.
    """
    if not KERNEL_BTF.exists():
        raise BuildError(f"this kernel has no BTF ({KERNEL_BTF})").with_hint(
            "give the kernel's types with --vmlinux FILE: a vmlinux.h, or BTF"
        )
    build_id = _build_id()
    kept = None if cache is None or build_id is None else cache / f"vmlinux-{build_id}.h"
    if kept is not None and (header := _kept(kept)) is not None:
        return header
    header = _dump(str(KERNEL_BTF), readable=[KERNEL_BTF])
    if kept is not None:
        _keep(kept, header)
    return header


def from_bytes(data: bytes) -> bytes:
    """Return the header that ``data`` is, or that its BTF, raw or in an ELF file, gives.

    Raises BuildError, and LimitExceeded for more than `LIMITS.vmlinux_header` or `.btf`.
    """
    if not may_hold_btf(data):
        if len(data) > LIMITS.vmlinux_header:
            raise LimitExceeded(f"larger than {LIMITS.vmlinux_header} bytes", path=("vmlinux.h",))
        return data
    given = os.memfd_create("btf")
    try:
        with os.fdopen(os.dup(given), "wb") as file:
            file.write(data)
        return _dump(f"/proc/self/fd/{given}", files=(given,))
    finally:
        os.close(given)


def may_hold_btf(data: bytes) -> bool:
    """Say whether ``data`` begins as BTF or an ELF file does."""
    return data.startswith((*_BTF_MAGIC, _ELF_MAGIC))


def _dump(path: str, *, readable: list[Path] | None = None, files: tuple[int, ...] = ()) -> bytes:
    finished = sandbox.run(
        [str(find_tool("bpftool")), "btf", "dump", "file", path, "format", "c"],
        readable=readable or [],
        identity=Identity.current(),
        cwd=Path("/"),
        files=files,
    )
    if finished.code:
        raise BuildError("bpftool cannot read these types", log=finished.messages)
    return finished.output


def _build_id() -> str | None:
    """Return the running kernel's build id (elf(5), "Notes"), None when it has none."""
    try:
        notes = _NOTES.read_bytes()
    except OSError:
        return None
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("=III", notes, at)
        name = notes[at + 12 : at + 12 + name_size]
        at += 12 + (name_size + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and name == b"GNU\0":
            return notes[at : at + size].hex()
        at += size + 3 & ~3
    return None


def _kept(path: Path) -> bytes | None:
    """Return a header kept earlier, if nobody else could have put it there."""
    try:
        place = os.open(path.parent, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
        with os.fdopen(descriptor, "rb") as file:
            ours = _is_ours(place) and _is_ours(descriptor)
            return file.read(LIMITS.vmlinux_header) if ours else None
    except OSError:
        return None
    finally:
        os.close(place)


def _is_ours(descriptor: int) -> bool:
    """Say whether nobody but root and this user can write what is open here."""
    status = os.fstat(descriptor)
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


def _keep(path: Path, header: bytes) -> None:
    """Write a header whole or not at all; a cache that cannot be written is none."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                file.write(header)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError:
        return
