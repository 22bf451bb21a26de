"""What crosses from a kernel buffer to a formatter: a batch, never one event."""

from collections.abc import Sequence
from typing import Protocol

from bpfpack.spec.value import valuetype


@valuetype
class Batch:
    """Raw records of one source, in the order they were taken.

    ``records`` are (offset, length) into ``memory``, which belongs to the source and is
    only good until its next ``drain``.  ``fill`` is the largest share of the kernel's
    buffer seen in use, 0 to 1, None where it cannot be seen.
    """

    memory: memoryview
    records: Sequence[tuple[int, int]]
    fill: float | None = None


class Source(Protocol):
    """A kernel buffer: readable at ``fd`` when something waits in it."""

    @property
    def fd(self) -> int:
        """The descriptor to wait on; it stays the same."""
        ...

    def drain(self, max_records: int) -> Batch | None:
        """Take at most ``max_records`` records without waiting; None when there is nothing."""
        ...

    def lost(self) -> int | None:
        """Records lost since it was opened: exact, or None where nobody counts them.

        Never a guess.  It may cost a system call for each CPU: ask at the end.
        """
        ...
