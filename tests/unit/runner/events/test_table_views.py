"""Tables as a user wants them: some rows, some columns, another order."""

import csv
import io
import json
import struct
from typing import Any

import pytest

from bpfpack.runner.events.tables import MapOutput, TableSampler, View
from bpfpack.runner.filters.filter import make_filters
from bpfpack.runner.filters.tablerows import keeps_rows, rows_output
from tests.kit.mapelements import DictElements
from tests.kit.records import FixedClock, field, layout

KEY = layout(field("pid", "uint", 0, 4, format="pid"), field("kind", "uint", 4, 4, bits=4, shift=2))
VALUE = layout(
    field("name", "string", 0, 8),
    field("count", "uint", 8, 4),
    field("slots", "uint", 12, 2, dimensions=(2,)),
    field("load", "float", 16, 8),
    name="struct v",
)
STATS = MapOutput(name="stats", key=KEY, value=VALUE)


def _elements() -> DictElements:
    made = DictElements(key_size=8, value_size=VALUE.size)
    for pid, kind, name, count in ((1, 3, b"a", 5), (2, 1, b"b", 50), (3, 1, b"c", 5)):
        made.data[struct.pack("<II", pid, kind << 2)] = struct.pack(
            "<8sI2Hd", name, count, pid, 7, pid / 2
        )
    return made


def _sampler(shape: Any, **wanted: Any) -> TableSampler:
    rows = rows_output(STATS)
    if (text := wanted.pop("filter", None)) is not None:
        wanted["keeps"] = keeps_rows(make_filters(text, None, [rows])["stats"], rows)
    return TableSampler(
        shape, STATS, _elements(), view=View(**wanted), clock=FixedClock(), now=lambda: 0
    )


def _pids(**wanted: Any) -> list[int]:
    rows = json.loads(_sampler("json", **wanted).sample())["rows"]
    return [row["key"]["pid"] for row in rows]


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ((("pid", True),), [3, 2, 1]),
        ((("count", False), ("pid", True)), [3, 1, 2]),
        ((("kind", False), ("count", True)), [2, 3, 1]),
        ((("name", True),), [3, 2, 1]),
        ((("load", False),), [1, 2, 3]),
    ],
)
def test_rows_stand_in_the_order_that_was_asked_for(
    order: tuple[tuple[str, bool], ...], wanted: list[int]
) -> None:
    assert _pids(order=order) == wanted
    assert _pids(order=order, limit=2) == wanted[:2]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("count == 5", [1, 3]),
        ("count > 5 or name == a", [2, 1]),
        ("kind == 1 and pid != 2", [3]),
        ("slots[0] == 3", [3]),
        ("load >= 1.0", [2, 3]),
        ("name ~ '[ab]'", [2, 1]),
    ],
)
def test_rows_are_asked_what_events_are(text: str, wanted: list[int]) -> None:
    assert _pids(filter=text) == wanted


def test_a_limit_counts_what_is_left_of_the_table() -> None:
    lines = _sampler("table", filter="count == 5", limit=1).sample().decode().splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == ["1"]
    assert lines[-1] == "(1 more)"


def test_columns_stand_in_the_order_that_was_asked_for() -> None:
    text = _sampler("csv", columns=("count", "pid")).sample().decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["time", "count", "pid"]
    assert [row[1:] for row in rows[1:]] == [["50", "2"], ["5", "1"], ["5", "3"]]
    lines = _sampler("table", columns=("name", "pid")).sample().decode().splitlines()
    assert [line.split() for line in lines[1:3]] == [["NAME", "PID"], ["b", "2"]]


def test_json_keeps_key_and_value_apart() -> None:
    def rows(*columns: str) -> Any:
        return json.loads(_sampler("json", columns=columns, limit=1).sample())["rows"]

    assert rows("count", "pid") == [{"key": {"pid": 2}, "value": {"count": 50}}]
    assert rows("slots") == [{"value": {"slots": [2, 7]}}]
    assert rows("kind") == [{"key": {"kind": 1}}]
