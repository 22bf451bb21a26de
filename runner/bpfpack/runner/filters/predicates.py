"""What a filter asks of a record, once all names and values are known.

A `Leaf` says where a value stands and how it is read; a test compares it.  Whatever is written
in an expression ends as one of four tests: every comparison of numbers, addresses, durations
and labels is a question whether the value lies in one of some ranges.

A value that the record is too short for is *missing*, a float that is no number counts as
missing too: each test of it is false, and so is its opposite (``!=``, ``not in``); only ``not``
and `Not` turn that around.
"""

import math
import struct
from typing import Final, Literal, TypeAlias

from bpfpack.runner.filters.glob import Glob
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.value import valuetype

#: `text` ends at its first NUL, `bytes` do not.
Kind: TypeAlias = Literal["number", "float", "text", "bytes"]
Number: TypeAlias = int | float
_FLOATS: Final = {4: "f", 8: "d"}
_ORDERS: Final = {"little": "<", "big": ">"}


@valuetype
class Leaf:
    """A value inside a record.

    It is there when the record has ``needs`` bytes.  ``size`` is in bytes, 0 for what goes on to
    the end of the record; a text takes what there is of its size.  ``bits`` is 0 for what is
    no bit-field.
    """

    kind: Kind
    offset: int
    size: int
    needs: int
    order: ByteOrder = "little"
    signed: bool = False
    shift: int = 0
    bits: int = 0

    @property
    def least(self) -> int:
        """The smallest number that it can hold."""
        return -(1 << self._width - 1) if self.signed else 0

    @property
    def most(self) -> int:
        """The largest number that it can hold."""
        return (1 << self._width - self.signed) - 1

    @property
    def _width(self) -> int:
        return self.bits or 8 * self.size

    def number(self, record: memoryview) -> Number | None:
        """The number, None for one that is missing or no number."""
        if len(record) < self.needs:
            return None
        return self.number_of(bytes(record[self.offset : self.offset + self.size]))

    def number_of(self, raw: bytes) -> Number | None:
        """The number that its bytes stand for."""
        if self.kind == "float":
            (real,) = struct.unpack(_ORDERS[self.order] + _FLOATS[self.size], raw)
            return None if math.isnan(real) else float(real)
        if not self.bits:
            return int.from_bytes(raw, self.order, signed=self.signed)
        number = int.from_bytes(raw, self.order) >> self.shift & (1 << self.bits) - 1
        return number - (1 << self.bits) if self.signed and number >> self.bits - 1 else number

    def text(self, record: memoryview) -> bytes | None:
        """The bytes of a text, or bytes as they are; None when missing."""
        if len(record) < self.needs:
            return None
        end = self.offset + self.size if self.size else len(record)
        return self.text_of(bytes(record[self.offset : end]))

    def text_of(self, raw: bytes) -> bytes:
        """What counts of its bytes."""
        return raw.partition(b"\0")[0] if self.kind == "text" else raw


@valuetype
class Constant:
    """Known before there is a record."""

    holds: bool


@valuetype
class InRanges:
    """Whether a number is in one of the ranges (ends included), or, unless ``inside``, in none.

    Ranges are in order and do not touch.
    """

    leaf: Leaf
    ranges: tuple[tuple[Number, Number], ...]
    inside: bool = True


@valuetype
class HasBits:
    """Whether all bits of ``mask`` are set in a number."""

    leaf: Leaf
    mask: int


@valuetype
class Text:
    """Whether a text compares so with ``operand``, or, unless ``holds``, does not."""

    leaf: Leaf
    how: Literal["==", "startswith", "endswith", "contains"]
    operand: bytes
    holds: bool = True


@valuetype
class Matches:
    """Whether a text matches a pattern, or, unless ``holds``, does not."""

    leaf: Leaf
    pattern: Glob
    holds: bool = True


@valuetype
class Present:
    """Whether it is there."""

    leaf: Leaf


@valuetype
class Not:
    """The opposite."""

    part: "Predicate"


@valuetype
class Every:
    """All of them, in order, to the first that fails."""

    parts: "tuple[Predicate, ...]"


@valuetype
class Some:
    """One of them, in order, to the first that holds."""

    parts: "tuple[Predicate, ...]"


Test: TypeAlias = InRanges | HasBits | Text | Matches | Present
Predicate: TypeAlias = Constant | Test | Not | Every | Some


def opposite(part: Predicate) -> Predicate:
    """`Not`, with constants folded."""
    return Constant(holds=not part.holds) if isinstance(part, Constant) else Not(part=part)


def every(parts: list[Predicate]) -> Predicate:
    """`Every`, with constants folded."""
    left = [p for p in parts if p != Constant(holds=True)]
    if Constant(holds=False) in left:
        return Constant(holds=False)
    if not left:
        return Constant(holds=True)
    return left[0] if len(left) == 1 else Every(parts=tuple(left))


def some(parts: list[Predicate]) -> Predicate:
    """`Some`, with constants folded."""
    left = [p for p in parts if p != Constant(holds=False)]
    if Constant(holds=True) in left:
        return Constant(holds=True)
    if not left:
        return Constant(holds=False)
    return left[0] if len(left) == 1 else Some(parts=tuple(left))


def compares(how: str, text: bytes, operand: bytes) -> bool:
    """What `Text` asks of a text.

    >>> compares("contains", b"libssl.so", b"ssl")
    True
    """
    match how:
        case "startswith":
            return text.startswith(operand)
        case "endswith":
            return text.endswith(operand)
        case "contains":
            return operand in text
    return text == operand
