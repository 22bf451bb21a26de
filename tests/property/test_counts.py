"""Counts of all elements at once are what adding them up one by one gives."""

import struct
from collections.abc import Sequence
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from bpfpack.runner.events.counts import Adder, Counts, joined, runs_between
from bpfpack.spec.record import Field
from tests.kit.records import field

CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[Field], int]:
    """Fields one after the other, sometimes packed, and the size of a value."""
    fields, at = [], 0
    for i in range(draw(st.integers(1, 4))):
        size, signed = draw(st.sampled_from(sorted(CODES))), draw(st.booleans())
        at += draw(st.integers(0, 3)) if draw(st.booleans()) else -at % size
        dimensions = draw(st.sampled_from([(), (), (3,), (2, 2)]))
        base: Any = "int" if signed else "uint"
        fields.append(field(f"f{i}", base, at, size, dimensions=dimensions))
        at += size * (dimensions[0] * (dimensions[1:] or (1,))[0] if dimensions else 1)
    return fields, at + draw(st.integers(0, 5))


def _read(f: Field, order: Any, value: bytes) -> list[int]:
    code = CODES[f.size].lower() if f.signed else CODES[f.size]
    count = 1
    for length in f.dimensions:
        count *= length
    return list(
        struct.unpack_from(f"{'<' if order == 'little' else '>'}{count}{code}", value, f.offset)
    )


def _one_by_one(
    fields: Sequence[Field], order: Any, values: bytes, stride: int, cpus: int
) -> list[list[int]]:
    total = stride * cpus
    columns = []
    for start in range(0, len(values), total):
        parts = [values[start + c * stride : start + (c + 1) * stride] for c in range(cpus)]
        per_cpu = [[n for f in fields for n in _read(f, order, part)] for part in parts]
        columns.append([sum(numbers) for numbers in zip(*per_cpu, strict=True)])
    return [list(column) for column in zip(*columns, strict=True)]


EDGES = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.sampled_from([b"\0", b"\xff", b"\xff\0\0\0", b"\0\0\0\0\0\0\0\x40", b"\0\0\0\x7f"]),
)


@given(
    layouts(),
    st.sampled_from(["little", "big"]),
    st.integers(1, 5),
    st.integers(1, 9),
    EDGES,
    st.integers(0, 3),
)
@example(([field("n", "uint", 0, 8)], 8), "little", 4, 3, b"\xff", 0)
@example(([field("n", "uint", 4, 8)], 12), "big", 1, 3, b"\0\0\0\0\0\0\0\0\x7f", 0)
def test_sums(
    laid: tuple[list[Field], int], order: Any, cpus: int, elements: int, fill: bytes, splits: int
) -> None:
    fields, stride = laid
    if cpus > 1:
        stride = (stride + 7) & ~7
    total = stride * cpus
    values = (fill * (elements * total))[: elements * total]
    adder = Adder(fields, stride=stride, cpus=cpus, byte_order=order)
    cut = min(splits, elements - 1) * total
    halves = [part for part in (values[:cut], values[cut:]) if part]
    found = joined(
        [adder.read(memoryview(part), len(part) // total) for part in halves], adder.columns
    )
    expected = _one_by_one(fields, order, values, stride, cpus)
    assert [list(column) for column in found.columns] == expected
    assert list(found.totals()) == [sum(row) for row in zip(*expected, strict=True)]


NUMBERS = st.one_of(st.integers(0, 3), st.integers(0, 2**63 - 1), st.just(2**63 - 1))


def _packed(columns: Sequence[Sequence[int]]) -> Counts:
    packed = [int.from_bytes(struct.pack(f"<{len(c)}Q", *c), "little") for c in columns]
    return Counts(len(columns[0]), packed)


@given(st.data(), st.booleans())
def test_what_was_added(data: st.DataObject, plain: bool) -> None:
    width, height = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    matrix = st.lists(
        st.lists(NUMBERS, min_size=height, max_size=height), min_size=width, max_size=width
    )
    now, before = data.draw(matrix), data.draw(matrix)
    # Many elements grew; let some not.
    for column, earlier in zip(now, before, strict=True):
        for i in range(0, height, 2):
            column[i] = max(column[i], earlier[i])
    rows = []
    for mine, theirs in zip(zip(*now, strict=True), zip(*before, strict=True), strict=True):
        added = [a - b for a, b in zip(mine, theirs, strict=True)]
        rows.append(list(mine) if min(added) < 0 else added)
    expected = [list(column) for column in zip(*rows, strict=True)]
    first = Counts(height, None, now) if plain else _packed(now)
    found = first.since(_packed(before))
    assert [list(column) for column in found.columns] == expected
    assert list(found.totals()) == [sum(row) for row in rows]


@given(st.data(), st.booleans())
def test_elements_are_found_where_they_were(data: st.DataObject, plain: bool) -> None:
    keys = st.lists(st.binary(min_size=1, max_size=1), unique=True, max_size=12)
    before, now = data.draw(keys), data.draw(keys)
    column = [key[0] + 1 for key in before]
    counts = Counts(len(before), None, [column]) if plain else _packed([column])
    (found,) = counts.arranged(runs_between(before, now)).columns
    assert list(found) == [key[0] + 1 if key in before else 0 for key in now]


def test_neighbours_that_stay_are_one_run() -> None:
    before = [bytes([i]) for i in range(100)]
    now = [*before[:40], b"new1", b"new2", *before[41:]]
    assert runs_between(before, now) == [(0, 40), (-1, 2), (41, 59)]
