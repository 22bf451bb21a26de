"""Groups as they are read out at the end of a window, whoever counted."""

from collections.abc import Sequence
from typing import Protocol

from bpfpack.runner.windows.sketches import Number, Sketch
from bpfpack.spec.value import valuetype


@valuetype
class Sums:
    """What was added up of one field; ``least`` and ``most`` mean nothing of no number."""

    count: int
    total: Number
    least: Number
    most: Number
    sketch: Sketch | None


class Group(Protocol):
    """Events that had the same values; the key of those that no group was left for is None."""

    @property
    def key(self) -> bytes | None:
        """See `bpfpack.runner.windows.grouping`."""
        ...

    @property
    def count(self) -> int:
        """How many events there were."""
        ...

    def sums(self, measure: int) -> Sums:
        """What was added up of a field."""
        ...


class Groups(Protocol):
    """What counts."""

    @property
    def lacking(self) -> int:
        """Numbers that quantiles lack, in all windows so far."""
        ...

    @property
    def other(self) -> int:
        """Events that no group was left for, in all windows so far."""
        ...

    def take(self) -> Sequence[Group]:
        """The groups of the window that ends now; the next one begins empty.

        They are good until it is called again.
        """
        ...
