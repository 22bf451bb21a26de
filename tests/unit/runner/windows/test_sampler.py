"""Windows as tables, JSON and cells."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from bpfpack.runner.events.formatter import EventOutput
from bpfpack.runner.events.terminal import Terminal
from bpfpack.runner.windows.plain import PlainGroups
from bpfpack.runner.windows.sampler import WindowSampler
from bpfpack.runner.windows.tables import Room
from bpfpack.spec.errors import UsageError
from tests.kit.records import FixedClock, field, layout, output
from tests.kit.windowing import EVENT, event, grouping_of

TIME = "1970-01-01T00:00:03.000000000Z"


class Windows:
    """A sampler whose clocks stand still, and what it counts."""

    def __init__(
        self,
        shape: Any,
        by: str | None = None,
        show: str | None = None,
        of: EventOutput | None = None,
        most: int = 100,
        **more: Any,
    ) -> None:
        grouping = grouping_of(of or output(EVENT), by, show)
        self.groups = PlainGroups(grouping, Room(most, 1000))
        self._ticks = 0
        self.sampler = WindowSampler(
            shape,
            grouping,
            self.groups,
            clock=FixedClock(),
            now=lambda: 3_000_000_000,
            ticks=self._tick,
            **more,
        )

    def _tick(self) -> int:
        self._ticks += 1_500_000_000
        return self._ticks

    def lines(self, records: Sequence[bytes] = ()) -> list[str]:
        """The lines of a window of these."""
        for record in records:
            self.groups.add(memoryview(record))
        text = self.sampler.sample().decode()
        while self.sampler.more:
            text += self.sampler.sample().decode()
        assert text == "" or text.endswith("\n")
        return text.splitlines()


EVENTS = [
    event(comm=b"sh", lat=1500, size=2048, delta=-3),
    event(comm=b"cat", lat=7, size=1, delta=5),
    event(comm=b"cat", lat=9, size=2, delta=2**31 - 1),
]


def test_a_table_has_a_time_and_units() -> None:
    windows = Windows("table", "comm", "count,sum(size),p50(lat),avg(delta)")
    first = windows.lines(EVENTS)
    assert first[0].endswith(".000  1.5s")
    assert [line.split() for line in first[1:]] == [
        ["COMM", "COUNT", "SUM(SIZE)", "P50(LAT)", "AVG(DELTA)"],
        ["cat", "2", "3B", "7.00us", "1073741826"],
        ["sh", "1", "2.00KiB", "1.50ms", "-3"],
    ]
    again = windows.lines(EVENTS[:1])
    assert again[0] == ""
    assert again[3].split()[:2] == ["sh", "1"]


def test_json_gives_numbers() -> None:
    windows = Windows("json", "comm", "count,sum(size),p50(lat),avg(size),min(load)")
    big = event(comm=b"big", size=2**64 - 1, load=float("nan"))
    lines = [json.loads(line) for line in windows.lines([*EVENTS, big, big, big])]
    head = {"time": TIME, "seconds": 1.5}
    assert lines == [
        head
        | {"comm": "big", "count": 3, "sum(size)": str(3 * (2**64 - 1)), "p50(lat)": 0}
        | {"avg(size)": float(2**64), "min(load)": None},
        head
        | {"comm": "cat", "count": 2, "sum(size)": 3, "p50(lat)": 7}
        | {"avg(size)": 1.5, "min(load)": 0.0},
        head
        | {"comm": "sh", "count": 1, "sum(size)": 2048, "p50(lat)": 1500}
        | {"avg(size)": 2048.0, "min(load)": 0.0},
    ]
    assert windows.lines() == []


def test_a_json_array_has_commas_between() -> None:
    windows = Windows("json-array", "comm")
    assert windows.sampler.begin() == b"[\n"
    lines = [*windows.lines(EVENTS), *windows.lines(EVENTS)]
    assert len(json.loads("[" + "\n".join(lines) + "]")) == 4


def test_csv_has_a_column_for_the_time() -> None:
    windows = Windows("csv", "comm", "count,max(lat)")
    assert windows.lines(EVENTS) == [
        "time,seconds,comm,count,max(lat)",
        f"{TIME},1.5,cat,2,9",
        f"{TIME},1.5,sh,1,1500",
    ]
    assert windows.lines(EVENTS[:1]) == [f"{TIME},1.5,sh,1,1500"]


@pytest.mark.parametrize("shape", ["json", "table", "csv"])
def test_a_window_without_keys_has_a_row_whatever_happens(shape: Any) -> None:
    windows = Windows(shape, show="count,sum(size),p99(lat),max(lat)")
    last = windows.lines()[-1]
    wanted = {
        "json": f'{{"time":"{TIME}","seconds":1.5,"count":0,"sum(size)":0'
        ',"p99(lat)":null,"max(lat)":null}',
        "table": ["0", "0B"],
        "csv": f"{TIME},1.5,0,0,,",
    }
    assert (last.split() if shape == "table" else last) == wanted[shape]


def test_rows_beyond_the_limit_of_keys_say_so() -> None:
    records = [event(pid=n, lat=n) for n in range(5)]
    found = [json.loads(line) for line in Windows("json", "pid", most=2).lines(records)]
    assert [(r["pid"], r["count"], r.get("_other")) for r in found] == [
        (0, 1, None), (1, 1, None), (None, 3, True)
    ]  # fmt: skip
    assert Windows("csv", "pid", most=2).lines(records)[-1] == f"{TIME},1.5,_other,3"
    assert Windows("table", "pid", most=2).lines(records)[-1].split() == ["_other", "3"]


def _column(lines: Sequence[str], name: str) -> list[Any]:
    return [json.loads(line)[name] for line in lines]


def test_rows_are_sorted_as_asked() -> None:
    records = [event(pid=n % 4, comm=b"ab"[n % 2 : n % 2 + 1], lat=n) for n in range(4)]
    order = [("comm", True), ("max(lat)", False)]
    lines = Windows("json", "pid,comm", "max(lat)", order=order).lines(records)
    assert _column(lines, "pid") == [1, 3, 0, 2]
    lines = Windows("json", "pid", order=[("pid", True)], limit=3).lines(records)
    assert _column(lines, "pid") == [3, 2, 1]


def test_nothing_is_sorted_last() -> None:
    records = [event(pid=1, load=float("nan")), event(pid=2, load=1.0), event(pid=3, load=2.0)]
    for largest, wanted in ((True, [3, 2, 1]), (False, [2, 3, 1])):
        order = [("max(load)", largest)]
        lines = Windows("json", "pid", "max(load)", order=order).lines(records)
        assert _column(lines, "pid") == wanted


@pytest.mark.parametrize("shape", ["json", "csv", "table"])
def test_a_window_may_come_in_pieces(shape: Any) -> None:
    records = [event(pid=n % 50, lat=n) for n in range(100)]
    whole = Windows(shape, "pid", "p50(lat)", moment=60.0)
    pieces = Windows(shape, "pid", "p50(lat)", moment=0.0)
    for windows in (whole, pieces):
        for record in records:
            windows.groups.add(memoryview(record))
    found, steps = pieces.sampler.sample(), 1
    pieces.groups.add(memoryview(records[7]))  # it is of the next window
    while pieces.sampler.more:
        found += pieces.sampler.sample()
        steps += 1
    assert found == whole.sampler.sample()
    assert steps >= 50
    assert not whole.sampler.more
    assert len(pieces.lines()) == {"json": 1, "csv": 1, "table": 4}[shape]


def test_columns_that_there_are_none_of_are_told() -> None:
    with pytest.raises(UsageError, match="no column 'cuont'") as caught:
        Windows("json", "pid", order=[("cuont", True)])
    assert caught.value.hint == "did you mean count? its columns are pid, count"


def test_on_a_terminal_a_block_takes_the_place_of_the_last() -> None:
    windows = Windows("table", "pid", terminal=Terminal(columns=20, lines=7))
    records = [event(pid=n) for n in range(9)]
    first = windows.lines(records)
    assert len(first) == 6
    assert first[-1] == "(6 more)"
    again = windows.lines(records[:1])
    assert again[0].startswith("\x1b[6F\x1b[J")
    assert len(again) == 3
    assert windows.lines()[0].startswith("\x1b[3F\x1b[J")


def test_others_beside_it_are_not_overwritten() -> None:
    of = output(EVENT, alone=False)
    windows = Windows("table", "pid", of=of, terminal=Terminal(columns=80, lines=24))
    assert windows.lines(EVENTS)[0].endswith(" events  1.5s")
    assert windows.lines(EVENTS)[0] == ""
    lines = Windows("json", "pid", of=of).lines(EVENTS)
    assert _column(lines, "output") == ["events"]


def test_the_type_of_a_record_may_be_a_key() -> None:
    of = output(
        layout(field("a", "uint", 0, 4), name="struct small"),
        layout(field("a", "uint", 0, 4), field("b", "uint", 4, 4), name="struct large"),
    )
    windows = Windows("json", "type,b", "count,sum(b)", of=of)
    found = [json.loads(line) for line in windows.lines([bytes(8), bytes(8), bytes(4), b""])]
    assert [(r["type"], r["b"], r["count"], r["sum(b)"]) for r in found] == [
        ("large", 0, 2, 0), ("small", None, 1, 0), (None, None, 1, 0)
    ]  # fmt: skip


def test_names_of_keys_are_left_to_them() -> None:
    of = output(layout(field("time", "uint", 0, 4)))
    (line,) = Windows("json", "time", of=of).lines([bytes(4)])
    assert list(json.loads(line)) == ["_time", "seconds", "time", "count"]
