"""What the loop takes from: events of one output, already bytes.

Two things stand behind it: a source and the plain formatter, which is the reference, and the
engine (`bpfpack.runner.engine.streams`).
"""

from collections.abc import Callable
from typing import Final, Protocol

from bpfpack.runner.events.batch import Batch, Source
from bpfpack.runner.events.formatter import Formatter
from bpfpack.spec.value import valuetype

#: Records that the plain formatter takes at once: bounds the memory of a batch and its output.
_BATCH: Final = 4096


@valuetype
class Taken:
    """What one call took.

    ``records`` were consumed and ``shown`` of them are in ``output``, which is good until the
    next call.  ``more`` says that there was more to take, ``busy`` that the next record is
    still being written.  ``size`` are the bytes of output, also of output that was not made.
    ``fill`` is the largest share of the kernel's buffer seen in use, None where it is not seen.
    """

    records: int
    shown: int
    size: int
    output: "bytes | memoryview"
    fill: float | None = None
    more: bool = False
    busy: bool = False


NOTHING: Final = Taken(records=0, shown=0, size=0, output=b"")


class EventStream(Protocol):
    """Events of one output; readable at ``fd`` when some may be there."""

    @property
    def fd(self) -> int:
        """The descriptor to wait on; it stays the same."""
        ...

    def header(self) -> bytes | None:
        """What stands before the first event, and again after another output's events."""
        ...

    def take(self, most: int) -> Taken:
        """Take records, so that at most ``most`` are shown, without waiting.

        No records, and not busy, means that nothing was left.
        """
        ...

    def skip(self, most: int) -> Taken:
        """Take records that nobody will see; output need not be made."""
        ...

    def lost(self) -> int | None:
        """See `Source.lost`."""
        ...


@valuetype
class Stream:
    """A source of events and what formats them; ``kept`` leaves out what is not shown."""

    source: Source
    formatter: Formatter
    kept: Callable[[Batch], Batch] | None = None

    @property
    def fd(self) -> int:
        """See `EventStream`."""
        return self.source.fd

    def header(self) -> bytes | None:
        """See `EventStream`."""
        return self.formatter.header()

    def take(self, most: int) -> Taken:
        """See `EventStream`."""
        most = min(most, _BATCH)
        batch = self.source.drain(most)
        if batch is None:
            return NOTHING
        count = len(batch.records)
        kept = batch if self.kept is None else self.kept(batch)
        shown = len(kept.records)
        output = self.formatter.format(kept) if shown else b""
        return Taken(
            records=count,
            shown=shown,
            size=len(output),
            output=output,
            fill=batch.fill,
            more=count >= most,
        )

    def skip(self, most: int) -> Taken:
        """See `EventStream`; ``size`` is that of the records."""
        batch = self.source.drain(min(most, _BATCH))
        if batch is None:
            return NOTHING
        kept = batch if self.kept is None else self.kept(batch)
        shown, size = len(kept.records), sum(length for _, length in kept.records)
        return Taken(
            records=len(batch.records), shown=shown, size=size, output=b"", fill=batch.fill
        )

    def lost(self) -> int | None:
        """See `EventStream`."""
        return self.source.lost()
