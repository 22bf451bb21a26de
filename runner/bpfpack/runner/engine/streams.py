"""Events of one output, by the engine: from a ring buffer as it lies, or staged."""

from collections.abc import Callable
from typing import Final

from bpfpack.runner.engine.host import BUSY, EMPTY, Call, Engine, MappedRing, Outcome, Program
from bpfpack.runner.events.stream import Taken

#: Records of one call: a flood of which the filter keeps nothing comes back after some ms, too.
_MOST: Final = 1 << 16


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


class RingStream:
    """A ring buffer of the kernel, which the engine walks where it is.

    ``fd`` is the map's; ``lost`` counts what found no room, if somebody does.
    """

    def __init__(
        self,
        engine: Engine,
        program: Program,
        *,
        fd: int,
        size: int,
        header: Callable[[], bytes | None],
        lost: Callable[[], int] | None = None,
    ) -> None:
        self._fd, self._header, self._lost = fd, header, lost
        self._ring: MappedRing = engine.ring(fd, size)
        self._call = Call(engine, program, self._ring.at)

    @property
    def fd(self) -> int:
        """See `EventStream`."""
        return self._fd

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
