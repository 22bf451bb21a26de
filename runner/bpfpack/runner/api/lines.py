"""The events of one output as text, made by the engine: no step of Python for any of them."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from bpfpack.runner.api.code import CODE
from bpfpack.runner.api.waiting import AsyncEach, each
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
    from bpfpack.runner.engine.host import Engine

T = TypeVar("T")
#: Each line, or document, stands for itself.
SHAPES: Final[tuple[OutputFormat, ...]] = ("json", "csv", "tsv", "yaml", "table", "raw")
#: Events that one call takes at most.
_MOST: Final = 1 << 16
#: Seconds to wait for a record that is still being written.
_BUSY: Final = 0.0002


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
                time.sleep(_BUSY)  # its descriptor stays readable meanwhile
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


def line_stream(
    session: Session, asked: Asked, map_name: str, counter: LossCounter | None
) -> EventStream:
    """A ring buffer by the engine, where that can be had; otherwise by the plain formatter.

    Raises KernelError.
    """
    lost = counter.read if counter else None
    if session.map(map_name).type == RINGBUF and (engine := engine_of(session)):
        # What is beyond the engine's tables, or its room, is left to the plain formatter.
        with suppress(SpecError, EngineError):
            return _by_engine(session, engine, asked, map_name, lost)
    source = session.sources[asked.output.name]
    return Stream(
        source=CountedSource(source, counter) if counter else source,
        formatter=make_formatter(asked.shape, asked.output),
        kept=asked.kept.kept if asked.kept else None,
    )


def _by_engine(
    session: Session,
    engine: "Engine",
    asked: Asked,
    map_name: str,
    lost: Callable[[], int] | None,
) -> EventStream:
    from bpfpack.runner.engine.program import assemble
    from bpfpack.runner.engine.streams import open_stream

    image = asked.kept.image() if asked.kept else None
    program = engine.load(partial(assemble, asked.shape, asked.output, filtered=image))
    header = make_formatter(asked.shape, asked.output).header
    stream = open_stream(program, session.map(map_name), header=header, lost=lost)
    session.closing.callback(stream.close)
    return stream


def engine_of(session: Session) -> "Engine | None":
    """An engine that is closed before the session is; None, with a warning, where it has none."""
    from bpfpack.runner.engine.host import Engine

    try:
        return session.closing.enter_context(Engine(CODE))
    except EngineError as e:
        warnings.warn(
            f"{e}; events are formatted by plain Python, which is slower",
            RuntimeWarning,
            stacklevel=4,
        )
        return None
