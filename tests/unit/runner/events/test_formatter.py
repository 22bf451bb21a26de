"""Values and texts against truths worked out by hand."""

import itertools
import json
import struct
import time
from typing import Any

import pytest

from bpfpack.runner.events.formatter import EventOutput, RecordType, make_formatter
from bpfpack.runner.events.selector import Selector
from bpfpack.runner.events.terminal import Terminal
from bpfpack.spec.agreement import perf_size
from bpfpack.spec.errors import SpecError
from tests.kit.records import FixedClock, batch, field, layout, output, shown

OPEN = layout(
    field("pid", "uint", 0, 4, format="pid"),
    field("ret", "int", 4, 4, format="errno"),
    field("comm", "string", 8, 8),
    field("fname", "string", 16, 16, format="path", title="file"),
)


def _open(pid: int, ret: int, comm: bytes, fname: bytes) -> bytes:
    return struct.pack("<Ii8s16s", pid, ret, comm, fname)


def one(base: Any, size: int, raw: bytes, **more: Any) -> tuple[Any, str]:
    """Value and text of a single field."""
    order = more.pop("order_of_object", "little")
    clock = more.pop("clock_offsets", {})
    of = layout(field("x", base, 0, size, **more), size=len(raw), order=order)
    (line,) = shown("json", of, raw, clock=FixedClock(**clock))
    (text,) = shown("table", of, raw, clock=FixedClock(**clock))
    return json.loads(line)["x"], text.strip()


def test_an_event_in_each_format() -> None:
    record = _open(42, -2, b"sh", b"/etc/x")
    assert shown("json", OPEN, record) == ['{"pid":42,"ret":-2,"comm":"sh","fname":"/etc/x"}']
    assert shown("csv", OPEN, record) == ["42,-2,sh,/etc/x"]
    assert shown("table", OPEN, record) == ["     42 ENOENT   sh      /etc/x"]
    assert make_formatter("raw", output(OPEN)).format(batch(record, record)) == record * 2


def test_headers() -> None:
    formats = {s: make_formatter(s, output(OPEN)).header() for s in ("json", "csv", "table", "raw")}
    assert formats == {
        "json": None,
        "raw": None,
        "csv": b"pid,ret,comm,fname\n",
        "table": b"    PID RET      COMM    FILE\n",
    }


@pytest.mark.parametrize(
    ("base", "size", "raw", "value"),
    [
        ("uint", 1, b"\xff", 255),
        ("int", 1, b"\xff", -1),
        ("int", 2, b"\x00\x80", -32768),
        ("uint", 4, b"\xff\xff\xff\xff", 2**32 - 1),
        ("int", 8, b"\x00" * 7 + b"\x80", -(2**63)),
        ("uint", 8, b"\xff" * 8, 2**64 - 1),
        ("uint", 16, b"\xff" * 16, str(2**128 - 1)),
        ("int", 16, b"\xff" * 16, "-1"),
        ("bool", 1, b"\x00", False),
        ("bool", 1, b"\x02", True),
        ("pointer", 8, struct.pack("<Q", 0xFFFF_8880_0000_1000), "0xffff888000001000"),
        ("float", 8, struct.pack("<d", 0.1), 0.1),
        ("float", 4, struct.pack("<f", 0.5), 0.5),
        ("float", 8, struct.pack("<d", float("nan")), None),
        ("float", 4, struct.pack("<f", float("-inf")), None),
        ("string", 4, b"abcd", "abcd"),
        ("string", 4, b"a\0cd", "a"),
        ("string", 4, b"a\xffb\0", "a\ufffdb"),
        ("bytes", 3, b"\x00\xab\x0c", "00ab0c"),
    ],
)
def test_values_of_each_base(base: Any, size: int, raw: bytes, value: Any) -> None:
    assert one(base, size, raw)[0] == value


def test_a_big_endian_object_is_read_as_such() -> None:
    assert one("uint", 4, b"\0\0\1\2", order_of_object="big")[0] == 0x102
    assert one("uint", 16, b"\0" * 15 + b"\7", order_of_object="big")[0] == "7"


@pytest.mark.parametrize(
    ("more", "size", "raw", "value", "text"),
    [
        ({"format": "hex"}, 4, b"\x1f\0\0\0", "0x1f", "0x1f"),
        ({"format": "ipv4"}, 4, b"\x7f\0\0\1", "127.0.0.1", "127.0.0.1"),
        ({"format": "ipv4", "order": "host"}, 4, b"\1\0\0\x7f", "127.0.0.1", "127.0.0.1"),
        ({"format": "port"}, 2, b"\x01\xbb", 443, "443"),
        ({"format": "port", "order": "host"}, 2, b"\xbb\x01", 443, "443"),
        ({"format": "duration"}, 8, struct.pack("<Q", 1_230_000), 1_230_000, "1.23ms"),
        ({"format": "duration", "unit": "us"}, 4, struct.pack("<I", 1500), 1500, "1.50ms"),
        ({"format": "bytes"}, 8, struct.pack("<Q", 1536), 1536, "1.50KiB"),
        ({"format": "errno"}, 4, b"\2\0\0\0", 2, "ENOENT"),
        ({"format": "errno"}, 4, b"\0\0\0\0", 0, "0"),
        ({"format": "errno"}, 4, b"\xff\xff\0\0", 65535, "65535"),
        ({"format": "signal"}, 4, b"\x09\0\0\0", "SIGKILL", "SIGKILL"),
        ({"format": "signal"}, 4, b"\xff\0\0\0", 255, "255"),
        ({"format": "syscall"}, 4, b"\xff\xff\0\0", 65535, "65535"),
        ({"format": "user"}, 4, b"\0\0\0\0", 0, "root"),
        ({"format": "group"}, 4, b"\xff\xff\xff\xff", 2**32 - 1, "4294967295"),
        ({"format": "enum", "labels": {1: "IN"}}, 4, b"\1\0\0\0", "IN", "IN"),
        ({"format": "enum", "labels": {1: "IN"}}, 4, b"\2\0\0\0", 2, "2"),
        ({"format": "flags", "labels": {1: "R", 2: "W"}}, 4, b"\x13\0\0\0",
         ["R", "W", "0x10"], "R|W|0x10"),
        ({"format": "flags", "labels": {1: "A", 3: "AB"}}, 4, b"\3\0\0\0", ["AB"], "AB"),
        ({"format": "flags", "labels": {0: "NONE"}}, 4, b"\0\0\0\0", ["NONE"], "NONE"),
        ({"format": "flags", "labels": {1: "A"}}, 4, b"\0\0\0\0", [], "0"),
    ],
)  # fmt: skip
def test_formats_of_unsigned_numbers(
    more: dict[str, Any], size: int, raw: bytes, value: Any, text: str
) -> None:
    assert one("uint", size, raw, **more) == (value, text)


def test_errno_of_a_signed_field_is_named_only_when_the_call_failed() -> None:
    assert one("int", 4, struct.pack("<i", -13), format="errno") == (-13, "EACCES")
    assert one("int", 4, struct.pack("<i", 3), format="errno") == (3, "3")


def test_ipv6_is_shown_as_rfc_5952_asks() -> None:
    raw = bytes.fromhex("20010db8000000000000000000000001")
    assert one("bytes", 16, raw, format="ipv6") == ("2001:db8::1", "2001:db8::1")


def test_timestamps_become_wall_time_by_the_clock_they_name() -> None:
    raw = struct.pack("<Q", 5_000_000_007)
    value, text = one("uint", 8, raw, format="timestamp", clock_offsets={"mono": 10**9})
    assert value == "1970-01-01T00:00:06.000000007Z"
    assert text == time.strftime("%H:%M:%S", time.localtime(6)) + ".000"
    value, _ = one(
        "uint", 4, b"\7\0\0\0", format="timestamp", unit="s", clock="boot",
        clock_offsets={"boot": 10**9},
    )  # fmt: skip
    assert value == "1970-01-01T00:00:08.000000000Z"
    assert one("uint", 8, b"\xff" * 8, format="timestamp", unit="s") == (None, "-")


def test_offsets_are_sampled_again_for_each_batch() -> None:
    clock = FixedClock()
    made = make_formatter("json", output(OPEN), clock=clock)
    made.format(batch())
    made.format(batch())
    assert clock.sampled == 2


def test_bit_fields_in_both_byte_orders() -> None:
    fields = [
        field("a", "uint", 0, 1, shift=0, bits=3),
        field("b", "int", 0, 2, shift=3, bits=7),
        field("c", "uint", 2, 1),
    ]
    raw = ((-5 & 0x7F) << 3 | 0b101).to_bytes(2, "little") + b"\x09"
    (line,) = shown("json", layout(*fields), raw)
    assert json.loads(line) == {"a": 5, "b": -5, "c": 9}
    big = layout(field("a", "uint", 0, 1, shift=5, bits=3), order="big")
    assert shown("json", big, b"\xa0") == ['{"a":5}']


def test_nested_members_arrays_and_arrays_of_structs() -> None:
    nested = layout(
        field("in.x", "uint", 0, 1),
        field("in.y", "uint", 1, 1, dimensions=(2, 2)),
        field("p[0].q", "uint", 5, 1),
        field("p[1].q", "uint", 6, 1),
        field("names", "string", 7, 2, dimensions=(2,)),
    )
    record = bytes([1, 2, 3, 4, 5, 6, 7]) + b"a\0bc"
    (line,) = shown("json", nested, record)
    assert json.loads(line) == {
        "in": {"x": 1, "y": [[2, 3], [4, 5]]},
        "p": [{"q": 6}, {"q": 7}],
        "names": ["a", "bc"],
    }
    assert shown("csv", nested, record) == ['1,"[[2,3],[4,5]]",6,7,"[""a"",""bc""]"']
    assert make_formatter("csv", output(nested)).header() == b"in.x,in.y,p[0].q,p[1].q,names\n"


def test_union_members_share_bytes() -> None:
    both = layout(field("a", "uint", 0, 4), field("b", "uint", 0, 2), field("c", "uint", 4, 1))
    assert shown("json", both, b"\1\2\3\4\5") == ['{"a":67305985,"b":513,"c":5}']


def test_hidden_fields_are_left_out_everywhere() -> None:
    some = layout(field("a", "uint", 0, 1), field("b", "uint", 1, 1, hidden=True))
    assert shown("json", some, b"\1\2") == ['{"a":1}']
    assert shown("csv", some, b"\1\2") == ["1"]
    assert make_formatter("table", output(some)).header() == b"   A\n"


@pytest.mark.parametrize("shape", ["csv", "tsv"])
def test_what_programs_read_is_never_cut(shape: str) -> None:
    long = layout(field("a", "string", 0, 6000), field("b", "bytes", 6000, 3000))
    (line,) = shown(shape, long, b"x" * 3000 + b"\x1b" * 3000 + bytes(3000))
    text = "x" * 3000 + "\\x1b" * 3000
    assert line in (f"{text},{'00' * 3000}", f"{text}\t{'00' * 3000}")
    (row,) = shown("table", long, b"x" * 6000 + bytes(3000))
    assert "…" in row


def test_a_record_shorter_than_its_type_is_never_read_past_its_end() -> None:
    cut = _open(42, -2, b"sh", b"/etc/passwd")[:20]
    assert shown("json", OPEN, cut) == ['{"pid":42,"ret":-2,"comm":"sh","fname":"/etc"}']
    assert shown("json", OPEN, cut[:6]) == ['{"pid":42,"ret":null,"comm":null,"fname":null}']
    assert shown("csv", OPEN, cut[:6]) == ["42,,,"]
    assert shown("table", OPEN, cut[:6]) == ["     42"]
    assert shown("json", OPEN, b"") == ['{"pid":null,"ret":null,"comm":null,"fname":null}']


def test_no_layout_makes_a_reader_go_past_the_end() -> None:
    lying = layout(field("a", "uint", 0, 4), field("b", "uint", 4, 4), size=4)
    assert shown("json", lying, b"\1\0\0\0") == ['{"a":1,"b":null}']


def test_what_follows_the_type_is_ignored_unless_the_last_field_goes_on() -> None:
    assert shown("json", OPEN, _open(1, 0, b"", b"x") + b"tail") == [
        '{"pid":1,"ret":0,"comm":"","fname":"x"}'
    ]
    text = layout(field("n", "uint", 0, 1), field("data", "string", 1, 0))
    assert shown("json", text, b"\3abc", b"\3a\0c", b"\0") == [
        '{"n":3,"data":"abc"}',
        '{"n":3,"data":"a"}',
        '{"n":0,"data":null}',
    ]
    numbers = layout(field("n", "uint", 0, 1), field("v", "uint", 1, 2, dimensions=(0,)), size=1)
    assert shown("json", numbers, b"\2\1\0\2\0\3") == ['{"n":2,"v":[1,2]}']


KINDS = EventOutput(
    name="events",
    types=(
        RecordType(
            layout=layout(field("kind", "uint", 0, 4), field("pid", "uint", 4, 4), name="struct a"),
            when=1,
        ),
        RecordType(
            layout=layout(
                field("kind", "uint", 0, 4), field("name", "string", 4, 4), name="union b"
            ),
            when=2,
        ),
    ),
    discriminator="kind",
)


def test_types_are_told_apart_by_the_discriminator() -> None:
    records = b"\1\0\0\0\7\0\0\0", b"\2\0\0\0abc\0", b"\3\0\0\0abcd", b"\1"
    assert shown("json", KINDS, *records) == [
        '{"type":"a","kind":1,"pid":7}',
        '{"type":"b","kind":2,"name":"abc"}',
        '{"unknown":"0300000061626364"}',
        '{"unknown":"01"}',
    ]
    assert shown("csv", KINDS, *records) == ["a,1,7,", "b,2,,abc", ",,,", ",,,"]
    assert make_formatter("csv", KINDS).header() == b"type,kind,pid,name\n"


def test_a_table_of_types_that_alternate_has_one_header() -> None:
    records = b"\1\0\0\0\7\0\0\0", b"\2\0\0\0abc\0", b"\3\0\0\0abcd"
    assert make_formatter("table", KINDS).header() == b"TYPE     KIND      PID NAME\n"
    assert shown("table", KINDS, *records[:2], *records) == [
        "a           1        7",
        "b           2          abc",
        "a           1        7",
        "b           2          abc",
        "? 0300000061626364",
    ]


def test_a_member_called_type_keeps_its_name() -> None:
    types = [layout(field("type", "uint", 0, n), name=f"struct t{n}") for n in (1, 2)]
    assert shown("json", output(*types), b"\7") == ['{"_type":"t1","type":7}']
    assert make_formatter("csv", output(*types)).header() == b"_type,type\n"
    assert shown("json", output(*types, alone=False), b"\7\0") == [
        '{"output":"events","_type":"t2","type":7}'
    ]


def test_types_without_discriminator_are_told_apart_by_size() -> None:
    small, large = layout(field("a", "uint", 0, 2)), layout(field("b", "uint", 0, 8))
    assert shown("json", output(small, large), b"\1\0", b"\2" + b"\0" * 7, b"\3\0\0\0", b"\4") == [
        '{"type":"e","a":1}',
        '{"type":"e","b":2}',
        '{"type":"e","a":3}',
        '{"unknown":"04"}',
    ]


def test_padding_of_a_perf_buffer_never_makes_another_type_of_a_record() -> None:
    """Of types whose padded sizes differ, which is what `check_config` asks for."""
    for a, b in itertools.combinations(range(1, 40), 2):
        if perf_size(a) == perf_size(b):
            continue
        select = Selector([(layout(field("x", "bytes", 0, n)), None) for n in (a, b)], None)
        lengths = [perf_size(a), perf_size(b)]
        assert [select(memoryview(bytes(n)), 0, n) for n in lengths] == [0, 1]


def test_a_discriminator_that_is_no_integer_is_refused() -> None:
    types = (*KINDS.types, RecordType(layout=OPEN, when=3))
    for name in ("comm", "absent"):
        with pytest.raises(SpecError, match="integer member"):
            make_formatter("json", EventOutput(name="e", types=types[::-1], discriminator=name))


def test_with_other_outputs_every_line_says_whose_it_is() -> None:
    several = output(layout(field("a", "uint", 0, 1)), alone=False)
    assert shown("json", several, b"\1") == ['{"output":"events","a":1}']
    assert make_formatter("table", several).header() == b"events:\n   A\n"
    taken = output(layout(field("output", "uint", 0, 1)), alone=False)
    assert shown("json", taken, b"\1") == ['{"_output":"events","output":1}']
    unknown = EventOutput(name="%s", types=KINDS.types, discriminator="kind", alone=False)
    assert shown("json", unknown, b"") == ['{"output":"%s","unknown":""}']
    assert shown("json", unknown, b"\1\0\0\0\2\0\0\0") == [
        '{"output":"%s","type":"a","kind":1,"pid":2}'
    ]


def test_text_of_an_event_cannot_drive_a_terminal() -> None:
    record = _open(1, 0, b"a\x1b[2J\n", 'b\u202ex\u200b,"'.encode())
    assert shown("table", OPEN, record)[0].endswith('a\\x1b[2J\\x0a b\\u202ex\\u200b,"')
    assert shown("csv", OPEN, record) == ['1,0,a\\x1b[2J\\x0a,"b\\u202ex\\u200b,"""']
    (line,) = shown("json", OPEN, record)
    assert line.isascii() and line.isprintable()
    assert json.loads(line)["fname"] == 'b\u202ex\u200b,"'
    assert json.loads(line)["comm"] == "a\x1b[2J\n"


def test_a_table_grows_with_what_it_shows_and_is_cut_at_the_terminal() -> None:
    wide = layout(field("a", "uint", 0, 8, format="pid"), field("b", "string", 8, 8))
    records = (
        struct.pack("<Q8s", 1, b"x"),
        struct.pack("<Q8s", 123456789, b"y"),
        struct.pack("<Q8s", 2, "日本".encode()),
    )
    assert shown("table", wide, *records) == [
        "      1 x",
        "123456789 y",
        "        2 日本",
    ]
    assert shown("table", wide, *records, terminal=Terminal(columns=10, lines=24))[1:] == [
        "123456789…",
        "        2…",
    ]


def test_names_that_cannot_stand_in_one_object_are_refused() -> None:
    for names in (("a", "a"), ("a", "a.b"), ("a.b", "a"), ("a.b", "c", "a.d")):
        fields = [field(name, "uint", i, 1) for i, name in enumerate(names)]
        with pytest.raises(SpecError):
            make_formatter("json", output(layout(*fields)))
