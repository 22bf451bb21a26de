"""How records come out of a kernel's buffer: copied once, many at a time."""

import struct
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from bpfpack.runner.events.batch import Source
from bpfpack.runner.filters.filter import Filter
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from bpfpack.runner.events.stream import EventStream

#: What stands before a record that is framed: its length, and nothing.
_LENGTH: Final = struct.Struct("<Q")
#: Seconds to wait for a record that is still being written.
BUSY: Final = 0.0002


@valuetype
class Records:
    """Records in memory of their own; ``places`` None says that they are framed.

    A framed record stands behind 8 bytes that are its length, and fills units of 8 bytes.
    """

    memory: bytes
    count: int
    places: Sequence[tuple[int, int]] | None
    fill: float | None


def places_of(memory: bytes) -> list[tuple[int, int]]:
    """Offset and length of each record that is framed."""
    found, at, read = [], 0, _LENGTH.unpack_from
    while at < len(memory):
        (size,) = read(memory, at)
        found.append((at + 8, size))
        at += 8 + ((size + 7) & ~7)
    return found


class Taking(Protocol):
    """A buffer of one output."""

    @property
    def fd(self) -> int:
        """The descriptor to wait on; it stays the same."""
        ...

    def take(self, most: int) -> tuple[bool, Records | None]:
        """Take at most so many; say whether there was anything, or will be in a moment."""
        ...

    def lost(self) -> int | None:
        """See `Source.lost`."""
        ...


class FromSource:
    """By libbpf, which calls back for each record."""

    def __init__(self, source: Source, kept: Filter | None = None) -> None:
        self._source, self._kept, self.lost = source, kept, source.lost

    @property
    def fd(self) -> int:
        """See `Taking`."""
        return self._source.fd

    def take(self, most: int) -> tuple[bool, Records | None]:
        """See `Taking`; raises KernelError."""
        batch = self._source.drain(most)
        if batch is None:
            return False, None
        if self._kept is not None:
            batch = self._kept.kept(batch)
        if not batch.records:
            return True, None
        end = max(at + size for at, size in batch.records)
        memory, places = bytes(batch.memory[:end]), tuple(batch.records)
        return True, Records(memory=memory, count=len(places), places=places, fill=batch.fill)


class FromEngine:
    """By the engine: nothing is done for each record."""

    def __init__(self, stream: "EventStream") -> None:
        self._stream, self.lost = stream, stream.lost

    @property
    def fd(self) -> int:
        """See `Taking`."""
        return self._stream.fd

    def take(self, most: int) -> tuple[bool, Records | None]:
        """See `Taking`; raises EngineError."""
        found = self._stream.take(most)
        if not found.shown:
            if found.busy and not found.records:
                time.sleep(BUSY)  # its descriptor stays readable meanwhile
            return found.busy or found.records > 0, None
        memory = bytes(found.output)
        return True, Records(memory=memory, count=found.shown, places=None, fill=found.fill)
