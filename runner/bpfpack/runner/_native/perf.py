"""perf_event_open(2), which no libc wraps, and what all who use its events share."""

import ctypes
import functools
import os
import struct
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
TYPE_SOFTWARE: Final = 1
SAMPLE_TIME: Final = 1 << 2
USE_CLOCKID: Final = 1 << 25
FORMAT_LOST: Final = 1 << 4
_FLAG_FD_CLOEXEC: Final = 8
_DISABLED: Final = 1 << 0
_FREQUENCY: Final = 1 << 10
#: What read(2) of an event gives with FORMAT_LOST alone: its value, and the samples lost.
_READ: Final = struct.Struct("=QQ")


class Attr(ctypes.Structure):
    """``struct perf_event_attr`` as of PERF_ATTR_SIZE_VER3, Linux 4.1, which has the clock.

    ``sample`` is a period or a frequency, ``wakeup`` a number of events or of bytes.
    """

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
        ("config2", ctypes.c_uint64),
        ("branch_sample_type", ctypes.c_uint64),
        ("sample_regs_user", ctypes.c_uint64),
        ("sample_stack_user", ctypes.c_uint32),
        ("clockid", ctypes.c_int32),
    )

    def __init__(self, **members: int) -> None:
        super().__init__(size=ctypes.sizeof(self), **members)


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
    return open_attr(Attr(type=kind, config=config, sample=sample, flags=flags), cpu)


def open_attr(attr: Attr, cpu: int) -> int:
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


def lost(fd: int) -> int:
    """Samples that found no room, of an event opened with FORMAT_LOST; raises KernelError."""
    try:
        return int(_READ.unpack(os.read(fd, _READ.size))[1])
    except OSError as e:
        raise KernelError(e.errno or 0, str(e.strerror), "read of a perf event") from e
