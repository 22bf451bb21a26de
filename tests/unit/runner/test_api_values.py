"""Values of the embedding API: those of JSON, and the way back to bytes."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfpack.runner.api.batches import Decoders, RecordBatch
from bpfpack.runner.api.decoding import ValueDecoder
from bpfpack.runner.api.encoding import ValueEncoder
from bpfpack.runner.api.taking import Records
from bpfpack.runner.events.formatter import Known
from bpfpack.spec.errors import UsageError
from bpfpack.spec.record import RecordLayout
from tests.kit.enginecases import Case, Dice, make_case
from tests.kit.records import FixedClock, field, layout

CLOCK = FixedClock(mono=1_764_000_000_000_000_000)


def batch_of(case: Case) -> RecordBatch:
    memory, places = b"", []
    for record in case.records:
        places.append((len(memory), len(record)))
        memory += record
    decoders = Decoders(Known(case.output, CLOCK))
    records = Records(memory=memory, count=len(places), places=places, fill=None)
    return RecordBatch(records, decoders, lost=None)


@settings(max_examples=300)
@given(st.integers(0, 2**64))
def test_a_dict_has_the_values_of_its_line_of_json(seed: int) -> None:
    with batch_of(make_case(Dice(seed))) as batch:
        lines = batch.json().decode().splitlines()
        # By way of text: JSON has no -0, and Python counts True as 1.
        assert [json.dumps(d) for d in batch] == [json.dumps(json.loads(line)) for line in lines]


@settings(max_examples=300)
@given(st.integers(0, 2**64))
def test_what_was_read_is_written_or_refused_with_a_reason(seed: int) -> None:
    case = make_case(Dice(seed))
    for of in case.output.types:
        decode = ValueDecoder(of.layout, CLOCK, "value")
        encode = ValueEncoder(of.layout, "value", "value of m")
        for record in case.records:
            whole = record[: of.layout.size].ljust(of.layout.size, b"\0")
            try:
                assert len(encode(decode(whole))) == of.layout.size
            except UsageError as e:
                assert str(e).startswith("value of m")


WRITTEN = [
    (field("n", "int", 0, 4), -5, b"\xfb\xff\xff\xff"),
    (field("n", "uint", 0, 8), 2**64 - 1, b"\xff" * 8),
    (field("n", "uint", 0, 16), str(2**128 - 1), b"\xff" * 16),
    (field("n", "bool", 0, 1), True, b"\x01"),
    (field("n", "float", 0, 8), 1.5, b"\0\0\0\0\0\0\xf8?"),
    (field("n", "pointer", 0, 8), "0xff", b"\xff" + bytes(7)),
    (field("n", "string", 0, 4), "hé", b"h\xc3\xa9\0"),
    (field("n", "bytes", 0, 2), "0aff", b"\x0a\xff"),
    (field("n", "enum", 0, 4, labels={7: "SEVEN"}), "SEVEN", b"\x07\0\0\0"),
    (field("n", "enum", 0, 4, labels={7: "SEVEN"}), 9, b"\x09\0\0\0"),
    (
        field("n", "uint", 0, 4, format="flags", labels={1: "A", 4: "C"}),
        ["A", "C", "0x10"],
        b"\x15\0\0\0",
    ),
    (field("n", "uint", 0, 4, format="ipv4"), "192.0.2.1", b"\xc0\0\x02\x01"),
    (field("n", "uint", 0, 4, format="ipv4", order="host"), "192.0.2.1", b"\x01\x02\0\xc0"),
    (
        field("n", "bytes", 0, 16, format="ipv6"),
        "2001:db8::1",
        bytes.fromhex("20010db8" + "0" * 23 + "1"),
    ),
    (field("n", "uint", 0, 2, format="port"), 443, b"\x01\xbb"),
    (field("n", "int", 0, 4, format="signal"), "SIGTERM", b"\x0f\0\0\0"),
    (field("n", "int", 0, 1, bits=3, shift=2), -1, b"\x1c"),
    (
        field("n", "uint", 0, 2, dimensions=(2, 2)),
        [[1, 2], [3, 4]],
        bytes([1, 0, 2, 0, 3, 0, 4, 0]),
    ),
]


@pytest.mark.parametrize(("of", "value", "data"), WRITTEN)
def test_values_are_written_as_they_are_read(of: Any, value: Any, data: bytes) -> None:
    found = RecordLayout(
        type="t", size=len(data), byte_order="little", fields=(of,), flexible=False
    )
    assert ValueEncoder(found, "n", "key")(value) == data
    assert ValueEncoder(found, "other", "key")({"n": value}) == data
    assert ValueDecoder(found, CLOCK, "n")(data) == value


REFUSED = [
    (field("n", "uint", 0, 1), 256, "key: 256: not between 0 and 255"),
    (field("n", "uint", 0, 1), -1, "key: -1: not between 0 and 255"),
    (field("n", "int", 0, 1), "x", "key: 'x': neither a label nor a number"),
    (field("n", "int", 0, 1), True, "key: True: a number is wanted"),
    (field("n", "int", 0, 1), 1.5, "key: 1.5: a number is wanted"),
    (field("n", "int", 0, 1), None, "key: None: a number is wanted"),
    (field("n", "string", 0, 2), "abc", "key: 'abc': 3 bytes where there are 2"),
    (field("n", "uint", 0, 4, format="ipv4"), "1.2.3", "key: '1.2.3': no ipv4 address"),
    (field("n", "uint", 0, 1, dimensions=(2,)), [1], "key: [1]: 1 elements where there are 2"),
    (
        field("n", "uint", 0, 8, format="timestamp"),
        "2026",
        "key: '2026': the raw number of the clock mono is wanted",
    ),
]


@pytest.mark.parametrize(("of", "value", "told"), REFUSED)
def test_what_does_not_fit_is_refused(of: Any, value: Any, told: str) -> None:
    found = layout(of)
    with pytest.raises(UsageError) as caught:
        ValueEncoder(found, "n", "key")(value)
    assert str(caught.value) == told


def test_members_are_all_there_and_no_others() -> None:
    found = layout(field("a.x", "uint", 0, 4), field("b", "uint", 4, 4))
    encode = ValueEncoder(found, "value", "value of m")
    assert encode({"a": {"x": 1}, "b": 2}) == bytes([1, 0, 0, 0, 2, 0, 0, 0])
    assert encode(bytes(8)) == bytes(8)
    for value, told in (
        ({"a": {"x": 1}}, "value of m: lacks b"),
        ({"a": {}, "b": 1}, "value of m.a: lacks x"),
        ({"a": {"x": 1}, "b": 2, "c": 3}, "value of m: has no c"),
        (7, "value of m: a dict is wanted, not 7"),
        (bytes(7), "value of m: 7 bytes, and it has 8"),
    ):
        with pytest.raises(UsageError) as caught:
            encode(value)
        assert str(caught.value) == told
