"""Outputs that are maps, read as a whole: tables and histograms."""

import json
from collections.abc import Callable
from typing import Final

from bpfpack.runner.api.decoding import Record
from bpfpack.runner.events.entries import Elements
from bpfpack.runner.events.histogram import HistogramSampler
from bpfpack.runner.events.loop import Sampler
from bpfpack.runner.events.tables import MapOutput, TableSampler
from bpfpack.spec.config import Output

#: What can be read like this.
KINDS: Final = ("table", "histogram")


class OutputSampler:
    """Reads one output again and again; what its line of JSON has, as a dict."""

    def __init__(self, output: Output, about: MapOutput, elements: Elements) -> None:
        self._sample: Callable[[], bytes] = _sampler(output, about, elements).sample

    def __call__(self) -> Record | None:
        """The map as it is now, None for a histogram of nothing; raises KernelError."""
        line = self._sample()
        if not line:
            return None
        found: Record = json.loads(line)
        return found


def _sampler(output: Output, about: MapOutput, elements: Elements) -> Sampler:
    if output.kind == "table":
        return TableSampler("json", about, elements, sort=output.sort)
    return HistogramSampler("json", output, about, elements)
