"""Which tag `run` takes when nobody named one and there is no `latest`."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.spec.versions import above, highest_release


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], None),
        (["latest", "main", "sha256-00.sig"], None),
        (["1.9.0", "1.10.0", "1.2.0"], "1.10.0"),
        (["2.0.0-rc.1", "1.0.0"], "1.0.0"),
        (["2.0.0-rc.1", "3.0-alpha"], None),
        (["v1.0.0", "v1.1.0"], "v1.1.0"),
        (["1.2", "1.2.0"], "1.2.0"),
        (["1", "2", "1.5.0"], "1.5.0"),
        (["1", "2"], "2"),
        (["20260101", "0.3.1"], "0.3.1"),
        (["1.0.0.1", "1.0.0"], "1.0.0.1"),
        (["1.0.0.0.1", "1..0", ".1", "1.", "1.0.0_build"], None),
        (["0.0.0"], "0.0.0"),
        (["1.0.\u0663"], None),
        (["1.0.0\n"], None),
    ],
)
def test_highest_release(tags: list[str], expected: str | None) -> None:
    assert highest_release(tags) == expected


@given(st.lists(st.from_regex(r"\A[0-9v.a-c-]{1,12}\Z"), max_size=12), st.randoms())
def test_it_is_one_of_them_whatever_their_order(tags: list[str], rng: random.Random) -> None:
    found = highest_release(tags)
    assert found is None or (found in tags and "-" not in found)
    shuffled = tags[:]
    rng.shuffle(shuffled)
    assert highest_release(shuffled) == found


@pytest.mark.parametrize(
    ("tag", "others", "expected"),
    [
        ("1.0", ["2"], "2"),
        ("1.0", ["v2", "1.5", "latest", "3.0-rc.1"], "v2"),
        ("2.0", ["2", "1.9"], None),
        ("2", ["2.0.0.1"], "2.0.0.1"),
        ("10", ["9.9"], None),
        ("latest", ["9.9"], None),
        ("1.0", [], None),
    ],
)
def test_above(tag: str, others: list[str], expected: str | None) -> None:
    assert above(tag, others) == expected
