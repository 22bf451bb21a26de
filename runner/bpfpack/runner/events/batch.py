"""What crosses from a kernel buffer to a formatter: a batch, never one event."""

from collections.abc import Sequence
from typing import Protocol

from bpfpack.spec.value import valuetype


@valuetype
class Batch:
    """Raw records of one source, in the order they were taken.

    ``records`` are (offset, length) into ``memory``, which belongs to the source and is
    only good until its next ``drain``.  ``lost`` counts what was lost since the batch
    before: exact, or None where nobody can count it (never a guess).  ``fill`` is the
    largest share of the kernel's buffer seen in use, 0 to 1, None where it cannot be seen.
    A batch may have no records when it only tells of a loss.
    """

    memory: memoryview
    records: Sequence[tuple[int, int]]
    lost: int | None
    fill: float | None = None


class Source(Protocol):
    """A kernel buffer: readable at ``fd`` when something waits in it."""

    @property
    def fd(self) -> int:
        """The descriptor to wait on; it stays the same."""
        ...

    @property
    def counted(self) -> bool:
        """Whether ``lost`` of its batches is exact; no batch then means no loss."""
        ...

    def drain(self, max_records: int) -> Batch | None:
        """Take at most ``max_records`` records without waiting; None when there is nothing."""
        ...
