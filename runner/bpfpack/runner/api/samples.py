"""Outputs that are maps, read as a whole: tables, histograms and stacks."""

import json
from collections.abc import Callable
from typing import Final

from bpfpack.runner.api.decoding import Record
from bpfpack.runner.events.histogram import HistogramSampler
from bpfpack.runner.events.loop import Sampler
from bpfpack.runner.events.tables import MapOutput, TableSampler
from bpfpack.runner.session import Session
from bpfpack.spec.config import Output

#: What can be read like this.
KINDS: Final = ("table", "histogram", "stacks")


class OutputSampler:
    """Reads one output again and again; what its line of JSON has, as a dict."""

    def __init__(self, output: Output, about: MapOutput, session: Session) -> None:
        self._sample: Callable[[], bytes] = _sampler(output, about, session).sample

    def __call__(self) -> Record | None:
        """The map as it is now, None for a histogram or stacks of nothing; raises KernelError."""
        line = self._sample()
        if not line:
            return None
        found: Record = json.loads(line)
        return found


def _sampler(output: Output, about: MapOutput, session: Session) -> Sampler:
    match output.kind:
        case "table":
            return TableSampler("json", about, session.map(output.map), sort=output.sort)
        case "histogram":
            return HistogramSampler("json", output, about, session.map(output.map))
    from bpfpack.runner.symbols.sampling import open_stacks

    sampler, _ = open_stacks(session, "json", output, about)
    return sampler
