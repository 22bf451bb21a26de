"""Names of what the kernel counts: errors, signals, system calls, users, groups.

Each function returns None for a number that has no name on this host.
"""

import errno
import functools
import grp
import os
import pwd
import signal
from itertools import islice

from bpfpack.runner.events import syscalls

# include/linux/err.h, MAX_ERRNO.
_MAX_ERRNO = 4095
# A directory of a large company is not read to its end.
_LISTED = 65536


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
    names = syscall_names()
    return names[number] if 0 <= number < len(names) else None


@functools.cache
def syscall_names() -> tuple[str | None, ...]:
    """The names of all system calls of this host's architecture."""
    return tuple(None if name == "-" else name for name in syscalls.names(os.uname().machine))


@functools.lru_cache(maxsize=4096)
def user_name(uid: int) -> str | None:
    """The login name of a user of this host's name service."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


def users() -> dict[int, str]:
    """The login names that this host's name service lists, the first of each user."""
    found: dict[int, str] = {}
    for user in islice(pwd.getpwall(), _LISTED):
        found.setdefault(user.pw_uid, user.pw_name)
    return found


def groups() -> dict[int, str]:
    """The groups that this host's name service lists, the first name of each."""
    found: dict[int, str] = {}
    for group in islice(grp.getgrall(), _LISTED):
        found.setdefault(group.gr_gid, group.gr_name)
    return found


@functools.lru_cache(maxsize=4096)
def group_name(gid: int) -> str | None:
    """The name of a group of this host's name service."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return None
