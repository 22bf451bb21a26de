"""XDP on an interface: a link, which the kernel has since Linux 5.9."""

import errno
from typing import Final

from bpfpack.runner._native.links import XDP_GENERIC, XDP_NATIVE, LinkFd
from bpfpack.runner._native.objects import NativeProgram
from bpfpack.runner.attach.attachments import XdpAttachment
from bpfpack.spec.errors import KernelError, Unsupported
from bpfpack.spec.sections import ATTACH_TYPES

_FLAGS: Final = {None: 0, "generic": XDP_GENERIC, "native": XDP_NATIVE}
_XDP: Final = ATTACH_TYPES.index("xdp")


def attach(program: NativeProgram, to: XdpAttachment) -> LinkFd:
    """Attach to an interface; raises KernelError, Unsupported."""
    name = to.interface.name
    try:
        return LinkFd.create(program.fd, to.interface.index, _XDP, _FLAGS[to.mode])
    except KernelError as e:
        code = e.errno or 0
        if code in (errno.EBUSY, errno.EEXIST):
            # net/core/dev.c, dev_xdp_attach: one program, and one mode, at a time.
            raise Unsupported(
                f"xdp on {name}", "another XDP program is there", errno=code
            ).with_hint(f"ip link show dev {name} names it") from e
        if code == errno.EOPNOTSUPP and to.mode != "generic":
            raise Unsupported(
                f"xdp on {name}", "its driver takes no XDP program", errno=code
            ).with_hint(f"generic mode needs no driver: {name}:generic") from e
        if code == errno.EINVAL:
            raise Unsupported(
                f"xdp on {name}", "this kernel refuses the link", minimum="5.9", errno=code
            ).with_hint("links of XDP programs need Linux 5.9") from e
        raise
