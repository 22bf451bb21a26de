"""Which privileges the process holds, which it lacks, and giving them up.

Names and numbers are those of capabilities(7).
"""

import os
from collections.abc import Iterable
from typing import Final

from bpfpack.runner._native import libc
from bpfpack.spec.errors import MissingCapability

_NUMBERS: Final = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_NET_ADMIN": 12,
    "CAP_IPC_LOCK": 14,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_SYSLOG": 34,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}

# Before they were split from it in Linux 5.8 it meant both, and it still does
# (include/linux/capability.h, bpf_capable and perfmon_capable).
_IMPLIED: Final = {"CAP_SYS_ADMIN": ("CAP_BPF", "CAP_PERFMON")}


def held() -> frozenset[str]:
    """The names that this thread can act on, what CAP_SYS_ADMIN implies included."""
    mask = libc.capabilities()
    names = {name for name, number in _NUMBERS.items() if mask >> number & 1}
    for name in tuple(names):
        names.update(_IMPLIED.get(name, ()))
    if os.geteuid() == 0:
        # What bpfpack reads with it, tracefs above all, belongs to root.
        names.add("CAP_DAC_READ_SEARCH")
    return frozenset(names)


def missing(needed: Iterable[str]) -> tuple[str, ...]:
    """Those of ``needed`` that are not held, in that order."""
    have = held()
    return tuple(name for name in needed if name not in have)


def require(needed: Iterable[str], what: str) -> None:
    """Raise MissingCapability for ``what`` unless all are held."""
    if lacking := missing(needed):
        raise MissingCapability(lacking, what).with_hint("run it as root, for example with sudo")


def drop(keep: Iterable[str] = ()) -> None:
    """Give up every capability but ``keep``, for good; raises KernelError.

    capset(2) is about one thread: call it before the first thread is started.
    """
    mask = libc.capabilities()
    libc.set_capabilities(mask & sum(1 << _NUMBERS[name] for name in keep))
