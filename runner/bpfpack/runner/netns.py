"""Network namespaces by identity: which one this is, and the way back to another."""

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from bpfpack.runner._native.netlink import Netlink
from bpfpack.spec import fields
from bpfpack.spec.errors import KernelError
from bpfpack.spec.value import valuetype

_HERE: Final = "/proc/thread-self/ns/net"
_NUMBER: Final = re.compile(r"[0-9]+")
#: Who holds the lock of `alone` does so for a few requests; seconds.
_PATIENCE: Final = 2.0
_PAUSE: Final = 0.005
#: Names of mount points have blanks and backslashes as ``\040`` (proc_pid_mountinfo(5)).
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


class Unseen(KernelError):
    """Nothing that is seen from here leads into a namespace; it may be there or gone."""


@valuetype
class Namespace:
    """A network namespace.

    An inode number is used again when its namespace is gone; the cookie, which kernels have
    since 5.14, is not.
    """

    inode: int
    cookie: int | None = None

    @classmethod
    def of(cls, net: Netlink) -> Self:
        """The namespace of this thread, in which ``net`` was opened; raises KernelError."""
        try:
            inode = Path(_HERE).stat().st_ino
        except OSError as e:
            raise KernelError(e.errno or 0, str(e.strerror), _HERE) from e
        return cls(inode=inode, cookie=net.cookie)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return fields.present(inode=self.inode, cookie=self.cookie)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Parse; raises SpecError."""
        return cls(
            inode=fields.integer(data, "inode", low=1),
            cookie=fields.optional_integer(data, "cookie", high=2**64 - 1),
        )

    @contextmanager
    def netlink(self) -> Iterator[Netlink | None]:
        """Give a socket in that namespace, None when it is gone.

        Raises Unseen when that is not known, KernelError when it may not be entered.
        """
        for found in self._sockets():
            with found as net:
                # Another one has its number by now: ours is gone.
                yield net if net.cookie == self.cookie else None
                return
        raise Unseen(errno.ENOENT, "not seen from here", f"network namespace {self.inode}")

    def _sockets(self) -> Iterator[Netlink]:
        here = Netlink.open()
        if Namespace.of(here).inode == self.inode:
            yield here
            return
        here.close()
        for path in _ways(f"net:[{self.inode}]"):
            with _opened(path, self.inode) as namespace:
                if namespace is not None:
                    yield Netlink.open(namespace)
                    return


@contextmanager
def alone(net: Netlink) -> Iterator[bool]:
    """Keep every other bpfpack out of the same block for the namespace of ``net``.

    The lock is on the namespace itself (flock(2)), so it holds between containers and between
    run directories, and ends with its holder.  Whoever is in the namespace can take it: after
    two seconds the block runs without it, and is given False.  Raises KernelError.
    """
    namespace = net.namespace()
    try:
        yield _locked(namespace)
    finally:
        # Closing alone would leave it to a child that was forked meanwhile.
        fcntl.flock(namespace, fcntl.LOCK_UN)
        os.close(namespace)


def _locked(namespace: int) -> bool:
    ends = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(namespace, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends:
                return False
            time.sleep(_PAUSE)
        except OSError as e:
            raise KernelError(e.errno or 0, str(e.strerror), "flock") from e
        else:
            return True


@contextmanager
def _opened(path: str, inode: int) -> Iterator[int | None]:
    """Give a descriptor of a namespace, None where ``path`` leads to anything else.

    Nothing else is opened: what lies in another's mount namespace may be a FIFO or a device.
    """
    with contextlib.ExitStack() as stack:
        found = None
        # It may have ended meanwhile, or another mount lie over it.
        with contextlib.suppress(OSError):
            seen = os.open(path, os.O_PATH | os.O_CLOEXEC)
            stack.callback(os.close, seen)
            status, ours = os.fstat(seen), Path(_HERE).stat()
            if (status.st_dev, status.st_ino) == (ours.st_dev, inode):
                found = os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, found)
        yield found


def _ways(name: str) -> Iterator[str]:
    """Paths to the namespace that the kernel calls ``name``: mounts, processes, descriptors.

    Last those that only others have mounted.
    """
    yield from _mounts("/proc/self/mountinfo", name)
    processes = [entry for entry in _listed("/proc") if _NUMBER.fullmatch(entry)]
    for process in processes:
        for thread in _listed(f"/proc/{process}/task"):
            path = f"/proc/{process}/task/{thread}/ns/net"
            if _target(path) == name:
                yield path
    for process in processes:
        for number in _listed(f"/proc/{process}/fd"):
            path = f"/proc/{process}/fd/{number}"
            if _target(path) == name:
                yield path
    for process in _with_other_mounts(processes):
        for path in _mounts(f"/proc/{process}/mountinfo", name):
            yield f"/proc/{process}/root{path}"


def _with_other_mounts(processes: list[str]) -> Iterator[str]:
    """One process for each mount namespace, and root in it, that is not ours."""
    seen = {(_target("/proc/self/ns/mnt"), _target("/proc/self/root"))}
    for process in processes:
        view = _target(f"/proc/{process}/ns/mnt"), _target(f"/proc/{process}/root")
        if all(view) and view not in seen:
            seen.add(view)
            yield process


def _mounts(mountinfo: str, name: str) -> Iterator[str]:
    """Where `ip netns`, docker and others keep a namespace by a mount of its file."""
    # A process may end while it is looked at.
    with contextlib.suppress(OSError), Path(mountinfo).open(errors="surrogateescape") as lines:
        for line in lines:
            words = line.split(" ")
            if words[3] == name:
                yield _ESCAPED.sub(lambda found: chr(int(found[1], 8)), words[4])


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 (names, in /proc)
    except OSError:
        return []  # the process ended, or is another user's, as are its namespaces


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 (no path: "net:[4026531840]")
    except OSError:
        return ""
