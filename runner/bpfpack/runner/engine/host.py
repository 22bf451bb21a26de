"""The engine as the host holds it: code, memory, and calls that turn records into output.

One call takes a batch (``runner/engine/call.h``).  All calls of an engine write to one output,
so what one gave is gone with the next.
"""

import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bpfpack.runner._native.wasmtime import WasmEngine, WasmInstance
from bpfpack.runner.engine.memory import Memory, RingPlace
from bpfpack.runner.engine.module import CodeCache, load
from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from bpfpack.runner.events.terminal import Screen

#: ``struct bp_run``, ``struct bp_ring``, and how ``struct bp_program`` begins.
_RUN: Final = struct.Struct("<6I3Q4I")
_RING: Final = struct.Struct("<4I")
_OFFSETS: Final = struct.Struct("<4q")
_COLUMNS: Final = struct.Struct("<I")
#: Where ``struct bp_program`` tells of the widths of columns: their address and number.
_WIDTHS: Final = struct.Struct("<2I")
_WIDTHS_AT: Final = 72
_CLOCKS: Final = ("mono", "boot", "tai", "real")
#: ``enum bp_status``.
EMPTY, BUSY, FULL, MOST, ROOM = range(5)
#: Bytes of output that one call gives at most, unless one record needs more.
_OUTPUT: Final = 512 * 1024
#: Nanoseconds after which the clocks are compared again.
_FRESH: Final = 1_000_000_000


@valuetype
class Outcome:
    """What a call gave; ``output`` is good until the next call of any."""

    taken: int
    shown: int
    output: memoryview
    status: int


class Engine:
    """One engine: close it when what is mapped into it is no longer wanted."""

    def __init__(self, cache: CodeCache | None = None, *, output: int = _OUTPUT) -> None:
        """Raise EngineError where it cannot be had."""
        with WasmEngine() as machine, load(machine, cache) as module:
            self.memory: Final = Memory(WasmInstance(machine, module))
        try:
            self.enter: Callable[[int], None] = self.memory.entry("bp_run")
            self.make_room(output)
        except BaseException:
            self.memory.close()
            raise

    def make_room(self, size: int) -> None:
        """Have ``size`` bytes of output; raises EngineError where that is too much."""
        self.output_size, self.output = size, self.memory.place(size)
        self.written = self.memory.view(self.output, size)

    def load(
        self,
        assemble: Callable[[int], bytes],
        *,
        clock: WallClock | None = None,
        terminal: "Screen | None" = None,
    ) -> "Program":
        """Place the image that ``assemble`` makes for an address."""
        at = self.memory.write(assemble(self.memory.next))
        return Program(self, at, clock or SystemClock(), terminal)

    def ring(self, fd: int, size: int) -> "MappedRing":
        """Map a ring buffer of the kernel; raises KernelError, EngineError."""
        return MappedRing(self.memory, self.memory.map_ring(fd, size))

    def close(self) -> None:
        """Unmap what is mapped, and free the memory once nobody looks into it."""
        self.enter, self.written = _closed, memoryview(b"")
        self.memory.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _closed(address: int) -> None:
    raise ValueError("the event engine is closed")


class Program:
    """An image in the engine's memory, and what changes in it while it is used."""

    def __init__(
        self, engine: Engine, at: int, clock: WallClock, terminal: "Screen | None" = None
    ) -> None:
        self.engine: Final = engine
        self.at: Final = at
        self._clock, self._terminal = clock, terminal
        self._head = engine.memory.view(at, _OFFSETS.size + _COLUMNS.size)
        self._compared = 0

    def refresh(self) -> None:
        """Tell the engine the time, and how wide the terminal is; called for each batch."""
        now = time.monotonic_ns()
        if now - self._compared >= _FRESH or not self._compared:
            self._compared = now
            self._clock.refresh()
            _OFFSETS.pack_into(self._head, 0, *map(self._clock.offset, _CLOCKS))
        if self._terminal is not None:
            _COLUMNS.pack_into(self._head, _OFFSETS.size, self._terminal.columns)

    def make_room(self, needed: int) -> None:
        """Have room for a record that has found none; raises EngineError."""
        self.engine.make_room(needed)

    def widths(self) -> list[int]:
        """How wide the columns of a table are by now."""
        at, count = _WIDTHS.unpack(self.engine.memory.view(self.at + _WIDTHS_AT, _WIDTHS.size))
        return list(struct.unpack(f"<{count}I", self.engine.memory.view(at, 4 * count)))


class MappedRing:
    """A ring buffer in the engine's memory."""

    def __init__(self, memory: Memory, place: RingPlace) -> None:
        self._size = place.size
        # As numbers of 8 bytes: `struct` would read them byte by byte while they change.
        self._consumer = memory.view(place.consumer, 8).cast("Q")
        self._producer = memory.view(place.producer, 8).cast("Q")
        ring = _RING.pack(place.consumer, place.producer, place.data, place.size - 1)
        self.at: Final = memory.write(ring)

    def fill(self) -> float:
        """How full it is, 0 to 1."""
        used = self._producer[0] - self._consumer[0]
        return min(1.0, max(0, used) / self._size)


class Call:
    """Records of one source, by one program; ``ring`` is 0 where they are staged."""

    def __init__(self, program: Program, ring: int = 0) -> None:
        self._engine = engine = program.engine
        self._program, self._ring = program, ring
        self._at = engine.memory.place(_RUN.size)
        self._run = engine.memory.view(self._at, _RUN.size)
        #: The staged records that are left, by address.
        self.staged = self.staged_end = 0

    def __call__(self, most: int) -> Outcome:
        """Take at most ``most`` records; raises EngineError for a trap."""
        self._program.refresh()
        while True:
            taken, shown, written, needed, status = self._enter(most)
            if status != ROOM or taken:
                output = self._engine.written[:written]
                return Outcome(taken=taken, shown=shown, output=output, status=status)
            self._program.make_room(needed)

    def _enter(self, most: int) -> tuple[int, int, int, int, int]:
        engine = self._engine
        sources = self._program.at, self._ring, self.staged, self.staged_end
        _RUN.pack_into(
            *(self._run, 0, *sources, engine.output, engine.output_size),
            *(most, 0, 0, 0, 0, 0, 0),
        )
        engine.enter(self._at)
        found = _RUN.unpack_from(self._run)
        self.staged = found[2]
        taken, shown, written, needed, status = found[7:12]
        return taken, shown, written, needed, status
