"""Programs on the clsact qdisc: the way into tc before Linux 6.6 gave it links.

A filter stays when its owner dies, so it is journaled before it is made, and removed only
where handle and program still are those of the journal.  A clsact qdisc that we make carries
a mark that its kind has no use for, a size table; it is removed once it has no filter, and
only with the mark.  That proves more than a note of ours: whoever replaces or claims it
(``tc qdisc replace``) takes the mark off, and another one made after ours has none.
"""

import contextlib
import errno
import os
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn, Self

from bpfpack.runner._native.netlink import (
    NLM_F_CREATE,
    NLM_F_ECHO,
    NLM_F_EXCL,
    Netlink,
    attribute,
    attributes,
    nested,
    read,
    text,
)
from bpfpack.runner.netns import Namespace, Unseen, alone
from bpfpack.spec import fields
from bpfpack.spec.errors import KernelError
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from bpfpack.runner.journal import Journal

Direction = Literal["ingress", "egress"]

# include/uapi/linux/rtnetlink.h
_RTM_NEWQDISC: Final = 36
_RTM_DELQDISC: Final = 37
_RTM_GETQDISC: Final = 38
_RTM_NEWTFILTER: Final = 44
_RTM_DELTFILTER: Final = 45
_RTM_GETTFILTER: Final = 46
_TCA_KIND: Final = 1
_TCA_OPTIONS: Final = 2
_TCA_STAB: Final = 8
_TCA_STAB_BASE: Final = 1
# include/uapi/linux/pkt_sched.h
_TC_H_CLSACT: Final = 0xFFFFFFF1
_HANDLE: Final = 0xFFFF0000
_PARENTS: Final[Mapping[str, int]] = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
# include/uapi/linux/pkt_cls.h
_TCA_BPF_FD: Final = 6
_TCA_BPF_NAME: Final = 7
_TCA_BPF_FLAGS: Final = 8
_TCA_BPF_ID: Final = 11
_FLAG_ACT_DIRECT: Final = 1
# include/uapi/linux/if_ether.h, in network byte order.
_ALL_PROTOCOLS: Final = int.from_bytes(struct.pack("=H", 3), "big")

_TCMSG: Final = struct.Struct("=B3xiIII")
#: `struct tc_sizespec`; no table follows, and nobody reads it on a qdisc that queues nothing.
_MARK: Final = struct.pack("=BBhiIIII", 0, 0, 0, 0, 0, int.from_bytes(b"bpf"), 0, 0)
#: Where the kernel starts when it chooses a priority (cls_api.c, tcf_auto_prio).
_FIRST_PRIORITY: Final = 0xC000
_MAX_HANDLE: Final = 2**31 - 1
_ATTEMPTS: Final = 5
_NAME: Final = "bpfpack"


class _Filter(NamedTuple):
    """What stands at one place of an interface; handle 0 is a classifier without filters."""

    priority: int
    protocol: int
    handle: int
    program_id: int | None


@valuetype
class ClsactEntry:
    """What a journal says of one filter, enough to tell it from every other."""

    kind: str = "clsact"
    namespace: Namespace
    ifindex: int
    direction: Direction
    priority: int
    handle: int
    program_id: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind,
            "netns": self.namespace.to_dict(),
            "ifindex": self.ifindex,
            "direction": self.direction,
            "priority": self.priority,
            "handle": self.handle,
            "programId": self.program_id,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Parse; raises SpecError."""
        direction = fields.known(fields.choice(data, "direction", tuple(_PARENTS)), "direction")
        return cls(
            namespace=fields.nested(data, "netns", Namespace.from_dict),
            ifindex=fields.integer(data, "ifindex", low=1, high=2**31 - 1),
            direction="ingress" if direction == "ingress" else "egress",
            priority=fields.integer(data, "priority", low=1, high=0xFFFF),
            handle=fields.integer(data, "handle", low=1, high=_MAX_HANDLE),
            program_id=fields.integer(data, "programId", low=1, high=2**32 - 1),
        )

    def undo(self) -> bool:
        """Remove the filter if it is the very one, and a clsact of ours that has none left.

        Returns whether anything was removed.  Raises KernelError, also when it cannot be told.
        """
        try:
            with self.namespace.netlink() as net:
                # What is in a namespace goes with it.
                return net is not None and _Interface(net, self.ifindex).undo(self)
        except Unseen as e:
            if self._program_is_gone():
                return False
            what = f"{e.what}, where a filter of program {self.program_id} may still be"
            raise Unseen(e.errno or 0, str(e.strerror), what) from e

    def _program_is_gone(self) -> bool:
        """The filter holds its program: without one there is no other."""
        from bpfpack.runner._native.objects import program_exists

        try:
            return not program_exists(self.program_id)
        except KernelError:
            return False  # it cannot be told


class ClsactFilter:
    """A program attached to one direction of an interface; detached by `close`."""

    def __init__(self, journal: "Journal", number: int, entry: ClsactEntry) -> None:
        self._journal, self._number, self.entry = journal, number, entry
        self._closed = False

    def close(self) -> None:
        """Detach; a second call does nothing.  Raises KernelError."""
        if not self._closed:
            self._closed = True
            self._journal.undo(self._number)


def attach_clsact(
    program_fd: int, program_id: int, ifindex: int, direction: Direction, journal: "Journal"
) -> ClsactFilter:
    """Attach a loaded program of type sched_cls, in front of the filters that are there.

    The namespace is this thread's.  Raises KernelError, StoreError when the journal cannot
    be written; nothing is attached then.
    """
    with Netlink.open() as net:
        interface = _Interface(net, ifindex)
        entry = ClsactEntry(
            namespace=Namespace.of(net),
            ifindex=ifindex,
            direction=direction,
            priority=_free_priority(interface.filters(direction)),
            # Told from others' by the program; a number that nobody chooses keeps them apart.
            handle=int.from_bytes(os.urandom(4)) & _MAX_HANDLE or 1,
            program_id=program_id,
        )
        number = journal.record(entry)
        try:
            interface.add(entry, program_fd)
        except BaseException:
            journal.undo(number)
            raise
    return ClsactFilter(journal, number, entry)


def _free_priority(present: Iterator[_Filter]) -> int:
    """In front of what is there, as the kernel would choose (cls_api.c, tcf_auto_prio)."""
    first = min((found.priority for found in present), default=_FIRST_PRIORITY + 1)
    # Where others hold 1 already, ours joins them; a classifier of another kind refuses that.
    return max(1, first - 1)


class _Interface:
    """The clsact qdisc of one interface and its filters."""

    def __init__(self, net: Netlink, ifindex: int) -> None:
        self._net, self._ifindex = net, ifindex

    def add(self, entry: ClsactEntry, program_fd: int) -> None:
        """Make the qdisc when it is missing, and the filter; raises KernelError."""
        # A bpfpack that ends just now must see the filter, or not yet the qdisc.
        with alone(self._net):
            for attempt in range(_ATTEMPTS):
                self._ensure_qdisc()
                self._refuse_ingress_only(entry.direction)
                try:
                    self._add_filter(entry, program_fd)
                except KernelError as e:
                    # Others may have taken the qdisc away between the two.
                    if attempt + 1 == _ATTEMPTS or self._qdisc() is not None:
                        _explain(e, entry)
                else:
                    return

    def undo(self, entry: ClsactEntry) -> bool:
        """See `ClsactEntry.undo`."""
        removed = False
        with _gone():
            ours = _Filter(entry.priority, _ALL_PROTOCOLS, entry.handle, entry.program_id)
            if ours in self.filters(entry.direction):
                self._remove_filter(entry)
                removed = True
            if self._is_empty():
                # Without the lock it is left to the next bpfpack that detaches there.
                with alone(self._net) as locked:
                    if locked and self._is_empty():
                        removed |= self._remove_qdisc()
        return removed

    def _is_empty(self) -> bool:
        """Whether there is a qdisc of ours, and nobody has a filter on it."""
        return self._is_marked() and not any(True for d in _PARENTS for _ in self.filters(d))

    def _remove_qdisc(self) -> bool:
        body = self._message(_TC_H_CLSACT, handle=_HANDLE)
        try:
            self._net.request(_RTM_DELQDISC, body + attribute(_TCA_KIND, text("clsact")))
        except KernelError as e:
            # Where there was one, the kernel compares the handle with that of no qdisc.
            if e.errno == errno.EINVAL:
                return False
            raise
        return True

    def filters(self, direction: str) -> Iterator[_Filter]:
        """All filters of one direction, whosever they are; raises KernelError."""
        for answer in self._net.dump(_RTM_GETTFILTER, self._message(_PARENTS[direction])):
            if answer.type == _RTM_NEWTFILTER:
                _, _, handle, _, info = read(_TCMSG.unpack_from, answer.body)
                yield _Filter(info >> 16, info & 0xFFFF, handle, _program_id(answer.body))

    def _add_filter(self, entry: ClsactEntry, program_fd: int) -> None:
        info = entry.priority << 16 | _ALL_PROTOCOLS
        options = nested(
            _TCA_OPTIONS,
            attribute(_TCA_BPF_FD, struct.pack("=I", program_fd)),
            attribute(_TCA_BPF_NAME, text(_NAME)),
            attribute(_TCA_BPF_FLAGS, struct.pack("=I", _FLAG_ACT_DIRECT)),
        )
        parent = _PARENTS[entry.direction]
        body = self._message(parent, handle=entry.handle, info=info)
        body += attribute(_TCA_KIND, text("bpf")) + options
        self._net.request(_RTM_NEWTFILTER, body, flags=NLM_F_CREATE | NLM_F_EXCL)

    def _remove_filter(self, entry: ClsactEntry) -> None:
        info = entry.priority << 16 | _ALL_PROTOCOLS
        body = self._message(_PARENTS[entry.direction], handle=entry.handle, info=info)
        self._net.request(_RTM_DELTFILTER, body + attribute(_TCA_KIND, text("bpf")))

    def _ensure_qdisc(self) -> None:
        body = self._message(_TC_H_CLSACT, handle=_HANDLE)
        body += attribute(_TCA_KIND, text("clsact"))
        body += nested(_TCA_STAB, attribute(_TCA_STAB_BASE, _MARK))
        try:
            self._net.request(_RTM_NEWQDISC, body, flags=NLM_F_CREATE | NLM_F_EXCL)
        except KernelError as e:
            if e.errno != errno.EEXIST:
                e.what = "make the clsact qdisc"
                raise

    def _refuse_ingress_only(self, direction: Direction) -> None:
        """The older ingress qdisc, in the same place, takes a filter for egress as its own."""
        found = self._qdisc()
        if direction == "egress" and found and attributes(found).get(_TCA_KIND) == text("ingress"):
            raise KernelError(
                errno.EBUSY,
                "its ingress qdisc leaves no room for clsact",
                f"interface {self._ifindex}",
            ).with_hint("attach to ingress, or remove it: tc qdisc del dev INTERFACE ingress")

    def _is_marked(self) -> bool:
        found = self._qdisc()
        return found is not None and (
            attributes(attributes(found).get(_TCA_STAB, b"")).get(_TCA_STAB_BASE) == _MARK
        )

    def _qdisc(self) -> bytes | None:
        """The attributes of what is at the place of clsact; None when nothing is."""
        try:
            # Without the echo only listeners would hear the answer.
            answers = self._net.request(
                _RTM_GETQDISC, self._message(_TC_H_CLSACT), flags=NLM_F_ECHO
            )
        except KernelError as e:
            if e.errno == errno.ENOENT:
                return None
            raise
        found = [a.body[_TCMSG.size :] for a in answers if a.type == _RTM_NEWQDISC]
        return found[0] if found else None

    def _message(self, parent: int, *, handle: int = 0, info: int = 0) -> bytes:
        return _TCMSG.pack(0, self._ifindex, handle, parent, info)


def _program_id(body: bytes) -> int | None:
    found = attributes(body[_TCMSG.size :])
    if found.get(_TCA_KIND) != text("bpf"):
        return None
    raw = attributes(found.get(_TCA_OPTIONS, b"")).get(_TCA_BPF_ID)
    return None if raw is None else int(read(struct.Struct("=I").unpack_from, raw)[0])


@contextlib.contextmanager
def _gone() -> Iterator[None]:
    """Take an interface that is gone, and its filters with it, for undone."""
    try:
        yield
    except KernelError as e:
        if e.errno not in (errno.ENODEV, errno.ENOENT):
            raise


def _explain(error: KernelError, entry: ClsactEntry) -> NoReturn:
    what = f"attach to {entry.direction} of interface {entry.ifindex}"
    raise KernelError(error.errno or 0, str(error.strerror), what) from error
