"""What a host runs out of while a package is loaded, and what to do about it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bpfpack.spec.errors import KernelError

_HINTS: Final = {
    errno.EMFILE: "allow this process more open files: ulimit -n 1024",
    errno.ENFILE: "the whole system has too many open files: look at sysctl fs.file-max",
    errno.ENOMEM: "there is too little memory: free some, or look at the limits of its cgroup",
}


@contextmanager
def explained() -> Iterator[None]:
    """Say what to do in the KernelErrors of the block that tell of a shortage."""
    try:
        yield
    except KernelError as e:
        e.hint = e.hint or _HINTS.get(e.errno or 0)
        raise


def shortage(error: KernelError, descriptors: int) -> int | None:
    """Return the errno of what ran out, None when nothing did.

    What libbpf fails with is not always what happened: it probes for features, and takes
    every failure for a kernel without.  So it is seen whether ``descriptors`` can be opened.
    """
    if error.errno in _HINTS:
        return error.errno
    opened: list[int] = []
    try:
        while len(opened) < descriptors:
            opened.append(os.eventfd(0))
    except OSError as e:
        return e.errno
    finally:
        for fd in opened:
            os.close(fd)
    return None
