"""Groups of windows, as the engine and plain Python count them."""

import random
from fractions import Fraction

import pytest

from bpfpack.runner.windows.tables import Room, room
from bpfpack.spec.limits import LIMITS
from tests.kit.records import output
from tests.kit.windowing import EVENT, both, event, grouping_of

ROOM = Room(8, 100)


@pytest.mark.parametrize(
    ("comm", "text"),
    [
        (b"", b""),
        (b"a\0\x01\0\x01b", b"a"),
        (b"abcdefgh\0\x01", b"abcdefgh"),
        (b"0123456789abcdef", b"0123456789abcdef"),
        (b"\0" * 15 + b"x", b""),
        (b"\x80\x81\x01\0\x80", b"\x80\x81\x01"),
    ],
)
def test_a_text_is_what_stands_before_its_nul(comm: bytes, text: bytes) -> None:
    (group,) = both(grouping_of(output(EVENT), "comm"), [event(comm=comm)] * 2, ROOM)
    assert group.key == bytes(8) + text.ljust(16, b"\0")
    assert group.count == 2


@pytest.mark.parametrize("cut", range(18))
def test_a_text_may_be_cut_short(cut: int) -> None:
    whole = event(comm=b"0123456789abcdef")
    (group,) = both(grouping_of(output(EVENT), "comm"), [whole[: 8 + cut]], ROOM)
    assert group.key is not None
    assert group.key[8:] == b"0123456789abcdef"[:cut].ljust(16, b"\0")
    assert group.key[0] == (cut == 0)  # no byte at all is no text


def test_bit_fields_are_told_from_their_neighbours() -> None:
    records = [event(small=0b111_101_11), event(small=0b000_101_00), event(small=0b000_100_00)]
    groups = both(grouping_of(output(EVENT), "small", "max(small)"), records, ROOM)
    assert [(g.count, g.sums(0).most) for g in groups] == [(2, 5), (1, 4)]


def test_sums_have_128_bits() -> None:
    records = [event(size=2**64 - 1, delta=-(2**31))] * 3
    grouping = grouping_of(output(EVENT), show="sum(size),sum(delta)")
    (group,) = both(grouping, records, ROOM)
    assert group.sums(0).total == 3 * (2**64 - 1)
    assert group.sums(1).total == -3 * 2**31


def test_signs_count() -> None:
    records = [event(delta=n, load=n / 7) for n in range(-500, 400)]
    grouping = grouping_of(output(EVENT), show="p1(delta),p50(load)")
    (group,) = both(grouping, records, ROOM)
    for place, scale in ((0, 1), (1, 7)):
        sums = group.sums(place)
        assert (sums.least, sums.most) == (-500 / scale, 399 / scale)
        assert sums.sketch is not None
        assert sums.sketch.zeros == 1
        for percent in (1, 25, 50, 75, 99):
            found = sums.sketch.quantile(Fraction(percent, 100), sums.least, sums.most)
            wanted = (899 * percent // 100 - 500) / scale
            assert found == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize("number", [1.5, -3.25, 2.0**-64, 1.9 * 2.0**63, 1 / 3])
def test_one_float_is_told_as_it_is(number: float) -> None:
    (group,) = both(grouping_of(output(EVENT), show="p50(load)"), [event(load=number)], ROOM)
    sums = group.sums(0)
    assert sums.sketch is not None
    assert sums.sketch.quantile(Fraction(1, 2), -1e300, 1e300) == pytest.approx(number, rel=0.01)


def test_what_no_group_is_left_for_is_in_other() -> None:
    records = [event(pid=n % 5, lat=n) for n in range(10)]
    groups = both(grouping_of(output(EVENT), "pid", "sum(lat)"), records, Room(3, 0))
    assert [(g.key is None, g.count, g.sums(0).total) for g in groups] == [
        (False, 2, 5), (False, 2, 7), (False, 2, 9), (True, 4, 24)
    ]  # fmt: skip


def test_many_keys_of_all_kinds_are_found_again() -> None:
    dice = random.Random(7)
    records = [
        event(pid=dice.getrandbits(2), comm=dice.randbytes(1), lat=dice.getrandbits(50))
        for _ in range(5000)
    ]
    grouping = grouping_of(output(EVENT), "pid,comm,ports", "p50(lat),avg(lat)")
    groups = both(grouping, records * 2, Room(1100, 6000))
    assert all(group.key is not None for group in groups)


def test_a_window_of_one_row_has_room_for_any_number() -> None:
    grouping = grouping_of(output(EVENT), show="p50(lat),p50(load)")
    assert room(grouping) == Room(1, 64 + 2 * 128)


@pytest.mark.parametrize("show", ["p50(lat)", "p50(load)", "p50(lat),p99(delta)"])
def test_sketches_take_their_share_of_memory(show: str) -> None:
    grouping = grouping_of(output(EVENT), "pid", show)
    groups, pages = room(grouping)
    assert groups == LIMITS.window_keys
    sketched = sum(48 + 4 * m.pages for m in grouping.measures) * groups + pages * 144
    assert sketched <= len(grouping.measures) * groups * LIMITS.window_sketch
