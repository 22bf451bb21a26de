"""Exact loss, where the program counts it (SPEC.md 6.8).

A reserve that fails leaves no trace in the buffer, so only the program knows.  One that uses
``bpfpack.h`` keeps ``__bpfpack_lost_MAP`` in ``.bss``.
"""

import struct
import sys
from collections.abc import Callable
from typing import Final

from bpfpack.runner.events.batch import Batch, Source
from bpfpack.runner.maps import Map
from bpfpack.spec.objectspec import ObjectSpec

PREFIX: Final = "__bpfpack_lost_"
_SECTION: Final = ".bss"
_FIRST: Final = struct.pack("=I", 0)


class LossCounter:
    """What a program lost for one of its maps, since it was loaded."""

    def __init__(self, bss: Map, places: tuple[tuple[int, int], ...]) -> None:
        self._bss, self._places = bss, places

    @classmethod
    def of(
        cls, spec: ObjectSpec, map_name: str, section: Callable[[str], Map]
    ) -> "LossCounter | None":
        """Return the counter of a map, None when the program has none.

        Linked sources may each hold one; they are summed.
        """
        places = tuple(
            (v.offset, v.size)
            for v in spec.variables
            if v.section == _SECTION and v.name == PREFIX + map_name
        )
        return cls(section(_SECTION), places) if places else None

    def read(self) -> int:
        """Return the count; raises KernelError."""
        data = self._bss.lookup(_FIRST) or b""
        return sum(
            int.from_bytes(data[offset : offset + size], sys.byteorder)
            for offset, size in self._places
        )


class CountedSource:
    """A source whose losses the program counts.

    What the kernel counts of them is left alone: it saw the same records.
    """

    def __init__(self, source: Source, counter: LossCounter) -> None:
        self._source, self._counter = source, counter

    @property
    def fd(self) -> int:
        """See `Source.fd`."""
        return self._source.fd

    def drain(self, max_records: int) -> Batch | None:
        """See `Source.drain`."""
        return self._source.drain(max_records)

    def lost(self) -> int:
        """What the program counted; raises KernelError."""
        return self._counter.read()
