"""A loaded package, as Python programs use it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bpfpack.runner.events.clock import SystemClock
from bpfpack.runner.events.formatter import EventOutput, RecordType
from bpfpack.runner.losses import LossCounter
from bpfpack.runner.session import Session
from bpfpack.spec.agreement import event_layout, key_value_layouts
from bpfpack.spec.config import Config, Output
from bpfpack.spec.errors import UsageError
from bpfpack.spec.objectspec import ObjectSpec

if TYPE_CHECKING:
    from bpfpack.runner.api.columns import ColumnReader
    from bpfpack.runner.api.decoding import Record
    from bpfpack.runner.api.lines import LineReader
    from bpfpack.runner.api.maps import TypedMap
    from bpfpack.runner.api.outputs import EventReader
    from bpfpack.runner.api.variables import Globals
    from bpfpack.runner.events.formatter import OutputFormat
    from bpfpack.runner.events.tables import MapOutput
    from bpfpack.runner.plan import Plan


class PackageSession:
    """A package in the kernel; only `Package.load` makes one.

    A context manager, also of ``async with``: at its end, and at the end of the process,
    everything is detached and freed.  Nothing here installs signal handlers, starts threads,
    writes to standard output, or gives up privileges.
    """

    def __init__(self, session: Session, spec: ObjectSpec, config: Config) -> None:
        #: What it runs on, for whoever needs more.
        self.raw: Final = session
        self._spec, self._config = spec, config
        self._clock = SystemClock()
        self._readers: dict[str, EventReader] = {}
        self._samplers: dict[str, Callable[[], Record | None]] = {}
        self._lines: dict[str, LineReader | ColumnReader] = {}
        self._closed = False

    @property
    def plan(self) -> "Plan":
        """What was decided before it was loaded."""
        return self.raw.plan

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the session of {self.plan.package} is closed")

    def attach(self) -> None:
        """Attach every program that the plan loads, or none; raises KernelError, explained."""
        self._check_open()
        if self.raw.links:
            raise UsageError(f"{self.plan.package} is attached")
        try:
            self.raw.attach()
        except BaseException:
            self.raw.detach()
            raise

    def detach(self) -> None:
        """Detach everything; what is in the buffers and maps stays readable."""
        self.raw.detach()

    @contextmanager
    def attached(self) -> Iterator["PackageSession"]:
        """Attach for the time of a block."""
        self.attach()
        try:
            yield self
        finally:
            self.detach()

    @property
    def outputs(self) -> Mapping[str, Output]:
        """What the package declares that it shows, by name."""
        return {output.name: output for output in self.plan.outputs}

    def output(self, name: str, *, filter: str | None = None) -> "EventReader":
        """The events of an output, batch by batch; the same reader each time.

        ``filter`` is what ``--filter`` of `bpfpack run` takes; the first call may give one.
        Raises UsageError for one that is none, that has no events, or is read as `lines`.
        """
        from bpfpack.runner.api.lines import Asked, record_taking  # `bpfpack run` reads by its loop
        from bpfpack.runner.api.outputs import EventReader

        found = self._events(name)
        if name in self._lines:
            raise UsageError(f"output {name} is read as lines or columns")
        if name not in self._readers:
            asked = Asked.of(self._about(found), "raw", filter, None)
            counter = LossCounter.of(self._spec, found.map, self.raw.map)
            taking = record_taking(self.raw, asked, found.map, counter)
            self._readers[name] = EventReader(asked.output, taking)
        elif filter is not None:
            raise UsageError(f"output {name} is being read")
        return self._readers[name]

    def lines(
        self,
        name: str,
        shape: "OutputFormat" = "json",
        *,
        filter: str | None = None,
        fields: str | None = None,
    ) -> "LineReader":
        """The events of an output as text: ``json`` lines, ``csv``, ``tsv``, ``yaml``, ``table``;
        or ``raw``.

        ``filter`` and ``fields`` are what ``--filter`` and ``--fields`` of `bpfpack run` take.
        Ring buffers are read by the engine: millions of events each second.  Once for each
        output, in place of `output`.  Raises UsageError, KernelError.
        """
        from bpfpack.runner.api.lines import Asked, LineReader, line_stream

        found = self._unread(name)
        asked = Asked.of(self._about(found), shape, filter, fields)
        counter = LossCounter.of(self._spec, found.map, self.raw.map)
        stream = line_stream(self.raw, asked, found.map, counter)
        self._lines[name] = reader = LineReader(name, stream)
        return reader

    def columns(
        self, name: str, *, filter: str | None = None, fields: str | None = None
    ) -> "ColumnReader":
        """The events of an output as Arrow's record batches, otherwise as `lines`.

        Takes pyarrow.  Raises UsageError, KernelError.
        """
        from bpfpack.runner.api.columns import column_reader
        from bpfpack.runner.api.lines import Asked

        found = self._unread(name)
        asked = Asked.of(self._about(found), "csv", filter, fields)
        counter = LossCounter.of(self._spec, found.map, self.raw.map)
        self._lines[name] = reader = column_reader(self.raw, asked, found.map, counter)
        return reader

    def _unread(self, name: str) -> Output:
        found = self._events(name)
        if name in self._lines or name in self._readers:
            raise UsageError(f"output {name} is being read")
        return found

    def _events(self, name: str) -> Output:
        self._check_open()
        found = self._declared(name)
        if found.kind != "events":
            how = "text" if found.kind == "text" else "sample"
            what = name if how == "sample" else found.map
            raise UsageError(f"output {name} is {found.kind}, no events").with_hint(
                f"session.{how}({what!r}) reads it"
            )
        return found

    def sample(self, name: str) -> "Record | None":
        """A table, a histogram or stacks as they are now: what `bpfpack run -o json` shows.

        Values of per-CPU maps are added up.  A histogram, and stacks, have what was added since
        they were last sampled, and are None for nothing.  Sample stacks once before attaching:
        from then on what processes map is known also when they have ended.
        Raises UsageError, KernelError.
        """
        from bpfpack.runner.api.samples import KINDS, OutputSampler

        self._check_open()
        found = self._declared(name)
        if found.kind not in KINDS:
            raise UsageError(f"output {name} is {found.kind}, nothing that is sampled")
        if name not in self._samplers:
            self._samplers[name] = OutputSampler(found, self._map_output(found), self.raw)
        return self._samplers[name]()

    def _map_output(self, output: Output) -> "MapOutput":
        from bpfpack.runner.events.tables import MapOutput

        of = next(m for m in self._spec.maps if m.name == output.map)
        key, value = key_value_layouts(self._spec, self._config, of)
        counter = LossCounter.of(self._spec, output.map, self.raw.map)
        lost = counter.read if counter else None
        return MapOutput(name=output.name, key=key, value=value, lost=lost)

    def _declared(self, name: str) -> Output:
        outputs = self.outputs
        if name not in outputs:
            raise UsageError(f"{self.plan.package} has no output {name[:80]!r}").with_hint(
                f"its outputs are {', '.join(outputs) or 'none'}"
            )
        return outputs[name]

    def _about(self, output: Output) -> EventOutput:
        types = tuple(
            RecordType(layout=event_layout(self._spec, self._config, t), when=t.when)
            for t in output.types
        )
        return EventOutput(name=output.name, types=types, discriminator=output.discriminator)

    @property
    def maps(self) -> tuple[str, ...]:
        """The names of the maps that the package defines."""
        return tuple(m.name for m in self._spec.maps)

    def map(self, name: str) -> "TypedMap":
        """A map by its name; raises UsageError for one that is not there, KernelError."""
        from bpfpack.runner.api.maps import Codec, TypedMap

        self._check_open()
        found = next((m for m in self._spec.maps if m.name == name), None)
        if found is None:
            raise UsageError(f"{self.plan.package} has no map {name[:80]!r}").with_hint(
                f"its maps are {', '.join(self.maps) or 'none'}"
            )
        key = value = None
        if found.key_type_id is not None and found.value_type_id is not None:
            key, value = key_value_layouts(self._spec, self._config, found)
        return TypedMap(
            self.raw.map(name),
            Codec(key, self._clock, "key", f"key of {name}"),
            Codec(value, self._clock, "value", f"value of {name}"),
        )

    @property
    def globals(self) -> "Globals":
        """The globals of the package."""
        from bpfpack.runner.api.variables import Globals

        self._check_open()
        return Globals(self._spec, self._config, self.raw.map)

    def text(self, program: str) -> bytes:
        """What an iterator prints now, once it is attached; raises KernelError, UsageError."""
        self._check_open()
        if not any(p.name == program and p.kind.type == "iter" for p in self.plan.loaded):
            raise UsageError(f"{self.plan.package} has no iterator {program[:80]!r}")
        return self.raw.text(program)

    def close(self) -> None:
        """Detach and free everything; batches stay as they are; a second call does nothing."""
        self._closed = True
        for reader in self._readers.values():
            reader.close()
        for lines in self._lines.values():
            lines.close()
        self.raw.close()

    def __enter__(self) -> "PackageSession":
        self._check_open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> "PackageSession":
        return self.__enter__()

    async def __aexit__(self, *exc: object) -> None:
        self.close()
