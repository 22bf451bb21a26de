"""Interfaces and cgroups that go away while programs are attached to them.

The kernel detaches what was there, and no link or socket becomes readable by that.  Of
interfaces it tells by rtnetlink(7), of cgroups, which are directories, by inotify(7).
"""

import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, Self, TypeAlias

from bpfpack.runner._native import libc
from bpfpack.runner.attach.attachments import (
    CgroupAttachment,
    Interface,
    SocketAttachment,
    TcAttachment,
    XdpAttachment,
)
from bpfpack.runner.plan import Plan
from bpfpack.spec.errors import KernelError

# include/uapi/linux/rtnetlink.h
_RTMGRP_LINK: Final = 1
_RTM_DELLINK: Final = 17
#: `struct ifinfomsg`: the family, which a bridge's ports have of their own, and the index.
_INTERFACE: Final = struct.Struct("=B3xi")
#: Messages taken at once.
_MOST: Final = 64
_LONGEST: Final = 64 * 1024
_ON_INTERFACES: Final = (XdpAttachment, TcAttachment, SocketAttachment)

_Place: TypeAlias = Interface | CgroupAttachment


class _Source(Protocol):
    """What tells of places of one kind."""

    @property
    def fd(self) -> int:
        """Readable when something changed."""
        ...

    def gone(self) -> set[_Place]:
        """The places that went since the last call."""
        ...

    def close(self) -> None:
        """Give the descriptor back."""
        ...


class PlaceWatch:
    """The interfaces and cgroups of a plan, from before anything is attached until `close`.

    ``tell`` gets one line for each program and place that went, be it into another network
    namespace.  Raises KernelError.
    """

    def __init__(self, plan: Plan, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._left = {
            (place, program.name): None
            for program in plan.loaded
            for place in map(_place, program.attachments)
            if place is not None
        }
        # Whatever else is attached goes on, and so does the run.
        self._alone = all(
            program.attachments and None not in map(_place, program.attachments)
            for program in plan.loaded
        )
        self._sources: list[_Source] = []
        self._ready = select.epoll()
        try:
            self._open({place for place, _ in self._left})
        except BaseException:
            self.close()
            raise

    def _open(self, places: set[_Place]) -> None:
        interfaces = {place for place in places if isinstance(place, Interface)}
        cgroups = {place for place in places if isinstance(place, CgroupAttachment)}
        if interfaces:
            self._add(_Interfaces(interfaces))
        if cgroups:
            self._add(_Cgroups(cgroups))

    def _add(self, source: _Source) -> None:
        self._sources.append(source)
        self._ready.register(source.fd, select.EPOLLIN)

    @property
    def fd(self) -> int:
        """Readable when some interface of this network namespace, or some cgroup, changed."""
        return self._ready.fileno()

    def all_gone(self) -> bool:
        """Tell what went since the last call; return whether nothing is attached any more."""
        gone = set[_Place]()
        if self._ready.poll(0):
            gone.update(*(source.gone() for source in self._sources))
        for place, program in [pair for pair in self._left if pair[0] in gone]:
            del self._left[place, program]
            more = any(name == program for _, name in self._left)
            rest = "no longer attached there" if more else "attached to nothing any more"
            name = place.name if isinstance(place, Interface) else str(place)
            self._tell(f"{name} is gone; {program} is {rest}")
        return self._alone and not self._left

    def close(self) -> None:
        """Give the descriptors back."""
        while self._sources:
            self._sources.pop().close()
        self._ready.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def watch(plan: Plan, tell: Callable[[str], None]) -> PlaceWatch | None:
    """Return the watch of a plan, None where it attaches to no interface and no cgroup."""
    there = any(_place(a) is not None for p in plan.loaded for a in p.attachments)
    return PlaceWatch(plan, tell) if there else None


def _place(attachment: object) -> _Place | None:
    """What can go away while an attachment is on it."""
    if isinstance(attachment, _ON_INTERFACES):
        return attachment.interface
    return attachment if isinstance(attachment, CgroupAttachment) else None


class _Interfaces:
    def __init__(self, places: set[Interface]) -> None:
        self._left = places
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
            )
            self._socket.bind((0, _RTMGRP_LINK))
        except OSError as e:
            raise KernelError(e.errno or 0, str(e.strerror), "rtnetlink") from e

    @property
    def fd(self) -> int:
        return self._socket.fileno()

    def gone(self) -> set[_Place]:
        deleted = self._deleted()
        if deleted is None:
            return set()
        # What was lost is looked up: an index may be that of another interface by now.
        gone = {place for place in self._left if place.index in deleted or not _there(place)}
        self._left -= gone
        return set(gone)

    def _deleted(self) -> set[int] | None:
        """The indices of interfaces that went, as far as was told; None when nothing changed."""
        deleted: set[int] = set()
        for taken in range(_MOST):
            try:
                data, (sender, _) = self._socket.recvfrom(_LONGEST)
            except BlockingIOError:
                return deleted if taken else None
            except OSError as e:
                if e.errno != errno.ENOBUFS:  # some were lost
                    raise KernelError(e.errno or 0, str(e.strerror), "rtnetlink") from e
                continue
            # Any process may send to a netlink socket; the kernel is number 0.
            if sender == 0:
                deleted.update(_deletions(data))
        return deleted

    def close(self) -> None:
        self._socket.close()


class _Cgroups:
    """What happens in their parents is only a reason to look: they are known by their inodes."""

    def __init__(self, places: set[CgroupAttachment]) -> None:
        self._left = places
        self.fd = libc.inotify()
        try:
            for parent in {str(Path(place.path).parent) for place in places}:
                libc.watch_deletions(self.fd, parent)
        except BaseException:
            self.close()
            raise

    def gone(self) -> set[_Place]:
        with suppress(BlockingIOError):
            while os.read(self.fd, _LONGEST):
                pass
        gone = {place for place in self._left if not _is_there(place)}
        self._left -= gone
        return set(gone)

    def close(self) -> None:
        os.close(self.fd)


def _is_there(cgroup: CgroupAttachment) -> bool:
    with suppress(OSError):
        return Path(cgroup.path).stat().st_ino == cgroup.inode
    return False


def _deletions(data: bytes) -> Iterator[int]:
    from bpfpack.runner._native.netlink import parse, read

    for message in parse(data):
        if message.type == _RTM_DELLINK:
            family, index = read(_INTERFACE.unpack_from, message.body)
            if family == socket.AF_UNSPEC:
                yield index


def _there(interface: Interface) -> bool:
    with suppress(OSError):
        return bool(socket.if_indextoname(interface.index))
    return False
