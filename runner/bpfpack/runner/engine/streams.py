"""Events of one output, by the engine: from a ring buffer as it lies, or staged."""

from collections.abc import Callable
from typing import Final, Protocol

from bpfpack.runner.buffers import PERF_PAGES, PerfBufferSource
from bpfpack.runner.engine.host import BUSY, EMPTY, Call, MappedRing, Outcome, Program
from bpfpack.runner.events.stream import NOTHING, EventStream, Taken
from bpfpack.runner.maps import PERF_EVENT_ARRAY, RINGBUF, Map
from bpfpack.spec.errors import Unsupported

#: Records of one call: a flood of which the filter keeps nothing comes back after some ms, too.
_MOST: Final = 1 << 16
#: Bytes of records that are staged at once; one of a perf buffer has less than 64 KiB.
_STAGED: Final = 256 * 1024


def _taken(found: Outcome, fill: float | None) -> Taken:
    return Taken(
        records=found.taken,
        shown=found.shown,
        size=len(found.output),
        output=found.output,
        fill=fill,
        more=found.status not in (EMPTY, BUSY),
        busy=found.status == BUSY,
    )


class ClosableStream(EventStream, Protocol):
    """A stream and what it owns."""

    def close(self) -> None:
        """Give back what it owns; a second call does nothing."""


def open_stream(
    program: Program,
    of: Map,
    *,
    pages: int | None = None,
    ordered: bool = True,
    header: Callable[[], bytes | None],
    lost: Callable[[], int] | None = None,
) -> ClosableStream:
    """The stream of a map that carries events.

    ``pages``, a power of two, is the size of a perf buffer for each processor; ``ordered`` merges
    these by time; ``lost`` counts what found no room, where the program does.  Raises
    KernelError, EngineError, Unsupported.
    """
    if of.type == RINGBUF:
        return RingStream(program, of, header=header, lost=lost)
    if of.type == PERF_EVENT_ARRAY:
        into = pages or PERF_PAGES
        return PerfStream(program, of, pages=into, ordered=ordered, header=header, lost=lost)
    raise Unsupported(of.name, f"map type {of.type} carries no events")


class RingStream:
    """A ring buffer of the kernel, which the engine walks where it is."""

    def __init__(
        self,
        program: Program,
        ring: Map,
        *,
        header: Callable[[], bytes | None],
        lost: Callable[[], int] | None = None,
    ) -> None:
        self._map, self._header, self._lost = ring, header, lost
        self._ring: MappedRing = program.engine.ring(ring.fd, ring.max_entries)
        self._call = Call(program, self._ring.at)

    @property
    def fd(self) -> int:
        """See `EventStream`."""
        return self._map.fd

    def header(self) -> bytes | None:
        """See `EventStream`."""
        return self._header()

    def take(self, most: int) -> Taken:
        """See `EventStream`; raises EngineError."""
        fill = self._ring.fill()
        return _taken(self._call(min(most, _MOST)), fill)

    def skip(self, most: int) -> Taken:
        """See `EventStream`."""
        return self.take(most)

    def lost(self) -> int | None:
        """See `EventStream`."""
        return None if self._lost is None else self._lost()

    def close(self) -> None:
        """Nothing: the engine unmaps what it has mapped."""


class PerfStream:
    """A perf buffer: what its processors hold is staged in the engine's memory, then taken.

    It owns the source, so it is to be closed.
    """

    def __init__(
        self,
        program: Program,
        array: Map,
        *,
        pages: int,
        ordered: bool,
        header: Callable[[], bytes | None],
        lost: Callable[[], int] | None = None,
    ) -> None:
        self._header, self._lost = header, lost
        self._staging = program.engine.memory.place(_STAGED)
        self._call = Call(program)
        into = program.engine.memory.view(self._staging, _STAGED)
        self._source = PerfBufferSource(array, pages=pages, into=into, ordered=ordered)

    @property
    def fd(self) -> int:
        """See `EventStream`."""
        return self._source.fd

    def header(self) -> bytes | None:
        """See `EventStream`."""
        return self._header()

    def take(self, most: int) -> Taken:
        """See `EventStream`; raises EngineError, KernelError."""
        call = self._call
        if call.staged == call.staged_end:
            call.staged = self._staging
            call.staged_end = self._staging + self._source.fill(_MOST)
            if call.staged == call.staged_end:
                return NOTHING
        return _taken(call(min(most, _MOST)), None)

    def skip(self, most: int) -> Taken:
        """See `EventStream`."""
        return self.take(most)

    def lost(self) -> int | None:
        """See `EventStream`; raises KernelError."""
        return self._source.lost() if self._lost is None else self._lost()

    def close(self) -> None:
        """Give the source's memory back; a second call does nothing."""
        self._source.close()
