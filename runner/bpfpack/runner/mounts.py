"""tracefs, found or mounted where nobody else sees it."""

import errno
import os
from pathlib import Path
from typing import Final

from bpfpack.runner import capabilities
from bpfpack.runner._native import libc
from bpfpack.spec.errors import KernelError, Unsupported

#: Where libbpf looks, in its order (libbpf.c, ``tracefs_path``).
_TRACEFS: Final = ("/sys/kernel/debug/tracing", "/sys/kernel/tracing")
_MOUNT_HERE: Final = _TRACEFS[1]
_COMMAND: Final = f"mount -t tracefs tracefs {_MOUNT_HERE}"


def find_tracefs() -> Path | None:
    """The mount point of tracefs, if it is at one of its two usual places."""
    mounted = mount_points("tracefs")
    for place in _TRACEFS:
        # Below debugfs it is mounted by the first access.
        if os.access(f"{place}/events", os.F_OK) or (place in mounted and not _hidden(place)):
            return Path(place)
    return None


def _hidden(place: str) -> bool:
    """Whether a later mount lies over what leads there."""
    try:
        Path(place).stat()
    except OSError as e:
        # Only root looks below debugfs: what is refused is there.
        return e.errno == errno.ENOENT
    return False


def ensure_tracefs() -> Path:
    """Return the mount point of tracefs; mount it for this process alone if there is none.

    The new mount namespace holds this thread and what it starts, so call it before the
    first thread is started.  It stays a slave of the host's: our mount never reaches the
    host, while the host's later mounts still reach us.  Raises Unsupported.
    """
    found = find_tracefs()
    if found is not None:
        return found
    if not Path(_MOUNT_HERE).parent.is_dir():
        raise Unsupported("tracefs", "/sys is not what the kernel has there").with_hint(
            "as root: mount -t sysfs sysfs /sys"
        )
    if not Path(_MOUNT_HERE).is_dir():
        raise Unsupported("tracefs", "this kernel has no tracing (CONFIG_TRACING is not set)")
    if "CAP_SYS_ADMIN" not in capabilities.held():
        raise Unsupported("tracefs", "is not mounted, and mounting needs CAP_SYS_ADMIN").with_hint(
            f"as root: {_COMMAND}"
        )
    _mount_privately()
    return Path(_MOUNT_HERE)


def _mount_privately() -> None:
    try:
        libc.unshare_mounts()
        libc.mount("none", "/", None, libc.MS_REC | libc.MS_SLAVE)
        flags = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
        libc.mount("tracefs", _MOUNT_HERE, "tracefs", flags)
    except KernelError as e:
        raise Unsupported(
            "tracefs", f"is not mounted, and {e} when bpfpack tried", errno=e.errno or 0
        ).with_hint(f"as root: {_COMMAND}") from e


def mount_points(kind: str) -> set[str]:
    """Mount points of one file system type; proc_pid_mountinfo(5) has the columns."""
    try:
        text = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except FileNotFoundError:
        # Without /proc nobody knows, and what is at the usual places is seen all the same.
        return set()
    except OSError as e:
        raise KernelError(e.errno or 0, str(e.strerror), "/proc/self/mountinfo") from e
    found = set()
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ", 1)[0] == kind:
            found.add(before.split(" ")[4])
    return found
