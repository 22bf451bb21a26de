"""Names of the kernel's functions, from /proc/kallsyms."""

import contextlib
import os
from bisect import bisect
from typing import Final

from bpfpack.runner.symbols.demangle import Demangler
from bpfpack.runner.symbols.frame import Frame
from bpfpack.spec.limits import LIMITS

_KALLSYMS: Final = "/proc/kallsyms"
#: Code of the kernel and its modules, whoever may call it (nm(1)).
_CODE: Final = (b"t", b"T", b"w", b"W")
_NONE: Final = b"0" * 16
#: Symbols that are no code, behind a function, that are looked past.
_PAST: Final = 256
#: Places that are remembered: stacks go through few of them again and again.
_KNOWN: Final = 16384


class KernelSymbols:
    """The kernel's functions by address, read when the first stack asks.

    The file is opened at once: what it tells is decided by the privileges of whoever opens it
    (kernel/kallsyms.c, kallsyms_show_value), which a run gives up.

    The kernel's own symbols come first and in order, so that they are searched as they are;
    those of modules are sorted.
    """

    def __init__(self, path: str = _KALLSYMS, demangler: Demangler | None = None) -> None:
        self._fd: int | None = None
        with contextlib.suppress(OSError):  # a kernel without: its frames stay addresses
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._demangler = demangler
        self._text: bytes | None = None
        self._modules: list[bytes] = []
        self._known: dict[tuple[int, bool], Frame] = {}

    def close(self) -> None:
        """Let go of the file; what was read stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def frame(self, address: int, *, called: bool = False) -> Frame:
        """Return what is at an address; ``called``: it is where a call returns to."""
        found = self._known.get((address, called))
        if found is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            found = self._known[address, called] = self._find(address, called)
        return found

    def _find(self, address: int, called: bool) -> Frame:
        if self._text is None:
            self._text, self._modules = self._read()
            self.close()
        # A function that never returns may be called by the last instruction of another.
        # Addresses have the same length, so that lines are in the order of what they begin with.
        sought = b"%016x \xff" % (address - called)
        line = max(_last(self._text, sought), self._module(sought))
        if not line:
            return Frame(address, file="[kernel]")
        start, _, rest = line.split(b" ", 2)
        name, _, module = (part.decode(errors="replace") for part in rest.partition(b"\t"))
        # Rust's, whose names are mangled.
        known = self._demangler.name(name) if self._demangler else name
        return Frame(address, known, address - int(start, 16), module.strip() or "[kernel]")

    def _module(self, sought: bytes) -> bytes:
        place = bisect(self._modules, sought)
        return self._modules[place - 1] if place else b""

    def _read(self) -> tuple[bytes, list[bytes]]:
        """The kernel's own symbols, and the lines of modules that are code."""
        if self._fd is None:
            return b"", []
        with open(self._fd, "rb", closefd=False) as file:
            data = file.read(LIMITS.kallsyms)
        # What was cut off, or the nothing behind the last newline.
        data = data[: data.rfind(b"\n") + 1]
        first = data.find(b"\t")
        border = len(data) if first < 0 else data.rfind(b"\n", 0, first) + 1
        modules = sorted(line for line in data[border:].split(b"\n") if _is_code(line))
        return data[:border], modules


def _is_code(line: bytes) -> bool:
    return line[17:18] in _CODE and not line.startswith(_NONE)


def _last(text: bytes, sought: bytes) -> bytes:
    """The last function of sorted ``text`` before ``sought``, else nothing.

    Of several names of an address the first, which the kernel's own messages use
    (kernel/kallsyms.c, get_symbol_pos).
    """
    low, high = 0, len(text)  # where lines begin
    while low < high:
        middle = text.rfind(b"\n", low, (low + high) // 2) + 1 or low
        end = text.find(b"\n", middle)
        if text[middle:end] < sought:
            low = end + 1
        else:
            high = middle
    found = b""
    for _ in range(_PAST):
        if not low:
            break
        start = text.rfind(b"\n", 0, low - 1) + 1
        line = text[start : low - 1]
        if found and line[:16] != found[:16]:
            break
        if _is_code(line):
            found = line
        low = start
    return found
