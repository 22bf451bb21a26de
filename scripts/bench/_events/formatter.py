"""The formatter alone: 64-byte records of 8 fields to JSON lines, against struct and orjson."""

from collections.abc import Iterator

from _formatter import measure, measure_orjson

from _events.figures import Figure, at_least, middle
from _events.workshop import Workshop


def formatter(shop: Workshop) -> Iterator[Figure]:
    """Both in turn, over the same records."""
    seconds = shop.seconds / 5
    slow, fast = [], []
    for _ in range(shop.rounds):
        slow.append(measure_orjson(seconds=seconds).events / 1e6)
        fast.append(measure("json", seconds=seconds).events / 1e6)
    ratio = middle(fast) / middle(slow)
    yield Figure(row="formatter", what="struct and orjson", value=middle(slow), unit="M/s")
    yield at_least("formatter", "the engine", middle(fast), 10, "M/s")
    yield at_least("formatter", "the engine, of that", ratio, 60, "x")
