"""Programs and libraries as somebody sees them: this host, a container, one process.

A path of a container is followed inside of its root: there a symbolic link to
``/lib/libc.so.6`` means the container's library and never the host's.
"""

import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bpfpack.runner._native import libc
from bpfpack.runner.attach.attachments import FileIdentity, Located
from bpfpack.runner.attach.symbols import ElfFile
from bpfpack.spec.errors import KernelError, SpecError, UsageError
from bpfpack.spec.limits import LIMITS

_PROC_ROOT: Final = re.compile(r"(/proc/(?:self|[1-9][0-9]*)/root)(/.*)")
# elf/dl-cache.h of glibc: struct cache_file_new, struct file_entry_new.
_CACHE: Final = "/etc/ld.so.cache"
_CACHE_MAGIC: Final = b"glibc-ld.so.cache1.1"
_CACHE_HEAD: Final = struct.Struct("=20sII20x")
_CACHE_ENTRY: Final = struct.Struct("=iIIIQ")
_DIRECTORIES: Final = (
    *("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"),
    *("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"),
)


@contextmanager
def opened(place: Located) -> Iterator[int]:
    """Open a regular file for reading; raises UsageError that says why not."""
    try:
        # O_NONBLOCK: a fifo must not hold us up.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(place.path, flags) if place.root == "/" else _open_inside(place, flags)
    except (OSError, ValueError) as e:
        told = getattr(e, "strerror", None) or str(e)
        raise UsageError(f"{place}: {told}") from e
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"{place}: not a file")
        yield fd
    finally:
        os.close(fd)


def _open_inside(place: Located, flags: int) -> int:
    root = os.open(place.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return libc.open_in_root(root, place.path, flags)
    finally:
        os.close(root)


def identity(fd: int) -> FileIdentity:
    """What tells the content of an open file from any other."""
    found = os.fstat(fd)
    return FileIdentity(
        device=found.st_dev,
        inode=found.st_ino,
        size=found.st_size,
        modified_ns=found.st_mtime_ns,
    )


def locate(file: str, pid: int | None) -> Located:
    """Return where a path, or the name of a library or program, is; raises UsageError."""
    root = "/" if pid is None else f"/proc/{pid}/root"
    if pid is not None and not Path("/proc", str(pid)).is_dir():
        raise UsageError(f"there is no process {pid}")
    if "/" in file:
        return _path(file, root)
    for found in _candidates(file, root, pid):
        if _is_ours(found):
            return found
    raise UsageError(f"no library or program is called {file!r}").with_hint("give its whole path")


def _path(file: str, root: str) -> Located:
    if root == "/" and (container := _PROC_ROOT.fullmatch(file)):
        return Located(root=container[1], path=container[2])
    if root != "/" and not file.startswith("/"):
        raise UsageError(f"{file}: a path in another process is absolute")
    return Located(root=root, path=str(Path.cwd() / file))


def _candidates(name: str, root: str, pid: int | None) -> Iterator[Located]:
    """Files that a name may mean: what is mapped, then programs, then libraries."""
    library = re.compile(rf"(?:lib)?{re.escape(name)}(?:\.so(?:\.[0-9.]+)?)?")
    if pid is not None:
        for path, mapped in _mapped(pid):
            if library.fullmatch(path.rpartition("/")[2]):
                yield Located(root=root, path=path)
                yield Located(root="/", path=mapped)
    if not re.match(r"lib.+|.+\.so(\.|$)", name):
        for folder in _program_folders(root):
            yield Located(root=root, path=f"{folder}/{name}")
    for path in _cached(root):
        if library.fullmatch(path.rpartition("/")[2]):
            yield Located(root=root, path=path)
    for folder in _DIRECTORIES:
        yield Located(root=root, path=f"{folder}/{name}")


def _program_folders(root: str) -> list[str]:
    if root != "/":
        return []
    return [folder for folder in os.get_exec_path() if folder.startswith("/")]


def _mapped(pid: int) -> Iterator[tuple[str, str]]:
    """The files that a process has mapped as code: each path, and where the file itself is.

    The path is that of the process, unless it has changed its root (proc_pid_maps(5)).
    """
    maps = _read(Located(root="/", path=f"/proc/{pid}/maps"), LIMITS.process_maps)
    for line in maps.splitlines():
        columns = line.split(None, 5)
        if len(columns) == 6 and b"x" in columns[1] and columns[5].startswith(b"/"):
            # The one file pads the addresses with zeros, the other does not.
            start, end = (int(address, 16) for address in columns[0].split(b"-"))
            yield os.fsdecode(columns[5]), f"/proc/{pid}/map_files/{start:x}-{end:x}"


def _cached(root: str) -> Iterator[str]:
    """The libraries of ld.so.cache(8), in its order."""
    data = _read(Located(root=root, path=_CACHE), LIMITS.library_cache)
    if len(data) < _CACHE_HEAD.size:
        return
    magic, count, _ = _CACHE_HEAD.unpack_from(data)
    if magic != _CACHE_MAGIC:
        return
    for i in range(count):
        start = _CACHE_HEAD.size + i * _CACHE_ENTRY.size
        if start + _CACHE_ENTRY.size > len(data):
            return
        _, _, value, _, _ = _CACHE_ENTRY.unpack_from(data, start)
        end = data.find(b"\0", value)
        if value < end:
            yield os.fsdecode(data[value:end])


def _read(place: Located, most: int) -> bytes:
    """Read a small file that may be missing."""
    try:
        with opened(place) as fd, open(fd, "rb", closefd=False) as file:
            return file.read(most)
    except (UsageError, OSError):
        return b""


def _is_ours(place: Located) -> bool:
    """Whether it is a program or library of this machine, not of another one that it runs too."""
    try:
        with opened(place) as fd, opened(Located(root="/", path="/proc/self/exe")) as own:
            return ElfFile(fd).machine == ElfFile(own).machine
    except (UsageError, SpecError, KernelError):
        return False
