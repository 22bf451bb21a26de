"""A program and where it is attached, brought together: each kind of attachment by its module."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpfpack.runner._native.objects import NativeProgram
from bpfpack.runner.attach.attachments import (
    Attachment,
    CgroupAttachment,
    CodeAttachment,
    EventAttachment,
    MarkerAttachment,
    SocketAttachment,
    TcAttachment,
    XdpAttachment,
)

if TYPE_CHECKING:
    from bpfpack.runner.journal import Journal
    from bpfpack.runner.links import Attached


def attach_to(
    program: NativeProgram, to: Attachment, *, returning: bool, journal: "Journal | None"
) -> "Iterator[Attached]":
    """Yield what holds the program there, one by one.

    ``returning`` is for code: where its function returns, not where it begins; ``journal``
    is for what outlives its owner.  Raises KernelError, UsageError, StoreError.
    """
    match to:
        case EventAttachment():
            from bpfpack.runner.attach import perf_event

            yield from perf_event.attach(program, to)
        case CodeAttachment():
            from bpfpack.runner.attach import uprobe

            yield uprobe.attach(program, to, returning=returning)
        case MarkerAttachment():
            from bpfpack.runner.attach import uprobe

            yield uprobe.attach_marker(program, to)
        case XdpAttachment():
            from bpfpack.runner.attach import xdp

            yield xdp.attach(program, to)
        case TcAttachment(link=True):
            from bpfpack.runner.attach import tcx

            yield tcx.attach(program, to)
        case TcAttachment():
            from bpfpack.runner.attach.clsact import attach_clsact

            if journal is None:
                raise ValueError("what outlives its owner takes a journal")
            yield attach_clsact(program.fd, program.id, to.interface.index, to.direction, journal)
        case CgroupAttachment():
            from bpfpack.runner.attach import cgroup

            yield cgroup.attach(program, to)
        case SocketAttachment():
            from bpfpack.runner.attach import sockets

            yield sockets.attach(program, to)
