"""Memory at an address: pages put there, and views that keep alive what they look into."""

import ctypes
import functools
import mmap
import os
from collections.abc import Callable
from typing import Final

from bpfpack.spec.errors import KernelError

# include/uapi/asm-generic/mman-common.h
_MAP_FIXED: Final = 0x10
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_MADV_DONTNEED: Final = 4


@functools.cache
def _mmap() -> Callable[..., int]:
    bound = ctypes.CDLL(None, use_errno=True).mmap
    bound.argtypes = [
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
        *(ctypes.c_int, ctypes.c_int, ctypes.c_long),
    ]
    bound.restype = ctypes.c_void_p
    return bound


def put(address: int, size: int, fd: int, offset: int, *, writable: bool) -> None:
    """Map a file's pages at an address, in place of what is there; raises KernelError."""
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    _map(address, size, protection, mmap.MAP_SHARED, fd, offset)


def blank(address: int, size: int) -> None:
    """Put pages of zeroes at an address, in place of what is there; raises KernelError."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    _map(address, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)


def _map(address: int, size: int, protection: int, flags: int, fd: int, offset: int) -> None:
    found = _mmap()(address, size, protection, flags | _MAP_FIXED, fd, offset)
    if found == _MAP_FAILED:
        code = ctypes.get_errno()
        raise KernelError(code, os.strerror(code), "mmap")


def discard(address: int, size: int) -> None:
    """Let go of pages, which are then those of their file again; raises KernelError.

    What was written to them is lost.
    """
    advise = ctypes.CDLL(None, use_errno=True).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if advise(address, size, _MADV_DONTNEED):
        code = ctypes.get_errno()
        raise KernelError(code, os.strerror(code), "madvise")


def window(address: int, size: int, owner: object) -> memoryview:
    """A writable view of memory that ``owner`` frees when it dies, which the view prevents."""
    looked_into = (ctypes.c_ubyte * size).from_address(address)
    looked_into.owner = owner  # type: ignore[attr-defined]  # what a memoryview keeps is its object
    return memoryview(looked_into).cast("B")
