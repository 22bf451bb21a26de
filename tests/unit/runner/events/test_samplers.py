"""Histograms and tables over elements that a test wrote down."""

import json
import struct
import time
from typing import Any

import pytest

from bpfpack.runner.events.histogram import HistogramSampler, limits
from bpfpack.runner.events.tables import MapOutput, TableSampler
from bpfpack.runner.events.terminal import Terminal
from bpfpack.spec.config import Output
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.record import RecordLayout
from tests.kit.mapelements import DictElements
from tests.kit.records import FixedClock, field, layout

HASH, ARRAY, LRU = 1, 2, 9
NOW = "1970-01-01T00:00:05.000000000Z"
LOCAL = time.strftime("%H:%M:%S", time.localtime(5)) + ".000"


KEY = layout(field("key", "uint", 0, 4, format="pid"))
VALUE = layout(
    field("name", "string", 0, 4),
    field("count", "uint", 4, 4),
    field("bytes", "uint", 8, 8, format="bytes"),
    name="struct v",
)
STATS = MapOutput(name="stats", key=KEY, value=VALUE)


def _elements(of: RecordLayout = VALUE, **more: Any) -> DictElements:
    return DictElements(key_size=4, value_size=of.size, **more)


def _value(name: bytes, count: int, size: int) -> bytes:
    return struct.pack("<4sIQ", name, count, size)


def _table(shape: Any, elements: DictElements, of: MapOutput = STATS, **more: Any) -> TableSampler:
    more.setdefault("clock", FixedClock())
    return TableSampler(shape, of, elements, now=lambda: 5 * 10**9, **more)


@pytest.fixture
def stats() -> DictElements:
    made = _elements()
    made.data = {
        b"\1\0\0\0": _value(b"a", 5, 2048),
        b"\2\0\0\0": _value(b"b\x1b", 50, 100),
        b"\3\0\0\0": _value(b"c", 5, 1),
    }
    return made


def test_a_table_is_sorted_by_the_first_count(stats: DictElements) -> None:
    sampler = _table("table", stats)
    block = [
        LOCAL,
        "    KEY NAME      COUNT     BYTES",
        "      2 b\\x1b        50      100B",
        "      1 a             5   2.00KiB",
        "      3 c             5        1B",
    ]
    first, second = sampler.sample().decode(), sampler.sample().decode()
    assert [line.split() for line in first.splitlines()] == [line.split() for line in block]
    assert second == "\n" + first
    assert len({len(line) for line in first.splitlines()[1:]}) == 1


def test_a_table_is_sorted_by_the_member_that_was_asked_for(stats: DictElements) -> None:
    def order(sort: str) -> list[int]:
        rows = json.loads(_table("json", stats, sort=sort).sample())["rows"]
        return [row["key"] for row in rows]

    assert order("bytes") == [1, 2, 3]
    assert order("name") == [1, 2, 3]
    assert order("key") == [3, 2, 1]
    with pytest.raises(SpecError, match="no such member"):
        _table("json", stats, sort="absent")


def test_a_table_is_cut_to_the_terminal(stats: DictElements) -> None:
    lines = _table("table", stats, terminal=Terminal(columns=12, lines=6)).sample().decode()
    assert lines.splitlines()[2:] == ["      2 b\\x…", "(2 more)"]


def test_a_sample_is_one_line_of_json(stats: DictElements) -> None:
    text = _table("json", stats).sample().decode()
    assert text.count("\n") == 1
    assert json.loads(text) == {
        "time": NOW,
        "rows": [
            {"key": 2, "value": {"name": "b\x1b", "count": 50, "bytes": 100}},
            {"key": 1, "value": {"name": "a", "count": 5, "bytes": 2048}},
            {"key": 3, "value": {"name": "c", "count": 5, "bytes": 1}},
        ],
    }
    several = MapOutput(name="stats", key=KEY, value=VALUE, alone=False)
    assert json.loads(_table("json", _elements(), several).sample()) == {
        "output": "stats",
        "time": NOW,
        "rows": [],
    }


def test_csv_has_one_header(stats: DictElements) -> None:
    sampler = _table("csv", stats)
    rows = [f"{NOW},2,b\\x1b,50,100", f"{NOW},1,a,5,2048", f"{NOW},3,c,5,1"]
    assert sampler.sample().decode().splitlines() == ["time,key,name,count,bytes", *rows]
    assert sampler.sample().decode().splitlines() == rows


def test_names_of_both_sides_are_told_apart_in_csv() -> None:
    both = layout(field("pid", "uint", 0, 4))
    sampler = _table("csv", _elements(), MapOutput(name="x", key=both, value=both))
    assert sampler.sample() == b"time,key.pid,value.pid\n"


def test_values_of_cpus_are_added_up_where_they_are_counts() -> None:
    value = layout(
        field("n", "uint", 0, 4),
        field("delta", "int", 4, 4),
        field("name", "string", 8, 4),
        field("addr", "uint", 12, 4, format="ipv4"),
        field("list", "uint", 16, 2, dimensions=(2,)),
    )
    elements = _elements(value, cpus=3)
    elements.data[b"\7\0\0\0"] = elements.per_cpu(
        *(
            struct.pack("<Ii4s4s2H", *cpu)
            for cpu in (
                (2**32 - 1, -5, b"\0" * 4, b"\0" * 4, 1, 2),
                (2, 3, b"run", b"\x0a\0\0\1", 65535, 3),
                (0, 0, b"\0" * 4, b"\0" * 4, 0, 0),
            )
        )
    )
    text = _table("json", elements, MapOutput(name="x", key=KEY, value=value)).sample()
    (row,) = json.loads(text)["rows"]
    assert row["value"] == {
        "n": 2**32 + 1, "delta": -2, "name": "run", "addr": "10.0.0.1", "list": [65536, 5],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "most", "told"), [(HASH, 3, True), (HASH, 4, False), (ARRAY, 3, False), (LRU, 9, True)]
)
def test_a_map_that_may_lack_keys_says_so(
    stats: DictElements, kind: int, most: int, told: bool
) -> None:
    stats.type, stats.max_entries = kind, most
    assert json.loads(_table("json", stats).sample()).get("incomplete", False) is told
    assert (b"some may be missing" in _table("table", stats).sample()) is told


@pytest.mark.parametrize(("lost", "note"), [(0, None), (1, "1 update)"), (7, "7 updates)")])
def test_updates_that_the_program_counts_as_lost(
    stats: DictElements, lost: int, note: str | None
) -> None:
    of = MapOutput(name="stats", key=KEY, value=VALUE, lost=lambda: lost)
    found = json.loads(_table("json", stats, of).sample())
    assert found.get("updates_lost", 0) == lost
    assert found.get("incomplete", False) is (lost > 0)
    lines = _table("table", stats, of).sample().decode().splitlines()
    assert lines[-1].endswith(note) if note else len(lines) == 5


@pytest.mark.parametrize(("shape", "told"), [("csv", 1), ("table", 0), ("json", 0)])
def test_what_a_format_has_no_place_for_is_told_beside(
    stats: DictElements, shape: str, told: int
) -> None:
    beside: list[list[str]] = []
    of = MapOutput(name="stats", key=KEY, value=VALUE, lost=lambda: 7, tell=beside.append)
    _table(shape, stats, of).sample()
    elements = _elements(HIST, max_entries=1)
    elements.data[b"\1\0\0\0"] = _slots(b"", 1)
    _histogram(shape, elements, lost=lambda: 7, tell=beside.append).sample()
    assert beside == [["the map had no room for 7 updates"]] * 2 * told


def test_samplers_have_no_raw_form(stats: DictElements) -> None:
    with pytest.raises(UsageError, match="no raw form"):
        _table("raw", stats)
    with pytest.raises(UsageError, match="no raw form"):
        _histogram("raw", stats)


HIST = layout(
    field("comm", "string", 0, 4), field("slots", "uint", 4, 4, dimensions=(8,)), name="struct hist"
)


def _histogram(shape: Any, elements: DictElements, **more: Any) -> HistogramSampler:
    scale: dict[str, Any] = {"scale": "log2", "slots": "slots", "unit": "usecs"}
    said = Output(
        name="latency", map="hists", kind="histogram", **{**scale, **more.pop("said", {})}
    )
    of = MapOutput(
        name="latency",
        key=KEY,
        value=more.pop("value", HIST),
        lost=more.pop("lost", None),
        tell=more.pop("tell", None),
    )
    more.setdefault("clock", FixedClock())
    return HistogramSampler(shape, said, of, elements, now=lambda: 5 * 10**9, **more)


def _slots(comm: bytes, *counts: int) -> bytes:
    return struct.pack("<4s8I", comm, *counts, *(0,) * (8 - len(counts)))


def test_bars_from_the_first_to_the_last_range_that_is_not_empty() -> None:
    elements = _elements(HIST, max_entries=1)
    elements.data[b"\0\0\0\0"] = _slots(b"", 0, 1, 0, 40, 20)
    assert _histogram("table", elements, value=HIST).sample().decode().splitlines() == [
        LOCAL,
        "   usecs  count",
        " 2 ->  3      1 |*                                       |",
        " 4 ->  7      0 |                                        |",
        " 8 -> 15     40 |****************************************|",
        "16 -> 31     20 |********************                    |",
    ]


def test_each_key_has_its_histogram_the_fullest_first() -> None:
    elements = _elements(HIST)
    elements.data = {
        b"\1\0\0\0": _slots(b"sh", 1),
        b"\2\0\0\0": _slots(b"e\x1b", 9, 9),
        b"\3\0\0\0": _slots(b"idle"),
    }
    lines = _histogram("table", elements).sample().decode().splitlines()
    assert [line for line in lines if "=" in line] == ["key=2 comm=e\\x1b", "key=1 comm=sh"]
    found = json.loads(_histogram("json", elements).sample())
    assert found == {
        "time": NOW,
        "unit": "usecs",
        "histograms": [
            {
                "key": 2,
                "value": {"comm": "e\x1b"},
                "count": 18,
                "slots": [{"from": 0, "to": 1, "count": 9}, {"from": 2, "to": 3, "count": 9}],
            },
            {
                "key": 1,
                "value": {"comm": "sh"},
                "count": 1,
                "slots": [{"from": 0, "to": 1, "count": 1}],
            },
        ],
    }
    assert _histogram("csv", elements).sample().decode().splitlines() == [
        "time,key,comm,from,to,count",
        f"{NOW},2,e\\x1b,0,1,9",
        f"{NOW},2,e\\x1b,2,3,9",
        f"{NOW},1,sh,0,1,1",
    ]


def test_a_linear_scale_and_a_value_that_is_the_slots() -> None:
    elements = _elements(HIST)
    elements.data[b"\1\0\0\0"] = struct.pack("<3Q", 0, 2, 1)
    value = layout(field("value", "uint", 0, 8, dimensions=(3,)))
    said = {"scale": "linear", "step": 10, "slots": None, "unit": None}
    text = _histogram("json", elements, value=value, said=said).sample()
    assert json.loads(text)["histograms"] == [
        {
            "key": 1,
            "count": 3,
            "slots": [{"from": 10, "to": 19, "count": 2}, {"from": 20, "to": None, "count": 1}],
        }
    ]


@pytest.mark.parametrize("step", [1, 2, 4, 64])
def test_an_exponential_scale_has_no_gap(step: int) -> None:
    said: Any = {"scale": "exponential", "step": step}
    output = Output(name="h", map="h", kind="histogram", **said)
    ranges = [limits(output, i) for i in range(step * (65 - step.bit_length() + 1))]
    assert [start for start, _ in ranges] == [0, *(end + 1 for _, end in ranges[:-1])]
    assert ranges[-1][1] == 2**64 - 1
    assert all((end + 1 - start) * step <= max(start, step) for start, end in ranges)
    powers = [start for start, _ in ranges if start >= step and start & (start - 1) == 0]
    assert powers == [1 << i for i in range(step.bit_length() - 1, 64)]


def test_slots_of_cpus_are_added_up() -> None:
    elements = _elements(HIST, cpus=2)
    elements.data[b"\1\0\0\0"] = elements.per_cpu(_slots(b"sh", 2**32 - 1), _slots(b"sh", 2))
    (found,) = json.loads(_histogram("json", elements).sample())["histograms"]
    assert found["count"] == 2**32 + 1


def test_differences_are_of_snapshots_and_survive_a_key_that_comes_back() -> None:
    elements = _elements(HIST)
    every = {"scale": "log2", "slots": "slots", "interval_ms": 1000}
    sampler = _histogram("json", elements, said=every)

    def counts() -> list[tuple[int, int]]:
        text = sampler.sample()
        return [(h["key"], h["count"]) for h in json.loads(text)["histograms"]] if text else []

    elements.data = {b"\1\0\0\0": _slots(b"", 5), b"\2\0\0\0": _slots(b"", 1)}
    assert counts() == [(1, 5), (2, 1)]
    assert counts() == []
    elements.data = {b"\1\0\0\0": _slots(b"", 7), b"\2\0\0\0": _slots(b"", 0, 4)}
    assert counts() == [(2, 4), (1, 2)]
    del elements.data[b"\1\0\0\0"]
    assert counts() == []
    elements.data[b"\1\0\0\0"] = _slots(b"", 3)
    assert counts() == [(1, 3)]


def test_a_key_that_appears_between_others_moves_none_of_their_counts() -> None:
    elements = _elements(HIST)
    every = {"scale": "log2", "slots": "slots", "interval_ms": 1000}
    sampler = _histogram("json", elements, said=every)
    elements.data = {bytes([i, 0, 0, 0]): _slots(b"", i, i) for i in range(1, 9)}
    sampler.sample()
    grown = [(bytes([i, 0, 0, 0]), _slots(b"", i, i + 1)) for i in (3, 200, 8, 7, 1)]
    elements.data = dict(grown)
    found = json.loads(sampler.sample())["histograms"]
    assert [(h["key"], h["count"]) for h in found] == [(200, 401), (1, 1), (3, 1), (7, 1), (8, 1)]


def test_a_full_map_is_told_though_most_keys_have_nothing() -> None:
    elements = _elements(HIST, max_entries=2)
    elements.data = {b"\1\0\0\0": _slots(b"", 1), b"\2\0\0\0": _slots(b"")}
    assert json.loads(_histogram("json", elements).sample())["incomplete"]


def test_a_histogram_and_updates_that_were_lost() -> None:
    elements = _elements(HIST, max_entries=1)
    elements.data[b"\1\0\0\0"] = _slots(b"", 1)
    found = json.loads(_histogram("json", elements, lost=lambda: 3).sample())
    assert (found["incomplete"], found["updates_lost"]) == (True, 3)
    assert "incomplete" not in json.loads(_histogram("json", elements).sample())
    assert b"(the map had no room for 3 updates)" in (
        _histogram("table", elements, lost=lambda: 3).sample()
    )


def test_a_terminal_gets_the_fullest_keys() -> None:
    elements = _elements(HIST)
    elements.data = {bytes([i, 0, 0, 0]): _slots(b"", i % 50) for i in range(1, 91)}
    text = _histogram("table", elements, terminal=Terminal(columns=80, lines=24)).sample().decode()
    keys = [line for line in text.splitlines() if line.startswith("key=")]
    assert keys[:3] == ["key=49", "key=48", "key=47"]
    assert len(keys) == 32
    assert text.splitlines()[-1] == "(57 more keys)"


def test_an_empty_histogram_shows_nothing() -> None:
    elements = _elements(HIST)
    elements.data[b"\1\0\0\0"] = _slots(b"")
    for shape in ("table", "json", "csv"):
        assert _histogram(shape, elements).sample() == b""


def test_the_last_slot_has_an_end_where_numbers_have() -> None:
    value = layout(field("value", "uint", 0, 1, dimensions=(64,)))
    elements = _elements(value)
    elements.data[b"\1\0\0\0"] = bytes(63) + b"\1"
    said = {"slots": None}
    (found,) = json.loads(_histogram("json", elements, value=value, said=said).sample())[
        "histograms"
    ]
    assert found["slots"] == [{"from": 2**63, "to": 2**64 - 1, "count": 1}]


def test_csv_of_the_last_slot() -> None:
    elements = _elements(HIST)
    elements.data[b"\1\0\0\0"] = _slots(b"", 0, 0, 0, 0, 0, 0, 0, 3)
    assert _histogram("csv", elements).sample().endswith(b",128,,3\n")


def test_bars_fit_the_terminal() -> None:
    elements = _elements(HIST)
    elements.data[b"\1\0\0\0"] = _slots(b"", 0, 0, 0, 0, 0, 0, 0, 2**32 - 1)
    text = _histogram("table", elements, terminal=Terminal(columns=50, lines=24)).sample().decode()
    assert max(map(len, text.splitlines())) <= 50
    assert text.splitlines()[-1] == "128 -> ...  4294967295 |*************************|"


@pytest.mark.parametrize("name", ["comm", "absent"])
def test_slots_that_are_no_array_of_counts_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="not an array of counts"):
        _histogram("table", _elements(HIST), said={"slots": name})
