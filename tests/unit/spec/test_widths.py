"""The table of widths is that of Unicode."""

import itertools
import unicodedata

import pytest

from bpfpack.spec import widths
from tests.kit.unicodewidths import is_combining, is_doubled, ranges

#: The version that the tables were made from.
_VERSION = "14.0.0"


@pytest.mark.skipif(
    unicodedata.unidata_version != _VERSION, reason="this Python has another Unicode"
)
def test_the_tables_are_those_of_their_version() -> None:
    assert list(widths.COMBINING) == ranges(is_combining)
    assert list(widths.DOUBLED) == ranges(is_doubled)


def test_characters_have_the_width_that_a_terminal_gives_them() -> None:
    assert [widths.columns(c) for c in "a\u00e9\u65e5\uff21\u0301\U0001f600\U0010ffff"] == [
        *(1, 1, 2, 2, 0, 2, 1)
    ]


def test_ranges_do_not_touch() -> None:
    for table in (widths.COMBINING, widths.DOUBLED):
        for (_, last), (first, _) in itertools.pairwise(table):
            assert last + 1 < first
