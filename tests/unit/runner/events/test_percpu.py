"""Tables and histograms of each CPU's own values."""

import json
import struct
from typing import Any

import pytest

from bpfpack.runner.events.histogram import HistogramSampler
from bpfpack.runner.events.percpu import each_cpu
from bpfpack.runner.events.tables import MapOutput, TableSampler
from bpfpack.spec.config import Output
from tests.kit.mapelements import DictElements
from tests.kit.records import FixedClock, field, layout

HASH, LRU = 5, 10
KEY = layout(field("key", "uint", 0, 4))
VALUE = layout(field("calls", "uint", 0, 4), field("name", "string", 4, 4))
CALLS = MapOutput(name="calls", key=KEY, value=VALUE)


def _value(calls: int, name: bytes) -> bytes:
    return struct.pack("<I4s", calls, name)


@pytest.fixture
def elements() -> DictElements:
    made = DictElements(type=HASH, max_entries=10, cpus=3, key_size=4, value_size=8)
    none = _value(0, b"")
    made.data = {
        b"\7\0\0\0": made.per_cpu(_value(5, b"a"), none, _value(2, b"b")),
        b"\1\0\0\0": made.per_cpu(none, _value(5, b"c"), none),
        b"\2\0\0\0": made.per_cpu(none, none, none),
    }
    return made


def _table(shape: Any, elements: DictElements, of: MapOutput = CALLS, **more: Any) -> str:
    output, each = each_cpu(of, elements)
    sampler = TableSampler(shape, output, each, clock=FixedClock(), now=lambda: 0, **more)
    return sampler.sample().decode()


def test_a_row_for_each_cpu_that_has_something(elements: DictElements) -> None:
    rows = json.loads(_table("json", elements))["rows"]
    assert [(r["key"], r["value"]) for r in rows] == [
        ({"key": 1, "cpu": 1}, {"calls": 5, "name": "c"}),
        ({"key": 7, "cpu": 0}, {"calls": 5, "name": "a"}),
        ({"key": 7, "cpu": 2}, {"calls": 2, "name": "b"}),
    ]
    lines = [line.split() for line in _table("table", elements, sort="cpu").splitlines()[1:]]
    assert lines == [
        ["KEY", "CPU", "CALLS", "NAME"],
        ["7", "2", "2", "b"],
        ["1", "1", "5", "c"],
        ["7", "0", "5", "a"],
    ]
    assert _table("csv", elements).splitlines()[0] == "time,key,cpu,calls,name"


def test_a_key_that_has_a_cpu_keeps_it(elements: DictElements) -> None:
    of = MapOutput(name="x", key=layout(field("cpu", "uint", 0, 4)), value=VALUE)
    assert _table("csv", elements, of).splitlines()[0] == "time,cpu,_cpu,calls,name"


@pytest.mark.parametrize(
    ("kind", "most", "told"), [(HASH, 4, False), (HASH, 3, True), (LRU, 10, True)]
)
def test_a_map_that_may_lack_keys_says_so(
    elements: DictElements, kind: int, most: int, told: bool
) -> None:
    elements.type, elements.max_entries = kind, most
    assert json.loads(_table("json", elements)).get("incomplete", False) is told


def test_histograms_of_each_cpu() -> None:
    value = layout(field("slots", "uint", 0, 4, dimensions=(3,)))
    elements = DictElements(type=HASH, max_entries=1, cpus=2, key_size=4, value_size=value.size)
    said = Output(name="h", map="h", kind="histogram", scale="log2", slots="slots", interval_ms=10)
    output, each = each_cpu(MapOutput(name="h", key=KEY, value=value), elements)
    sampler = HistogramSampler("json", said, output, each, clock=FixedClock())

    def counts() -> list[tuple[int, int]]:
        text = sampler.sample()
        return [(h["key"]["cpu"], h["count"]) for h in json.loads(text)["histograms"] if text]

    slots = struct.Struct("<3I")
    elements.data[bytes(4)] = elements.per_cpu(slots.pack(0, 0, 0), slots.pack(1, 2, 3))
    assert counts() == [(1, 6)]
    elements.data[bytes(4)] = elements.per_cpu(slots.pack(0, 1, 0), slots.pack(1, 2, 4))
    assert counts() == [(0, 1), (1, 1)]


def test_nothing_anywhere_and_a_map_without_cpus(elements: DictElements) -> None:
    elements.data = {bytes(4): elements.per_cpu(*[_value(0, b"")] * 3)}
    assert json.loads(_table("json", elements))["rows"] == []
    plain = DictElements(key_size=4, value_size=8)
    assert each_cpu(CALLS, plain) == (CALLS, plain)
