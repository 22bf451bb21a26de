"""scripts/bench/events runs, and every event of its floods is accounted for."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.kit.cli import REPO

pytestmark = pytest.mark.kernel


def bench(*rows: str) -> list[dict[str, Any]]:
    """The figures of a short run; what they are worth is for an idle machine to say."""
    script = str(REPO / "scripts/bench/events")
    command = [sys.executable, script, "--quick", "-o", "json", *rows]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_floods_run_and_nothing_is_unaccounted_for() -> None:
    figures = bench("formatter", "null", "file")
    assert {f["row"] for f in figures} == {"formatter", "null", "file", "exact"}
    rates = [f["value"] for f in figures if f["unit"] == "M/s"]
    assert len(rates) >= 5
    assert all(rate > 0 for rate in rates)
    # What the driver made is what was shown, or counted in the file, and what was lost.
    assert [f["value"] for f in figures if f["row"] == "exact"] == [0, 0]


def test_the_quiet_rows_run() -> None:
    figures = bench("latency", "histogram", "start")
    assert {f["row"] for f in figures} == {"latency", "histogram", "start"}
    assert all(
        f["value"] > 0 for f in figures if f["unit"] in ("us", "ms") and "later" not in f["what"]
    )


def test_a_row_that_there_is_not_is_refused() -> None:
    with pytest.raises(AssertionError, match="invalid choice: 'fastest'"):
        bench("fastest")
