"""Records that the filter leaves out, as the engine walks them."""

import struct
from functools import partial
from typing import Any

import pytest

from bpfpack.runner.engine.program import assemble
from bpfpack.runner.events.formatter import EventOutput, make_formatter
from bpfpack.runner.filters.filter import make_filters
from tests.kit.enginehost import EMPTY, FULL, MOST, Host, staged
from tests.kit.records import FixedClock, batch, field, layout, output

EVENT = layout(field("n", "uint", 0, 4), field("name", "string", 4, 8), name="struct event")
OTHER = layout(field("n", "uint", 0, 4), field("x", "uint", 16, 4), name="struct other")


def _records(count: int) -> list[bytes]:
    return [struct.pack("<I8s", n, b"odd" if n % 2 else b"even") for n in range(count)]


def _host(of: EventOutput, shape: Any, text: str | None, unique: str | None = None) -> Host:
    image = make_filters(text, unique, [of])["events"].image()
    return Host(partial(assemble, shape, of, filtered=image, clock=FixedClock()))


@pytest.mark.parametrize("shape", ["json", "json-array", "csv", "tsv", "table", "yaml", "raw"])
def test_what_is_kept_is_shown_as_ever(shape: Any) -> None:
    of = output(EVENT, OTHER)
    records = [*_records(20), bytes(16) + b"\x07\0\0\0", b"\1"]
    text = "n > 3 and name == odd or x == 7 or not exists(n)"
    kept = make_filters(text, None, [of])["events"].kept(batch(*records))
    wanted = make_formatter(shape, of, clock=FixedClock()).format(kept)
    assert _host(of, shape, text).format(records) == wanted
    assert len(kept.records) == 10


def test_it_stops_after_the_last_that_was_asked_for() -> None:
    host = _host(output(EVENT), "json", "name == odd")
    host.stage(staged(_records(100)))
    found = host.run(most=3)
    assert (found.taken, found.shown, found.status) == (6, 3, MOST)
    found = host.run()
    assert (found.taken, found.shown, found.status) == (94, 47, EMPTY)


def test_a_line_that_has_no_room_is_not_remembered_as_shown() -> None:
    host = _host(output(EVENT), "json", None, "n")
    host.stage(staged(_records(50)))
    shown = lines = 0
    while True:
        found = host.run(size=300)
        shown += found.shown
        lines += found.output.count(b"\n")
        if found.status != FULL:
            break
    assert shown == lines == 50


def test_a_flood_of_which_nothing_is_kept_comes_back() -> None:
    host = _host(output(EVENT), "json", "n == 1")
    host.stage(staged([bytes(4)] * 262_145))
    found = host.run()
    assert (found.taken, found.shown, found.status) == (262_144, 0, MOST)
    assert host.run().status == EMPTY
