"""Memory that a run no longer needs once it is attached."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from bpfpack.runner._native import heap, window

#: Libraries of which nearly all that starting used is never used again: signatures are checked,
#: the engine is compiled and loaded.
_STARTED: Final = ("/_libwasmtime.so", "/_rust.abi3.so", "/libcrypto.so.3")


def give_back() -> None:
    """Let go of code that only starting needed, and of the heap that compiling left.

    That is 15 MB of resident memory, and 10 more where the engine was compiled just now.

    Code that is needed all the same is read again, from the page cache.  Code that nobody wrote to
    is all that is touched: of a private mapping, writes would be lost (madvise(2)).
    """
    heap.trim()
    with suppress(OSError):  # no /proc, or the kernel refuses: then it stays resident
        for line in Path("/proc/self/maps").read_text().splitlines():
            place, _, rest = line.partition(" ")
            if rest.startswith("r-xp") and rest.endswith(_STARTED):
                first, last = (int(end, 16) for end in place.split("-"))
                window.discard(first, last - first)
