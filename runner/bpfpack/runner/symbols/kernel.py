"""Names of the kernel's functions, from /proc/kallsyms."""

import contextlib
import os
from bisect import bisect
from typing import Final

from bpfpack.runner.symbols.frame import Frame
from bpfpack.spec.limits import LIMITS

_KALLSYMS: Final = "/proc/kallsyms"
#: Code of the kernel and its modules, whoever may call it (nm(1)).
_CODE: Final = (b"t", b"T", b"w", b"W")
_NONE: Final = b"0" * 16


class KernelSymbols:
    """The kernel's functions by address, read when the first stack asks.

    The file is opened at once: what it tells is decided by the privileges of whoever opens it
    (kernel/kallsyms.c, kallsyms_show_value), which a run gives up.
    """

    def __init__(self, path: str = _KALLSYMS) -> None:
        self._fd: int | None = None
        with contextlib.suppress(OSError):  # a kernel without: its frames stay addresses
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._lines: list[bytes] | None = None

    def close(self) -> None:
        """Let go of the file; what was read stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def frame(self, address: int, *, called: bool = False) -> Frame:
        """Return what is at an address; ``called``: it is where a call returns to."""
        if self._lines is None:
            self._lines = self._read()
            self.close()
        # A function that never returns may be called by the last instruction of another.
        # Addresses have the same length, so that lines are in the order of what they begin with.
        place = bisect(self._lines, b"%016x \xff" % (address - called))
        if not place:
            return Frame(address, file="[kernel]")
        start, _, rest = self._lines[place - 1].split(b" ", 2)
        name, _, module = rest.partition(b"\t")
        return Frame(
            address,
            name.decode(errors="replace"),
            address - int(start, 16),
            module.strip().decode(errors="replace") or "[kernel]",
        )

    def _read(self) -> list[bytes]:
        if self._fd is None:
            return []
        with open(self._fd, "rb", closefd=False) as file:
            data = file.read(LIMITS.kallsyms)
        lines = data.split(b"\n")
        # What was cut off, or the nothing behind the last newline.
        del lines[-1]
        return sorted(line for line in lines if line[17:18] in _CODE and not line.startswith(_NONE))
