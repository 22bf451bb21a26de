"""Interfaces that go away while programs are attached to them, told by the kernel (rtnetlink(7)).

The kernel detaches what was there, and no link or socket becomes readable by that.
"""

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, Self

from bpfpack.runner._native.netlink import parse, read
from bpfpack.runner.attach.attachments import (
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


class InterfaceWatch:
    """The interfaces of a plan, from before anything is attached until `close`.

    ``tell`` gets one line for each program and interface that went, be it into another network
    namespace.  Raises KernelError.
    """

    def __init__(self, plan: Plan, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._left = {
            (a.interface, program.name): None
            for program in plan.loaded
            for a in program.attachments
            if isinstance(a, _ON_INTERFACES)
        }
        # Whatever else is attached goes on, and so does the run.
        self._alone = all(
            program.attachments and all(isinstance(a, _ON_INTERFACES) for a in program.attachments)
            for program in plan.loaded
        )
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
            )
            self._socket.bind((0, _RTMGRP_LINK))
        except OSError as e:
            raise KernelError(e.errno or 0, str(e.strerror), "rtnetlink") from e

    @property
    def fd(self) -> int:
        """Readable when some interface of this network namespace changed."""
        return self._socket.fileno()

    def all_gone(self) -> bool:
        """Tell what went since the last call; return whether nothing is attached any more."""
        deleted = self._deleted()
        if deleted is not None:
            # What was lost is looked up: an index may be that of another interface by now.
            gone = [pair for pair in self._left if pair[0].index in deleted or not _there(pair[0])]
            for interface, program in gone:
                del self._left[interface, program]
                more = any(name == program for _, name in self._left)
                rest = "no longer attached there" if more else "attached to nothing any more"
                self._tell(f"{interface.name} is gone; {program} is {rest}")
        return self._alone and not self._left

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
        """Give the descriptor back."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def watch(plan: Plan, tell: Callable[[str], None]) -> InterfaceWatch | None:
    """Return the watch of a plan, None where no interface is attached to."""
    there = any(isinstance(a, _ON_INTERFACES) for p in plan.loaded for a in p.attachments)
    return InterfaceWatch(plan, tell) if there else None


def _deletions(data: bytes) -> Iterator[int]:
    for message in parse(data):
        if message.type == _RTM_DELLINK:
            family, index = read(_INTERFACE.unpack_from, message.body)
            if family == socket.AF_UNSPEC:
                yield index


def _there(interface: Interface) -> bool:
    with suppress(OSError):
        return bool(socket.if_indextoname(interface.index))
    return False
