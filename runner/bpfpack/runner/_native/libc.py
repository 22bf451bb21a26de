"""The few calls of libc that Python has no function for: mounts, namespaces, privileges, deaths."""

import ctypes
import functools
import os
import signal
from collections.abc import Callable
from typing import Any, Final

from bpfpack.spec.errors import KernelError

# include/uapi/linux/sched.h, mount.h
CLONE_NEWNS: Final = 0x00020000
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REC: Final = 1 << 14
MS_SLAVE: Final = 1 << 19

# asm/unistd.h: of calls made since Linux 5.0 the number is the same on all architectures here.
_NR_OPENAT2: Final = 437
# include/uapi/linux/openat2.h
_RESOLVE_IN_ROOT: Final = 0x10

# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38

# include/uapi/linux/capability.h
_CAPABILITY_VERSION_3: Final = 0x20080522
# include/uapi/linux/inotify.h
_IN_DELETE: Final = 0x200
_IN_ONLYDIR: Final = 0x01000000


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


_PROTOTYPES: Final[dict[str, tuple[Any, ...]]] = {
    "capget": (ctypes.POINTER(_CapHeader), ctypes.POINTER(_CapData)),
    "capset": (ctypes.POINTER(_CapHeader), ctypes.POINTER(_CapData)),
    "inotify_add_watch": (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32),
    "inotify_init1": (ctypes.c_int,),
    "mount": (
        *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p),
        *(ctypes.c_ulong, ctypes.c_void_p),
    ),
    "prctl": (ctypes.c_int, *4 * (ctypes.c_ulong,)),
    "syscall": (
        *(ctypes.c_long, ctypes.c_long, ctypes.c_char_p),
        *(ctypes.POINTER(_OpenHow), ctypes.c_size_t),
    ),
    "unshare": (ctypes.c_int,),
}


def _check(result: int, function: Any, args: tuple[Any, ...]) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise KernelError(code, os.strerror(code), function.__name__)
    return result


@functools.cache
def _fn(name: str) -> Callable[..., int]:
    bound = getattr(ctypes.CDLL(None, use_errno=True), name)
    bound.argtypes, bound.restype, bound.errcheck = _PROTOTYPES[name], ctypes.c_int, _check
    return bound  # type: ignore[no-any-return]


def unshare_mounts() -> None:
    """Give this thread, and what it starts, a mount namespace of its own; raises KernelError."""
    _fn("unshare")(CLONE_NEWNS)


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    """Call mount(2); raises KernelError."""
    _fn("mount")(source.encode(), target.encode(), kind and kind.encode(), flags, None)


def open_in_root(root: int, path: str, flags: int) -> int:
    """Open ``path`` as a process whose root is the directory ``root`` would.

    Neither a symbolic link nor ``..`` leads out of it (openat2(2), Linux 5.6).
    Raises KernelError.
    """
    how = _OpenHow(flags=flags | os.O_CLOEXEC, resolve=_RESOLVE_IN_ROOT)
    return _fn("syscall")(_NR_OPENAT2, root, os.fsencode(path), how, ctypes.sizeof(how))


def inotify() -> int:
    """Open an inotify(7) descriptor that never waits; raises KernelError."""
    return _fn("inotify_init1")(os.O_NONBLOCK | os.O_CLOEXEC)


def watch_deletions(fd: int, directory: str) -> None:
    """Be told when something in a directory is deleted; raises KernelError."""
    _fn("inotify_add_watch")(fd, os.fsencode(directory), _IN_DELETE | _IN_ONLYDIR)


def capabilities() -> int:
    """The effective set of this thread, bit by capability."""
    data = (_CapData * 2)()
    _fn("capget")(ctypes.byref(_CapHeader(_CAPABILITY_VERSION_3, 0)), data)
    return int(data[0].effective | data[1].effective << 32)


def set_no_new_privileges() -> None:
    """Let no program that this thread executes gain a privilege; raises KernelError."""
    _fn("prctl")(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Have this process killed once the thread that forked it ends; raises KernelError.

    Forgotten by the kernel when it executes what changes its user, group or capabilities
    (PR_SET_PDEATHSIG(2const)).
    """
    _fn("prctl")(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def set_capabilities(mask: int) -> None:
    """Keep no more than ``mask`` in this thread, for good; raises KernelError."""
    data = (_CapData * 2)()
    for i in range(2):
        part = mask >> 32 * i & 0xFFFFFFFF
        data[i].effective = data[i].permitted = part
    _fn("capset")(ctypes.byref(_CapHeader(_CAPABILITY_VERSION_3, 0)), data)
