"""Functions, and statically defined tracepoints, of programs and libraries."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bpfpack.runner._native.objects import NativeLink, NativeProgram
from bpfpack.runner.attach import files
from bpfpack.runner.attach.attachments import CodeAttachment, MarkerAttachment
from bpfpack.spec.errors import Unsupported

_ALL: Final = -1


def attach(program: NativeProgram, to: CodeAttachment, *, returning: bool) -> NativeLink:
    """Attach to a function, or to where it returns; raises KernelError, UsageError, Unsupported."""
    with _same_file(to) as path:
        return program.attach_uprobe(path, to.offset, _process(to), returning=returning)


def attach_marker(program: NativeProgram, to: MarkerAttachment) -> NativeLink:
    """Attach to a tracepoint; raises KernelError, UsageError, Unsupported."""
    with _same_file(to) as path:
        return program.attach_usdt(path, _process(to), to.provider, to.name)


@contextmanager
def _same_file(to: CodeAttachment | MarkerAttachment) -> Iterator[str]:
    """Give a path to the very file that was read.

    It names a descriptor, so that nobody puts another file, where the same offset is in the
    middle of an instruction, in its place.
    """
    with files.opened(to.place) as fd:
        if files.identity(fd) != to.identity:
            raise Unsupported(str(to.place), "changed while it was looked at").with_hint(
                "run it again"
            )
        yield f"/proc/self/fd/{fd}"


def _process(to: CodeAttachment | MarkerAttachment) -> int:
    return _ALL if to.pid is None else to.pid
