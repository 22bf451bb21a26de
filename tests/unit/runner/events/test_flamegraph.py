"""Flame graphs: what is in the picture, where, and that nothing gets out of it."""

import re
from xml.etree import ElementTree

import pytest

from bpfpack.runner.events.flamegraph import Kind, Step, flamegraph

SVG = "{http://www.w3.org/2000/svg}"


def _steps(text: str, kind: Kind = "user") -> list[Step]:
    return [Step(one, kind) for one in text.split(";")]


def _frames(svg: str) -> dict[str, tuple[float, float, float]]:
    """Left edge, lower edge (higher is further up) and width of each frame, by its title."""
    root = ElementTree.fromstring(svg)
    height = float(root.attrib["viewBox"].split()[3])
    found = {}
    for group in root.iter(f"{SVG}g"):
        title, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None and title.text and rect is not None
        x, y, width = (float(rect.attrib[name]) for name in ("x", "y", "width"))
        assert title.text not in found
        found[title.text] = (x, height - y, width)
    return found


def test_what_is_called_stands_on_what_called_it() -> None:
    stacks = [
        (_steps("main;b;c"), 2),
        (_steps("main;a"), 1),
        (_steps("main;b"), 1),
        ([*_steps("main"), Step("b", "kernel")], 4),
    ]
    found = _frames(flamegraph(stacks, title="counts"))
    assert set(found) == {
        "all (8 samples, 100.00%)",
        "main (8 samples, 100.00%)",
        "a (1 sample, 12.50%)",
        "b (3 samples, 37.50%)",
        "b (4 samples, 50.00%)",
        "c (2 samples, 25.00%)",
    }
    whole = found["all (8 samples, 100.00%)"]
    a, in_user = found["a (1 sample, 12.50%)"], found["b (3 samples, 37.50%)"]
    in_kernel, c = found["b (4 samples, 50.00%)"], found["c (2 samples, 25.00%)"]
    rows = sorted({place[1] for place in found.values()})
    assert [whole[1], a[1], c[1]] == [rows[0], rows[2], rows[3]]
    # By name, and what has one name in kernel and process apart.
    assert whole[0] == a[0] < in_kernel[0] < in_user[0] == c[0]
    assert in_kernel[0] + in_kernel[2] == pytest.approx(in_user[0], abs=0.02)
    assert in_user[2] / whole[2] == pytest.approx(3 / 8, abs=0.001)


def test_hostile_names_stay_names() -> None:
    names = ["</title><script>alert(1)</script>", "a\"b'&amp;", "\x1b[2J\n\0", "\ud800", "\uffff"]
    svg = flamegraph([([Step(name, "user")], 1) for name in names], title="<b>&", notes=["<i>"])
    root = ElementTree.fromstring(svg)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        *("svg", "style", "rect", "text", "g", "title")
    }
    titles = {t.text for t in root.iter(f"{SVG}title")}
    assert "</title><script>alert(1)</script> (1 sample, 20.00%)" in titles
    assert "a\"b'&amp; (1 sample, 20.00%)" in titles
    assert {r"\x1b[2J\x0a\x00", r"\ud800", r"\uffff"} <= {t.split(" ")[0] for t in titles if t}
    assert not re.search(r"\son\w+=|href|script>|url\(|@import", svg.replace("script&gt;", ""))


def test_a_name_is_bounded_and_its_colour_stays() -> None:
    long = flamegraph([(_steps("x" * 10_000), 1)], title="t")
    assert len(long) < 5_000
    alone, beside = (
        re.search(r"<title>f \(.*?fill=\"(.*?)\"", flamegraph(stacks, title="t"))
        for stacks in ([(_steps("f"), 1)], [(_steps("e"), 9), (_steps("f"), 1)])
    )
    assert alone and beside and alone[1] == beside[1]


def test_what_is_too_narrow_to_see_is_left_out() -> None:
    stacks = [(_steps("wide"), 1_000_000), *((_steps(f"n{i}"), 1) for i in range(1000))]
    assert len(_frames(flamegraph(stacks, title="t"))) == 2


def test_deep_stacks() -> None:
    found = _frames(flamegraph([([Step(f"f{i}", "user") for i in range(5000)], 1)], title="t"))
    assert len(found) == 5001


def test_nothing_is_a_picture_too() -> None:
    assert list(_frames(flamegraph([], title="t"))) == ["all (0 samples, 0.00%)"]
