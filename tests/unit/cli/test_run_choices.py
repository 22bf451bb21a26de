"""What ``-o``, ``--buffer-size`` and ``--map-size`` choose, before anything is loaded."""

import pytest

from bpfpack.cli.showing import choose
from bpfpack.cli.units import byte_count
from bpfpack.spec.config import EventType, Output
from bpfpack.spec.errors import UsageError

EVENTS = Output(name="opens", map="ring", kind="events", types=(EventType(type="event"),))
OTHER = Output(name="closes", map="other", kind="events", types=(EventType(type="event"),))
TABLE = Output(name="counts", map="counts", kind="table")


def chosen(outputs: tuple[Output, ...], *words: str) -> dict[str, str]:
    return {one.output.name: one.shape for one in choose("tool", outputs, words)}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {"opens": "table", "closes": "table", "counts": "table"}),
        (("json",), {"opens": "json", "closes": "json", "counts": "json"}),
        (("json", "json"), {"opens": "json", "closes": "json", "counts": "json"}),
        (("opens:csv",), {"opens": "csv"}),
        (("counts:csv",), {"counts": "csv"}),
        (("closes:raw",), {"closes": "raw"}),
        (("closes:json-array",), {"closes": "json-array"}),
        (("opens:yaml", "closes:yaml"), {"opens": "yaml", "closes": "yaml"}),
        (("closes:json", "opens:table"), {"opens": "table", "closes": "json"}),
        (("opens:csv", "opens:csv"), {"opens": "csv"}),
        (("json", "opens:table"), {"opens": "table", "closes": "json", "counts": "json"}),
    ],
)
def test_formats_and_names(words: tuple[str, ...], expected: dict[str, str]) -> None:
    assert chosen((EVENTS, OTHER, TABLE), *words) == expected


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("csv",), "-o csv is for one output, and tool would show 3"),
        (("raw",), "-o raw is for one output"),
        (("json", "opens:csv"), "-o csv is for one output"),
        (("counts:raw",), "-o raw is for events"),
        (("counts:yaml",), "-o yaml is for events; counts is shown as table, json or csv"),
        (("counts:json-array",), "-o json-array is for events"),
        (("opens:tsv", "closes:json"), "-o tsv is for one output"),
        (("json-array",), "-o json-array is for one output"),
        (("ring:json",), "no output 'ring'"),
        ((":json",), "no output ''"),
        (("csv", "json"), "-o: csv and json: one format"),
        (("opens:csv", "opens:json"), "-o: csv and json: one format of opens"),
    ],
)
def test_what_cannot_be_shown(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        chosen((EVENTS, OTHER, TABLE), *words)


def test_one_output_needs_no_name() -> None:
    for shape in ("table", "json", "json-array", "csv", "tsv", "yaml", "raw"):
        assert chosen((EVENTS,), shape) == {"opens": shape}
    assert chosen(()) == {}


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("5b", 5), ("64k", 1 << 16), ("16M", 1 << 24), ("1GiB", 1 << 30), ("2kB", 2048)],
)
def test_sizes(text: str, size: int) -> None:
    assert byte_count(text, "--buffer-size") == size


@pytest.mark.parametrize("text", ["", "0", "0M", "-1", "1.5M", "1T", "M", "1 M", "٣", "9" * 13])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        byte_count(text, "--buffer-size")
