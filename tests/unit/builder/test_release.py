"""bpfpack.toml by itself: what it may say, and on which line it said it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.builder.release import Release
from bpfpack.spec.errors import LimitExceeded, SpecError

TEXT = """\
name = "x"   # a comment
authors = [
  "A", # fields.event.addr
]

[ fields.event ]
"to.port" = { format = "port" }
[fields.event.addr]  # here
format = "ipv4"
[[outputs]]
a = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 1),
        (("authors",), 2),
        (("fields", "event"), 6),
        (("fields", "event", "to.port", "format"), 7),
        (("fields", "event", "addr"), 8),
        (("fields", "event", "addr", "format"), 9),
        (("fields", "event", "addr", "order"), 8),
        (("outputs", "a"), 11),
        (("nothing",), None),
        ((), None),
    ],
)
def test_the_line_of_a_path(path: tuple[str, ...], line: int | None) -> None:
    assert Release(text=TEXT).line_of(path) == line


def test_only_a_line_that_says_all_of_it() -> None:
    release = Release(text=TEXT)
    assert release.line_of(("fields", "event", "addr", "order"), whole=True) is None
    assert release.line_of(("fields", "event", "addr"), whole=True) == 8


def test_an_absent_file_says_nothing() -> None:
    assert Release.parse(b"") == Release()


def test_a_file_that_is_too_large() -> None:
    with pytest.raises(LimitExceeded):
        Release.parse(b"#" * (2**20 + 1))


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x"])
def test_a_readme_elsewhere(name: str) -> None:
    with pytest.raises(SpecError, match=r"leaves the project in 'readme'"):
        Release.parse(f'readme = "{name}"'.encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_give_a_release_or_one_of_our_errors(data: bytes) -> None:
    try:
        Release.parse(data)
    except SpecError:
        return


@given(st.text(max_size=300), st.lists(st.text(max_size=9), max_size=4).map(tuple))
def test_any_text_has_lines_or_none(text: str, path: tuple[str, ...]) -> None:
    line = Release(text=text).line_of(path)
    assert line is None or 1 <= line <= len(text.splitlines())
