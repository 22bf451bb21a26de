"""Symbols that were stripped from a program, and where they went.

GDB's manual, "Debugging Information in Separate Files" and "MiniDebugInfo": a file named by the
build ID, one named by ``.gnu_debuglink``, or packed into the program itself.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from bpfpack.runner.attach.attachments import Located
from bpfpack.runner.attach.files import opened
from bpfpack.runner.attach.symbols import ElfFile
from bpfpack.runner.symbols.functions import Symbols
from bpfpack.spec.errors import KernelError, SpecError, UsageError
from bpfpack.spec.limits import LIMITS

_DEBUG: Final = "/usr/lib/debug"
_LINK: Final = 4096
_CHUNK: Final = 1024 * 1024


def stripped_symbols(elf: ElfFile, path: str, roots: Iterable[str]) -> Symbols | None:
    """The symbols that belong to a file, of its own ``path`` below one of ``roots``.

    What is no debug file, or that of another program, is passed over.
    """
    for root in roots:
        for place, checksum in _places(elf, path, root):
            if (found := _read(place, elf, checksum)) is not None:
                return found
    try:
        return _packed(elf)
    except SpecError:
        return None


def _places(elf: ElfFile, path: str, root: str) -> Iterator[tuple[Located, int | None]]:
    """Where a debug file may be, and the checksum that it has if it has no build ID."""
    try:
        build_id, link = elf.build_id().hex(), elf.section(b".gnu_debuglink", _LINK)
    except SpecError:
        return
    if len(build_id) > 2:
        name = f"{_DEBUG}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"
        yield Located(root=root, path=name), None
    if link is None or len(link) < 8:
        return
    name, folder = os.fsdecode(link.partition(b"\0")[0]), path.rpartition("/")[0]
    if not name or "/" in name:
        return
    (checksum,) = struct.unpack(f"{elf.order}I", link[-4:])
    for place in (f"{folder}/{name}", f"{folder}/.debug/{name}", f"{_DEBUG}{folder}/{name}"):
        if place != path:
            yield Located(root=root, path=place), checksum


def _read(place: Located, of: ElfFile, checksum: int | None) -> Symbols | None:
    try:
        with opened(place) as fd:
            elf = ElfFile(fd)
            if build_id := of.build_id():
                right = elf.build_id() == build_id
            else:
                right = _checksum(fd) == checksum
            return Symbols.of(elf, exported=False) if right else None
    except (UsageError, KernelError, SpecError):
        return None


def _checksum(fd: int) -> int | None:
    """The CRC-32 of a file, None for one that is too large to be read for that."""
    size = os.fstat(fd).st_size
    if size > LIMITS.symbol_table:
        return None
    found = 0
    for at in range(0, size, _CHUNK):
        found = zlib.crc32(os.pread(fd, _CHUNK, at), found)
    return found


def _packed(elf: ElfFile) -> Symbols | None:
    """The symbols in ``.gnu_debugdata``: an ELF file, compressed by xz."""
    data = elf.section(b".gnu_debugdata", LIMITS.debug_data)
    if data is None:
        return None
    import lzma

    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LIMITS.debug_data_unpacked)
    try:
        unpacked = unpacker.decompress(data, LIMITS.debug_data_unpacked)
    except (lzma.LZMAError, MemoryError) as e:
        raise SpecError(f"cannot be unpacked: {e}", path=(".gnu_debugdata",)) from e
    with in_memory(unpacked) as fd:
        return Symbols.of(ElfFile(fd), exported=False)


@contextmanager
def in_memory(data: bytes) -> Iterator[int]:
    """A file that holds ``data``."""
    fd = os.memfd_create("bpfpack", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        yield fd
    finally:
        os.close(fd)
