"""A verified package in the kernel, its output on stdout or in a file, until something ends it."""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bpfpack.cli._exit import Exit
from bpfpack.cli.host import Host
from bpfpack.cli.run_options import RunRequest
from bpfpack.cli.showing import Showing, Shown, choose, terminal_of
from bpfpack.cli.units import count, counted, seconds
from bpfpack.runner import capabilities
from bpfpack.runner.events.loop import Loop, Result
from bpfpack.runner.events.sink import Sink, refuse_raw_terminal
from bpfpack.runner.events.stop import StopSignals
from bpfpack.runner.plan import Plan
from bpfpack.runner.session import Session
from bpfpack.spec.errors import BpfpackError, UsageError
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.trust import VerifiedArtifact
from bpfpack.spec.value import replace, valuetype

if TYPE_CHECKING:
    from bpfpack.runner.target import Process

#: Of all privileges, what reading maps takes before Linux 5.19.
_KEPT: Final = ("CAP_BPF",)
_EXITS: Final = {
    "timeout": Exit.OK,
    "max-events": Exit.OK,
    "closed-pipe": Exit.OK,
    "sigint": Exit.SIGINT,
    "sigterm": Exit.SIGTERM,
    "sighup": Exit.SIGHUP,
}
#: What a command gets when something else ends the run before it.
_PASSED_ON: Final = {
    "sigint": signal.SIGINT,
    "sigterm": signal.SIGTERM,
    "sighup": signal.SIGHUP,
}


@valuetype
class Settings:
    """What the options say of a run: what is shown, and what ends it."""

    shown: tuple[Shown, ...]
    timeout: float | None
    max_events: int | None

    @property
    def lines(self) -> bool:
        """Whether a newline ends each event."""
        return all(one.shape != "raw" for one in self.shown)


def execute(
    host: Host,
    verified: VerifiedArtifact,
    spec: ObjectSpec,
    plan: Plan,
    request: RunRequest,
    target: "Process | None" = None,
) -> int:
    """Load, attach, show, detach; returns the exit code.  Raises KernelError, UsageError."""
    _undo_dead(host)
    chosen = settings(plan, request)
    plan = replace(plan, outputs=tuple(one.output for one in chosen.shown))
    # No message holds up a signal, or the detaching that follows one.
    host.printer.waits = False
    # Signals are caught before anything is loaded: what ends us later ends us cleanly.
    with _destination(request) as out, StopSignals() as stop:
        if not chosen.lines:
            refuse_raw_terminal(out, force=request.flag("force"))
        if target is not None:
            stop.at_exit.append(target.give_up)
        sink = Sink(out, wake_fd=stop.fd, lines=chosen.lines)
        stop.at_exit.append(sink.restore)
        try:
            with Session.open(verified, plan) as session:
                showing = Showing(
                    spec=spec, config=verified.config, shown=chosen.shown, terminal=terminal_of(out)
                )
                loop = Loop(
                    streams=showing.streams(session),
                    samplers=showing.samplers(session),
                    sink=sink,
                    stop=stop,
                    detach=session.detach,
                    timeout=chosen.timeout,
                    max_events=chosen.max_events,
                    target_fd=target.fd if target else None,
                )
                session.attach()
                capabilities.drop(keep=_KEPT if target is None else (*_KEPT, *target.needs))
                host.printer.info(
                    f"attached {counted(len(plan.loaded), 'program')}; Ctrl-C ends it"
                )
                if target is not None:
                    target.release()
                result = loop.run()
        finally:
            sink.close()
        code = _code(result, request, target)
    if result.reason != "closed-pipe":
        host.printer.info(result.summary())
    return code


def _undo_dead(host: Host) -> None:
    """Detach what killed runs left; where none left a journal, nothing is imported."""
    try:
        with os.scandir(host.dirs.run / "journals") as found:
            if next(found, None) is None:
                return
    except FileNotFoundError:
        return
    except OSError:
        pass  # said in the words of those who look closer
    from bpfpack.cli.recovery import undo_dead

    undo_dead(host)


def settings(plan: Plan, request: RunRequest) -> Settings:
    """Return what the options say; raises UsageError.

    ``--dry-run`` asks as well, so that it refuses what a run would.
    """
    if not plan.outputs:
        raise UsageError(f"{plan.package} shows nothing: it declares no output").with_hint(
            "BPFPACK_OUTPUT in its source, or [outputs] in bpfpack.toml, says what a map holds"
        )
    shown = choose(plan.package, plan.outputs, request.values("output"))
    if any(one.shape == "raw" for one in shown) and not request.flag("file"):
        refuse_raw_terminal(sys.stdout.fileno(), force=request.flag("force"))
    timeout, most = request.value("timeout"), request.value("max_events")
    if most is not None and all(o.output.kind != "events" and o.every is None for o in shown):
        raise UsageError("--max-events: what is shown is read once, at the end").with_hint(
            "--timeout 10s ends it"
        )
    return Settings(
        shown=shown,
        timeout=None if timeout is None else seconds(timeout, "--timeout"),
        max_events=None if most is None else count(most, "--max-events"),
    )


@contextmanager
def _destination(request: RunRequest) -> Iterator[int]:
    """The descriptor that events go to: of ``-f FILE``, emptied first."""
    path = request.value("file")
    if path is None or path == "-":
        yield sys.stdout.fileno()
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o666)
    except OSError as e:
        raise BpfpackError(f"cannot write {path}: {e.strerror}") from e
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, 0)
        yield fd
    finally:
        os.close(fd)


def _code(result: Result, request: RunRequest, target: "Process | None") -> int:
    if target is not None:
        ended_by = _PASSED_ON.get(result.reason, signal.SIGTERM)
        code = target.finish(None if result.reason == "target-ended" else ended_by)
        if result.reason == "target-ended":
            return code
    if result.reason == "sigint" and request.flag("sigint_ok"):
        return Exit.OK
    return _EXITS[result.reason]
