"""What becomes of fields as columns, and of columns as bytes."""

import io
import struct
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bpfpack.runner.columns.schema import schema_of
from bpfpack.runner.columns.streams import ColumnFormatter, ColumnOutput
from bpfpack.runner.engine.host import Engine
from bpfpack.runner.filters.filter import make_filters
from bpfpack.spec.errors import SpecError
from tests.kit.columnhost import filled, read, values
from tests.kit.records import FixedClock, batch, field, layout, output

_COLOURS = {0: "red", 1: "green", 2: "red"}
_BITS = {1: "READ", 2: "WRITE"}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as found:
        yield found


def test_numbers_keep_their_width_and_names_are_a_dictionary(engine: Engine) -> None:
    of = layout(
        field("small", "int", 0, 1),
        field("bits", "uint", 1, 2, bits=9, shift=3),
        field("colour", "enum", 4, 4, labels=_COLOURS),
        field("mode", "uint", 8, 4, format="flags", labels=_BITS),
        field("at", "uint", 12, 8, format="timestamp", unit="us", clock="real"),
        field("comm", "string", 20, 8),
        field("wide", "uint", 28, 16),
    )
    schema = schema_of(output(of))
    first = struct.pack("<bHxIIQ8sQQ", -3, 0b101 << 3, 2, 5, 1_500_000, b"a\xff\0junk", 1, 1)
    second = struct.pack("<bHxIIQ8sQQ", 4, 0, 9, 0, 1 << 63, b"\xe2\x82\xac12345", 0, 0)
    got = filled(engine, schema, [first, second, first[:10], second[:22]], FixedClock())
    assert values(got) == values(
        read(schema, [first, second, first[:10], second[:22]], FixedClock())
    )
    assert got.schema.field("small").type == pa.int8()
    assert got.schema.field("bits").type == pa.uint16()
    assert got.schema.field("at").type == pa.timestamp("ns", tz="UTC")
    assert got["small"].to_pylist() == [-3, 4, -3, 4]
    assert got["bits"].to_pylist() == [5, 0, 5, 0]
    assert got["colour"].to_pylist() == ["red", "9", "red", "9"]
    assert got["mode"].to_pylist() == [["READ", "0x4"], [], None, []]
    assert got["at"].cast(pa.int64()).to_pylist() == [1_500_000_000, None, None, None]
    assert got["comm"].to_pylist() == ["a\ufffd", "\u20ac12345", None, "\ufffd"]
    assert got["wide"].to_pylist() == [str((1 << 64) + 1), "0", None, None]
    (colours,) = got["colour"].combine_chunks().dictionary.to_pylist()[:1]
    assert colours == "red"


def test_arrays_are_lists_and_what_has_its_own_length_is_whole(engine: Engine) -> None:
    of = layout(
        field("grid", "int", 0, 2, dimensions=(2, 2)),
        field("tail", "uint", 8, 4, dimensions=(0,), format="enum", labels=_COLOURS),
    )
    schema = schema_of(output(of))
    long = struct.pack("<4h", 1, -2, 3, -4) + bytes(40_000)
    records = [struct.pack("<4hII", 1, 2, 3, 4, 1, 7) + b"odd", b"\1\0", long]
    got = filled(engine, schema, records)
    assert values(got) == values(read(schema, records))
    assert got["grid"].to_pylist() == [[[1, 2], [3, 4]], None, [[1, -2], [3, -4]]]
    assert got["tail"].to_pylist() == [["green", "7"], None, ["red"] * 10_000]


def test_a_record_may_end_inside_of_an_inner_list(engine: Engine) -> None:
    of = layout(field("tail", "uint", 0, 2, dimensions=(0, 2, 2)))
    schema = schema_of(output(of))
    records = [struct.pack(f"<{n}H", *range(n)) for n in (7, 0, 4, 1, 9)]
    got = filled(engine, schema, records)
    assert values(got) == values(read(schema, records))
    assert got["tail"].to_pylist()[:2] == [[[[0, 1], [2, 3]], [[4, 5], [6]]], None]


def test_texts_longer_than_what_was_laid_out_find_room(engine: Engine) -> None:
    schema = schema_of(output(layout(field("n", "uint", 0, 4), field("s", "string", 4, 0))))
    records = [b"nnnn" + b"\xff" * size for size in (3, 100_000, 1, 200_000, 0)]
    got = filled(engine, schema, records)
    assert got["s"].to_pylist() == ["\ufffd" * (len(r) - 4) or None for r in records]


def test_many_records_take_many_calls_and_a_missing_value_stays_where_it_is(
    engine: Engine,
) -> None:
    schema = schema_of(output(layout(field("n", "uint", 0, 4), field("m", "uint", 4, 4))))
    records = [struct.pack("<II", n, n)[: 4 if n % 7 == 0 else 8] for n in range(40_000)]
    got = filled(engine, schema, records)
    assert got["n"].to_pylist() == list(range(40_000))
    assert got["m"].to_pylist() == [n if n % 7 else None for n in range(40_000)]


def test_several_types_share_columns_and_are_told_apart(engine: Engine) -> None:
    one = layout(field("pid", "uint", 0, 4), field("a", "uint", 4, 8), name="struct opened")
    two = layout(field("pid", "uint", 0, 4), name="struct closed")
    schema = schema_of(output(one, two))
    records = [struct.pack("<IQ", 1, 2), struct.pack("<I", 3), b"?"]
    got = filled(engine, schema, records)
    assert values(got) == values(read(schema, records))
    assert got.to_pylist() == [
        {"type": "opened", "pid": 1, "a": 2},
        {"type": "closed", "pid": 3, "a": None},
        {"type": None, "pid": None, "a": None},
    ]


def test_types_that_disagree_about_a_name_are_refused() -> None:
    one, two = layout(field("x", "uint", 0, 4)), layout(field("x", "string", 0, 16))
    with pytest.raises(SpecError, match="disagree"):
        schema_of(output(one, two))


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_streams_and_files_are_read_back(batches: int) -> None:
    of = output(layout(field("n", "uint", 0, 4, format="enum", labels=_COLOURS)))
    rows = [struct.pack("<I", n) for n in (0, 1, 5)]
    expected = ["red", "green", "5"] * batches
    for shape in ("arrow", "parquet"):
        made = ColumnOutput("arrow" if shape == "arrow" else "parquet", schema_of(of))
        formatter = ColumnFormatter(made)
        data = formatter.header() or b""
        for _ in range(batches):
            data += formatter.format(batch(*rows))
        data += made.sample()
        if shape == "arrow":
            table = pa.ipc.open_stream(data).read_all()
        else:
            table = pq.read_table(io.BytesIO(data))
        assert table["n"].to_pylist() == expected
        assert table.schema.field("n").type == pa.dictionary(pa.int32(), pa.string())


def test_what_the_filter_drops_leaves_no_mark(engine: Engine) -> None:
    of = output(layout(field("n", "uint", 0, 4), field("m", "uint", 4, 4)))
    (found,) = make_filters(None, "n", [of]).values()
    records = [struct.pack("<I", 1), struct.pack("<I", 1), struct.pack("<II", 2, 5)]
    got = filled(engine, schema_of(of), records, filtered=found.image())
    assert got.to_pylist() == [{"n": 1, "m": None}, {"n": 2, "m": 5}]
