"""Running and stopping leaves nothing, however often: a small part of ``scripts/cycles``."""

from pathlib import Path

import pytest

from tests.kit.cycles import Bench, cycle, grown
from tests.kit.network import network

pytestmark = pytest.mark.kernel


def test_nothing_grows(tmp_path: Path) -> None:
    with network():
        bench = Bench(tmp_path)
        before, after = cycle(bench, len(bench.names), 2, warm_up=1)
    assert bench.objects > 6 * len(bench.names)  # a program, a map and a link, twice
    # What this process itself needs for the first time here is no leak.
    assert set(grown(before, after)) <= {"memory, KiB"}
