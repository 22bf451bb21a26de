"""The one place where an error becomes a message and an exit code."""

import sys
from collections.abc import Callable

from bpfpack.cli._exit import Exit, exit_for
from bpfpack.cli.printer import Printer, abandon, settle
from bpfpack.spec.errors import BpfpackError, shortage_hint


def guarded(command: Callable[[], int], *, run: bool = False) -> int:
    """Run ``command``; an error of ours is told and mapped, a closed pipe is no error."""
    try:
        code = command()
        with Printer.standard().writing() as out:
            out.flush()
    except BpfpackError as e:
        settle(sys.stdout)
        _tell(e)
        return exit_for(e, run=run)
    except KeyboardInterrupt:
        return Exit.SIGINT
    except BrokenPipeError:
        # Whoever read us has had enough; what Python would flush at exit goes nowhere.
        abandon(sys.stdout)
        return Exit.OK
    except Exception as e:  # noqa: BLE001 - whatever it is, it is a fault of ours
        return _fault(e, run=run)
    return code


def _fault(error: Exception, *, run: bool) -> int:
    """Tell of an error that is none of ours: a host that runs out, or a bug and where it is."""
    if hint := shortage_hint(error):
        _tell(BpfpackError(str(error)).with_hint(hint))
        return Exit.RUN_SELF if run else Exit.FAILED
    import traceback

    *_, last = traceback.extract_tb(error.__traceback__)
    what = f"internal error: {type(error).__name__}: {error}"
    _tell(
        BpfpackError(what).with_hint(
            f"this is a bug of bpfpack (at {last.filename}:{last.lineno}); please report it"
        )
    )
    return Exit.RUN_SELF if run else Exit.FAILED


def _tell(error: BpfpackError) -> None:
    """Whatever was attached is gone: the reason may wait for its reader."""
    printer = Printer.standard()
    printer.waits = True
    error.hint = error.hint or shortage_hint(error)
    printer.error(error)
