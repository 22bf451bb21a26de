"""What a benchmark found, beside what it should."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the report; ``met`` is None where there is no bar."""

    row: str
    what: str
    value: float | str
    unit: str = ""
    bar: str = ""
    met: bool | None = None

    def line(self) -> str:
        """The figure for a reader."""
        found = self.value if isinstance(self.value, str) else digits(self.value)
        verdict = "" if self.met is None else "" if self.met else "  MISSED"
        bar = f"bar {self.bar}" if self.bar else ""
        return f"{self.row:10} {self.what:44}{found:>12} {self.unit:8} {bar}{verdict}".rstrip()

    def json(self) -> str:
        """The figure for a program."""
        return json.dumps(asdict(self))


def at_least(row: str, what: str, value: float, bar: float, unit: str) -> Figure:
    """A figure that is to be large."""
    return Figure(row=row, what=what, value=value, unit=unit, bar=f">= {bar:g}", met=value >= bar)


def at_most(row: str, what: str, value: float, bar: float, unit: str) -> Figure:
    """A figure that is to be small."""
    return Figure(row=row, what=what, value=value, unit=unit, bar=f"<= {bar:g}", met=value <= bar)


def not_built(row: str, what: str, bar: str) -> Figure:
    """A row that waits for what it measures."""
    return Figure(row=row, what=what, value="not built", bar=bar)


def digits(value: float) -> str:
    """Three digits that say something.

    >>> digits(1234.5), digits(12.345), digits(0.01234), digits(0.0)
    ('1234', '12.3', '0.0123', '0')
    """
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def middle(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of all does not exceed."""
    found = sorted(values)
    return found[min(len(found) - 1, int(share * len(found)))]
