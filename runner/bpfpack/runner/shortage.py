"""What a host runs out of while a package is loaded, and what to do about it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bpfpack.spec.errors import SHORTAGES, KernelError, shortage_hint


@contextmanager
def explained() -> Iterator[None]:
    """Say what to do in the KernelErrors of the block that tell of a shortage."""
    try:
        yield
    except KernelError as e:
        e.hint = e.hint or shortage_hint(e)
        raise


def shortage(error: KernelError, descriptors: int) -> int | None:
    """Return the errno of what ran out, None when nothing did.

    What libbpf fails with is not always what happened: it probes for features, and takes
    every failure for a kernel without.  So it is seen whether ``descriptors`` can be opened.
    """
    if error.errno in SHORTAGES:
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
