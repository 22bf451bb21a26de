"""A program of its own that demangles names: one a line in, one a line out.

``python -m bpfpack.runner.symbols.demangler``, which `demangle` starts.  A name of a hundred
bytes can keep a demangler busy for years or stand for gigabytes: a clock ends this program, and
the kernel gives it no more memory than it needs, no file and no capability.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Final

from bpfpack.runner._native import libc
from bpfpack.spec.limits import LIMITS

#: Seconds for one name; what compilers make takes microseconds.
_SECONDS: Final = 0.25
_MEMORY: Final = 512 * 1024 * 1024


def main() -> None:
    """Answer until there are no more questions."""
    translate = _library()
    _confine()
    for line in sys.stdin.buffer:
        # SIGALRM, unhandled, ends whatever code runs.
        signal.setitimer(signal.ITIMER_REAL, _SECONDS)
        text = translate(line.rstrip(b"\n").decode("ascii", "replace"))
        signal.setitimer(signal.ITIMER_REAL, 0)
        answer = text.encode(errors="replace")
        answer = line if len(text) > LIMITS.demangled or b"\n" in answer else answer + b"\n"
        os.write(1, answer)


def _confine() -> None:
    libc.set_no_new_privileges()
    libc.set_capabilities(0)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for nothing in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        resource.setrlimit(nothing, (0, 0))


def _library() -> Callable[[str], str]:
    import multi_demangle

    options = multi_demangle.DemangleOptions(return_type=False, parameters=True, normalize=False)
    return lambda name: str(multi_demangle.demangle_symbol(name, options))


if __name__ == "__main__":
    main()
