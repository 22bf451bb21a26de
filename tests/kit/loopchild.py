"""A process that runs the event loop over records that never end; for tests of its end.

``python -m tests.kit.loopchild FORMAT RECORDS_PER_DRAIN [MAX_EVENTS]``: when the loop runs
it says "ready" on stderr, in the end the result as a line of JSON.
"""

import json
import os
import sys

from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.formatter import make_formatter
from bpfpack.runner.events.loop import Loop
from bpfpack.runner.events.sink import Sink
from bpfpack.runner.events.stop import StopSignals
from bpfpack.runner.events.stream import Stream
from bpfpack.spec.value import names
from tests.kit.records import batch, field, layout, output


class Endless:
    """A source that always has ``count`` records, until it is detached; 0: never any."""

    def __init__(self, count: int) -> None:
        self.fd = os.eventfd(1 if count else 0, os.EFD_NONBLOCK)
        self._count, self._number = count, 0
        self.detached = False

    def drain(self, max_records: int) -> Batch | None:
        """The next numbers."""
        count = 0 if self.detached else min(self._count, max_records)
        first, self._number = self._number, self._number + count
        records = [(first + i).to_bytes(8, "little") for i in range(count)]
        return batch(*records) if records else None

    def lost(self) -> int:
        """Nothing is."""
        return 0

    def detach(self) -> None:
        """No more from now on."""
        self.detached = True


def main() -> None:
    """Run the loop; exit as `run` does."""
    shape, count, *rest = sys.argv[1:]
    source = Endless(int(count))
    numbers = output(layout(field("n", "uint", 0, 8)))
    with StopSignals() as stop:
        sink = Sink(sys.stdout.fileno(), wake_fd=stop.fd, lines=shape != "raw")
        stop.at_exit.append(sink.restore)
        loop = Loop(
            streams=[Stream(source=source, formatter=make_formatter(shape, numbers))],  # type: ignore[arg-type]  # a test's word
            samplers=[],
            sink=sink,
            stop=stop,
            detach=source.detach,
            max_events=int(rest[0]) if rest else None,
        )
        print("ready", file=sys.stderr, flush=True)
        result = loop.run()
        sink.close()
    print(
        json.dumps({name: getattr(result, name) for name in names(type(result))}),
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    main()
