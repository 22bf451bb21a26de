"""``bpfpack run --every``: windows of events, by both engines."""

import csv
import json
from collections.abc import Iterator

import pytest

from tests.kit import chimes
from tests.kit.bell import ME
from tests.kit.cli import Host, Running, Terminal

pytestmark = pytest.mark.kernel
#: The run ends with the last note; the window that this takes is the only one.
LONG = "--every=1h"


@pytest.fixture(scope="module", params=["RINGBUF", "PERF_EVENT_ARRAY"])
def host(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Host:
    """A host that built the chimes, with a ring or a perf buffer."""
    return chimes.built(tmp_path_factory.mktemp("host"), request.param)


@pytest.fixture(params=["wasm", "reference"])
def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What every run here has."""
    return "run", "--engine", request.param


def rung(running: Running, notes: str) -> None:
    running.until("^attached ", stderr=True)
    chimes.ring(notes)


def whole(running: Running) -> str:
    """All it printed, to its end, whatever was read of that."""
    said = running.end().stdout
    return "".join(line for line in running.seen if not line.startswith("attached")) + said


def test_json_has_a_line_for_each_combination(host: Host, options: tuple[str, ...]) -> None:
    asked = ("--by=type,tone", "--show=count,sum(number),min(number),p99(number),avg(number)")
    argv = (*options, "-o", "bells:json", LONG, *asked, "--max-events=5", "chimes:1", ME)
    with host.started(*argv) as running:
        rung(running, "hlhhh")
        done = running.end()
    assert done.code == 0
    assert "5 events" in done.stderr
    times = {line.pop("time") for line in done.lines}
    assert len(times) == 1
    assert all(line.pop("seconds") >= 0 for line in [dict(line) for line in done.lines])
    rows = [{k: v for k, v in line.items() if k not in ("time", "seconds")} for line in done.lines]
    assert rows == [
        {"type": "high", "tone": None, "count": 4, "sum(number)": 13, "min(number)": 1}
        | {"p99(number)": 4, "avg(number)": 3.25},
        {"type": "low", "tone": "do", "count": 1, "sum(number)": 2, "min(number)": 2}
        | {"p99(number)": 2, "avg(number)": 2.0},
    ]


def test_windows_follow_each_other(host: Host, options: tuple[str, ...]) -> None:
    asked = ("--every=50ms", "--by=number", "--max-events=3")
    with host.started(*options, "-o", "bells:json", *asked, "chimes:1", ME) as running:
        rung(running, "h")
        running.until('"number":1,"count":1}')
        chimes.ring("l")
        running.until('"number":2,"count":1}')
        chimes.ring("h")
        lines = [json.loads(line) for line in whole(running).splitlines()]
    assert [(line["number"], line["count"]) for line in lines] == [(1, 1), (2, 1), (3, 1)]
    times = [line["time"] for line in lines]
    assert times == sorted(set(times))


def test_what_is_filtered_out_is_in_no_window(host: Host, options: tuple[str, ...]) -> None:
    asked = ("--filter=type == low", "--by=kind", "--max-events=2", "--limit=1")
    with host.started(*options, "-o", "bells:csv", LONG, *asked, "chimes:1", ME) as running:
        rung(running, "hhlhl")
        done = running.end()
    head, *rows = csv.reader(done.stdout.splitlines())
    assert head == ["time", "seconds", "kind", "count"]
    assert [row[2:] for row in rows] == [["2", "2"]]
    assert "2 events (3 filtered out)" in done.stderr


def test_rows_are_sorted_and_limited(host: Host, options: tuple[str, ...]) -> None:
    asked = ("--by=number", "--sort=-number", "--limit=2", "--max-events=5")
    with host.started(*options, "-o", "bells:json", LONG, *asked, "chimes:1", ME) as running:
        rung(running, "hhhhh")
        assert [line["number"] for line in running.end().lines] == [5, 4]


def test_tables_stand_below_each_other_in_a_pipe(host: Host, options: tuple[str, ...]) -> None:
    asked = ("--every=50ms", "--by=type", "--max-events=2")
    with host.started(*options, "-o", "bells:table", *asked, "chimes:1", ME) as running:
        rung(running, "h")
        running.until("^high +1$")
        chimes.ring("l")
        shown = whole(running)
    assert "\x1b" not in shown
    blocks = [block.splitlines() for block in shown.split("\n\n")]
    assert len(blocks) >= 2
    assert all(block[1].split() == ["TYPE", "COUNT"] for block in blocks)
    rows = [row.split() for block in blocks for row in block[2:]]
    assert rows == [["high", "1"], ["low", "1"]]


def test_maps_beside_them_are_shown_as_ever(host: Host) -> None:
    argv = ("run", "-o", "json", LONG, "--limit=1", "--timeout=500ms", "chimes:1", ME)
    with host.started(*argv) as running:
        rung(running, "hhl")
        done = running.end()
    last = {line["output"]: line for line in done.lines}
    assert last["bells"]["count"] == 3
    assert [row["value"]["calls"] for row in last["counts"]["rows"]] == [2]


@pytest.fixture
def screen(host: Host) -> Iterator[Terminal]:
    """A terminal on which windows are shown."""
    asked = ("-o", "bells:table", "--every=100ms", "--by=type")
    command = host.command("run", *asked, "chimes:1", ME)
    with Terminal(command, host.root, host.environment | {"TERM": "xterm"}, None) as shown:
        shown.until("attached 1 program")
        yield shown


def test_on_a_terminal_the_table_stays_where_it_is(screen: Terminal) -> None:
    chimes.ring("h")
    screen.until(r"high +1\r\n")
    chimes.ring("ll")
    screen.until(r"\x1b\[3F\x1b\[J|\x1b\[2F\x1b\[J")
    screen.until(r"low +2\r\n")
    screen.type("\x03")
    screen.until("3 events, 0 lost")
    assert "\x1b[?25" not in screen.shown  # the cursor is never hidden


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--by", "tone"), "--by is of windows"),
        (("--show", "count"), "--show is of windows"),
        (("--every", "soon"), "--every: not a duration"),
        (("--every", "1ms"), "--every: windows last 10ms or more"),
        (("--every", "1s", "--by", "tune"), "did you mean tone?"),
        (("--every", "1s", "--show", "sum(numbr)"), "did you mean number?"),
        (("--every", "1s", "--show", "sum(tone)"), "--show: tone is no number"),
        (("--every", "1s", "--sort", "tone"), "--sort: windows have no column 'tone'"),
        (("--every", "1s", "--fields", "tone"), "--fields: windows show what"),
        (("--every", "1s", "--on-slow", "drop"), "--on-slow: all events are counted"),
        (("--every", "1s", "--limit", "0"), "--limit: not a positive"),
        (("--every", "1s", "-o", "bells:raw", "--force"), "--every: windows are shown as table"),
        (("--every", "1s", "-o", "counts:table"), "--every: no events are shown"),
    ],
)
def test_what_means_nothing_is_told_before_loading(
    host: Host, words: tuple[str, ...], told: str
) -> None:
    for more in ((), ("--dry-run",)):
        done = host.run("run", *more, *words, "chimes:1", ME, code=125)
        assert told in done.stderr
        assert "attached" not in done.stderr
