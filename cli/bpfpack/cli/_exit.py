"""Exit codes: one enum, one table by error family."""

from enum import IntEnum
from typing import Final

from bpfpack.spec.errors import (
    BpfpackError,
    BuildError,
    ContentError,
    KernelError,
    NotFound,
    SpecError,
    StoreError,
    TransportError,
    TrustError,
    UsageError,
)


class Exit(IntEnum):
    """What a script can rely on; README's table says the same."""

    OK = 0
    FAILED = 1  # nothing more precise below
    USAGE = 2
    BAD_INPUT = 3
    NOT_FOUND = 4
    TRANSPORT = 5
    UNTRUSTED = 6  # wrong bytes, or policy said no
    KERNEL = 7
    BUILD = 8
    RUN_SELF = 125  # `bpfpack run` only, after `docker run`:
    RUN_REFUSED = 126  # found, but trust or this kernel will not take it
    RUN_MISSING = 127  # no such package
    SIGHUP = 129
    SIGINT = 130
    SIGTERM = 143


# Most specific first.
_BY_ERROR: Final[tuple[tuple[type[BpfpackError], Exit], ...]] = (
    (UsageError, Exit.USAGE),
    (NotFound, Exit.NOT_FOUND),
    (TransportError, Exit.TRANSPORT),
    (ContentError, Exit.UNTRUSTED),
    (TrustError, Exit.UNTRUSTED),
    (SpecError, Exit.BAD_INPUT),
    (KernelError, Exit.KERNEL),
    (BuildError, Exit.BUILD),
    (StoreError, Exit.FAILED),
)

_BY_ERROR_IN_RUN: Final[tuple[tuple[type[BpfpackError], Exit], ...]] = (
    (NotFound, Exit.RUN_MISSING),
    (ContentError, Exit.RUN_REFUSED),
    (TrustError, Exit.RUN_REFUSED),
    (KernelError, Exit.RUN_REFUSED),
)


def exit_for(error: BpfpackError, *, run: bool = False) -> Exit:
    """Map an error to what the shell sees; ``run`` has docker's codes.

    >>> exit_for(NotFound("no such tag"))
    <Exit.NOT_FOUND: 4>
    >>> exit_for(TrustError("no policy"), run=True)
    <Exit.RUN_REFUSED: 126>
    >>> exit_for(UsageError("no such option"), run=True)
    <Exit.RUN_SELF: 125>
    """
    table, otherwise = (_BY_ERROR_IN_RUN, Exit.RUN_SELF) if run else (_BY_ERROR, Exit.FAILED)
    return next((code for kind, code in table if isinstance(error, kind)), otherwise)
