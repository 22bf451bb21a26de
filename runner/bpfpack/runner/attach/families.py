"""A program and where it is attached, brought together: each kind of attachment by its module."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpfpack.runner._native.objects import NativeProgram
from bpfpack.runner.attach.attachments import (
    Attachment,
    CodeAttachment,
    EventAttachment,
    TcAttachment,
    XdpAttachment,
)
from bpfpack.spec.errors import Unsupported

if TYPE_CHECKING:
    from bpfpack.runner.links import Attached


def attach_to(program: NativeProgram, to: Attachment, *, returning: bool) -> "Iterator[Attached]":
    """Yield what holds the program there, one by one; raises KernelError, UsageError.

    ``returning`` is for code: where its function returns, not where it begins.
    """
    match to:
        case EventAttachment():
            from bpfpack.runner.attach import perf_event

            yield from perf_event.attach(program, to)
        case CodeAttachment():
            from bpfpack.runner.attach import uprobe

            yield uprobe.attach(program, to, returning=returning)
        case XdpAttachment():
            from bpfpack.runner.attach import xdp

            yield xdp.attach(program, to)
        case TcAttachment():
            from bpfpack.runner.attach import tcx

            yield tcx.attach(program, to)
        case _:
            raise Unsupported(str(to), "not supported yet by bpfpack")
