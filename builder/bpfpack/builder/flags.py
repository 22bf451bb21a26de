"""Which compiler flags a project may ask for."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from bpfpack.spec.errors import UsageError

# `-W...` but not -Wa, -Wl, -Wp, which hand arguments to other programs; `-mcpu=probe` would
# make the object depend on the machine.
_SINGLE: Final = re.compile(
    r"-D[A-Za-z_]\w*(=.*)?"
    r"|-U[A-Za-z_]\w*"
    r"|-O[0-3sz]?"
    r"|-g[0-3]?"
    r"|-W(?![alp],)[A-Za-z0-9+#=-]*"
    r"|-std=(?:c|gnu)[0-9a-z]{2}"
    r"|-mcpu=(?:generic|v[1-9])",
    re.ASCII | re.DOTALL,
)


def check_flags(flags: Sequence[str]) -> tuple[str, ...]:
    """Return the flags when all are allowed; raises UsageError.

    Allowed are -D -U -O -g -W -std -mcpu, and -I of a directory inside the project.  All
    others can read files, load code into the compiler or write elsewhere.

    >>> check_flags(["-DMAX=3", "-I", "include"])
    ('-DMAX=3', '-Iinclude')
    >>> check_flags(["-fplugin=./evil.so"])
    Traceback (most recent call last):
    ...
    bpfpack.spec.errors.UsageError: compiler flag '-fplugin=./evil.so' is not allowed
    """
    found: list[str] = []
    waiting = iter(flags)
    for flag in waiting:
        if flag in ("-I", "-D", "-U"):
            flag += next(waiting, "")
        if flag.startswith("-I"):
            found.append(f"-I{_inside(flag)}")
        elif _SINGLE.fullmatch(flag):
            found.append(flag)
        else:
            raise _refused(flag)
    return tuple(found)


def _inside(flag: str) -> PurePosixPath:
    path = PurePosixPath(flag.removeprefix("-I"))
    if flag == "-I" or path.is_absolute() or ".." in path.parts or "\0" in flag:
        raise UsageError(f"compiler flag {flag!r} leaves the project")
    return path


def _refused(flag: str) -> UsageError:
    return UsageError(f"compiler flag {flag[:200]!r} is not allowed").with_hint(
        "allowed are -D -U -O -g -W... -std= -mcpu= and -I of a directory inside the project"
    )
