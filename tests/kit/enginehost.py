"""The engine's C as a native library: one arena, and records that are staged in it.

Everything around what a call may touch can be poisoned, so that under AddressSanitizer any read
past a record and any write past the bound of a line ends the process.
"""

import ctypes
import functools
import os
import struct
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

SOURCES: Final = Path(__file__).resolve().parents[2] / "runner/engine"
WARNINGS: Final = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
_RUN: Final = struct.Struct("<6I3Q4I")
_HEADER: Final = struct.Struct("<2I")
_WIDTHS: Final = struct.Struct("<2I")
#: Of the address and number of the widths in ``struct bp_program``.
_WIDTHS_AT: Final = 72
_ARENA: Final = 16 * 1024 * 1024
#: Where things lie; the image is last.
_CALL, _OUTPUT, _OUTPUT_SIZE = 64, 4096, 4 * 1024 * 1024
_STAGED: Final = _OUTPUT + _OUTPUT_SIZE + 4096
_STAGED_SIZE: Final = 4 * 1024 * 1024
IMAGE: Final = _STAGED + _STAGED_SIZE + 4096
EMPTY, BUSY, FULL, MOST, ROOM = range(5)
BUSY_BIT, DISCARD_BIT = 1 << 31, 1 << 30


def sources() -> list[str]:
    """The engine's C files."""
    return [str(path) for path in sorted(SOURCES.glob("*.c"))]


@functools.cache
def library(*flags: str, compiler: str = "clang") -> ctypes.CDLL:
    """Compile the engine and load it."""
    with tempfile.TemporaryDirectory(prefix="engine-") as directory:
        out = Path(directory) / "engine.so"
        command = [
            *(compiler, "-std=c11", "-O1", "-g", "-ffreestanding", "-shared", "-fPIC", *WARNINGS),
            *(*flags, "-o", str(out), *sources()),
        ]
        subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C"})
        found = ctypes.CDLL(str(out))
    found.bp_run.argtypes, found.bp_run.restype = [ctypes.c_uint32], None
    return found


def staged(records: Sequence[bytes], bits: int = 0) -> bytes:
    """Records as they lie in a ring buffer; ``bits`` are set in the header of the last."""
    data = bytearray()
    for i, record in enumerate(records):
        flags = bits if i == len(records) - 1 else 0
        data += _HEADER.pack(len(record) | flags, 0) + record + bytes(-len(record) % 8)
    return bytes(data)


class Result(NamedTuple):
    """What a call gave."""

    output: bytes
    taken: int
    shown: int
    status: int
    needed: int


class Arena:
    """The memory of a library; it can be used again, by one host at a time."""

    def __init__(self, of: ctypes.CDLL | None = None) -> None:
        self.library = of or library()
        self._memory = ctypes.create_string_buffer(_ARENA)
        self.view = memoryview(self._memory).cast("B")

    def call(self) -> None:
        """Call the engine."""
        address = ctypes.c_void_p.in_dll(self.library, "bp_arena")
        address.value = ctypes.addressof(self._memory)
        self.library.bp_run(_CALL)


class Host:
    """An image in an arena, and records that are staged for it."""

    def __init__(self, assemble: Callable[[int], bytes], arena: Arena | None = None) -> None:
        self._arena = arena or Arena()
        self._view = self._arena.view
        self.image = assemble(IMAGE)
        self._view[IMAGE : IMAGE + len(self.image)] = self.image
        self.staged = self.staged_end = _STAGED

    def stage(self, data: bytes) -> None:
        """Put what `staged` made."""
        self.staged, self.staged_end = _STAGED, _STAGED + len(data)
        self._view[_STAGED : self.staged_end] = data

    def run(self, *, most: int = 1 << 40, size: int = _OUTPUT_SIZE) -> Result:
        """Call the engine once."""
        _RUN.pack_into(
            *(self._view, _CALL, IMAGE, 0, self.staged, self.staged_end, _OUTPUT, size),
            *(most, 0, 0, 0, 0, 0, 0),
        )
        self._arena.call()
        found = _RUN.unpack_from(self._view, _CALL)
        self.staged = found[2]
        taken, shown, written, needed, status = found[7:12]
        output = bytes(self._view[_OUTPUT : _OUTPUT + written])
        return Result(output, taken, shown, status, needed)

    def format(self, records: Sequence[bytes], *, size: int | None = None) -> bytes:
        """All records, in as many calls as room for ``size`` bytes takes."""
        self.stage(staged(records))
        output, taken, room = b"", 0, _OUTPUT_SIZE if size is None else size
        while True:
            found = self.run(size=room)
            assert len(found.output) <= room
            output, taken = output + found.output, taken + found.taken
            if found.status == ROOM:
                assert found.needed > room
                room = found.needed
            elif found.status != FULL:
                assert (found.status, taken) == (EMPTY, len(records)), found
                return output

    def widths(self) -> list[int]:
        """How wide the columns of a table are by now."""
        at, count = _WIDTHS.unpack_from(self._view, IMAGE + _WIDTHS_AT)
        return list(struct.unpack_from(f"<{count}I", self._view, at))

    def tell(self, head: bytes) -> None:
        """Change how the image begins."""
        self._view[IMAGE : IMAGE + len(head)] = head
