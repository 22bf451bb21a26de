"""``--unique``: the first event of each combination."""

import struct

import pytest

from bpfpack.runner.filters.filter import Filter, make_filters
from bpfpack.runner.filters.predicates import Constant, Leaf
from bpfpack.runner.filters.unique import Distinct, value_parts
from bpfpack.spec.errors import UsageError
from tests.kit.filtering import Compiled, kept
from tests.kit.records import field, layout, output

EVENT = layout(
    field("pid", "uint", 0, 4, format="pid"),
    field("comm", "string", 4, 8),
    field("at.x", "int", 12, 2),
    field("at.y", "int", 14, 2),
    field("sizes", "uint", 16, 2, dimensions=(2,)),
)


def _event(pid: int, comm: bytes, x: int = 0, y: int = 0, *sizes: int) -> bytes:
    return struct.pack("<I8s2h2H", pid, comm, x, y, *(sizes or (0, 0)))


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("pid", [True, False, True, False, False, False]),
        ("comm", [True, False, False, True, False, False]),
        ("pid,comm", [True, False, True, True, False, False]),
        ("at", [True, False, False, False, True, False]),
        ("at.x", [True, False, False, False, False, False]),
        ("sizes", [True, False, False, False, False, True]),
        ("sizes[0]", [True, False, False, False, False, False]),
        ("sizes[1],sizes[0]", [True, False, False, False, False, True]),
    ],
)
def test_the_first_of_each_is_shown(names: str, wanted: list[bool]) -> None:
    records = [
        _event(1, b"sh\0x"),
        _event(1, b"sh\0y"),
        _event(2, b"sh"),
        _event(1, b"cat"),
        _event(1, b"sh", 0, -1),
        _event(1, b"sh", 0, 0, 0, 7),
    ]
    assert kept(None, output(EVENT), records, unique=names) == wanted


def test_what_is_missing_is_no_zero_and_no_empty_text() -> None:
    records = [_event(0, b""), _event(0, b"")[:3], b"", _event(0, b"")[:4]]
    assert kept(None, output(EVENT), records, unique="pid") == [True, True, False, False]
    assert kept(None, output(EVENT), records, unique="comm") == [True, True, False, False]


def test_only_what_is_shown_is_remembered() -> None:
    records = [_event(1, b"sh", 5), _event(1, b"sh", 6)]
    assert kept("at.x == 6", output(EVENT), records, unique="pid") == [False, True]


def test_values_of_several_types_are_the_same_values() -> None:
    other = layout(field("pid", "uint", 20, 8), name="struct other")
    records = [_event(7, b""), bytes(20) + struct.pack("<Q", 7), bytes(20) + struct.pack("<Q", 8)]
    wanted = [True, False, True]
    assert kept(None, output(EVENT, other), records, unique="pid") == wanted


def test_memory_is_bounded_and_what_does_not_fit_is_counted() -> None:
    of = output(EVENT)
    nothing: list[Leaf | None] = [None]
    parts = [value_parts(EVENT, ["pid"]), nothing]
    plain = Filter(of, [Constant(holds=True)] * 2, Distinct(parts, most=2))
    compiled = Compiled(Filter(of, [Constant(holds=True)] * 2, Distinct(parts, most=2)), of)
    records = [_event(pid, b"") for pid in (1, 2, 3, 3, 1, 2)]
    wanted = [True, True, True, True, False, False]
    assert [plain.keeps(memoryview(r)) for r in records] == wanted
    assert [compiled.keeps(r) for r in records] == wanted
    assert plain.overflow == compiled.overflow == 2


def test_a_hundred_thousand_are_remembered() -> None:
    made = make_filters(None, "pid", [output(EVENT)])["events"]
    compiled = Compiled(made, output(EVENT))
    records = [_event(pid, b"") for pid in range(100_000)]
    assert all(map(compiled.keeps, records))
    assert not any(map(compiled.keeps, records))
    assert compiled.overflow == 0


@pytest.mark.parametrize("names", ["pidd", "pid,,comm", "", "-", "sizes[2]", "comm[0]"])
def test_what_is_no_field_is_refused(names: str) -> None:
    with pytest.raises(UsageError, match="--unique"):
        make_filters(None, names, [output(EVENT)])
