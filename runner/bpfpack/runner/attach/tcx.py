"""tc on one direction of an interface: a tcx link, which the kernel has since Linux 6.6."""

from typing import Final

from bpfpack.runner._native.links import LinkFd
from bpfpack.runner._native.objects import NativeProgram
from bpfpack.runner.attach.attachments import TcAttachment
from bpfpack.spec.sections import ATTACH_TYPES

_TYPES: Final = {
    "ingress": ATTACH_TYPES.index("tcx_ingress"),
    "egress": ATTACH_TYPES.index("tcx_egress"),
}


def attach(program: NativeProgram, to: TcAttachment) -> LinkFd:
    """Attach after the programs that are there; raises KernelError."""
    return LinkFd.create(program.fd, to.interface.index, _TYPES[to.direction])
