"""Forms that the engine and the reference share: what parsers of others make of them."""

import csv
import io
import json
import math
import os
import struct
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import yaml

from bpfpack.runner.engine.program import assemble
from bpfpack.runner.events import names
from bpfpack.runner.events.formatter import (
    ARRAY_END,
    EventOutput,
    OutputFormat,
    RecordType,
    make_formatter,
)
from bpfpack.runner.events.terminal import Terminal
from bpfpack.spec.errors import SpecError
from tests.fuzz.differential import CLOCK
from tests.kit.enginecases import Case, Dice, make_case
from tests.kit.enginehost import Arena, Host
from tests.kit.records import FixedClock, batch, field, layout, output, shown


@pytest.fixture(scope="module")
def arena() -> Arena:
    return Arena()


def engine(shape: Any, case: Case, arena: Arena) -> bytes:
    made = Host(partial(assemble, shape, case.output, clock=CLOCK), arena)
    return made.format(case.records)


def test_yaml_says_what_json_says(arena: Arena) -> None:
    for seed in range(300):
        case = make_case(Dice(f"yaml:{seed}"))
        lines = engine("json", case, arena).decode().splitlines()
        documents = list(yaml.safe_load_all(engine("yaml", case, arena)))
        assert documents == [json.loads(line) for line in lines]


def test_an_array_is_the_lines(arena: Arena) -> None:
    for seed in range(100):
        case = make_case(Dice(f"array:{seed}"))
        header = make_formatter("json-array", case.output, clock=CLOCK).header()
        text = (header or b"") + engine("json-array", case, arena) + ARRAY_END
        lines = engine("json", case, arena).decode().splitlines()
        assert json.loads(text) == [json.loads(line) for line in lines]


def test_an_array_of_nothing() -> None:
    header = make_formatter("json-array", output(layout(field("n", "uint", 0, 4)))).header()
    assert json.loads((header or b"") + ARRAY_END) == []


def test_tabs_have_the_cells_of_commas(arena: Arena) -> None:
    for seed in range(200):
        case = make_case(Dice(f"cells:{seed}"))
        commas = list(csv.reader(io.StringIO(engine("csv", case, arena).decode())))
        tabs = [line.split("\t") for line in engine("tsv", case, arena).decode().split("\n")[:-1]]
        assert [row or [""] for row in commas] == tabs


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def test_local_time_with_its_changes(zone: str, arena: Arena) -> None:
    of = layout(field("t", "uint", 0, 8, format="timestamp", clock="real"))
    now = int(time.time())
    dice = Dice(zone)
    seconds = [dice.number(0, now + 300 * 86400) for _ in range(2000)]
    # The hours around the changes of a year in Europe: 2026-03-29 and 2026-10-25, 01:00 UTC.
    seconds += [at + i for at in (1_774_746_000, 1_792_890_000) for i in range(-3, 4)]
    records = [struct.pack("<Q", second * 10**9 + 5_000_000) for second in seconds]
    host = Host(partial(assemble, "table", output(of), clock=FixedClock()), arena)
    assert host.format(records).decode().splitlines() == shown("table", of, *records)


def test_users_and_groups_have_their_names(arena: Arena) -> None:
    of = layout(field("u", "uint", 0, 4, format="user"), field("g", "uint", 4, 4, format="group"))
    records = [
        struct.pack("<II", uid, gid) for uid in (0, 1, 65534, 12345) for gid in (0, 5, 99999)
    ]
    host = Host(partial(assemble, "table", output(of), clock=FixedClock()), arena)
    assert host.format(records).decode().splitlines() == shown("table", of, *records)
    assert names.users()[0] == "root"


def test_columns_that_grew_are_told_to_the_header(arena: Arena) -> None:
    of = output(layout(field("s", "string", 0, 40), field("n", "uint", 40, 4)))
    reference = make_formatter(
        "table", of, clock=FixedClock(), terminal=Terminal(columns=50, lines=9)
    )
    host = Host(partial(assemble, "table", of, clock=FixedClock(), columns=50), arena)
    record = b"a name that is longer than most".ljust(40, b"\0") + bytes(4)
    assert host.format([record]) == reference.format(batch(record))
    again: Any = make_formatter(
        "table", of, clock=FixedClock(), terminal=Terminal(columns=50, lines=9)
    )
    again.resume(host.widths())
    assert again.header() == reference.header()


def test_an_address_that_tells_types_apart_is_read_as_a_number(arena: Arena) -> None:
    of = layout(field("a", "uint", 0, 4, format="ipv4", order="host"))
    types = (RecordType(layout=of, when=0x01020304), RecordType(layout=of, when=5))
    both = EventOutput(name="x", types=types, discriminator="a")
    records = [struct.pack("<I", number) for number in (0x01020304, 0x04030201, 5)]
    host = Host(partial(assemble, "json", both, clock=FixedClock()), arena)
    assert host.format(records).decode().splitlines() == shown("json", both, *records)


def test_types_of_which_nothing_is_shown(arena: Arena) -> None:
    of = layout(field("a", "uint", 0, 4, hidden=True))
    for types in ((of,), (of, of)):
        shapes: tuple[OutputFormat, ...] = ("json", "yaml", "csv", "tsv", "table")
        for shape in shapes:
            host = Host(partial(assemble, shape, output(*types), clock=FixedClock()), arena)
            assert host.format([bytes(4), b""]) == make_formatter(
                shape, output(*types), clock=FixedClock()
            ).format(batch(bytes(4), b""))


@pytest.mark.parametrize(
    "bad",
    [
        field("n", "uint", 0, 24),
        field("n", "uint", 0, 4, bits=30, shift=7),
        field("n", "uint", 0, 4, shift=3),
        field("n", "uint", 0, 17, bits=1, shift=130),
        field("n", "uint", 0, 17, bits=129),
        field("n", "uint", -4, 4),
        field("n", "uint", 1 << 32, 4),
        field("n", "uint", 0, 4, dimensions=(2, 0)),
        field("n", "bytes", 0, 0, dimensions=(2,)),
        field("n", "uint", 0, 1, dimensions=(1,) * 33),
        field("n", "string", 0, 1 << 30),
        field("n", "uint", 0, 4, dimensions=(1 << 20, 1 << 20)),
        field("n", "uint", 0, 16, format="timestamp"),
        field("n", "bytes", 0, 5, format="ipv4"),
    ],
)
def test_what_the_engine_cannot_show_is_refused(bad: Any) -> None:
    with pytest.raises(SpecError):
        assemble("json", output(layout(bad)), 4096, clock=FixedClock())


def test_the_head_can_be_changed_while_it_runs(arena: Arena) -> None:
    of = layout(field("t", "uint", 0, 8, format="timestamp"))
    host = Host(partial(assemble, "json", output(of), clock=FixedClock()), arena)
    assert host.format([bytes(8)]) == b'{"t":"1970-01-01T00:00:00.000000000Z"}\n'
    host.tell(struct.pack("<q", 10**9))
    assert host.format([bytes(8)]) == b'{"t":"1970-01-01T00:00:01.000000000Z"}\n'


def test_numbers_of_all_lengths(arena: Arena) -> None:
    of = layout(
        field("u", "uint", 0, 8), field("s", "int", 0, 8), field("x", "uint", 0, 8, format="hex"),
        field("v", "uint", 0, 4), field("w", "int", 0, 4), field("b", "bytes", 0, 8),
    )  # fmt: skip
    powers = {base**n + d for base in (2, 10) for n in range(64) for d in (-1, 0, 1)}
    numbers = [*sorted(n for n in powers if 0 <= n < 1 << 64), (1 << 64) - 1]
    dice = Dice("numbers")
    numbers += [dice.number(0, 10 ** dice.number(1, 19)) for _ in range(5000)]
    records = [struct.pack("<Q", n) for n in numbers]
    for shape in ("json", "table"):
        host = Host(partial(assemble, shape, output(of), clock=FixedClock()), arena)
        assert host.format(records).decode().splitlines() == shown(shape, of, *records)
    assert math.log10(max(numbers)) > 19
