"""What ``--by`` and ``--show`` may ask for."""

import pytest

from bpfpack.runner.windows.asking import parse_window
from bpfpack.spec.errors import UsageError
from tests.kit.records import field, layout, output
from tests.kit.windowing import EVENT, grouping_of


def test_nothing_asked_for_is_a_count() -> None:
    asked = parse_window(1.0, None, None)
    assert asked.by == ()
    assert [one.name for one in asked.show] == ["count"]


def test_names_are_told_once() -> None:
    asked = parse_window(1.0, "pid, comm,pid", "count, sum( lat ),count")
    assert asked.by == ("pid", "comm")
    assert [one.name for one in asked.show] == ["count", "sum(lat)"]


@pytest.mark.parametrize(
    ("show", "told", "hint"),
    [
        ("p101(lat)", "quantiles are p0 to p100", "write count"),
        ("sum", "sum of which field", "write count"),
        ("sum()", "sum of which field", "write count"),
        ("count(lat)", "count is of events", "write count"),
        ("summ(lat)", "no function 'summ'", "did you mean sum?"),
        ("sum(lat", "not a value of a group", "write count"),
        ("", "not a value of a group", "write count"),
        (",".join(f"p{n}(a)" for n in range(65)), "more than 64", ""),
    ],
)
def test_what_is_no_value_is_refused(show: str, told: str, hint: str) -> None:
    with pytest.raises(UsageError, match=r"^--show") as caught:
        parse_window(1.0, None, show)
    assert told in str(caught.value)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("by", "show", "told", "hint"),
    [
        ("pidd", None, "--by: no field 'pidd'", "did you mean pid?"),
        (None, "sum(latt)", "--show: no field 'latt'", "did you mean lat?"),
        (None, "sum(comm)", "--show: comm is no number", ""),
        (None, "sum(ports)", "--show: ports is an array", ""),
        ("ports[3]", None, "--by: ports[3] has no element 3", ""),
        ("type", None, "--by: no field 'type'", ""),
    ],
)
def test_fields_are_looked_up(by: str | None, show: str | None, told: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        grouping_of(output(EVENT), by, show)
    assert str(caught.value).startswith(told)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (field("x", "uint", 0, 16), "more than 64 bits"),
        (field("x", "bytes", 0, 4, format="ipv4"), "is no number"),
    ],
)
def test_what_cannot_be_added_up(one: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        grouping_of(output(layout(one)), show="sum(x)")  # type: ignore[arg-type]


def test_types_have_to_mean_the_same() -> None:
    of = output(layout(field("x", "uint", 0, 4)), layout(field("x", "uint", 0, 8), name="struct o"))
    for by, show in (("x", None), (None, "sum(x)")):
        with pytest.raises(UsageError, match="another kind of value"):
            grouping_of(of, by, show)


def test_keys_have_an_end() -> None:
    with pytest.raises(UsageError, match="more than 1024 bytes"):
        grouping_of(output(layout(field("x", "bytes", 0, 2000))), "x")
    # Of a long text the beginning counts.
    assert grouping_of(output(layout(field("x", "string", 0, 4096))), "x").key_size == 8 + 256
