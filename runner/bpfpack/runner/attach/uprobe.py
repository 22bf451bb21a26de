"""Functions of programs and libraries."""

from typing import Final

from bpfpack.runner._native.objects import NativeLink, NativeProgram
from bpfpack.runner.attach import files
from bpfpack.runner.attach.attachments import CodeAttachment
from bpfpack.spec.errors import Unsupported

_ALL: Final = -1


def attach(program: NativeProgram, to: CodeAttachment, *, returning: bool) -> NativeLink:
    """Attach to the very file that was read; raises KernelError, UsageError, Unsupported.

    The kernel gets it by descriptor, so that nobody puts another one, where the same
    offset is in the middle of an instruction, at its path.
    """
    with files.opened(to.place) as fd:
        if files.identity(fd) != to.identity:
            raise Unsupported(str(to.place), "changed while it was looked at").with_hint(
                "run it again"
            )
        return program.attach_uprobe(
            f"/proc/self/fd/{fd}",
            to.offset,
            _ALL if to.pid is None else to.pid,
            returning=returning,
        )
