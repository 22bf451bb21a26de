"""Iterators: programs that print one text each time they are read."""

import errno
import os
from typing import Final

from bpfpack.runner._native.libbpf import fn
from bpfpack.runner._native.objects import NativeLink, NativeProgram
from bpfpack.spec.errors import KernelError
from bpfpack.spec.limits import LIMITS

_CHUNK: Final = 256 * 1024


class TextLink:
    """An iterator that can be read, again and again, until it is closed."""

    def __init__(self, program: str, native: NativeLink) -> None:
        self._program, self._native = program, native

    def read(self) -> bytes:
        """Walk once over all that it iterates, and return what it prints; raises KernelError."""
        fd = fn("bpf_iter_create")(self._native.fd)
        try:
            return self._read(fd)
        finally:
            os.close(fd)

    def _read(self, fd: int) -> bytes:
        found = bytearray()
        while True:
            try:
                part = os.read(fd, _CHUNK)
            except OSError as e:
                # bpf_seq_read drops what a program prints beyond 8 pages for one object.
                raise KernelError(e.errno or 0, str(e.strerror), f"iterator {self._program}") from e
            if not part:
                return bytes(found)
            found += part
            if len(found) > LIMITS.iterator_text:
                told = f"prints more than {LIMITS.iterator_text} bytes"
                raise KernelError(errno.EFBIG, told, f"iterator {self._program}")

    def close(self) -> None:
        """Free it; a second call does nothing."""
        self._native.close()


def attach(program: NativeProgram) -> TextLink:
    """Make a program that was loaded for an iterator readable; raises KernelError."""
    return TextLink(program.name, program.attach_iter())
