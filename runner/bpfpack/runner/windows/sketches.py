"""Quantiles of many numbers, each within 1 % of one that was there.

A DDSketch (Masson, Rim and Lee, PVLDB 12(12), 2019): numbers are counted in buckets that grow
by 2^(1/36), 36 for each power of two, so that the middle of a bucket is within 1 % of all that is
in it.  Whole numbers and floats, and those of either sign, have buckets of the same kind; 0 has
its own.  The buckets of one power of two are a page.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache
from typing import Final, NamedTuple, TypeAlias

Number: TypeAlias = int | float

#: BP_BUCKETS of ``runner/engine/groups.h``.
BUCKETS: Final = 36
_FRACTION: Final = 63
#: Numbers from here on have no half as a float.
_HALVES: Final = 1 << 52
_DOUBLE: Final = struct.Struct("<d")
_BITS: Final = struct.Struct("<Q")


class Place(NamedTuple):
    """Where a number other than 0 is counted."""

    negative: bool
    power: int
    bucket: int


@cache
def bounds() -> Sequence[int]:
    """Where the buckets begin, and the last one ends, in 63 bits behind the leading one."""
    from decimal import ROUND_CEILING, Context

    context = Context(prec=60, rounding=ROUND_CEILING)
    one, root = context.create_decimal(1 << _FRACTION), context.create_decimal(1) / BUCKETS
    steps = [context.power(2, context.multiply(root, k)) - 1 for k in range(1, BUCKETS)]
    inner = [int((one * step).to_integral_value(ROUND_CEILING)) for step in steps]
    return [0, *inner, 1 << _FRACTION]


@cache
def guesses() -> bytes:
    """For each 7 bits behind the leading one, the bucket of the smallest number that has them."""
    found = bounds()
    return bytes(
        max(k for k in range(BUCKETS) if found[k] <= bits << _FRACTION - 7) for bits in range(128)
    )


def place(number: Number) -> Place:
    """Where a finite number other than 0 is counted.

    A float too small for a leading one (subnormal) has the power -1023, which no sketch takes.

    >>> place(1), place(-1.5)
    (Place(negative=False, power=0, bucket=0), Place(negative=True, power=0, bucket=21))
    """
    if isinstance(number, float):
        (bits,) = _BITS.unpack(_DOUBLE.pack(abs(number)))
        power, more = (bits >> 52) - 1023, (bits & (1 << 52) - 1) << _FRACTION - 52
    else:
        power = abs(number).bit_length() - 1
        more = (abs(number) << _FRACTION >> power) - (1 << _FRACTION)
    bucket = guesses()[more >> _FRACTION - 7]
    return Place(number < 0, power, bucket + (more >= bounds()[bucket + 1]))


class Sketch:
    """Counted numbers: those that are 0, and pages by sign and power of two."""

    def __init__(self, zeros: int, pages: Mapping[tuple[bool, int], Sequence[int]]) -> None:
        self.zeros: Final = zeros
        self.pages: Final = pages
        self._steps: Sequence[tuple[tuple[bool, int] | None, int]] | None = None

    def quantile(self, share: Fraction, least: Number, most: Number) -> Number | None:
        """The number that so large a share of all does not exceed, None of nothing.

        It is within 1 % of ``sorted(numbers)[floor(share * (count - 1))]``; ``least`` and
        ``most`` are the smallest and the largest number there was.
        """
        if self._steps is None:
            self._steps = list(self._made_steps())
        steps = self._steps
        left = (sum(count for _, count in steps) - 1) * share.numerator // share.denominator
        if left < 0:
            return None
        if share in (0, 1):
            return most if share else least
        for where, count in steps:
            if left < count:
                return self._within(where, left, least, most)
            left -= count
        return most

    def _made_steps(self) -> Iterator[tuple[tuple[bool, int] | None, int]]:
        """Pages from the smallest numbers to the largest, each with its count; None is 0."""
        below = sorted((k for k in self.pages if k[0]), key=lambda k: -k[1])
        above = sorted(k for k in self.pages if not k[0])
        for key in below:
            yield key, sum(self.pages[key])
        yield None, self.zeros
        for key in above:
            yield key, sum(self.pages[key])

    def _within(
        self, where: tuple[bool, int] | None, left: int, least: Number, most: Number
    ) -> Number:
        """The number with so many before it on its page."""
        if where is None:
            return 0.0 if isinstance(least, float) else 0
        negative, power = where
        page = self.pages[where]
        for bucket in reversed(range(BUCKETS)) if negative else range(BUCKETS):
            if left < page[bucket]:
                break
            left -= page[bucket]
        if isinstance(least, float):
            found: Number = _middle_real(power, bucket)
        else:
            found = _middle_whole(power, bucket)
        return min(max(-found if negative else found, least), most)


def _middle_real(power: int, bucket: int) -> float:
    """What is equally far, by ratio, from both ends of a bucket."""
    one = 1 << _FRACTION
    low, high = one + bounds()[bucket], one + bounds()[bucket + 1]
    return 2 * low * high / (low + high) / one * 2.0**power


def _middle_whole(power: int, bucket: int) -> Number:
    """The middle of the whole numbers of a bucket: one itself, or between two of them."""
    step = _FRACTION - power
    low = (1 << power) - (-bounds()[bucket] >> step)
    high = (1 << power) - (-bounds()[bucket + 1] >> step) - 1
    both = low + high
    return both / 2 if both % 2 and both < _HALVES else both // 2
