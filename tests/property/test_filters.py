"""A filter says the same in Python and in the engine, and of what is shown what is shown."""

import json
from functools import partial
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bpfpack.runner.engine.program import assemble
from bpfpack.runner.events.formatter import EventOutput, make_formatter
from bpfpack.runner.filters.glob import glob, plain
from bpfpack.runner.filters.grammar import parse
from bpfpack.runner.filters.selection import select_fields
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.record import Field, RecordLayout
from tests.kit.enginecases import SHAPES
from tests.kit.enginehost import Host
from tests.kit.filtering import kept
from tests.kit.records import FixedClock, batch, field, layout, output

_LABELS = {0: "none", 1: "one", 6: "six", -1: "all", 200: "two words"}
_NUMBERS = [
    *("dec", "hex", "duration", "errno", "signal", "syscall", "enum", "flags"),
    *("user", "group", "pid", "bytes"),
]


#: What `RecordLayout.of` takes of formats that do not fit every number.
_SIZES = {"bytes": (2, 4, 8), "duration": (4, 8), "timestamp": (4, 8), "user": (4,), "group": (4,)}


@st.composite
def _fields(draw: st.DrawFn, offset: int, name: str) -> Field:
    base: Any = draw(
        st.sampled_from(["int", "uint", "enum", "bool", "float", "pointer", "string", "bytes"])
    )
    more: dict[str, Any] = {"labels": _LABELS, "signed": base in ("int", "enum")}
    size = draw(st.sampled_from([1, 2, 4, 8, 16]))
    if base in ("int", "uint", "enum"):
        fitting = [name for name in _NUMBERS if size in _SIZES.get(name, (size,))]
        more["format"] = draw(st.sampled_from(fitting))
        more["unit"] = draw(st.sampled_from([None, "us", "s"]))
        if size in (2, 4) and draw(st.booleans()):
            more |= {"format": "port", "order": draw(st.sampled_from(["net", "host"]))}
        elif draw(st.booleans()):
            more["bits"] = draw(st.integers(1, 8 * size))
            more["shift"] = draw(st.integers(0, 8 * size - more["bits"]))
    elif base == "float":
        size = draw(st.sampled_from([4, 8]))
    elif base == "bool":
        size, more["labels"] = 1, {}
    elif base == "pointer":
        size = 8
    elif base == "bytes":
        more["format"] = {4: "ipv4", 16: "ipv6"}.get(size, "hex")
        more["order"] = draw(st.sampled_from([None, "host"]))
    elif base == "string":
        size = draw(st.integers(1, 12))
    if not more.get("bits") and draw(st.integers(0, 4)) == 0:
        more["dimensions"] = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)))
    return field(name, base, offset, size, **more)


@st.composite
def layouts(draw: st.DrawFn, name: str = "struct e") -> RecordLayout:
    """Layouts of either byte order, with fields beside and over each other."""
    found: list[Field] = []
    offset = 0
    for index in range(draw(st.integers(1, 4))):
        offset = max(0, offset + draw(st.integers(-2, 3)))
        one = draw(_fields(offset, draw(st.sampled_from(["f{}", "s{}.x"])).format(index)))
        found.append(one)
        offset += one.size
    if draw(st.booleans()):
        found.append(field("tail", draw(st.sampled_from(["string", "bytes"])), offset, 0))
    order: Any = draw(st.sampled_from(["little", "big"]))
    return layout(*found, order=order, name=name)


@st.composite
def outputs(draw: st.DrawFn) -> EventOutput:
    """One type, or two that their sizes tell apart."""
    first = draw(layouts())
    if draw(st.booleans()):
        return output(first)
    return output(first, draw(layouts("struct other")))


_WORDS = st.one_of(
    st.integers(-3, 300).map(str),
    st.integers(-(1 << 127), 1 << 128).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(
        [
            *("one", "six", "all", "none", "'two words'", "ENOENT", "SIGKILL", "openat", "root"),
            *("10ms", "1.5s", "4KiB", "true", "false", "0x1f", "10.0.0.0/8", "::/3", "fe80::1"),
            *("0.1", "''", "ab", "'a*'", "*a?", "[a-m]*", "*", "00ff", "one|six"),
        ]
    ),
    st.text("ab*?[]-\\", max_size=6).map(lambda t: json.dumps(t)),
)
_OPERATORS = st.sampled_from(
    [*("==", "!=", "<", "<=", ">", ">=", "~", "!~"), *("startswith", "endswith", "contains", "has")]
)


def _tests(names: list[str]) -> st.SearchStrategy[str]:
    name = st.sampled_from(names)
    listed = st.lists(_WORDS, min_size=1, max_size=4).map(lambda w: f"({', '.join(w)})")
    return st.one_of(
        st.tuples(name, _OPERATORS, _WORDS).map(" ".join),
        st.tuples(name, st.sampled_from(["in", "not in"]), listed).map(" ".join),
        name.map("exists({})".format),
        name,
    )


@st.composite
def _expressions(draw: st.DrawFn, names: list[str], depth: int = 2) -> str:
    if not depth or draw(st.booleans()):
        return draw(_tests(names))
    left = draw(_expressions(names, depth - 1))
    shape = draw(st.sampled_from(["{} and {}", "{} or {}", "({} && {})", "({} || {})", "not ({})"]))
    return shape.format(left, draw(_expressions(names, depth - 1)))


def _names(of: EventOutput) -> list[str]:
    names = ["type"] if len(of.types) > 1 else []
    for one in of.types:
        for each in one.layout.fields:
            names.append(each.name)
            if each.dimensions:
                names.append(each.name + "[0]" * len(each.dimensions))
    return names


_RECORDS = st.lists(
    st.one_of(
        st.binary(max_size=80),
        st.text("ab\0", max_size=80).map(str.encode),
        st.lists(st.sampled_from([0, 1, 6, 10, 255]), max_size=80).map(bytes),
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(st.data(), outputs(), _RECORDS)
def test_python_and_the_engine_agree(data: Any, of: EventOutput, records: list[bytes]) -> None:
    text = data.draw(_expressions(_names(of)))
    unique = data.draw(st.none() | st.sampled_from(_names(of)))
    try:
        kept(text, of, records, unique=unique)
    except UsageError as e:
        assert str(e).startswith("--")


@settings(deadline=None)
@given(st.data(), layouts(), _RECORDS)
def test_what_is_shown_is_what_is_compared(
    data: Any, one: RecordLayout, records: list[bytes]
) -> None:
    """`name == VALUE` holds for the records whose JSON has that value there."""
    formatter = make_formatter("json", output(one), clock=FixedClock())
    rows = [json.loads(line) for line in formatter.format(batch(*records)).splitlines()]
    shown = {f.name: [_inside(row, f.path) for row in rows] for f in one.fields if not f.dimensions}
    sayable = [
        (name, value, word)
        for name, values in shown.items()
        for value in values
        if (word := _word(value)) is not None
    ]
    assume(sayable)
    name, asked, word = data.draw(st.sampled_from(sayable))
    values = shown[name]
    found = kept(f"{name} == {word}", output(one), records)
    assert found == [value == asked for value in values]
    others = kept(f"{name} != {word}", output(one), records)
    assert others == [value is not None and value != asked for value in values]


def _inside(row: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        row = row[step]
    return row


def _word(value: Any) -> str | None:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str() if "\ufffd" not in value:
            return f'"{value}"' if value.isprintable() and not set(value) & set('\\"') else None
        case [_, *_]:
            return "|".join(f'"{one}"' for one in value)
    return None


@settings(deadline=None, max_examples=40)
@given(st.data(), outputs(), _RECORDS, st.sampled_from(SHAPES))
def test_chosen_columns_are_the_same_by_both_engines(
    data: Any, of: EventOutput, records: list[bytes], shape: Any
) -> None:
    names = sorted({f.name for one in of.types for f in one.layout.fields})
    signed = st.tuples(st.sampled_from(["", "-"]), st.sampled_from(names)).map("".join)
    asked = ",".join(data.draw(st.lists(signed, min_size=1, max_size=4)))
    try:
        (chosen,) = select_fields(asked, [of], nested=shape in ("json", "json-array", "yaml"))
    except UsageError as e:
        assert "nothing is left" in str(e)
        return
    reference = make_formatter(shape, chosen, clock=FixedClock())
    host = Host(partial(assemble, shape, chosen, clock=FixedClock()))
    assert host.format(records) == reference.format(batch(*records))


@given(st.text(max_size=40) | st.text("ab()!=<>~&|,'\"\\ 0", max_size=40))
def test_any_text_is_a_tree_or_a_usage_error(text: str) -> None:
    try:
        parse(text)
    except UsageError as e:
        # What is shown is the expression and a mark below the place.
        assert "^" in (e.hint or "")


@settings(deadline=None)
@given(st.text("ab*?[]-!é\\", max_size=8), st.text("abé-", max_size=8))
def test_globs_match_what_an_obvious_matcher_does(pattern: str, text: str) -> None:
    try:
        compiled = glob(pattern.encode())
    except SpecError:
        return
    wanted = _obvious(pattern, text)
    assert compiled.matches(text.encode()) == wanted
    simple = plain(pattern.encode())
    if simple is not None:
        of = output(layout(field("f", "string", 0, 0)))
        assert kept(
            f"f ~ {json.dumps(pattern, ensure_ascii=False)}", of, [text.encode() + b"\0"]
        ) == [wanted]


def _obvious(pattern: str, text: str) -> bool:
    """By trying everything, a character at a time."""
    if not pattern:
        return not text
    head, rest = pattern[0], pattern[1:]
    if head == "*":
        return any(_obvious(rest, text[i:]) for i in range(len(text) + 1))
    if not text:
        return False
    if head == "?":
        return _obvious(rest, text[1:])
    if head == "\\":
        return text[0] == rest[0] and _obvious(rest[1:], text[1:])
    if head == "[":
        taken, rest = _class(rest)
        return taken(text[0]) and _obvious(rest, text[1:])
    return text[0] == head and _obvious(rest, text[1:])


def _class(pattern: str) -> Any:
    inverse = pattern[0] in "!^"
    at = int(inverse)
    end = pattern.index("]", at + 1)
    inside, members = pattern[at:end], set[str]()
    i = 0
    while i < len(inside):
        if inside[i + 1 : i + 2] == "-" and i + 2 < len(inside):
            members |= {chr(c) for c in range(ord(inside[i]), ord(inside[i + 2]) + 1)}
            i += 3
        else:
            members.add(inside[i])
            i += 1
    return (lambda c: (c in members) != inverse), pattern[end + 1 :]
