"""Windows of records, counted by the engine's C and in plain Python."""

import struct
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from bpfpack.runner.engine.image import Image
from bpfpack.runner.engine.program import assemble
from bpfpack.runner.events.formatter import EventOutput
from bpfpack.runner.windows.asking import parse_window
from bpfpack.runner.windows.grouping import Grouping, make_groupings
from bpfpack.runner.windows.groups import Group
from bpfpack.runner.windows.plain import PlainGroups
from bpfpack.runner.windows.tables import GROUPS, GROUPS_AT, Areas, GroupTables, Readout, Room
from tests.kit.enginehost import IMAGE, Arena, Host
from tests.kit.records import FixedClock, field, layout

#: An event with numbers of several kinds.
EVENT: Final = layout(
    field("pid", "uint", 0, 4, format="pid"),
    field("delta", "int", 4, 4),
    field("comm", "string", 8, 16),
    field("lat", "uint", 24, 8, format="duration", unit="us"),
    field("size", "uint", 32, 8, format="bytes"),
    field("load", "float", 40, 8),
    field("small", "uint", 48, 1, bits=3, shift=2),
    field("ok", "bool", 49, 1),
    field("ports", "uint", 50, 2, format="port", dimensions=(3,)),
)
_EVENT: Final = struct.Struct("<Ii16sQQdB?3H")


def event(**values: Any) -> bytes:
    """Such an event."""
    told: dict[str, Any] = {
        "pid": 1,
        "delta": 0,
        "comm": b"sh",
        "lat": 0,
        "size": 0,
        "load": 0.0,
        "small": 0,
    }
    told |= {"ok": True, "ports": (0, 0, 0)} | values
    *plain, ports = told.values()
    return _EVENT.pack(*plain, *(int.from_bytes(p.to_bytes(2), "little") for p in ports))


def grouping_of(of: EventOutput, by: str | None = None, show: str | None = None) -> Grouping:
    """What is done with records of one output."""
    (found,) = make_groupings(parse_window(1.0, by, show), [of])
    return found


class NativeGroups:
    """Groups that the engine's C fills, compiled for this machine."""

    def __init__(self, grouping: Grouping, most: Room, arena: Arena | None = None) -> None:
        self._tables = GroupTables(grouping, most)
        self._areas: list[Areas] = []
        arena = arena or Arena()
        self._host = Host(partial(self._assemble, grouping), arena)
        view = arena.view
        (at,) = struct.unpack_from("<I", view, IMAGE + GROUPS_AT)

        def looked(address: int, size: int) -> memoryview:
            return view[address : address + size]

        head = view[at : at + GROUPS.size]
        self._readout = Readout(self._tables, head, self._areas, looked)

    def _assemble(self, grouping: Grouping, at: int) -> bytes:
        def put(image: Image) -> int:
            for _ in range(2):
                places = (image.bytes_(bytes(size)) for size in self._tables.sizes)
                self._areas.append(Areas(*places))
            return self._tables.put(image, self._areas[0])

        return assemble("raw", grouping.output, at, clock=FixedClock(), grouped=put)

    def add(self, records: Sequence[bytes]) -> None:
        """Take records."""
        assert self._host.format(records) == b""

    def take(self) -> Sequence[Group]:
        """See `Groups`."""
        return self._readout.take()

    @property
    def lacking(self) -> int:
        """See `Groups`."""
        return self._readout.lacking

    @property
    def other(self) -> int:
        """See `Groups`."""
        return self._readout.other


def told(groups: Sequence[Group], grouping: Grouping) -> dict[bytes | None, Any]:
    """All there is to know of groups, by their keys."""
    found: dict[bytes | None, Any] = {}
    for group in groups:
        each = list[Any]()
        for index in range(len(grouping.measures)):
            sums, pages = group.sums(index), None
            if sums.sketch is not None:
                found_pages = {k: list(v) for k, v in sums.sketch.pages.items()}
                pages = sums.sketch.zeros, found_pages
            ends = (repr(sums.least), repr(sums.most)) if sums.count else None
            each.append((sums.count, repr(sums.total), ends, pages))
        found[group.key] = (group.count, each)
    assert len(found) == len(groups)
    return found


def both(
    grouping: Grouping, records: Sequence[bytes], most: Room, arena: Arena | None = None
) -> Sequence[Group]:
    """Count records both ways, twice, which have to agree; return the engine's groups."""
    native, plain = NativeGroups(grouping, most, arena), PlainGroups(grouping, most)
    for _ in range(3):  # what one window leaves is not in another
        native.add(records)
        for record in records:
            plain.add(memoryview(record))
        found = native.take()
        assert told(found, grouping) == told(plain.take(), grouping)
        assert (native.lacking, native.other) == (plain.lacking, plain.other)
    return found
