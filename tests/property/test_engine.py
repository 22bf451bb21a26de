"""The engine says what the reference formatter says, byte for byte."""

import struct
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfpack.runner.engine.program import assemble
from tests.fuzz.differential import CLOCK, compare_all
from tests.kit.enginecases import Dice
from tests.kit.enginehost import Arena, Host
from tests.kit.records import field, layout, output, shown

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


class _Drawn:
    """Choices that hypothesis makes, and makes smaller when something is found."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self._draw = draw

    def number(self, low: int, high: int) -> int:
        return int(self._draw(st.integers(low, high)))

    def data(self, size: int) -> bytes:
        return bytes(self._draw(st.binary(min_size=size, max_size=size)))


@cache
def _arena() -> Arena:
    return Arena()


@settings(max_examples=150, deadline=None, suppress_health_check=_SLOW)
@given(st.data())
def test_any_types_and_records(data: st.DataObject) -> None:
    assert compare_all(_Drawn(data.draw), _arena())


def test_ten_thousand_records_of_random_types() -> None:
    compared = seed = 0
    while compared < 10_000:
        compared += compare_all(Dice(f"suite:{seed}"), _arena())
        seed += 1


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(width=64), min_size=1, max_size=40))
def test_floats_are_written_as_python_does(numbers: list[float]) -> None:
    of = layout(field("x", "float", 0, 8))
    records = [struct.pack("<d", number) for number in numbers]
    for shape in ("json", "table", "yaml"):
        host = Host(partial(assemble, shape, output(of), clock=CLOCK), _arena())
        assert host.format(records).decode().splitlines() == shown(shape, of, *records)


def test_text_is_whole_but_in_tables() -> None:
    size = 6000
    of = layout(
        field("s", "string", 0, size),
        field("t", "string", size, 0),
    )
    digits = layout(field("b", "bytes", 0, size))
    texts = [b"x" * size, b"\x1b" * size, b"\xff" * size, "\u20ac".encode() * (size // 3)]
    for shape in ("json", "table", "csv", "tsv", "yaml"):
        for what, records in ((of, [2 * text for text in texts]), (digits, texts)):
            host = Host(partial(assemble, shape, output(what), clock=CLOCK), _arena())
            assert host.format(records).decode().splitlines() == shown(shape, what, *records)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20))
def test_hostile_text_is_decoded_as_python_does(texts: list[bytes]) -> None:
    of = layout(field("s", "string", 0, 40))
    for shape in ("json", "table", "csv", "yaml"):
        host = Host(partial(assemble, shape, output(of), clock=CLOCK), _arena())
        assert host.format(texts).decode().splitlines() == shown(shape, of, *texts)
