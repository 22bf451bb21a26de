"""Groups in plain Python: the reference that the engine's are held against."""

import math
import struct
from collections.abc import Sequence
from typing import Final

from bpfpack.runner.events.selector import Selector
from bpfpack.runner.events.values import BYTE_ORDERS, number_reader
from bpfpack.runner.windows.grouping import Grouping, Measure
from bpfpack.runner.windows.groups import Sums
from bpfpack.runner.windows.sketches import BUCKETS, Number, Sketch, place
from bpfpack.runner.windows.tables import Room, room
from bpfpack.spec.record import Field

#: A bucket counts no further.
_MOST: Final = 0xFFFF_FFFF


class PlainGroups:
    """Takes records, one after the other."""

    def __init__(self, grouping: Grouping, most: Room | None = None) -> None:
        output = grouping.output
        self._grouping = grouping
        self._select = Selector([(t.layout, t.when) for t in output.types], output.discriminator)
        self._most, self._pages = most or room(grouping)
        self._used = 0
        self.lacking = self.other = 0
        orders = [t.layout.byte_order for t in output.types]
        self._readers = [
            [
                None if field is None else _Reader(field, BYTE_ORDERS[orders[i]], needs)
                for i, (field, needs) in enumerate(zip(m.fields, m.needs, strict=True))
            ]
            for m in grouping.measures
        ]
        self._found: dict[bytes | None, _Group] = {}

    def add(self, record: memoryview) -> None:
        """Take one record."""
        found = self._select(record, 0, len(record))
        index = len(self._grouping.output.types) if found is None else found
        group = self._group(self._key(record, index))
        group.count += 1
        for readers, sums in zip(self._readers, group.each, strict=True):
            reader = readers[index]
            number = None if reader is None else reader(record)
            if number is not None:
                self._add(sums, number)

    def take(self) -> "Sequence[_Group]":
        """See `Groups`."""
        found, self._found, self._used = self._found, {}, 0
        other = found.get(None)
        self.other += other.count if other else 0
        return list(found.values())

    def _key(self, record: memoryview, index: int) -> bytes:
        grouping = self._grouping
        key, head = bytearray(grouping.key_size), grouping.head(index)
        for i, one in enumerate(grouping.keys):
            source = one.sources[index]
            value = None if source is None else source.read(record)
            if value is None:
                head |= 1 << i
            else:
                key[one.field.offset : one.field.offset + len(value)] = value
        key[:8] = head.to_bytes(8, "little")
        return bytes(key)

    def _group(self, key: bytes) -> "_Group":
        found: bytes | None = key
        if key not in self._found and len(self._found) - (None in self._found) >= self._most:
            found = None
        if found not in self._found:
            self._found[found] = _Group(found, self._grouping.measures)
        return self._found[found]

    def _add(self, sums: "_Sums", number: Number) -> None:
        sums.take(number)
        measure = sums.measure
        if not measure.powers:
            return
        if number == 0:
            sums.zeros += 1
            return
        where = place(number)
        if not 0 <= where.power - measure.first < measure.powers:
            self.lacking += 1
            return
        page = sums.pages.get(where[:2])
        if page is None:
            if self._used >= self._pages:
                self.lacking += 1
                return
            self._used += 1
            page = sums.pages[where[:2]] = [0] * BUCKETS
        if page[where.bucket] >= _MOST:
            self.lacking += 1
        else:
            page[where.bucket] += 1


class _Reader:
    """Reads a number of a record, None for one that is missing or not finite."""

    def __init__(self, field: Field, order: str, needs: int) -> None:
        code, self._load = number_reader(field, "little" if order == "<" else "big")
        self._struct, self._offset, self._needs = struct.Struct(order + code), field.offset, needs

    def __call__(self, record: memoryview) -> Number | None:
        if len(record) < self._needs:
            return None
        (raw,) = self._struct.unpack_from(record, self._offset)
        number: Number = raw if self._load is None else self._load(raw)
        return number if math.isfinite(number) else None


class _Sums:
    """What is added up of one field."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.count = self.zeros = 0
        self.total: Number = 0.0 if measure.real else 0
        self.least = self.most = self.total
        self.pages: dict[tuple[bool, int], list[int]] = {}

    def take(self, number: Number) -> None:
        """Count a number in."""
        if not self.count or number < self.least:
            self.least = number
        if not self.count or number > self.most:
            self.most = number
        self.count += 1
        self.total += number


class _Group:
    """Events of one key."""

    def __init__(self, key: bytes | None, measures: Sequence[Measure]) -> None:
        self.key, self.count = key, 0
        self.each = [_Sums(measure) for measure in measures]

    def sums(self, measure: int) -> Sums:
        """See `Group`."""
        one = self.each[measure]
        sketch = Sketch(zeros=one.zeros, pages=one.pages) if one.measure.powers else None
        return Sums(count=one.count, total=one.total, least=one.least, most=one.most, sketch=sketch)
