"""Socket filters: on a packet socket of ours, bound to an interface; gone with its descriptor."""

import socket
from typing import Final

from bpfpack.runner._native.objects import NativeProgram
from bpfpack.runner.attach.attachments import SocketAttachment
from bpfpack.spec.errors import KernelError, Unsupported

# include/uapi/asm-generic/socket.h; the socket module has no name for it.
_SO_ATTACH_BPF: Final = 50
_ETH_P_ALL: Final = 3
#: What the filter lets through is never read: as little of it as can be is kept.
_LEAST: Final = 1


def attach(program: NativeProgram, to: SocketAttachment) -> socket.socket:
    """Attach to a new socket; raises KernelError, Unsupported."""
    name = to.interface.name
    try:
        # Protocol 0 receives nothing: no packet comes before the filter is there.
        found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    except OSError as e:
        raise KernelError(e.errno or 0, str(e.strerror), "packet socket") from e
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LEAST)
        found.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program.fd)
        found.bind((name, _ETH_P_ALL))
        if socket.if_nametoindex(name) != to.interface.index:
            raise Unsupported(f"interface {name}", "was made anew meanwhile").with_hint(
                "run it again"
            )
    except OSError as e:
        found.close()
        if isinstance(e, KernelError):
            raise
        raise KernelError(e.errno or 0, str(e.strerror), f"interface {name}") from e
    return found
