"""Groups in the engine's memory: its tables (``runner/engine/groups.h``), and reading them out."""

import secrets
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from bpfpack.runner.engine.image import FIELD, Image
from bpfpack.runner.engine.operations import put_field
from bpfpack.runner.windows.grouping import Grouping, Measure
from bpfpack.runner.windows.groups import Sums
from bpfpack.runner.windows.sketches import BUCKETS, Sketch, bounds, guesses
from bpfpack.spec.limits import LIMITS

if TYPE_CHECKING:
    from bpfpack.runner.engine.host import Engine, Program

PART: Final = struct.Struct("<6I2Q")
MEASURE: Final = struct.Struct("<4IiI")
GROUPED: Final = struct.Struct("<Q4I")
SUMS: Final = struct.Struct("<6Q")
GROUP: Final = struct.Struct("<2Q")
GROUPS: Final = struct.Struct(f"<2Q10IQ2I{BUCKETS + 1}Q128s")
_SLOT: Final = 4
_PAGE: Final = 4 * BUCKETS
#: Where ``used``, ``page_used`` and ``lacking`` stand in a struct bp_groups.
_USED_AT, _PAGE_USED_AT, _LACKING_AT = 36, 52, 56
#: And ``slots``, ``groups`` and ``pages``.
_AREAS_AT: Final = (16, 24, 48)
_ZEROES: Final = bytes(1 << 16)
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
#: ``groups`` in ``struct bp_program`` of ``runner/engine/table.h``.
GROUPS_AT: Final = 132
_BELOW: Final = (1 << 64) - 1


class Room(NamedTuple):
    """How many groups there are at most beside ``_other``, and pages for all their sketches."""

    groups: int
    pages: int


def room(grouping: Grouping) -> Room:
    """The room that a window has.

    On average a sketch of a key takes no more than its share; one of few keys takes what it
    needs.
    """
    most = LIMITS.window_keys if grouping.asked.by else 1
    pages = 0
    for measure in grouping.measures:
        if measure.powers:
            share = LIMITS.window_sketch - SUMS.size - _U32.size * measure.pages
            pages += max(most * (share // _PAGE), measure.pages)
    return Room(most, pages)


class Areas(NamedTuple):
    """Addresses of what the tables lie beside of: slots, groups and pages, all zero."""

    slots: int
    groups: int
    pages: int


class GroupTables:
    """The tables of one output."""

    def __init__(self, grouping: Grouping, most: Room | None = None) -> None:
        self.grouping: Final = grouping
        self.most, self.page_most = most or room(grouping)
        self.slots: Final = 1 << (2 * self.most).bit_length()
        self.places: Final = self._places()
        self.stride: Final = self.places[-1]
        #: Bytes of slots, groups and pages.
        self.sizes: Final = (
            self.slots * _SLOT,
            (self.most + 1) * self.stride,
            max(1, self.page_most) * _PAGE,
        )

    def _places(self) -> list[int]:
        """Where the sums of each field stand in a group, and where the group ends."""
        found = [GROUP.size + self.grouping.key_size]
        for measure in self.grouping.measures:
            end = found[-1] + SUMS.size + _U32.size * measure.pages
            found.append(end + end % 8)
        return found

    def put(self, image: Image, areas: Areas) -> int:
        """Put a ``struct bp_groups`` into an image; return its address.

        Raises SpecError for fields that no record can have.
        """
        grouping = self.grouping
        types = [self._type(image, i) for i in range(len(grouping.output.types) + 1)]
        at = image.table(GROUPED, types).at
        head = GROUPS.pack(
            *(secrets.randbits(64), secrets.randbits(64)),
            *(areas.slots, self.slots - 1, areas.groups, self.stride, self.most, 0),
            *(grouping.key_size, self.page_most, areas.pages, 0, 0, at, 0),
            *bounds(),
            guesses(),
        )
        return image.bytes_(head)

    def _type(self, image: Image, index: int) -> tuple[int, ...]:
        grouping = self.grouping
        parts = []
        for place, key in enumerate(grouping.keys):
            source = key.sources[index]
            if source is not None:
                own = source.own if source.size <= 16 else 0
                parts.append(
                    (
                        *(source.offset, source.size, source.needs, key.field.offset),
                        *(1 << place, source.text, own & _BELOW, own >> 64 & _BELOW),
                    )
                )
        measures = []
        for at, measure in zip(self.places, grouping.measures, strict=False):
            field = measure.fields[index]
            if field is not None:
                order = grouping.output.types[index].layout.byte_order
                row = put_field(image, field, order)
                where = image.table(FIELD, [row]).at
                needs = measure.needs[index]
                measures.append((where, field.offset, needs, at, measure.first, measure.powers))
        put_parts, put_measures = image.table(PART, parts), image.table(MEASURE, measures)
        return (
            *(grouping.head(index), len(parts), put_parts.at),
            *(put_measures.at, len(measures)),
        )


class Readout:
    """Reads groups out of memory that the engine fills, and clears it.

    ``head`` is a ``struct bp_groups``; of two areas of memory the engine fills one while the
    other is read.  ``view`` looks at bytes by address.
    """

    def __init__(
        self,
        tables: GroupTables,
        head: memoryview,
        areas: Sequence[Areas],
        view: Callable[[int, int], memoryview],
    ) -> None:
        self._tables, self._head = tables, head
        self._filled, self._clear = (_Memory(tables, one, view) for one in areas)
        self.lacking = self.other = 0

    def take(self) -> "Sequence[EngineGroup]":
        """See `Groups`; what it returns is good until it is called again."""
        head, full = self._head, self._filled
        (used,), (paged,) = _U32.unpack_from(head, _USED_AT), _U32.unpack_from(head, _PAGE_USED_AT)
        full.used = used, paged
        self._clear.clear()
        self._filled, self._clear = self._clear, full
        for place, address in zip(_AREAS_AT, self._filled.addresses, strict=True):
            _U32.pack_into(head, place, address)
        _U32.pack_into(head, _USED_AT, 0)
        _U32.pack_into(head, _PAGE_USED_AT, 0)
        self.lacking += _U64.unpack_from(head, _LACKING_AT)[0]
        _U64.pack_into(head, _LACKING_AT, 0)
        found = [EngineGroup(self._tables, full, index) for index in range(1, used + 1)]
        other = EngineGroup(self._tables, full, 0)
        self.other += other.count
        return [*found, other] if other.count else found


class _Memory:
    """One area: slots, groups, pages, and how many groups and pages are in use."""

    def __init__(
        self, tables: GroupTables, areas: Areas, view: Callable[[int, int], memoryview]
    ) -> None:
        self.addresses: Final = (areas.slots, areas.groups, areas.pages)
        self._slots, self.groups, self._pages = map(view, self.addresses, tables.sizes)
        self.counts: Final = self._pages.cast("I")
        self._stride = tables.stride
        self.used = 0, 0

    def clear(self) -> None:
        """Make zero again what was used."""
        groups, pages = self.used
        if groups:
            _zero(self._slots)
            _zero(self.groups[: (groups + 1) * self._stride])
            _zero(self._pages[: pages * _PAGE])
        self.used = 0, 0


def _zero(memory: memoryview) -> None:
    for start in range(0, len(memory), len(_ZEROES)):
        part = memory[start : start + len(_ZEROES)]
        part[:] = _ZEROES[: len(part)]


class EngineGroups:
    """Memory of an engine for the groups of an output."""

    def __init__(self, engine: "Engine", grouping: Grouping) -> None:
        """Have memory for them; raises EngineError."""
        self._tables = GroupTables(grouping)
        self._areas = [
            Areas(*(engine.memory.place(size) for size in self._tables.sizes)) for _ in range(2)
        ]

    def put(self, image: Image) -> int:
        """Put the tables into the image that the engine is to run."""
        return self._tables.put(image, self._areas[0])

    def readout(self, program: "Program") -> Readout:
        """The groups that a program with that image fills."""
        memory = program.engine.memory
        (at,) = _U32.unpack(memory.view(program.at + GROUPS_AT, _U32.size))
        return Readout(self._tables, memory.view(at, GROUPS.size), self._areas, memory.view)


class EngineGroup:
    """One group of a window that has ended: see `Group`."""

    def __init__(self, tables: GroupTables, memory: _Memory, index: int) -> None:
        self._tables, self._data, self._counts = tables, memory.groups, memory.counts
        self._at, self._other = index * tables.stride, not index
        self._sums: dict[int, Sums] = {}

    @property
    def key(self) -> bytes | None:
        """See `Group`."""
        at = self._at + GROUP.size
        size = self._tables.grouping.key_size
        return None if self._other else bytes(self._data[at : at + size])

    @property
    def count(self) -> int:
        """See `Group`."""
        return int(GROUP.unpack_from(self._data, self._at)[1])

    def sums(self, measure: int) -> Sums:
        """See `Group`."""
        found = self._sums.get(measure)
        if found is None:
            found = self._sums[measure] = self._read(measure)
        return found

    def _read(self, measure: int) -> Sums:
        about = self._tables.grouping.measures[measure]
        at = self._at + self._tables.places[measure]
        count, low, high, least, most, zeros = SUMS.unpack_from(self._data, at)
        sketch = None
        if about.powers:
            sketch = Sketch(zeros=zeros, pages=self._pages(about, at + SUMS.size))
        if about.real:
            total, least, most = struct.unpack("<3d", struct.pack("<3Q", low, least, most))
        else:
            total = int.from_bytes(struct.pack("<2Q", low, high), "little", signed=True)
            if about.field.signed:
                least, most = struct.unpack("<2q", struct.pack("<2Q", least, most))
        return Sums(count=count, total=total, least=least, most=most, sketch=sketch)

    def _pages(self, about: Measure, at: int) -> dict[tuple[bool, int], Sequence[int]]:
        found: dict[tuple[bool, int], Sequence[int]] = {}
        powers, first = about.powers, about.first
        places = struct.unpack_from(f"<{about.pages}I", self._data, at)
        for place, page in enumerate(places):
            if page:
                negative, power = divmod(place, powers)
                start = (page - 1) * BUCKETS
                found[bool(negative), power + first] = self._counts[start : start + BUCKETS]
        return found
