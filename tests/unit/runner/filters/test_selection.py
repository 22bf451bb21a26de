"""``--fields``: which columns are shown, and in which order."""

import struct
from functools import partial

import pytest

from bpfpack.runner.engine.program import assemble
from bpfpack.runner.events.formatter import make_formatter
from bpfpack.runner.filters.selection import select_fields
from bpfpack.spec.errors import UsageError
from bpfpack.spec.value import replace
from tests.kit.enginehost import Host
from tests.kit.records import FixedClock, batch, field, layout, output, shown

EVENT = layout(
    field("pid", "uint", 0, 4, format="pid"),
    field("at.x", "int", 4, 2),
    field("at.y", "int", 6, 2),
    field("comm", "string", 8, 4),
    field("ends[0].port", "uint", 12, 2),
    field("ends[0].up", "bool", 14, 1),
    field("ends[1].port", "uint", 16, 2),
    field("ends[1].up", "bool", 18, 1),
    field("secret", "uint", 20, 4, hidden=True),
    field("rest", "string", 24, 0),
)
RECORD = struct.pack("<I2h4sH?xH?xI", 7, -1, 2, b"sh", 80, True, 443, False, 9) + b"more"


@pytest.mark.parametrize(
    ("names", "json", "csv"),
    [
        ("comm,pid", '{"comm":"sh","pid":7}', "sh,7"),
        ("at", '{"at":{"x":-1,"y":2}}', "-1,2"),
        ("at.y, pid ,at.x", '{"at":{"y":2,"x":-1},"pid":7}', "2,7,-1"),
        ("rest,secret", '{"rest":"more","secret":9}', "more,9"),
        ("-ends,-rest,-at.x", '{"pid":7,"at":{"y":2},"comm":"sh"}', "7,2,sh"),
        ("ends,-ends.up", '{"ends":[{"port":80},{"port":443}]}', "80,443"),
        ("ends.port", '{"ends":[{"port":80},{"port":443}]}', "80,443"),
        ("ends[1],pid", '{"ends":[{"port":443,"up":false}],"pid":7}', "443,false,7"),
        (
            "ends[1].up,ends[0].up",
            '{"ends":[{"up":true},{"up":false}]}',
            "false,true",
        ),
        ("pid,pid,comm,-comm", '{"pid":7}', "7"),
    ],
)
def test_all_forms_show_what_was_chosen(names: str, json: str, csv: str) -> None:
    (nested,) = select_fields(names, [output(EVENT)], nested=True)
    assert shown("json", nested, RECORD) == [json]
    (flat,) = select_fields(names, [output(EVENT)], nested=False)
    assert shown("csv", flat, RECORD) == [csv]


def test_what_tells_types_apart_may_be_left_out() -> None:
    first = layout(field("kind", "uint", 0, 4), field("a", "uint", 4, 4), name="struct first")
    other = layout(field("kind", "uint", 0, 4), field("b", "uint", 4, 4), name="struct other")
    of = output(first, other, discriminator="kind")
    types = [replace(one, when=when) for one, when in zip(of.types, (1, 2), strict=True)]
    (chosen,) = select_fields("-kind", [replace(of, types=tuple(types))], nested=True)
    records = [struct.pack("<II", 2, 5), struct.pack("<II", 1, 6)]
    assert shown("json", chosen, *records) == ['{"type":"other","b":5}', '{"type":"first","a":6}']
    (chosen,) = select_fields("b", [chosen], nested=True)
    assert shown("json", chosen, *records) == ['{"type":"other","b":5}', '{"type":"first"}']


def test_columns_of_several_types_stand_in_the_order_that_was_asked_for() -> None:
    first = layout(field("a", "uint", 0, 4), field("b", "uint", 4, 4), name="struct first")
    other = layout(field("b", "uint", 0, 4), field("c", "uint", 4, 8), name="struct other")
    (chosen,) = select_fields("c,b,a", [output(first, other)], nested=False)
    formatter = make_formatter("csv", chosen, clock=FixedClock())
    assert formatter.header() == b"type,c,b,a\n"
    records = [struct.pack("<II", 1, 2), struct.pack("<IQ", 3, 4)]
    assert formatter.format(batch(*records)) == b"first,,2,1\nother,4,3,\n"
    host = Host(partial(assemble, "csv", chosen))
    assert host.format(records) == b"first,,2,1\nother,4,3,\n"


@pytest.mark.parametrize(
    "names", ["pidd", "-pidd", "pid,", "--pid", "-", "pid,-pid", "at.z", "end"]
)
def test_what_is_no_field_is_refused(names: str) -> None:
    with pytest.raises(UsageError, match="--fields"):
        select_fields(names, [output(EVENT)], nested=True)


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        select_fields("comn", [output(EVENT)], nested=True)
    assert "did you mean comm? the fields are pid, at.x" in (caught.value.hint or "")
