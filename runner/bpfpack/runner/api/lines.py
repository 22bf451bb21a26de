"""The events of one output as text, made by the engine: no step of Python for any of them."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from bpfpack.runner.api.code import CODE
from bpfpack.runner.api.taking import BUSY, FromEngine, FromSource, Taking
from bpfpack.runner.api.waiting import AsyncEach, each
from bpfpack.runner.events.batch import Source
from bpfpack.runner.events.formatter import EventOutput, OutputFormat, make_formatter
from bpfpack.runner.events.stream import EventStream, Stream, Taken
from bpfpack.runner.filters.filter import Filter, make_filters
from bpfpack.runner.filters.selection import select_fields
from bpfpack.runner.losses import CountedSource, LossCounter
from bpfpack.runner.maps import RINGBUF
from bpfpack.runner.session import Session
from bpfpack.spec.errors import EngineError, SpecError, UsageError
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from bpfpack.runner.engine.forms import EngineForm
    from bpfpack.runner.engine.host import Engine, Program

T = TypeVar("T")
#: Each line, or document, stands for itself.
SHAPES: Final[tuple[OutputFormat, ...]] = ("json", "csv", "tsv", "yaml", "table", "raw")
#: Events that one call takes at most.
_MOST: Final = 1 << 16


@valuetype
class Asked:
    """What is shown of an output, and how."""

    output: EventOutput
    shape: OutputFormat
    kept: Filter | None = None

    @classmethod
    def of(
        cls, output: EventOutput, shape: OutputFormat, text: str | None, fields: str | None
    ) -> "Asked":
        """Check it; raises UsageError."""
        if shape not in SHAPES:
            raise UsageError(f"lines of events are {', '.join(SHAPES)}, not {shape}")
        kept = None if text is None else make_filters(text, None, [output])[output.name]
        if fields is not None:
            if shape == "raw":
                raise UsageError("fields: raw output is whole records")
            nested = shape in ("json", "yaml")
            (output,) = select_fields(fields, [output], nested=nested)
        return cls(output=output, shape=shape, kept=kept)


class StreamReader(Generic[T]):
    """Events of one output, many at a time; readable at ``fd`` when some may be there."""

    def __init__(self, name: str, stream: EventStream, *, most: int = _MOST) -> None:
        self.name: Final = name
        self._stream: EventStream | None = stream
        self._most = most
        #: Records that were taken, and those of them that were shown.
        self.records = self.shown = 0

    @property
    def _open(self) -> EventStream:
        if self._stream is None:
            raise ValueError(f"the session of {self.name} is closed")
        return self._stream

    @property
    def fd(self) -> int:
        """The descriptor to wait on, owned by the session; ValueError once that is closed."""
        return self._open.fd

    def lost(self) -> int | None:
        """Records lost since the package was loaded, None where nobody counts them."""
        return self._open.lost()

    def poll(self) -> tuple[bool, T | None]:
        """Take what is there now: whether there was anything, and what of it is shown.

        Raises EngineError, KernelError, and ValueError once the session is closed.
        """
        found = self._open.take(self._most)
        if not found.records:
            if found.busy:
                time.sleep(BUSY)  # its descriptor stays readable meanwhile
            return found.busy, None
        self.records += found.records
        self.shown += found.shown
        return True, self._made(found) if found.shown else None

    def _made(self, found: Taken) -> T:
        """Make something of its own of what was taken."""
        raise NotImplementedError

    def take(self) -> T | None:
        """What is there now, None for nothing; see `poll`."""
        while True:
            there, found = self.poll()
            if found is not None or not there:
                return found

    def chunks(self, *, timeout: float | None = None) -> Iterator[T]:
        """Return what comes until nothing has come for ``timeout`` seconds; None: for ever."""
        return each(self, timeout)

    def __iter__(self) -> Iterator[T]:
        return self.chunks()

    def __aiter__(self) -> "AsyncEach[T]":
        return AsyncEach(self)

    def close(self) -> None:
        """Let go of the stream, which the session closes."""
        self._stream = None


class LineReader(StreamReader[bytes]):
    """Events of one output as bytes, whole lines at a time.

    ``for lines in reader.chunks(timeout=1)`` and ``async for lines in reader`` give `bytes` of up
    to half a megabyte; the first has the header in front, where the format has one.
    """

    _begun = False

    def _made(self, found: Taken) -> bytes:
        header = b"" if self._begun else self._open.header() or b""
        self._begun = True
        return header + found.output if header else bytes(found.output)


def record_taking(
    session: Session, asked: Asked, map_name: str, counter: LossCounter | None
) -> Taking:
    """The records of a ring buffer by the engine, where that can be had; otherwise by libbpf.

    Raises KernelError, UsageError.
    """
    make = partial(_program, "framed", asked.output, asked.kept)
    if stream := by_engine(session, map_name, counter, make):
        return FromEngine(stream)
    return FromSource(source_of(session, asked.output.name, counter), asked.kept)


def line_stream(
    session: Session, asked: Asked, map_name: str, counter: LossCounter | None
) -> EventStream:
    """A ring buffer by the engine, where that can be had; otherwise by the plain formatter.

    Raises KernelError, UsageError.
    """
    formatter = make_formatter(asked.shape, asked.output)
    make = partial(_program, asked.shape, asked.output, asked.kept)
    if stream := by_engine(session, map_name, counter, make, formatter.header):
        return stream
    return Stream(
        source=source_of(session, asked.output.name, counter),
        formatter=formatter,
        kept=asked.kept.kept if asked.kept else None,
    )


def _program(
    shape: "EngineForm", output: EventOutput, kept: Filter | None, engine: "Engine"
) -> "Program":
    from bpfpack.runner.engine.program import assemble

    image = kept.image() if kept else None
    return engine.load(partial(assemble, shape, output, filtered=image))


def by_engine(
    session: Session,
    map_name: str,
    counter: LossCounter | None,
    make: "Callable[[Engine], Program]",
    header: Callable[[], bytes | None] = lambda: None,
) -> EventStream | None:
    """A ring buffer by a program that ``make`` makes; None where that cannot be had."""
    if session.map(map_name).type != RINGBUF or not (engine := _engine_of(session)):
        return None
    from bpfpack.runner.engine.streams import open_stream

    # What is beyond the engine's tables, or its room, is left to plain Python.
    with suppress(SpecError, EngineError):
        lost = counter.read if counter else None
        stream = open_stream(make(engine), session.map(map_name), header=header, lost=lost)
        session.closing.callback(stream.close)
        return stream
    return None


def source_of(session: Session, name: str, counter: LossCounter | None) -> Source:
    """The buffer of an output by libbpf; raises UsageError when it was left to another."""
    source = session.sources.get(name)
    if source is None:
        raise UsageError(f"output {name} was left to be read otherwise")
    return CountedSource(source, counter) if counter else source


def _engine_of(session: Session) -> "Engine | None":
    """An engine that is closed before the session is; None, with a warning, where it has none."""
    from bpfpack.runner.engine.host import Engine

    try:
        return session.closing.enter_context(Engine(CODE))
    except EngineError as e:
        warnings.warn(
            f"{e}; events are read by plain Python, which is slower", RuntimeWarning, stacklevel=5
        )
        return None
