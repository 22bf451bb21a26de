"""The one place where an error becomes a message and an exit code."""

import os
import signal
import sys
from collections.abc import Callable

from bpfpack.cli._exit import Exit, exit_for
from bpfpack.cli.printer import Printer
from bpfpack.spec.errors import BpfpackError


def guarded(command: Callable[[], int], *, run: bool = False) -> int:
    """Run ``command``; an error of ours is told and mapped, a closed pipe is no error."""
    try:
        code = command()
        with Printer.standard().writing() as out:
            out.flush()
    except BpfpackError as e:
        Printer.standard().error(e)
        return exit_for(e, run=run)
    except KeyboardInterrupt:
        return Exit.SIGINT
    except BrokenPipeError:
        # Whoever read us is gone; what Python would flush at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return code
