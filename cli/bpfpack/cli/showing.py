"""What of a package is shown and how: ``-o [NAME:]FORMAT``, as sources, samplers and formatters.

What cannot be shown as it was asked for is a UsageError, before anything is loaded.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, cast

from bpfpack.runner.events.formatter import (
    ARRAY_END,
    EventOutput,
    Formatter,
    OutputFormat,
    RecordType,
    TableFormatter,
    make_formatter,
)
from bpfpack.runner.events.loop import Sampled, Sampler
from bpfpack.runner.events.stream import EventStream, Stream
from bpfpack.runner.losses import CountedSource, LossCounter
from bpfpack.runner.session import Session
from bpfpack.spec.agreement import event_layout, key_value_layouts
from bpfpack.spec.config import Config, Output
from bpfpack.spec.errors import EngineError, SpecError, UsageError
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.value import field, replace, valuetype

if TYPE_CHECKING:
    from bpfpack.cli.narrowing import Narrowing
    from bpfpack.cli.windowing import Windows
    from bpfpack.runner.columns.streams import ColumnOutput
    from bpfpack.runner.engine.host import Engine, Program
    from bpfpack.runner.events.entries import Elements
    from bpfpack.runner.events.tables import MapOutput
    from bpfpack.runner.events.terminal import Screen
    from bpfpack.runner.tracepipe import TracePipe
    from bpfpack.spec.mapspec import MapSpec

    #: By the names of outputs: what the engine runs, and what that was made of.
    Compiled = dict[str, tuple[Program, EventOutput]]

#: What only stacks are shown as.
_OF_STACKS: Final = ("folded", "flamegraph.svg")
#: What only events are shown as.
_OF_EVENTS: Final = ("json-array", "tsv", "yaml", "raw", "arrow", "parquet")
#: What has room for one output.
_OF_ONE: Final = ("json-array", "csv", "tsv", "raw", "arrow", "parquet", *_OF_STACKS)
#: What can be shown CPU by CPU.
_OF_EACH_CPU: Final = ("table", "histogram")
#: How often a table is read unless the package says.
_TABLE_MS: Final = 1000


@valuetype
class Shown:
    """One output and the format it is shown in."""

    output: Output
    shape: OutputFormat

    @property
    def every(self) -> float | None:
        """Seconds between the samples of a map, None for one at the end alone."""
        if self.shape == "flamegraph.svg":
            return None  # a file holds one picture
        default = _TABLE_MS if self.output.kind == "table" else None
        interval = self.output.interval_ms or default
        return interval / 1000 if interval else None


def choose(package: str, outputs: Sequence[Output], words: Sequence[str]) -> tuple[Shown, ...]:
    """Return what ``-o`` asks for; raises UsageError, also for two formats of one output.

    A format alone is for all outputs; one with a name is for that output, and where every
    format has a name no other output is shown.
    """
    asked: dict[str | None, str] = {}
    for name, colon, told in map(_split, words):
        before = asked.setdefault(name if colon else None, told)
        if before != told:
            what = f" of {name[:80]}" if colon else ""
            raise UsageError(f"-o: {before} and {told}: one format{what}").with_hint(
                "-o NAME:FORMAT chooses another for one output"
            )
    known = [output.name for output in outputs]
    for named in asked:
        if named is not None and named not in known:
            raise UsageError(f"{package} has no output {named[:80]!r}").with_hint(
                f"its outputs are {', '.join(known) or 'none'}"
            )
    rest = asked.get(None, None if asked else "table")
    shapes = {name: asked.get(name, rest) for name in known}
    shown = tuple(
        Shown(output=output, shape=cast("OutputFormat", shape))
        for output in outputs
        if (shape := shapes[output.name]) is not None
    )
    _check(package, shown)
    return shown


def _split(word: str) -> tuple[str, str, str]:
    return word.rpartition(":")


def _check(package: str, shown: Sequence[Shown]) -> None:
    for one in shown:
        if one.shape in _OF_STACKS and one.output.kind != "stacks":
            raise UsageError(
                f"-o {one.shape} is for stacks; {one.output.name} shows {one.output.kind}"
            )
        if one.shape in _OF_ONE and len(shown) > 1:
            names = ", ".join(s.output.name for s in shown)
            raise UsageError(
                f"-o {one.shape} is for one output, and {package} would show {len(shown)}"
            ).with_hint(f"-o NAME:{one.shape} chooses one of {names}")
        if one.output.kind == "text":
            from bpfpack.runner.events.texts import check_shape

            check_shape(one.output.name, one.shape)
        elif one.shape in _OF_EVENTS and one.output.kind != "events":
            raise UsageError(
                f"-o {one.shape} is for events; {one.output.name} is shown as table, json or csv"
            )


def check_each_cpu(spec: ObjectSpec, shown: Sequence[Shown]) -> None:
    """Raise UsageError when nothing that is shown has values of each CPU to show."""
    kept = {m.name for m in spec.maps if "percpu" in m.type_name}
    if not any(one.output.kind in _OF_EACH_CPU and one.output.map in kept for one in shown):
        raise UsageError("--per-cpu: what is shown is not kept for each CPU").with_hint(
            "it is for tables and histograms of per-CPU maps"
        )


@valuetype
class Showing:
    """Turns what was chosen into what the loop runs; ``terminal`` is where it goes, if to one."""

    spec: ObjectSpec
    config: Config
    shown: tuple[Shown, ...]
    trace: Literal["table", "json"] | None
    terminal: "Screen | None"
    each_cpu: bool = False
    ordered: bool = True
    engine: "Engine | None" = None
    narrowing: "Narrowing | None" = None
    windows: "Windows | None" = None
    _unsaid: dict[str, list[str]] = field(default_factory=dict)
    _columns: "dict[str, ColumnOutput]" = field(default_factory=dict)

    @property
    def _alone(self) -> bool:
        return len(self.shown) + (self.trace is not None) == 1

    @property
    def footer(self) -> bytes:
        """What stands behind the last event."""
        return ARRAY_END if any(one.shape == "json-array" for one in self.shown) else b""

    def compiled(self) -> "Compiled":
        """What the engine runs for each output that it shows: it reads their buffers itself."""
        self._make_columns()
        if self.engine is None:
            return {}
        from bpfpack.runner.engine.program import assemble

        found: Compiled = {}
        for one in self.shown:
            if one.output.kind == "events":
                name, about = one.output.name, self.event_output(one.output)
                image = self.narrowing.image(name) if self.narrowing else None
                # What is beyond the engine's tables is left to the plain formatter.
                with suppress(SpecError):
                    if self.windows:
                        program = self.windows.program(self.engine, name, image)
                    elif name in self._columns:
                        program = self._columns[name].program(self.engine, image)
                    else:
                        program = self.engine.load(
                            partial(assemble, one.shape, about, filtered=image),
                            terminal=self.terminal,
                        )
                    found[name] = program, about
                    if self.narrowing:
                        self.narrowing.loaded(name, program)
        return found

    def _make_columns(self) -> None:
        for one in self.shown:
            if one.shape == "arrow" or one.shape == "parquet":
                from bpfpack.cli.columnar import column_output

                about = self.event_output(one.output)
                self._columns[one.output.name] = column_output(one.shape, about)

    def streams(
        self,
        session: Session,
        pipe: "TracePipe | None",
        compiled: "Compiled",
        closing: ExitStack,
    ) -> list[EventStream]:
        """The outputs that are events, from the buffers of a session, and what is printed.

        What owns memory in the kernel is closed with ``closing``, before the session is.
        """
        found: list[EventStream] = []
        for one in self.shown:
            if one.output.name in compiled:
                try:
                    stream = self._compiled(session, one, compiled[one.output.name], closing)
                except EngineError:  # a buffer so large that no engine has room for it
                    session.read(one.output)
                    stream = self._stream(session, one)
                found.append(stream)
            elif one.output.kind == "events":
                found.append(self._stream(session, one))
        if pipe is not None:
            from bpfpack.runner.tracepipe import TraceFormatter

            formatter = TraceFormatter(json=self.trace == "json", alone=self._alone)
            found.append(Stream(source=pipe, formatter=formatter))
        return found

    def _compiled(
        self, session: Session, one: Shown, made: "tuple[Program, EventOutput]", closing: ExitStack
    ) -> EventStream:
        from bpfpack.runner.engine.streams import open_stream

        program, about = made
        counter = LossCounter.of(self.spec, one.output.map, session.map)

        def header() -> bytes | None:
            if self.windows:
                return self.windows.begin(one.output.name)
            # Once all is attached: nobody waits for it before.
            formatter = make_formatter(one.shape, about, terminal=self.terminal)
            if isinstance(formatter, TableFormatter):
                formatter.resume(program.widths())
            return formatter.header()

        stream = open_stream(
            program,
            session.map(one.output.map),
            pages=session.plan.perf_pages.get(one.output.map),
            ordered=self.ordered,
            header=header,
            lost=counter.read if counter else None,
        )
        closing.callback(stream.close)
        columns = self._columns.get(one.output.name)
        return columns.stream(stream) if columns else stream

    def _stream(self, session: Session, one: Shown) -> Stream:
        source = session.sources[one.output.name]
        counter = LossCounter.of(self.spec, one.output.map, session.map)
        return Stream(
            source=CountedSource(source, counter) if counter else source,
            formatter=self._formatter(one),
            kept=self.narrowing.kept(one.output.name) if self.narrowing else None,
        )

    def _formatter(self, one: Shown) -> Formatter:
        if self.windows:
            return self.windows.formatter(one.output.name)
        if one.output.name in self._columns:
            return self._columns[one.output.name].formatter()
        return make_formatter(one.shape, self.event_output(one.output), terminal=self.terminal)

    def event_output(self, output: Output) -> EventOutput:
        """What is known of an output, and shown of it."""
        if self.narrowing:
            return self.narrowing.outputs[output.name]
        types = tuple(
            RecordType(layout=event_layout(self.spec, self.config, t), when=t.when)
            for t in output.types
        )
        return EventOutput(
            name=output.name, types=types, discriminator=output.discriminator, alone=self._alone
        )

    def samplers(self, session: Session) -> list[Sampled]:
        """Maps, read as often as the package says; a histogram by default once, at the end.

        Windows of events, too; called when their streams are there.
        """
        found = self.windows.sampled(self.terminal) if self.windows else []
        # What ends a file of columns is made when all are there.
        found += [Sampled(sampler=one, interval=None) for one in self._columns.values()]
        for one in self.shown:
            if one.output.kind == "stacks":
                from bpfpack.cli.stacking import sampled_stacks

                about = self._about(session, one)
                found += sampled_stacks(session, one, about, self.terminal)
            elif one.output.kind != "events":
                found.append(Sampled(sampler=self._sampler(session, one), interval=one.every))
        return found

    @property
    def needs(self) -> tuple[str, ...]:
        """The capabilities that showing takes once all is attached."""
        if any(one.output.user for one in self.shown):
            from bpfpack.cli.stacking import OF_OTHERS

            return OF_OTHERS
        return ()

    def tables(self) -> "list[MapOutput]":
        """The outputs that are tables, as they will be shown."""
        found = []
        for one in self.shown:
            if one.output.kind == "table":
                about, of = self._described(one)
                if self.each_cpu and "percpu" in of.type_name:
                    from bpfpack.runner.events.percpu import as_each_cpu

                    about = as_each_cpu(about, of.key_size)
                found.append(about)
        return found

    def _described(self, one: Shown) -> "tuple[MapOutput, MapSpec]":
        from bpfpack.runner.events.tables import MapOutput

        found = next(m for m in self.spec.maps if m.name == one.output.map)
        key, value = key_value_layouts(self.spec, self.config, found)
        return MapOutput(name=one.output.name, key=key, value=value, alone=self._alone), found

    def _about(self, session: Session, one: Shown) -> "MapOutput":
        about, _ = self._described(one)
        about = replace(about, tell=partial(self._unsaid.__setitem__, about.name))
        counter = LossCounter.of(self.spec, one.output.map, session.map)
        return replace(about, lost=counter.read) if counter else about

    def warnings(self) -> list[str]:
        """What was wrong with samples, as far as their formats had no place for it."""
        return [f"{name}: {'; '.join(notes)}" for name, notes in self._unsaid.items()]

    def _sampler(self, session: Session, one: Shown) -> Sampler:
        if one.output.kind == "text":
            return self._text(session, one)
        from bpfpack.runner.events.histogram import HistogramSampler
        from bpfpack.runner.events.tables import TableSampler, View

        output, about = one.output, self._about(session, one)
        elements: Elements = session.map(output.map)
        if self.each_cpu:
            from bpfpack.runner.events.percpu import each_cpu

            about, elements = each_cpu(about, elements)
        if output.kind == "table":
            return TableSampler(
                one.shape,
                about,
                elements,
                sort=output.sort,
                view=self.narrowing.views[output.name] if self.narrowing else View(),
                terminal=self.terminal,
            )
        return HistogramSampler(one.shape, output, about, elements, terminal=self.terminal)

    def _text(self, session: Session, one: Shown) -> Sampler:
        from bpfpack.runner.events.texts import TextSampler, check_shape

        name, program = one.output.name, one.output.map
        shape = check_shape(name, one.shape)
        return TextSampler(shape, name, lambda: session.text(program), alone=self._alone)


def terminal_of(fd: int) -> "Screen | None":
    """The size of the terminal behind a descriptor, as it is whenever it is asked for."""
    if not os.isatty(fd):
        return None
    from bpfpack.runner.events.terminal import LiveTerminal

    return LiveTerminal(fd)
