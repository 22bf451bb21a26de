"""Links made by ``BPF_LINK_CREATE`` itself: what libbpf has no function for, or an older one."""

import ctypes
import os
from typing import Final

from bpfpack.runner._native.libbpf import fn

# include/uapi/linux/if_link.h
XDP_GENERIC: Final = 1 << 1
XDP_NATIVE: Final = 1 << 2


class _CreateOpts(ctypes.Structure):
    """bpf.h of libbpf, ``struct bpf_link_create_opts``, up to the members used here."""

    _fields_ = (("sz", ctypes.c_size_t), ("flags", ctypes.c_uint32))


class LinkFd:
    """A link that is a descriptor and no more; what it attached lives until `close`."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @classmethod
    def create(cls, program: int, target: int, attach_type: int, flags: int = 0) -> "LinkFd":
        """Attach a program to a target, which its attach type says how to read.

        Raises KernelError.
        """
        opts = _CreateOpts(sz=ctypes.sizeof(_CreateOpts), flags=flags)
        return cls(fn("bpf_link_create")(program, target, attach_type, ctypes.byref(opts)))

    @property
    def fd(self) -> int:
        """The descriptor; raises ValueError once it is closed."""
        if self._fd is None:
            raise ValueError("the link is closed")
        return self._fd

    def close(self) -> None:
        """Detach; a second call does nothing."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)
