"""Entering network namespaces; Python has `os.setns` from 3.12 on only."""

import ctypes
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from bpfpack.spec.errors import KernelError

# include/uapi/linux/sched.h
_CLONE_NEWNET: Final = 0x40000000
_MINE: Final = "/proc/thread-self/ns/net"


@functools.cache
def _setns() -> Callable[[int, int], int]:
    bound = ctypes.CDLL(None, use_errno=True).setns
    bound.argtypes, bound.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return bound


def _enter(namespace: int) -> None:
    if _setns()(namespace, _CLONE_NEWNET) < 0:
        code = ctypes.get_errno()
        raise KernelError(code, os.strerror(code), "setns")


@contextmanager
def entered(namespace: int) -> Iterator[None]:
    """Have this thread in the namespace of a descriptor while the block runs.

    What the block opens stays there.  Raises KernelError; needs CAP_SYS_ADMIN.
    """
    try:
        home = os.open(_MINE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise KernelError(e.errno or 0, str(e.strerror), _MINE) from e
    try:
        _enter(namespace)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)
