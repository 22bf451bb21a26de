"""perf_event_open(2), which no libc wraps."""

import ctypes
import functools
import os
from collections.abc import Callable
from typing import Final

from bpfpack.spec.errors import KernelError, Unsupported

# __NR_perf_event_open of each architecture's unistd.h; 241 is asm-generic's.
_NUMBERS: Final = {
    "x86_64": 298,
    "aarch64": 241,
    "riscv64": 241,
    "loongarch64": 241,
    "s390x": 331,
    "ppc64": 319,
    "ppc64le": 319,
}
# include/uapi/linux/perf_event.h
_FLAG_FD_CLOEXEC: Final = 8
_DISABLED: Final = 1 << 0
_FREQUENCY: Final = 1 << 10


class _Attr(ctypes.Structure):
    """``struct perf_event_attr`` in its first version (PERF_ATTR_SIZE_VER0)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
    )


@functools.cache
def _syscall() -> Callable[..., int]:
    bound = ctypes.CDLL(None, use_errno=True).syscall
    bound.restype = ctypes.c_long
    return bound


def open_event(kind: int, config: int, sample: int, *, frequency: bool, cpu: int) -> int:
    """Open a sampling event of all processes on one CPU, not counting yet.

    ``sample`` is a period, or a frequency in Hz.  Raises KernelError, Unsupported.
    """
    flags = _DISABLED | _FREQUENCY * frequency
    attr = _Attr(type=kind, size=ctypes.sizeof(_Attr), config=config, sample=sample, flags=flags)
    return open_attr(attr, cpu)


def open_attr(attr: ctypes.Structure, cpu: int) -> int:
    """Open an event of all processes on one CPU; raises KernelError, Unsupported."""
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        raise Unsupported("perf_event", f"not known how to open one on {os.uname().machine}")
    fd = _syscall()(
        *(ctypes.c_long(number), ctypes.byref(attr), ctypes.c_long(-1), ctypes.c_long(cpu)),
        *(ctypes.c_long(-1), ctypes.c_long(_FLAG_FD_CLOEXEC)),
    )
    if fd < 0:
        code = ctypes.get_errno()
        raise KernelError(code, os.strerror(code), "perf_event_open")
    return fd
