"""Whatever bytes come, each record is one line that is valid and safe."""

import csv
import io
import json
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bpfpack.runner.events.formatter import EventOutput, RecordType, make_formatter
from bpfpack.runner.events.terminal import Terminal
from bpfpack.spec.displays import FORMATS
from bpfpack.spec.record import Field, RecordLayout
from bpfpack.spec.safetext import printable, width
from tests.kit.records import FixedClock, batch, field, layout, output, shown

#: Every base with every format that `RecordLayout` lets it have.
_NUMBERS = [
    *("dec", "hex", "duration", "timestamp", "errno", "signal", "syscall", "enum", "flags"),
    *("user", "group", "pid", "bytes"),
]
_LABELS = {0: "none", 1: "one\x1b", 6: "six", -1: "all"}


@st.composite
def _fields(draw: st.DrawFn, offset: int, index: int) -> Field:
    base: Any = draw(
        st.sampled_from(["int", "uint", "bool", "float", "enum", "pointer", "string", "bytes"])
    )
    more: dict[str, Any] = {"labels": _LABELS, "signed": base in ("int", "enum")}
    size = draw(st.sampled_from([1, 2, 4, 8, 16]))
    if base in ("int", "uint", "enum"):
        more["format"] = draw(st.sampled_from(_NUMBERS))
        more["unit"] = draw(st.sampled_from([None, "us", "s"]))
        more["clock"] = draw(st.sampled_from([None, "boot", "real"]))
        if size in (2, 4) and draw(st.booleans()):
            more["format"] = "port"
            more["order"] = draw(st.sampled_from(["net", "host"]))
        elif draw(st.booleans()):
            more["bits"] = draw(st.integers(1, 8 * size))
            more["shift"] = draw(st.integers(0, 8 * size - more["bits"]))
    elif base == "bool":
        size = 1
    elif base == "float":
        size = draw(st.sampled_from([4, 8]))
    elif base == "pointer":
        size = 8
    elif base == "bytes":
        more["format"] = {4: "ipv4", 16: "ipv6"}.get(size, "hex")
    elif base == "string":
        size = draw(st.integers(1, 12))
    if not more.get("bits"):
        lengths = st.lists(st.integers(1, 3), max_size=2)
        more["dimensions"] = tuple(draw(lengths))
    nested = draw(st.sampled_from(["f{}", "s{}.x", "a%s{}.é"]))
    return field(nested.format(index), base, offset, size, **more)


@st.composite
def layouts(draw: st.DrawFn) -> RecordLayout:
    """Layouts with fields beside, over and apart from each other, of either byte order."""
    found: list[Field] = []
    offset = 0
    for index in range(draw(st.integers(1, 5))):
        offset = max(0, offset + draw(st.integers(-2, 3)))
        one = draw(_fields(offset, index))
        found.append(one)
        offset += one.size
    if draw(st.booleans()):
        found.append(field("tail", draw(st.sampled_from(["string", "bytes"])), offset, 0))
    order: Any = draw(st.sampled_from(["little", "big"]))
    return layout(*found, order=order)


records = st.lists(st.binary(max_size=80), max_size=4)


@given(layouts(), records)
def test_json_is_one_valid_safe_line_for_each_record(of: RecordLayout, raws: list[bytes]) -> None:
    for alone in (True, False):
        text = _text("json", output(of, alone=alone), raws)
        lines = text.split("\n")
        assert len(lines) == len(raws) + 1
        for line in lines[:-1]:
            found = json.loads(line, parse_constant=_no_constant)
            assert isinstance(found, dict)
            assert ("output" in found) is not alone
            assert printable(line, 1 << 20) == line


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@given(layouts(), records, st.sampled_from([None, 1, 20, 200]))
def test_a_table_is_one_safe_line_for_each_record(
    of: RecordLayout, raws: list[bytes], columns: int | None
) -> None:
    terminal = None if columns is None else Terminal(columns=columns, lines=24)
    lines = _text("table", output(of), raws, terminal=terminal).split("\n")
    assert len(lines) == len(raws) + 1
    for line in lines:
        assert printable(line, 1 << 20) == line
        assert columns is None or width(line) <= columns


@given(layouts(), records)
def test_csv_is_one_safe_line_of_all_cells_for_each_record(
    of: RecordLayout, raws: list[bytes]
) -> None:
    made = make_formatter("csv", output(of), clock=FixedClock())
    header, text = made.header(), made.format(batch(*raws))
    assert header is not None
    rows = list(csv.reader(io.StringIO((header + text).decode())))
    if raws:
        assert len(rows) == len(raws) + 1
    assert {len(row) for row in rows if row} == {len(rows[0])} == {len(of.fields)}
    for line in text.decode().split("\n"):
        assert printable(line, 1 << 20) == line


@given(layouts(), layouts(), st.booleans(), records)
def test_of_several_types_each_record_is_one_line(
    first: RecordLayout, second: RecordLayout, told: bool, raws: list[bytes]
) -> None:
    kind = field("kind", "uint", 0, 2)
    types = tuple(
        RecordType(layout=layout(kind, *of.fields, order=of.byte_order), when=when)
        for of, when in ((first, 0), (second, 7))
    )
    of = EventOutput(name="x", types=types, discriminator="kind" if told else None)
    assert _text("json", of, raws).count("\n") == len(raws)
    assert _text("csv", of, raws).count("\n") == len(raws)


@given(layouts(), records)
def test_raw_is_what_came(of: RecordLayout, raws: list[bytes]) -> None:
    assert make_formatter("raw", output(of)).format(batch(*raws)) == b"".join(raws)


@given(layouts(), st.binary(max_size=80), st.binary(max_size=20))
def test_nothing_outside_a_record_is_read(of: RecordLayout, raw: bytes, other: bytes) -> None:
    made = make_formatter("json", output(of), clock=FixedClock())
    alone = batch(raw)
    (place,) = alone.records
    surrounded = bytes(b"\x55" * place[0]) + raw + other
    memory = memoryview(surrounded)
    assert made.format(alone) == made.format(type(alone)(memory=memory, records=[place]))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3), st.text(max_size=20))
def test_what_went_in_comes_out(numbers: list[int], text: str) -> None:
    data = text.encode("utf-8", "replace")[:15]
    of = layout(
        field("a", "uint", 0, 4), field("b", "uint", 4, 4), field("s", "string", 12, 16),
        field("c", "uint", 8, 4),
    )  # fmt: skip
    (line,) = shown("json", of, struct.pack("<3I16s", *numbers, data))
    assert json.loads(line) == {
        "a": numbers[0],
        "b": numbers[1],
        "s": data.partition(b"\0")[0].decode("utf-8", "replace"),
        "c": numbers[2],
    }


def test_every_format_of_the_config_is_tried_here() -> None:
    assert {*_NUMBERS, "port", "ipv4", "ipv6", "string", "path"} == {*FORMATS}


def _text(shape: Any, of: EventOutput, raws: list[bytes], **more: Any) -> str:
    made = make_formatter(shape, of, clock=FixedClock(), **more)
    made.header()
    return made.format(batch(*raws)).decode()
