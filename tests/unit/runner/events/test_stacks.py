"""Stacks over elements and names that a test wrote down."""

import json
import re
import struct
from collections.abc import Sequence
from typing import Any

import pytest

from bpfpack.runner.events.stacks import StackSampler, Watch
from bpfpack.runner.events.tables import MapOutput
from bpfpack.runner.events.terminal import Terminal
from bpfpack.runner.symbols.frame import Frame
from bpfpack.spec.config import Output
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.value import replace
from tests.kit.mapelements import DictElements
from tests.kit.records import FixedClock, field, layout

KEY = layout(
    field("pid", "uint", 0, 4, format="pid"),
    field("comm", "string", 4, 8),
    field("kernel", "int", 12, 4),
    field("user", "int", 16, 4),
    name="struct k",
)
VALUE = layout(field("value", "uint", 0, 8))
STACKS = MapOutput(name="counts", key=KEY, value=VALUE)
SAID = Output(
    name="counts",
    map="counts",
    kind="stacks",
    traces="traces",
    kernel="kernel",
    user="user",
    process="pid",
)
NO_STACK, NO_ROOM = -14, -17
KERNEL = 0xFFFF0000


class Elements(DictElements):
    """A map of counts, and beside it the stacks by their numbers."""

    def __init__(self) -> None:
        super().__init__(key_size=20, value_size=8)
        self.traces: dict[int, Sequence[int]] = {
            1: (KERNEL + 1, KERNEL + 2),
            2: (0x101, 0x202, 0x303),
        }

    def add(self, pid: int, comm: bytes, kernel: int, user: int, count: int) -> None:
        self.data[struct.pack("<I8sii", pid, comm, kernel, user)] = struct.pack("<Q", count)

    def lookup(self, key: bytes) -> bytes | None:
        found = self.traces.get(int.from_bytes(key, "little"))
        return None if found is None else struct.pack("<8Q", *found, *[0] * (8 - len(found)))


class Names:
    """Names of all that there is; ``alive`` are the processes that can still be asked."""

    lost = 0

    def __init__(self) -> None:
        self.alive: set[int] = {7, 8}
        self.looked: list[int] = []

    def frame(self, address: int, *, called: bool = False) -> Frame:
        return Frame(address, f"k{address - KERNEL}", int(called), "[kernel]")

    def catch_up(self) -> None:
        """Nothing happens here."""

    def look(self, pid: int) -> None:
        self.looked.append(pid)

    def frames(self, pid: int, addresses: Sequence[int]) -> tuple[Frame, ...]:
        if pid not in self.alive:
            return tuple(map(Frame, addresses))
        return tuple(Frame(a, f"u{a >> 8}", a & 0xFF, "/bin/prog") for a in addresses)


@pytest.fixture
def elements() -> Elements:
    made = Elements()
    made.add(7, b"a", 1, 2, 5)
    made.add(8, b"a", NO_STACK, 2, 3)
    made.add(9, b"b", NO_ROOM, NO_STACK, 1)
    return made


def _sampler(shape: Any, elements: Elements, **more: Any) -> StackSampler:
    names = more.pop("names", Names())
    more = {"said": SAID, "output": STACKS, "kernel": names, "users": names, **more}
    more = {"clock": FixedClock(), "now": lambda: 5 * 10**9, **more}
    return StackSampler(shape, elements=elements, traces=elements, **more)


def test_json(elements: Elements) -> None:
    first, second, third = json.loads(_sampler("json", elements).sample())["stacks"]
    assert first == {
        "key": {"pid": 7, "comm": "a"},
        "count": 5,
        "kernel": [
            {"address": "0xffff0001", "function": "k1", "offset": 0, "file": "[kernel]"},
            {"address": "0xffff0002", "function": "k2", "offset": 1, "file": "[kernel]"},
        ],
        "user": [
            {"address": f"{a:#x}", "function": f"u{i}", "offset": i, "file": "/bin/prog"}
            for i, a in enumerate((0x101, 0x202, 0x303), 1)
        ],
    }
    assert (second["kernel"], second["count"]) == ([], 3)
    assert (third["kernel"], third["user"]) == (None, [])


def test_what_processes_map_may_be_lost(elements: Elements) -> None:
    names = Names()
    assert "mappings_lost" not in _sampler("json", elements, names=names).sample().decode()
    names.lost = 3
    assert json.loads(_sampler("json", elements, names=names).sample())["mappings_lost"] == 3
    table = _sampler("table", elements, names=names).sample().decode()
    assert table.endswith("(3 changes of what processes map were lost: names may be too)\n")


def test_folded_lines_are_of_all_processes(elements: Elements) -> None:
    elements.add(8, b"a", 1, 2, 5)
    assert _sampler("folded", elements).sample().decode().splitlines() == [
        "a;u3;u2;u1;k2_[k];k1_[k] 10",
        "a;u3;u2;u1 3",
        "b;[missed] 1",
    ]


def test_what_stands_between_semicolons_holds_none() -> None:
    elements, names = Elements(), Names()
    elements.add(7, b"a;b\x1b", NO_STACK, 2, 1)
    names.frames = lambda pid, addresses: (Frame(1, "f(;)\n"),)  # type: ignore[method-assign]
    assert _sampler("folded", elements, names=names).sample() == b"a:b\\x1b;f(:)\\x0a 1\n"


def test_a_table(elements: Elements) -> None:
    elements.add(7, b"a", 3, 2, 3)
    elements.traces[3] = elements.traces[1]  # reads the same as the first
    lines = _sampler("table", elements).sample().decode().splitlines()
    assert lines[1:] == [
        *("", "pid=7 comm=a count=8 (66.7%)"),
        *("    k1 (kernel)", "    k2 (kernel)"),
        *("    u1 (prog)", "    u2 (prog)", "    u3 (prog)"),
        *("", "pid=8 comm=a count=3 (25.0%)"),
        *("    u1 (prog)", "    u2 (prog)", "    u3 (prog)"),
        *("", "pid=9 comm=b count=1 (8.3%)", "    [missed]"),
    ]


def test_a_terminal_gets_what_it_has_room_for() -> None:
    elements = Elements()
    for pid in range(40):
        elements.add(pid, b"a", 1, NO_STACK, pid + 1)
    sampler = _sampler("table", elements, terminal=Terminal(columns=12, lines=24))
    lines = sampler.sample().decode().splitlines()
    assert max(map(len, lines)) == 12
    assert lines[-1].startswith("(24 more")


def test_csv(elements: Elements) -> None:
    first, *rest = _sampler("csv", elements).sample().decode().splitlines()
    assert first == "time,pid,comm,count,stack"
    assert rest[1].split(",")[1:] == ["8", "a", "3", "u3;u2;u1"]


def test_an_interval_shows_what_is_new(elements: Elements) -> None:
    sampler = _sampler("folded", elements, said=_replaced(interval_ms=1000))
    assert len(sampler.sample().splitlines()) == 3
    assert sampler.sample() == b""
    elements.add(8, b"a", NO_STACK, 2, 10)
    elements.add(7, b"a", 1, 2, 2)  # deleted, and counted anew
    assert sampler.sample().splitlines() == [
        b"a;u3;u2;u1 7",
        b"a;u3;u2;u1;k2_[k];k1_[k] 2",
    ]


def test_a_picture_is_of_everything_whatever_the_interval(elements: Elements) -> None:
    sampler = _sampler("flamegraph.svg", elements, said=_replaced(interval_ms=1000))
    sampler.sample()
    text = sampler.sample().decode()
    assert text.startswith("<svg") and text.endswith("</svg>\n")
    titles = re.findall("<title>(.*?)</title>", text)
    assert {t for t in titles if "k" in t or "u1" in t or "miss" in t} == {
        "u1 (8 samples, 88.89%)",
        "k1 (5 samples, 55.56%)",
        "k2 (5 samples, 55.56%)",
        "[missed] (1 sample, 11.11%)",
    }
    assert {"a (8 samples, 88.89%)", "b (1 sample, 11.11%)"} <= set(titles)
    assert "some may be missing" not in text
    elements.max_entries = 3
    assert "9 samples; the map is full or evicts keys: some may be missing" in (
        _sampler("flamegraph.svg", elements).sample().decode()
    )


@pytest.mark.parametrize(("shape", "told"), [("csv", 1), ("folded", 1), ("json", 0), ("table", 0)])
def test_what_a_format_has_no_place_for_is_told_beside(
    elements: Elements, shape: str, told: int
) -> None:
    beside: list[list[str]] = []
    output = replace(STACKS, tell=beside.append)
    _sampler(shape, elements, output=output).sample()
    assert beside == []
    elements.max_entries = 3
    _sampler(shape, elements, output=output).sample()
    assert beside == [["the map is full or evicts keys: some may be missing"]] * told


def test_names_outlive_their_process(elements: Elements) -> None:
    names = Names()
    sampler = _sampler("folded", elements, names=names)
    assert Watch(sampler).sample() == b""
    names.alive.clear()
    assert b"u3;u2;u1" in sampler.sample()


def test_a_process_is_not_asked_for_every_stack(elements: Elements) -> None:
    names = Names()
    for number in range(10, 60):
        elements.traces[number] = (number,)
        elements.add(7, b"a", NO_STACK, number, 1)
    sampler = _sampler("folded", elements, names=names)
    sampler.watch()
    assert names.looked.count(7) == 1


def test_what_is_remembered_of_a_map_that_evicts_keys_is_bounded() -> None:
    elements, names = Elements(), Names()
    sampler = _sampler("folded", elements, names=names)
    for pid in range(1000):
        elements.data.clear()
        elements.add(pid, b"a", NO_STACK, 2, 1)
        sampler.watch()
    elements.data.clear()
    elements.add(7, b"a", NO_STACK, 2, 1)
    assert sampler.sample() == b"a;u3;u2;u1 1\n"
    assert names.looked.count(7) == 2  # it had been forgotten


def test_without_names_addresses_are_left(elements: Elements) -> None:
    sampler = _sampler("json", elements, users=None)
    (first, *_) = json.loads(sampler.sample())["stacks"]
    assert first["user"] == [{"address": "0x101"}, {"address": "0x202"}, {"address": "0x303"}]
    table = _sampler("table", elements, users=None).sample().decode()
    assert "PID namespace" in table and "[unknown]" in table


def test_a_stack_that_is_gone_is_missed(elements: Elements) -> None:
    del elements.traces[2]
    assert b"a;[missed];k2_[k];k1_[k] 5" in _sampler("folded", elements).sample()


def test_nothing_counted_shows_nothing() -> None:
    assert _sampler("table", Elements()).sample() == b""


def test_what_cannot_be_shown() -> None:
    with pytest.raises(UsageError, match="no raw form"):
        _sampler("raw", Elements())
    with pytest.raises(SpecError, match="4 bytes"):
        _sampler("json", Elements(), said=_replaced(kernel="comm"))
    text = layout(field("value", "string", 0, 8))
    with pytest.raises(SpecError, match="no count"):
        _sampler("json", Elements(), output=MapOutput(name="counts", key=KEY, value=text))


def _replaced(**more: Any) -> Output:
    return Output.from_dict(
        {**SAID.to_dict(), **{{"interval_ms": "intervalMs"}.get(k, k): v for k, v in more.items()}}
    )
