"""Names of what the kernel counts: errors, signals, system calls, users, groups.

Each function returns None for a number that has no name on this host.
"""

import errno
import functools
import grp
import os
import pwd
import signal

from bpfpack.runner.events import syscalls

# include/linux/err.h, MAX_ERRNO.
_MAX_ERRNO = 4095


def error_name(number: int) -> str | None:
    """The name of an errno, given as the kernel returns it (``-2``) or as C keeps it (``2``).

    >>> error_name(-2), error_name(13), error_name(0)
    ('ENOENT', 'EACCES', None)
    """
    return errno.errorcode.get(abs(number)) if abs(number) <= _MAX_ERRNO else None


@functools.lru_cache(maxsize=256)
def signal_name(number: int) -> str | None:
    """The name of a signal.

    >>> signal_name(9), signal_name(40), signal_name(1000)
    ('SIGKILL', 'SIGRTMIN+6', None)
    """
    first, last = int(signal.SIGRTMIN), int(signal.SIGRTMAX)
    if first < number < last:
        return f"SIGRTMIN+{number - first}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def syscall_name(number: int) -> str | None:
    """The name of a system call of this host's architecture."""
    names = _syscalls()
    if 0 <= number < len(names) and names[number] != "-":
        return names[number]
    return None


@functools.cache
def _syscalls() -> tuple[str, ...]:
    return syscalls.names(os.uname().machine)


@functools.lru_cache(maxsize=4096)
def user_name(uid: int) -> str | None:
    """The login name of a user of this host's name service."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


@functools.lru_cache(maxsize=4096)
def group_name(gid: int) -> str | None:
    """The name of a group of this host's name service."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return None
