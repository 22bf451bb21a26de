"""Windows: the engine counts what plain Python counts, and quantiles are within 1 %."""

import math
import struct
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bpfpack.runner.windows.asking import parse_window
from bpfpack.runner.windows.plain import PlainGroups
from bpfpack.runner.windows.sketches import BUCKETS, Number, Place, Sketch, place
from bpfpack.runner.windows.tables import Room
from bpfpack.spec.errors import UsageError
from tests.kit.enginehost import Arena
from tests.kit.records import field, layout, output
from tests.kit.windowing import EVENT, both, event, grouping_of

_ARENA = Arena()
_U64 = st.sampled_from([0, 1, 2, 35, 36, 37, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1])
_WHOLE = st.one_of(
    _U64, _U64.map(lambda n: -n), st.integers(-300, 300), st.integers(1 - (1 << 64), (1 << 64) - 1)
)
#: What a sketch takes: those without a leading one are told as lacking (below).
_REAL = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
_SHARES = st.one_of(
    st.sampled_from(
        [Fraction(0), Fraction(1, 2), Fraction(99, 100), Fraction(999, 1000), Fraction(1)]
    ),
    st.fractions(0, 1),
)


def _sketch(numbers: list[Any]) -> Sketch:
    pages: dict[tuple[bool, int], list[int]] = {}
    for number in filter(None, numbers):
        found = place(number)
        pages.setdefault(found[:2], [0] * BUCKETS)[found.bucket] += 1
    return Sketch(zeros=numbers.count(0), pages=pages)


@given(st.lists(_WHOLE, min_size=1) | st.lists(_REAL, min_size=1), _SHARES)
def test_a_quantile_is_within_one_percent(numbers: list[Any], share: Fraction) -> None:
    ranked = sorted(numbers)
    wanted: Number = ranked[math.floor(share * (len(ranked) - 1))]
    found = _sketch(numbers).quantile(share, ranked[0], ranked[-1])
    assert found is not None
    assert abs(Fraction(found) - Fraction(wanted)) <= abs(Fraction(wanted)) / 100


@given(st.lists(_WHOLE, min_size=1, max_size=8))
def test_the_ends_and_one_alone_are_exact(numbers: list[int]) -> None:
    least, most = min(numbers), max(numbers)
    sketch = _sketch(numbers)
    assert sketch.quantile(Fraction(0), least, most) == least
    assert sketch.quantile(Fraction(1), least, most) == most
    alone = numbers[0]
    assert _sketch([alone] * 9).quantile(Fraction(1, 3), alone, alone) == alone


@given(st.floats(min_value=5e-324, max_value=2.0**-1023), st.booleans())
def test_a_float_without_a_leading_one_is_counted_but_lacks_in_quantiles(
    number: float, negative: bool
) -> None:
    grouping = grouping_of(output(EVENT), None, "count,p50(load)")
    records = [event(load=-number if negative else number)]
    groups = PlainGroups(grouping, Room(8, 100))
    groups.add(memoryview(records[0]))
    (group,) = both(grouping, records, Room(8, 100), _ARENA)
    sketch = group.sums(0).sketch
    assert sketch is not None and (group.count, groups.lacking) == (1, 1)
    assert sketch.quantile(Fraction(1, 2), -1.0, 1.0) is None


@given(_REAL, _REAL)
def test_buckets_are_in_the_order_of_numbers(one: float, other: float) -> None:
    def order(number: float) -> tuple[int, int, int]:
        if number == 0:
            return (0, 0, 0)
        found: Place = place(number)
        sign = -1 if found.negative else 1
        return (sign, sign * found.power, sign * found.bucket)

    if one < other:
        assert order(one) <= order(other)


@given(st.integers(1, 1 << 53))
def test_floats_and_whole_numbers_have_the_same_buckets(number: int) -> None:
    assert place(number) == place(float(number))


_EVENTS = st.builds(
    event,
    pid=st.integers(0, 3),
    delta=st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(-9, 9),
    comm=st.text("ab\0", max_size=16).map(str.encode) | st.binary(max_size=16),
    lat=st.integers(0, (1 << 64) - 1) | _U64,
    size=st.integers(0, 4096) | _U64,
    load=st.floats() | st.sampled_from([0.0, -0.0, 1.5, 2.0**-64, 2.0**64, 5e-324]),
    small=st.integers(0, 255),
    ok=st.booleans(),
    ports=st.tuples(*[st.integers(0, 65535)] * 3),
)
_RECORDS = st.lists(
    st.tuples(_EVENTS, st.sampled_from([99, 99, 99, 0, 3, 10, 30, 53])).map(lambda t: t[0][: t[1]]),
    max_size=20,
)
_ROOMS = st.builds(Room, st.integers(1, 6), st.sampled_from([0, 1, 7, 500]))
_NAMES = ["pid", "delta", "comm", "lat", "size", "load", "small", "ok", "ports[0]", "ports[2]"]
_BY = (
    st.lists(st.sampled_from([*_NAMES, "ports"]), max_size=3).map(",".join).map(lambda t: t or None)
)
_SHOW = st.lists(
    st.one_of(
        st.just("count"),
        st.tuples(
            st.sampled_from(["sum", "min", "max", "avg", "p50", "p99", "p99.9"]),
            st.sampled_from([name for name in _NAMES if name != "comm"]),
        ).map("{0[0]}({0[1]})".format),
    ),
    min_size=1,
    max_size=4,
).map(",".join)


@settings(deadline=None)
@given(_RECORDS, _BY, _SHOW, _ROOMS)
def test_the_engine_counts_what_python_counts(
    records: list[bytes], by: str | None, show: str, most: Room
) -> None:
    groups = both(grouping_of(output(EVENT), by, show), records, most, _ARENA)
    assert sum(group.count for group in groups) == len(records)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=12), st.booleans(), _ROOMS)
def test_of_any_types_in_any_order(records: list[bytes], big: bool, most: Room) -> None:
    order: Any = "big" if big else "little"
    first = layout(
        field("a", "int", 1, 4),
        field("b", "uint", 5, 8, bits=37, shift=11),
        field("tail", "string", 13, 0),
        order=order,
    )
    second = layout(
        field("c", "float", 16, 4),
        field("a", "int", 21, 4),
        field("n", "int", 25, 3, bits=17, shift=4),
        order=order,
        name="struct other",
    )
    of = output(first, second)
    for by, show in (("a,type", "p5(n),sum(c),max(b)"), ("b,tail,c", "p50(a),p50(c),min(n)")):
        both(grouping_of(of, by, show), records, most, _ARENA)


@given(st.text("countsumpav019.,() x", max_size=30), st.text("ab,[]0 ", max_size=12))
def test_what_is_asked_for_is_understood_or_refused(show: str, by: str) -> None:
    try:
        asked = parse_window(1.0, by, show)
    except UsageError:
        return
    again = parse_window(1.0, ",".join(asked.by), ",".join(one.name for one in asked.show))
    assert again == asked


def test_the_events_are_what_their_layout_says() -> None:
    assert len(event()) == EVENT.size
    assert struct.unpack_from("<Q", event(lat=7), 24) == (7,)
