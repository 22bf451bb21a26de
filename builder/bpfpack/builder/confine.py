"""Run one tool with nothing but what it was given; a program of its own, not a module.

    python -I -S confine.py PARENT STATUS_FD UID GID BYTES [READABLE ...] -- TOOL [ARGUMENT ...]

It gives up the user, gains no privileges by exec and lets the kernel's Landlock refuse
every file but those beneath READABLE, every socket and every write to a path (kernel,
Documentation/userspace-api/landlock.rst).  Compilers read what a source names: `#include`,
`#line` with debug information and `.incbin` all end in the object or in a message.
No file that it writes grows beyond BYTES, and it ends when PARENT does.
Where the kernel has no Landlock, "unconfined" is written to STATUS_FD.
"""

import ctypes
import os
import resource
import signal
import struct
import sys
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38

# LANDLOCK_ACCESS_FS_*, by the version that brought them: 13 of them, REFER, TRUNCATE, IOCTL_DEV.
_ACCESS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_EXECUTE, _READ_FILE, _READ_DIR = 1, 1 << 2, 1 << 3

_libc = ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *args: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *args)
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result


def _version() -> int:
    """Return the version of Landlock, 0 without it."""
    try:
        return _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    except OSError:
        return 0


def _ruleset(version: int) -> int:
    access = _ACCESS[max(v for v in _ACCESS if v <= version)]
    # TCP bind and connect came with 4, abstract sockets and signals with 6.
    words = (access,) if version < 4 else (access, 3) if version < 6 else (access, 3, 3)
    attributes = struct.pack(f"={len(words)}Q", *words)
    return _syscall(
        _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )


def _allow(ruleset: int, path: Path) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    rights = _EXECUTE | _READ_FILE | (_READ_DIR if path.is_dir() else 0)
    rule = struct.pack("=Qi", rights, beneath)
    _syscall(
        _ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0)
    )
    os.close(beneath)


def _give_up(uid: int, gid: int) -> None:
    """Become ``uid`` when root; gain nothing by exec."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot set no_new_privs")


def _end_with(parent: int) -> None:
    """Be killed when ``parent`` ends; a change of user would undo it."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it was quicker
        sys.exit(1)


def _bound(most: int) -> None:
    """Write no core and no large file; let the signals end the tool that Python ignores."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def main(arguments: list[str]) -> None:
    """Confine this process and become the tool."""
    parent, status, uid, gid, most = (int(a) for a in arguments[:5])
    split = arguments.index("--")
    readable, command = arguments[5:split], arguments[split + 1 :]
    version = _version()
    ruleset = _ruleset(version) if version else None
    for path in readable if ruleset is not None else ():
        _allow(ruleset, Path(path))  # type: ignore[arg-type]  # not None here
    _give_up(uid, gid)
    _end_with(parent)
    _bound(most)
    if ruleset is None:
        os.write(status, b"unconfined")
    else:
        _syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(status)
    os.execv(command[0], command)  # noqa: S606  # the point of it


if __name__ == "__main__":
    main(sys.argv[1:])
