"""A verified package in the kernel, its output on stdout, until something ends it."""

import os
import sys
from typing import TYPE_CHECKING, Final, cast

from bpfpack.cli._exit import Exit
from bpfpack.cli.host import Host
from bpfpack.cli.run_options import RunRequest
from bpfpack.cli.units import count, counted, seconds
from bpfpack.runner import capabilities
from bpfpack.runner.events.formatter import (
    EventOutput,
    OutputFormat,
    RecordType,
    make_formatter,
)
from bpfpack.runner.events.loop import Loop, Result, Sampled, Sampler, Stream
from bpfpack.runner.events.sink import Sink, refuse_raw_terminal
from bpfpack.runner.events.stop import StopSignals
from bpfpack.runner.losses import CountedSource, LossCounter
from bpfpack.runner.plan import Plan
from bpfpack.runner.session import Session
from bpfpack.spec.agreement import event_layout, key_value_layouts
from bpfpack.spec.config import Config, Output
from bpfpack.spec.errors import UsageError
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.trust import VerifiedArtifact

if TYPE_CHECKING:
    from bpfpack.runner.events.tables import Terminal

#: How often a table is read unless the package says.
_TABLE_MS: Final = 1000
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


def execute(
    host: Host, verified: VerifiedArtifact, spec: ObjectSpec, plan: Plan, request: RunRequest
) -> int:
    """Load, attach, show, detach; returns the exit code.  Raises KernelError, UsageError."""
    shape, limit, events = settings(plan, request)
    stdout = sys.stdout.fileno()
    # No message holds up a signal, or the detaching that follows one.
    host.printer.waits = False
    # Signals are caught before anything is loaded: what ends us later ends us cleanly.
    with StopSignals() as stop, Session.open(verified, plan) as session:
        sink = Sink(stdout, wake_fd=stop.fd, lines=shape != "raw")
        stop.at_exit.append(sink.restore)
        try:
            loop = Loop(
                streams=_streams(session, spec, verified.config, plan, shape),
                samplers=_samplers(session, spec, verified.config, plan, shape),
                sink=sink,
                stop=stop,
                detach=session.detach,
                timeout=limit,
                max_events=events,
            )
            session.attach()
            capabilities.drop(keep=_KEPT)
            host.printer.info(f"attached {counted(len(plan.loaded), 'program')}; Ctrl-C ends it")
            with host.printer.writing():
                result = loop.run()
        finally:
            sink.close()
    return _told(host, result, request)


def settings(plan: Plan, request: RunRequest) -> tuple[OutputFormat, float | None, int | None]:
    """Return format, seconds and events as the options say; raises UsageError.

    ``--dry-run`` asks as well, so that it refuses what a run would.
    """
    shape = _shape(plan, request)
    if shape == "raw":
        refuse_raw_terminal(sys.stdout.fileno(), force=request.flag("force"))
    timeout, most = request.value("timeout"), request.value("max_events")
    return (
        shape,
        None if timeout is None else seconds(timeout, "--timeout"),
        None if most is None else count(most, "--max-events"),
    )


def _told(host: Host, result: Result, request: RunRequest) -> int:
    if result.reason != "closed-pipe":
        host.printer.info(result.summary())
    if result.reason == "sigint" and request.flag("sigint_ok"):
        return Exit.OK
    return _EXITS[result.reason]


def _shape(plan: Plan, request: RunRequest) -> OutputFormat:
    shape = cast("OutputFormat", request.value("output") or "table")
    if not plan.outputs:
        raise UsageError(f"{plan.package} shows nothing: it declares no output").with_hint(
            "BPFPACK_OUTPUT in its source, or [outputs] in bpfpack.toml, says what a map holds"
        )
    events = [o for o in plan.outputs if o.kind == "events"]
    if shape in ("csv", "raw") and len(plan.outputs) > 1:
        raise UsageError(
            f"-o {shape} is for one output, and {plan.package} has {len(plan.outputs)}"
        )
    if shape == "raw" and not events:
        raise UsageError("-o raw is for events; maps are shown as table, json or csv")
    return shape


def _streams(
    session: Session, spec: ObjectSpec, config: Config, plan: Plan, shape: OutputFormat
) -> list[Stream]:
    terminal = _terminal()
    streams = []
    for output in plan.outputs:
        if output.kind != "events":
            continue
        source = session.sources[output.name]
        counter = LossCounter.of(spec, output.map, session.map)
        formatter = make_formatter(
            shape,
            _event_output(spec, config, output, len(plan.outputs) == 1),
            terminal=terminal.columns if terminal else None,
        )
        streams.append(
            Stream(
                source=CountedSource(source, counter) if counter else source, formatter=formatter
            )
        )
    return streams


def _event_output(spec: ObjectSpec, config: Config, output: Output, alone: bool) -> EventOutput:
    return EventOutput(
        name=output.name,
        types=tuple(
            RecordType(layout=event_layout(spec, config, t), when=t.when) for t in output.types
        ),
        discriminator=output.discriminator,
        alone=alone,
    )


def _samplers(
    session: Session, spec: ObjectSpec, config: Config, plan: Plan, shape: OutputFormat
) -> list[Sampled]:
    """Maps are read as often as the package says; a histogram by default once, at the end."""
    sampled = []
    for output in plan.outputs:
        if output.kind == "events":
            continue
        every = output.interval_ms or (_TABLE_MS if output.kind == "table" else None)
        sampled.append(
            Sampled(
                sampler=_sampler(session, spec, config, plan, output, shape),
                interval=every / 1000 if every else None,
            )
        )
    return sampled


def _sampler(
    session: Session,
    spec: ObjectSpec,
    config: Config,
    plan: Plan,
    output: Output,
    shape: OutputFormat,
) -> Sampler:
    from bpfpack.runner.events.histogram import HistogramSampler
    from bpfpack.runner.events.tables import MapOutput, TableSampler

    found = next(m for m in spec.maps if m.name == output.map)
    key, value = key_value_layouts(spec, config, found)
    shown = MapOutput(name=output.name, key=key, value=value, alone=len(plan.outputs) == 1)
    elements, terminal = session.map(output.map), _terminal()
    if output.kind == "table":
        return TableSampler(shape, shown, elements, sort=output.sort, terminal=terminal)
    return HistogramSampler(shape, output, shown, elements, terminal=terminal)


def _terminal() -> "Terminal | None":
    if not os.isatty(sys.stdout.fileno()):
        return None
    from bpfpack.runner.events.tables import Terminal

    columns, lines = os.get_terminal_size(sys.stdout.fileno())
    # A terminal of unknown size says 0 by 0.
    return Terminal(columns=columns or 80, lines=lines or 24)
