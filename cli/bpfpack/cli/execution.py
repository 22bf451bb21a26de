"""A verified package in the kernel, its output on stdout or in a file, until something ends it."""

import os
import signal
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, Literal

from bpfpack.cli._exit import Exit
from bpfpack.cli.host import Host
from bpfpack.cli.run_options import RunRequest
from bpfpack.cli.showing import Showing, Shown, check_each_cpu, choose, terminal_of
from bpfpack.cli.units import count, counted, seconds
from bpfpack.runner import capabilities
from bpfpack.runner.events.loop import Loop, Result
from bpfpack.runner.events.sink import Sink, refuse_raw_terminal
from bpfpack.runner.events.stop import StopSignals
from bpfpack.runner.footprint import give_back
from bpfpack.runner.plan import Plan
from bpfpack.spec.config import Config
from bpfpack.spec.errors import BpfpackError, UsageError
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.value import replace, valuetype

if TYPE_CHECKING:
    from bpfpack.cli.narrowing import Narrowing
    from bpfpack.cli.windowing import Windows
    from bpfpack.runner.api.package import Package
    from bpfpack.runner.attach.vanishing import PlaceWatch
    from bpfpack.runner.engine.host import Engine
    from bpfpack.runner.journal import Journal
    from bpfpack.runner.target import Process
    from bpfpack.runner.tracepipe import TracePipe

#: Of all privileges, what reading maps takes before Linux 5.19.
_KEPT: Final = ("CAP_BPF",)
#: Seconds that a reader has for the last line.
_LAST_WORD: Final = 0.1
_EXITS: Final = {
    "timeout": Exit.OK,
    "max-events": Exit.OK,
    "closed-pipe": Exit.OK,
    "all-gone": Exit.RUN_SELF,
    "sigint": Exit.SIGINT,
    "sigterm": Exit.SIGTERM,
    "sighup": Exit.SIGHUP,
}
#: Formats that a terminal would make nothing of, and what they are.
_NOT_FOR_TERMINALS: Final = {
    "raw": "raw records",
    "flamegraph.svg": "pictures",
    "arrow": "Arrow streams",
}
#: Formats without lines.
_NO_LINES: Final = ("raw", "arrow", "parquet")
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
    trace: Literal["table", "json"] | None
    timeout: float | None
    max_events: int | None

    @property
    def lines(self) -> bool:
        """Whether a newline ends each event."""
        return all(one.shape not in _NO_LINES for one in self.shown)

    @property
    def atomic(self) -> bool:
        """Whether the file is there only when it is whole."""
        return any(one.shape == "parquet" for one in self.shown)

    @property
    def texts(self) -> bool:
        """Whether nothing is shown but what iterators print."""
        return self.trace is None and all(one.output.kind == "text" for one in self.shown)


def execute(
    host: Host,
    package: "Package",
    plan: Plan,
    request: RunRequest,
    target: "Process | None" = None,
) -> int:
    """Load, attach, show, detach; returns the exit code.  Raises KernelError, UsageError."""
    _undo_dead(host)
    spec, config = package.spec, package.config
    chosen = settings(spec, plan, request)
    narrowing = narrowed(spec, config, chosen, request)
    windows = windowed(spec, config, chosen, request)
    # What iterators print is there: nothing is waited for.
    at_once = chosen.texts and chosen.timeout is None and target is None
    plan = replace(plan, outputs=tuple(one.output for one in chosen.shown))
    # No message holds up a signal, or the detaching that follows one.
    host.printer.waits = False
    # Signals are caught before anything is loaded: what ends us later ends us cleanly.
    capabilities.require(plan.capabilities, f"run {plan.package}")
    with (
        _journal(host, plan, chosen) as journal,
        _destination(request, chosen) as out,
        StopSignals() as stop,
    ):
        if not chosen.lines:
            what = _NOT_FOR_TERMINALS.get(chosen.shown[0].shape, "files")
            refuse_raw_terminal(out, force=request.flag("force"), what=what)
        if target is not None:
            stop.at_exit.append(target.give_up)
        with (
            _sink(out, stop, chosen) as sink,
            _trace_pipe(journal, chosen) as pipe,
            _watch(host, plan) as watch,
            _engine(host, request, chosen) as engine,
            ExitStack() as opened,
        ):
            ordered = not request.flag("unordered")
            showing = Showing(
                spec=spec,
                config=config,
                shown=chosen.shown,
                trace=chosen.trace,
                terminal=terminal_of(out),
                each_cpu=request.flag("per_cpu"),
                ordered=ordered,
                engine=engine,
                narrowing=narrowing,
                windows=windows,
            )
            compiled = showing.compiled()
            loaded = opened.enter_context(
                package.load(plan, journal=journal, unread=compiled, ordered=ordered)
            )
            session = loaded.raw
            loop = Loop(
                streams=showing.streams(session, pipe, compiled, opened),
                samplers=showing.samplers(session),
                sink=sink,
                stop=stop,
                detach=loaded.detach,
                timeout=0.0 if at_once else chosen.timeout,
                max_events=chosen.max_events,
                target_fd=target.fd if target else None,
                watch=watch,
                footer=showing.footer,
                drops=request.value("on_slow") == "drop",
            )
            loaded.attach()
            needs = target.needs if target else ()
            capabilities.drop(keep=(*_KEPT, *showing.needs, *needs))
            if not at_once:
                told = f"attached {counted(len(plan.loaded), 'program')}; Ctrl-C ends it"
                host.printer.info(told)
            if target is not None:
                target.release()
            give_back()
            result = loop.run()
            if request.flag("stats"):
                _tell_stats(host, chosen, sink, result)
        code = _code(result, request, target)
    if result.reason != "closed-pipe" and not at_once:
        host.printer.info(result.summary())
    for unsaid in showing.warnings():
        host.printer.warn(unsaid)
    if narrowing is not None and (warning := narrowing.warning()):
        host.printer.warn(warning)
    for warning in windows.warnings() if windows else ():
        host.printer.warn(warning)
    return code


def _tell_stats(host: Host, chosen: Settings, sink: Sink, result: Result) -> None:
    """Say how it went, as the last of the lines that are JSON, or else beside what is shown."""
    if any(one.shape != "json" for one in chosen.shown) or chosen.trace == "table":
        host.printer.record(result.stats())
        return
    sink.write(f'{{"stats":{result.stats()}}}\n'.encode())
    sink.finish(_LAST_WORD)


@contextmanager
def _sink(out: int, stop: StopSignals, chosen: Settings) -> Iterator[Sink]:
    sink = Sink(out, wake_fd=stop.fd, lines=chosen.lines)
    stop.at_exit.append(sink.restore)
    try:
        yield sink
    finally:
        sink.close()


@contextmanager
def _engine(host: Host, request: RunRequest, chosen: Settings) -> "Iterator[Engine | None]":
    if all(one.output.kind != "events" for one in chosen.shown):
        yield None
        return
    from bpfpack.cli.engines import start

    # It is ready before anything is attached: a small buffer is full after some ms.
    with start(host, request) or nullcontext() as engine:
        yield engine


@contextmanager
def _trace_pipe(journal: "Journal | None", chosen: Settings) -> "Iterator[TracePipe | None]":
    if journal is None or chosen.trace is None:
        yield None
        return
    from bpfpack.runner.tracepipe import TracePipe

    with closing(TracePipe(journal)) as pipe:
        yield pipe


@contextmanager
def _watch(host: Host, plan: Plan) -> "Iterator[PlaceWatch | None]":
    if not any(program.attachments for program in plan.loaded):
        yield None
        return
    from bpfpack.runner.attach.vanishing import watch

    found = watch(plan, host.printer.warn)
    with found or nullcontext():
        yield found


@contextmanager
def _journal(host: Host, plan: Plan, chosen: Settings) -> "Iterator[Journal | None]":
    if not plan.outlives and chosen.trace is None:
        yield None
        return
    from bpfpack.cli.recovery import journal

    with journal(host) as begun:
        yield begun


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


def settings(spec: ObjectSpec, plan: Plan, request: RunRequest) -> Settings:
    """Return what the options say; raises UsageError.

    ``--dry-run`` asks as well, so that it refuses what a run would.
    """
    if not plan.outputs and not request.flag("trace_pipe"):
        raise UsageError(f"{plan.package} shows nothing: it declares no output").with_hint(
            "BPFPACK_OUTPUT in its source, or [outputs] in bpfpack.toml, says what a map holds\n"
            "--trace-pipe, before the reference, shows what bpf_printk prints"
        )
    shown = choose(plan.package, plan.outputs, request.values("output"))
    for one in shown:
        if one.shape == "arrow" or one.shape == "parquet":
            from bpfpack.cli.columnar import check

            check(one.shape, request.value("file"))
        what = _NOT_FOR_TERMINALS.get(one.shape)
        if what is not None and not request.flag("file"):
            refuse_raw_terminal(sys.stdout.fileno(), force=request.flag("force"), what=what)
    if request.flag("per_cpu"):
        check_each_cpu(spec, shown)
    trace = _trace_shape(shown, request)
    timeout, most, ends = request.value("timeout"), request.value("max_events"), "--max-events"
    events = trace or any(one.output.kind == "events" for one in shown)
    # Of windows it is the rows that --limit is about.
    if most is None and events and not request.flag("every"):
        most, ends = request.value("limit"), "--limit"
    if most and not trace and all(o.output.kind != "events" and o.every is None for o in shown):
        raise UsageError("--max-events: what is shown is read once, at the end").with_hint(
            "--timeout 10s ends it"
        )
    return Settings(
        shown=shown,
        trace=trace,
        timeout=None if timeout is None else seconds(timeout, "--timeout"),
        max_events=None if most is None else count(most, ends),
    )


def narrowed(
    spec: ObjectSpec, config: Config, chosen: Settings, request: RunRequest
) -> "Narrowing | None":
    """Return what options leave of what is shown, None for all; raises UsageError."""
    if not any(map(request.flag, ("filter", "fields", "unique", "sort", "limit"))):
        return None
    from bpfpack.cli.narrowing import narrow

    showing = Showing(
        spec=spec,
        config=config,
        shown=chosen.shown,
        trace=chosen.trace,
        terminal=None,
        each_cpu=request.flag("per_cpu"),
    )
    events = [one for one in chosen.shown if one.output.kind == "events"]
    outputs = [(showing.event_output(one.output), one.shape) for one in events]
    return narrow(request, outputs, showing.tables())


def windowed(
    spec: ObjectSpec, config: Config, chosen: Settings, request: RunRequest
) -> "Windows | None":
    """Return the windows that options ask for, None for none; raises UsageError."""
    if not any(map(request.flag, ("every", "by", "show"))):
        return None
    from bpfpack.cli.windowing import windows_of

    showing = Showing(
        spec=spec, config=config, shown=chosen.shown, trace=chosen.trace, terminal=None
    )
    events = [one for one in chosen.shown if one.output.kind == "events"]
    return windows_of(request, [(showing.event_output(o.output), o.shape) for o in events])


def _trace_shape(shown: Sequence[Shown], request: RunRequest) -> Literal["table", "json"] | None:
    if not request.flag("trace_pipe"):
        return None
    shapes: set[str] = {one.shape for one in shown} or {request.value("output") or "table"}
    if not shapes <= {"table", "json"}:
        raise UsageError("--trace-pipe: its lines are shown as table or json").with_hint(
            "bpfpack run -o json --trace-pipe REF"
        )
    return "json" if shapes == {"json"} else "table"


@contextmanager
def _destination(request: RunRequest, chosen: Settings) -> Iterator[int]:
    """The descriptor that events go to: of ``-f FILE``, emptied first."""
    path = request.value("file")
    if path is None or path == "-":
        yield sys.stdout.fileno()
        return
    if chosen.atomic:
        from bpfpack.cli.columnar import whole_file

        with whole_file(path) as fd:
            yield fd
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
