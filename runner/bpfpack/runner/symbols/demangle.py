"""Names of C++ and Rust as their authors wrote them.

Names come from files of whoever is looked at, so a process of its own demangles them
(`demangler`): it may be ended by any of them.  It is started with the first mangled name, and
no more once a few names have ended it.
"""

import os
import select
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from bpfpack.spec.limits import LIMITS

if TYPE_CHECKING:
    import subprocess

# Itanium C++ ABI, 5.1 "External Names", also of Rust before v0; Rust RFC 2603.
_PREFIXES: Final = ("_Z", "_R")
_REMEMBERED: Final = 4096
_STARTS: Final = 8
#: Seconds for an answer: to begin, it may have to be loaded from disk.
_PATIENCE: Final = 5.0


class Demangler:
    """Turns mangled names into what a person reads: parameters are shown, return types not."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = _STARTS

    def name(self, name: str) -> str:
        """Return a function's name as its language writes it, or the name itself."""
        if not name.startswith(_PREFIXES) or not (name.isascii() and name.isprintable()):
            return name
        if len(name) > LIMITS.elf_name:
            return name
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._ask(name) or name
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def close(self) -> None:
        """End the process that demangles."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with process:  # closes its pipes and waits for it
                pass

    def _ask(self, name: str) -> str | None:
        """What the process says of a name, None when that has ended it, or there is none."""
        process = self._process or self._start()
        if process is None or process.stdin is None or process.stdout is None:
            return None
        try:
            os.write(process.stdin.fileno(), f"{name}\n".encode())
            answer = _line(process.stdout.fileno())
        except OSError:
            answer = None
        if answer is None:
            self.close()
        return answer

    def _start(self) -> "subprocess.Popen[bytes] | None":
        if not self._starts:
            return None
        self._starts -= 1
        import subprocess

        # In a session of its own no Ctrl-C of a terminal reaches it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-m", "bpfpack.runner.symbols.demangler"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self._process


def _line(fd: int) -> str | None:
    """One line, without its end; None when the writer is gone or says nothing."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    found = bytearray()
    while not found.endswith(b"\n"):
        if not waiting.poll(_PATIENCE * 1000) or not (part := os.read(fd, 65536)):
            return None
        found += part
    return found[:-1].decode(errors="replace")
