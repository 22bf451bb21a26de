"""Words that stand for numbers: of enums, flags, errors, signals, system calls, users, groups."""

import errno
import functools
import grp
import pwd
import signal
from collections.abc import Mapping, Sequence
from typing import Final

from bpfpack.runner.events import names
from bpfpack.spec.record import Field

_SIGNALS: Final = 65
#: More than any architecture numbers.
_SYSCALLS: Final = 2048


def labels(field: Field) -> Mapping[str, Sequence[int]]:
    """Return the words that a field's numbers are shown as; several numbers may have one."""
    match field.format:
        case "errno":
            return _errors(-1 if field.signed else 1)
        case "signal":
            return _signals()
        case "syscall":
            return _syscalls()
    found: dict[str, list[int]] = {}
    for number, label in field.labels.items():
        found.setdefault(label, []).append(number)
    return found


def account(field: Field, name: str) -> int | None:
    """Return the number of a user or group of this host, None where there is none."""
    try:
        return pwd.getpwnam(name).pw_uid if field.format == "user" else grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


@functools.cache
def _errors(sign: int) -> Mapping[str, Sequence[int]]:
    # With the second names of some, such as EWOULDBLOCK.
    return {
        name: [sign * number]
        for name, number in vars(errno).items()
        if name.startswith("E") and number in errno.errorcode
    }


@functools.cache
def _signals() -> Mapping[str, Sequence[int]]:
    found = {name: [int(number)] for name, number in signal.Signals.__members__.items()}
    for number in range(1, _SIGNALS):
        if (name := names.signal_name(number)) is not None:
            found.setdefault(name, [number])
    return found


@functools.cache
def _syscalls() -> Mapping[str, Sequence[int]]:
    pairs = ((names.syscall_name(number), number) for number in range(_SYSCALLS))
    return {name: [number] for name, number in pairs if name is not None}
