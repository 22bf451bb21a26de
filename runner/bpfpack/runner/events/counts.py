"""Adds up the counts of all elements of a map at once, in the arithmetic of long integers.

Python takes a microsecond for the simplest thing done to one element; 10,000 keys with 27
slots on each of some CPUs would take it a second.  So the n-th number of *all* elements is
kept as one integer: 64 bits, a lane, for each element.  Lanes are added, subtracted and
compared by single operations on such integers; as long as every lane stays below 2^63 none
reaches into the next.  Where numbers do not fit (signed ones, sums beyond 2^63) the columns
become plain lists, which are slow and exact.
"""

import struct
from array import array
from collections.abc import Sequence
from itertools import chain
from math import gcd, prod
from operator import add, lshift, sub
from typing import Final, NamedTuple

from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.record import Field

_LANE: Final = 8
_HIGH: Final = 1 << 63
#: What a part of a number may have: on 2^31 CPUs the sum of a lane stays below 2^63.
_PART: Final = 4
_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}

#: Where elements stand elsewhere: ``(start, length)`` one after the other, -1 for nowhere.
Runs = Sequence[tuple[int, int]]


class Counts:
    """A number for each column and each element; columns are packed or, all of them, plain."""

    def __init__(self, elements: int, packed: Sequence[int] | None, plain: "_Plain" = ()) -> None:
        self.elements = elements
        self._packed, self._plain = packed, plain

    @property
    def columns(self) -> Sequence[Sequence[int]]:
        """The numbers of each column, one for each element."""
        if self._packed is not None and not self._plain:
            self._plain = [_numbers(column, self.elements) for column in self._packed]
        return self._plain

    def only(self, columns: range) -> "Counts":
        """Some of the columns."""
        if self._packed is None:
            return Counts(self.elements, None, [self._plain[i] for i in columns])
        return Counts(self.elements, [self._packed[i] for i in columns])

    def totals(self) -> Sequence[int]:
        """The sum of all columns, for each element."""
        if self._packed is not None:
            bits = len(self._packed).bit_length()
            too_large = _lanes(((1 << bits) - 1) << (63 - bits), self.elements)
            if not any(column & too_large for column in self._packed):
                return _numbers(sum(self._packed), self.elements)
        return list(map(sum, zip(*self.columns, strict=True))) or [0] * self.elements

    def since(self, before: "Counts") -> "Counts":
        """What was added to each element; all that it has where any number is smaller now.

        Such an element was deleted and came back.
        """
        if self._packed is None or before._packed is None:
            return self._plainly_since(before)
        high = _lanes(_HIGH, self.elements)
        pairs = list(zip(self._packed, before._packed, strict=True))
        added = [now + high - then for now, then in pairs]
        grew = high
        for column in added:
            grew &= column
        if grew != high:
            anew = ((high ^ grew) >> 63) * (2**64 - 1)
            added = [now + high - (then ^ (then & anew)) for now, then in pairs]
        return Counts(self.elements, [column ^ high for column in added])

    def _plainly_since(self, before: "Counts") -> "Counts":
        added = [
            list(map(sub, now, then))
            for now, then in zip(self.columns, before.columns, strict=True)
        ]
        anew = {i for column in added for i, number in enumerate(column) if number < 0}
        for now, column in zip(self.columns, added, strict=True):
            for i in anew:
                column[i] = now[i]
        return Counts(self.elements, None, added)

    def arranged(self, runs: Runs) -> "Counts":
        """The same numbers in another order; 0 for an element that is nowhere."""
        elements = sum(length for _, length in runs)
        if self._packed is None:
            return Counts(elements, None, [_arranged(column, runs) for column in self._plain])
        size = self.elements * _LANE
        columns = (column.to_bytes(size, "little") for column in self._packed)
        parts = [(s * _LANE, length * _LANE) for s, length in runs]
        packed = [
            int.from_bytes(
                b"".join(c[s : s + n] if s >= 0 else bytes(n) for s, n in parts), "little"
            )
            for c in columns
        ]
        return Counts(elements, packed)


_Plain = Sequence[Sequence[int]]


def joined(counts: Sequence[Counts], columns: int) -> Counts:
    """The elements of all, one after the other; ``columns`` are how many each has."""
    if len(counts) == 1:
        return counts[0]
    elements = sum(one.elements for one in counts)
    if any(one._packed is None for one in counts):
        together = zip(*(one.columns for one in counts), strict=True)
        return Counts(elements, None, [list(chain.from_iterable(c)) for c in together])
    packed, place = [0] * columns, 0
    for one in counts:
        for i, column in enumerate(one._packed or ()):
            packed[i] |= column << (64 * place)
        place += one.elements
    return Counts(elements, packed)


def runs_between(before: Sequence[bytes], now: Sequence[bytes]) -> Runs:
    """Where each element of ``now`` was ``before``.

    >>> runs_between([b"a", b"b", b"c"], [b"x", b"b", b"c", b"a"])
    [(-1, 1), (1, 2), (0, 1)]
    """
    places = dict(zip(before, range(len(before)), strict=True))
    found: list[tuple[int, int]] = []
    start, length = -1, 0
    for place in map(places.get, now):
        follows = start == -1 if place is None else start >= 0 and place == start + length
        if follows and length:
            length += 1
            continue
        if length:
            found.append((start, length))
        start, length = -1 if place is None else place, 1
    return [*found, (start, length)] if length else found


class _Part(NamedTuple):
    """Some bytes of a number: the bits of a lane from ``shift``, worth ``weight`` bits more."""

    lane: int
    shift: int
    size: int
    weight: int
    flipped: bool


class Adder:
    """Reads the counts of fields from values that lie one after the other.

    A value has ``cpus`` parts of ``stride`` bytes, whose numbers are added up.  An array is
    a column for each of its elements.
    """

    def __init__(
        self, fields: Sequence[Field], *, stride: int, cpus: int, byte_order: ByteOrder
    ) -> None:
        self._stride, self._cpus, self._order = stride, cpus, byte_order
        self._numbers = [
            (_parts(f.offset + i * f.size, f.size, byte_order, signed=f.signed), f)
            for f in fields
            for i in range(prod(f.dimensions))
        ]
        self._by_lane: dict[int, list[_Part]] = {}
        for part in chain.from_iterable(parts for parts, _ in self._numbers):
            self._by_lane.setdefault(part.lane, []).append(part)

    @property
    def columns(self) -> int:
        """How many numbers each element has."""
        return len(self._numbers)

    def read(self, values: memoryview, elements: int) -> Counts:
        """The sums of all elements."""
        sums = self._sums(values, elements)
        packed, plain = list[int](), list[Sequence[int]]()
        for parts, _ in self._numbers:
            column = _together(parts, sums, elements)
            if column is None:
                break
            packed.append(column)
        else:
            return Counts(elements, packed)
        plain = [self._exactly(parts, f, sums, elements) for parts, f in self._numbers]
        return Counts(elements, None, plain)

    def _sums(self, values: memoryview, elements: int) -> dict[_Part, int]:
        """The sum over all CPUs of each part, packed."""
        unit = gcd(self._stride, _LANE)
        words = array(_CODES[unit])
        words.frombytes(values)
        sums: dict[_Part, int] = {}
        ones = _lanes(1, elements)
        masks = {n: ones * ((1 << (8 * n)) - 1) for n in range(1, _PART + 1)}
        for lane, parts in self._by_lane.items():
            for cpu in range(self._cpus):
                packed = self._lane(words, unit, cpu, lane, elements)
                for part in parts:
                    number = (packed >> part.shift if part.shift else packed) & masks[part.size]
                    if part.flipped:
                        number ^= ones << (8 * part.size - 1)
                    sums[part] = sums[part] + number if cpu else number
        return sums

    def _lane(self, words: "array[int]", unit: int, cpu: int, lane: int, elements: int) -> int:
        """8 bytes of all values, those at ``lane`` of one CPU; zeros beyond the stride."""
        start, step = (cpu * self._stride + lane * _LANE) // unit, self._cpus * self._stride // unit
        if unit == _LANE:
            found = words[start::step]
        else:
            found = array(words.typecode, bytes(elements * _LANE))
            for i in range(min(_LANE, self._stride - lane * _LANE) // unit):
                found[i :: _LANE // unit] = words[start + i :: step]
        if self._order == "big":
            found = array("Q", found.tobytes())
            found.byteswap()
        return int.from_bytes(found, "little")

    def _exactly(
        self, parts: Sequence[_Part], field: Field, sums: dict[_Part, int], elements: int
    ) -> Sequence[int]:
        column: Sequence[int] = [0] * elements
        for part in parts:
            numbers = map(lshift, _numbers(sums[part], elements), [part.weight] * elements)
            column = list(map(add, column, numbers))
        if field.signed:
            # Each CPU's number had half of its range added by flipping the sign.
            bias = self._cpus << (8 * field.size - 1)
            column = [number - bias for number in column]
        return column


def _parts(offset: int, size: int, order: ByteOrder, *, signed: bool) -> tuple[_Part, ...]:
    """The parts of a number, none of which crosses a lane."""
    found, done = [], 0
    while done < size:
        lane, place = divmod(offset + done, _LANE)
        length = min(_PART, size - done, _LANE - place)
        little = order == "little"
        weight = done if little else size - done - length
        found.append(
            _Part(
                lane=lane,
                shift=8 * (place if little else _LANE - place - length),
                size=length,
                weight=8 * weight,
                flipped=signed and weight + length == size,
            )
        )
        done += length
    return tuple(found)


def _together(parts: Sequence[_Part], sums: dict[_Part, int], elements: int) -> int | None:
    """A number of several parts, packed; None when it would not fit."""
    column = 0
    for part in parts:
        packed = sums[part]
        if part.flipped:
            return None
        if part.weight and packed:
            if part.weight >= 62 or packed & _lanes(2**64 - (1 << (62 - part.weight)), elements):
                return None
            packed <<= part.weight
        column += packed
    return column


def _lanes(number: int, elements: int) -> int:
    """The same number in each lane."""
    return int.from_bytes(number.to_bytes(_LANE, "little") * elements, "little")


def _numbers(packed: int, elements: int) -> Sequence[int]:
    return struct.unpack(f"<{elements}Q", packed.to_bytes(elements * _LANE, "little"))


def _arranged(column: Sequence[int], runs: Runs) -> list[int]:
    parts = (column[s : s + length] if s >= 0 else [0] * length for s, length in runs)
    return list(chain.from_iterable(parts))
