"""cgroups of version 2: a link, which the kernel has since Linux 5.7."""

import errno
import os

from bpfpack.runner import capabilities
from bpfpack.runner._native.links import LinkFd
from bpfpack.runner._native.objects import NativeProgram
from bpfpack.runner.attach.attachments import CgroupAttachment
from bpfpack.spec.errors import KernelError, Unsupported


def attach(program: NativeProgram, to: CgroupAttachment) -> LinkFd:
    """Attach beside the programs that are there; raises KernelError, Unsupported."""
    try:
        fd = os.open(to.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise KernelError(e.errno or 0, str(e.strerror), f"cgroup {to.path}") from e
    try:
        if os.fstat(fd).st_ino != to.inode:
            raise Unsupported(f"cgroup {to.path}", "was made anew meanwhile").with_hint(
                "run it again"
            )
        return LinkFd.create(program.fd, fd, to.attach_type)
    except KernelError as e:
        if e.errno == errno.EINVAL:
            raise Unsupported(
                f"cgroup {to.path}", "this kernel refuses the link", errno=errno.EINVAL
            ).with_hint(
                "it is too old for programs of this kind, or for their links (Linux 5.7)"
            ) from e
        if e.errno == errno.EPERM and not capabilities.missing(("CAP_NET_ADMIN",)):
            # kernel/bpf/cgroup.c, hierarchy_allows_attach.
            raise Unsupported(
                f"cgroup {to.path}",
                "a program of it, or above it, shares it with nobody",
                errno=errno.EPERM,
            ).with_hint("bpftool cgroup tree shows those without 'multi'") from e
        raise
    finally:
        os.close(fd)
