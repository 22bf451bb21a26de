"""Which privileges the process holds, which it lacks, and giving them up.

Names and numbers are those of capabilities(7).
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bpfpack.runner._native import libc
from bpfpack.spec.errors import MissingCapability

_NUMBERS: Final = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_KILL": 5,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
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
_IMPLIED: Final = {
    "CAP_SYS_ADMIN": ("CAP_BPF", "CAP_PERFMON"),
    # fs/namei.c, generic_permission: who may write may read.
    "CAP_DAC_OVERRIDE": ("CAP_DAC_READ_SEARCH",),
}


def held() -> frozenset[str]:
    """The names that this thread can act on, what CAP_SYS_ADMIN implies included."""
    mask = libc.capabilities()
    names = {name for name, number in _NUMBERS.items() if mask >> number & 1}
    for name in tuple(names):
        names.update(_IMPLIED.get(name, ()))
    if os.geteuid() == 0:
        # What bpfpack reads and makes with them, in tracefs above all, belongs to root.
        names.update(("CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"))
    return frozenset(names)


def least(needed: Iterable[str]) -> tuple[str, ...]:
    """Those of ``needed`` that no other of them implies, each once, in that order.

    >>> least(("CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_BPF"))
    ('CAP_NET_ADMIN', 'CAP_SYS_ADMIN')
    """
    names = tuple(dict.fromkeys(needed))
    implied = {other for name in names for other in _IMPLIED.get(name, ())}
    return tuple(name for name in names if name not in implied)


def missing(needed: Iterable[str]) -> tuple[str, ...]:
    """Those of ``needed`` that are not held, in that order."""
    have = held()
    return tuple(name for name in needed if name not in have)


def require(needed: Iterable[str], what: str) -> None:
    """Raise MissingCapability for ``what`` unless all are held."""
    wanted = tuple(needed)
    if lacking := missing(wanted):
        raise MissingCapability(lacking, what).with_hint(_how(wanted))


def denied(needed: Sequence[str], what: str) -> MissingCapability | None:
    """Return what a refusal of ``what`` came from, None when capabilities are not the reason."""
    if lacking := missing(needed):
        return MissingCapability(lacking, what).with_hint(_how(needed))
    if in_user_namespace():
        return MissingCapability(tuple(needed), what).with_hint(
            "those of a user namespace do not count: run it as root of the host"
        )
    return None


def _how(needed: Iterable[str]) -> str:
    """What to type to have what is needed: as root, and without."""
    names = [name.removeprefix("CAP_") for name in needed]
    if os.geteuid() == 0:
        # Root without its capabilities is that of a container.
        added = " ".join(f"--cap-add {name}" for name in names)
        return f"root lacks them here; a container is given them by docker run {added}"
    given = ",".join(f"+{name.lower()}" for name in names)
    return (
        "run it as root, for example with sudo; with no more than it needs:\n"
        'sudo setpriv --reuid "$USER" --regid "$(id -g)" --init-groups '
        f"--inh-caps {given} --ambient-caps {given} bpfpack run ..."
    )


def in_user_namespace() -> bool:
    """Whether this process is outside the initial user namespace (user_namespaces(7))."""
    try:
        text = Path("/proc/self/uid_map").read_text()
    except OSError:
        # No /proc, or a kernel without such namespaces.
        return False
    return text.split() != ["0", "0", str(2**32 - 1)]


def drop(keep: Iterable[str] = ()) -> None:
    """Give up every capability but ``keep``, for good; raises KernelError.

    Neither does a program that is executed gain any.  capset(2) is about one thread: call it
    before the first thread is started.
    """
    libc.set_no_new_privileges()
    mask = libc.capabilities()
    libc.set_capabilities(mask & sum(1 << _NUMBERS[name] for name in keep))
