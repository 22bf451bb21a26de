"""What expressions mean, and what is said of those that mean nothing."""

import struct

import pytest

from bpfpack.runner.filters.filter import make_filters
from bpfpack.spec.errors import UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.safetext import printable
from bpfpack.spec.value import replace
from tests.kit.filtering import EVENT, RECORD, kept
from tests.kit.records import field, layout, output


@pytest.mark.parametrize(
    "text",
    [
        *("pid == 42", "pid != 41", "pid >= 42", "pid < 0x2b", "pid > +41"),
        *("pid in (1, 2, 42)", "pid not in (41, 43)", "pid in 42"),
        *("ret == ENOENT", "ret == -2", "ret != EACCES", "ret in (EPERM, -ENOENT)", "ret < 0"),
        *("ret ~ ENO*", "comm == sshd", 'comm == "sshd"', "comm == 'sshd'", "comm != ssh"),
        *("comm ~ ss*", "comm ~ 's?hd'", "comm ~ [a-s]*", "comm ~ '*[!0-9]'", "comm !~ bash*"),
        *("comm startswith ss", "comm endswith hd", "comm contains sh", r'comm == "ss\x68d"'),
        *(
            "lat == 1.5ms",
            "lat == 1500",
            "lat > 1ms",
            "lat < 2ms",
            "lat <= 1500us",
            "lat > 1499.5us",
        ),
        *("addr in 10.0.0.0/8", "addr == 10.1.2.3", "addr not in 10.2.0.0/16", "addr >= 10.0.0.0"),
        *("addr in (192.168.0.0/16, 10.1.0.0/16)", "to in 10.0.0.0/8", "to == ::ffff:10.1.2.3"),
        *("to in ::/64", "to not in fe80::/10", "kind == CLOSE", "kind == 1", "kind in (CLOSE, 7)"),
        *("kind !~ OPEN*", "flags has O_CREAT", "flags has O_CREAT|O_WRONLY", "flags has 0x40"),
        *("flags == O_CREAT|O_WRONLY", "flags == 0x41", "flags != O_CREAT", "not flags has 2"),
        *("ok", "ok == true", "ok != false", "not ok == 0", "nr == openat", "nr ~ 'open*'"),
        *("ports[1] == 443", "ports[2] < 80", "exists(ports)", "exists(ports[2])"),
        *("mac == 00:1b:21:3c:9d:f8", "mac == '001b213c9df8'", "mac startswith 00:1b:21"),
        *("load == 0.1", "load < 0.2", "load > 1e-3", "size == 4KiB", "size >= 4k", "size < 1M"),
        *("owner.uid == root", "owner.uid == 0", "exists(when)", "path == '/etc/café'"),
        *("path ~ '/etc/caf?'", "pid == 1 or pid == 42", "pid == 42 && comm == sshd"),
        *("!(pid == 1 || pid == 2)", "not pid == 1 and not pid == 2", "pid == 1 and ok or ok"),
    ],
)
def test_it_holds(text: str) -> None:
    assert kept(text, output(EVENT), [RECORD]) == [True]
    assert kept(f"not ({text})", output(EVENT), [RECORD]) == [False]


@pytest.mark.parametrize(
    ("text", "at", "why"),
    [
        ("pidd == 1", 0, "no field 'pidd'; did you mean pid?"),
        ("pid = 1", 4, "no operator '='; equal is =="),
        ("pid", 0, "neither true nor false by itself; compare it"),
        ("pid == -1", 7, "-1 is too small; pid is a whole number from 0 to 4294967295"),
        ("pid == 5000000000", 7, "is more than it can hold"),
        ("pid == 1.5", 7, "1.5 does not fit"),
        ("pid == ", 7, "a value should stand here, and here it ends"),
        ("pid == and", 7, "a value is missing"),
        ("(pid == 1", 9, "and, or, or ) should stand here"),
        ("pid == 1 pid", 9, "and, or, or the end should stand here, not 'pid'"),
        ("pid == 'x", 7, "no end of the quoted string"),
        (r"comm == '\q'", 9, "no such escape"),
        ("pid == 1|2", 9, "| joins flags; either of two values: in (A, B)"),
        ("kind == CLOS", 8, "kind is never CLOS; did you mean CLOSE?"),
        ("kind == 'x'", 8, "x does not fit; kind is OPEN, CLOSE, OPENAT, or a whole number"),
        ("kind ~ X*", 7, "kind is never shown as such a word"),
        ("ret == ENOTHING", 7, "ret is never ENOTHING; did you mean"),
        ("lat > 10x", 6, "10x does not fit; lat is a duration, such as 10ms, or a number of us"),
        ("lat == 1.5us", 7, "is no whole number of us"),
        ("size == 3 and size > 1s", 21, "size is a size, such as 4KiB or 1M"),
        ("addr == fe80::1", 8, "is not an IPv4 address or network"),
        ("addr < 10.0.0.0/8", 7, "is a network: compare with in"),
        ("to == fe80::1%eth0", 6, "is not an address or network"),
        ("comm < 'x'", 5, "comm cannot be compared with <"),
        ("comm has 1", 5, "comm has no flags"),
        ("comm == 'seventeen letters'", 8, "comm has at most 16 bytes, and this is 17"),
        (r"comm == 'a\x00'", 8, "a text ends before its first"),
        ("comm ~ '[a'", 7, "a [ without its ]"),
        ("flags has O_RDONLY", 10, "is 0, which no bit stands for; flags == 0"),
        ("ok > true", 3, "true or false: it cannot be compared with >"),
        ("ok == maybe", 6, "maybe is neither true nor false"),
        ("ports == 80", 0, "ports is an array: compare one element, such as ports[0]"),
        ("ports[3] == 80", 0, "has no element 3"),
        ("when > 5", 7, "a time of day cannot be compared"),
        ("mac == xy", 7, "is not bytes as hexadecimal digits"),
        ("load == x", 8, "x is no number"),
        ("load == 1e300", 8, "is more than it can hold"),
        ("owner.uid == nobody-here", 13, "or the name of a user of this host"),
        ("exists(pid", 10, ") should stand here"),
        ("", 0, "the name of a field should stand here, and here it ends"),
    ],
)
def test_what_means_nothing_is_shown_its_place(text: str, at: int, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_filters(text, None, [output(EVENT)])
    shown, mark, *more = (caught.value.hint or "").split("\n")
    assert shown == text
    assert mark.rstrip("~") == " " * at + "^"
    for part in why.split("; "):
        assert part in "\n".join([str(caught.value), *more])


def test_a_long_expression_is_shown_around_the_place() -> None:
    text = "pid == 1 or " * 40 + "\x1bpid"
    with pytest.raises(UsageError) as caught:
        make_filters(text, None, [output(EVENT)])
    shown, mark = (caught.value.hint or "").split("\n")
    assert len(shown) < 120
    assert shown == printable(shown)
    assert shown[mark.index("^") :].startswith("\\x1b")


@pytest.mark.parametrize(
    "text",
    [
        "(" * LIMITS.filter_depth + "pid == 1" + ")" * LIMITS.filter_depth,
        "not " * LIMITS.filter_depth + "pid == 1",
        f"pid in ({', '.join(['1'] * (LIMITS.filter_tests + 1))})",
        "pid == 1 or " * LIMITS.filter_tests + "pid == 1",
        "pid == 1" + " " * LIMITS.filter_text,
    ],
)
def test_it_is_bounded(text: str) -> None:
    with pytest.raises(UsageError, match=r"nested|more than|longer"):
        make_filters(text, None, [output(EVENT)])


def test_as_much_as_there_may_be_works() -> None:
    numbers = ", ".join(str(2 * n) for n in range(LIMITS.filter_tests))
    records = [struct.pack("<I", n) for n in (0, 1, 512, 513)]
    one = output(layout(field("pid", "uint", 0, 4)))
    assert kept(f"pid in ({numbers})", one, records) == [True, False, True, False]


def test_what_a_short_record_has_not_compares_with_nothing() -> None:
    of, short = output(EVENT), RECORD[:9]
    for text in ("lat == 1500", "lat != 1500", "lat in (1, 2)", "lat not in (1, 2)", "exists(lat)"):
        assert kept(text, of, [short]) == [False], text
    assert kept("not lat == 1500", of, [short]) == [True]
    assert kept("comm == s", of, [short]) == [True]
    assert kept("comm == s", of, [RECORD[:8]]) == [False]


def test_a_float_that_is_no_number_compares_with_nothing() -> None:
    of = output(layout(field("f", "float", 0, 8)))
    records = [struct.pack("<d", n) for n in (float("nan"), float("inf"), 1.0)]
    assert kept("f < 2.0", of, records) == [False, False, True]
    assert kept("f != 1.0", of, records) == [False, True, False]
    assert kept("exists(f)", of, records) == [True, True, True]


OPENED = layout(field("kind", "uint", 0, 4), field("path", "string", 4, 8), name="struct opened")
CLOSED = layout(
    field("kind", "uint", 0, 4), field("fd", "int", 4, 4), size=16, name="struct closed"
)
BOTH = [struct.pack("<I8s", 1, b"/etc"), struct.pack("<Ii8x", 2, 7), b"\x01"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("path == '/etc'", [True, False, False]),
        ("fd == 7", [False, True, False]),
        ("fd != 8", [False, True, False]),
        ("not fd == 7", [True, False, True]),
        ("type == opened", [True, False, False]),
        ("type != opened", [False, True, False]),
        ("type in (opened, closed)", [True, True, False]),
        ("type ~ 'c*' and fd > 6 or path endswith c", [True, True, False]),
        ("exists(fd)", [False, True, False]),
        ("exists(kind)", [True, True, False]),
    ],
)
def test_a_field_that_a_type_has_not_compares_with_nothing(text: str, wanted: list[bool]) -> None:
    assert kept(text, output(OPENED, CLOSED), BOTH) == wanted


def test_a_value_has_to_fit_one_of_the_types_that_have_the_field() -> None:
    small = layout(field("n", "uint", 0, 1), name="struct small")
    large = layout(field("n", "uint", 0, 4), name="struct large")
    assert kept("n == 300", output(small, large), [b"\x2c", b"\x2c\x01\0\0"]) == [False, True]
    with pytest.raises(UsageError, match="more than it can hold"):
        make_filters("n == 5000000000", None, [output(small, large)])


def test_several_outputs_share_an_expression() -> None:
    one, other = output(OPENED), output(CLOSED)
    found = make_filters("fd == 7", None, [one, replace(other, name="others")])
    assert [found[name].keeps(memoryview(BOTH[1])) for name in ("events", "others")] == [
        False,
        True,
    ]


def test_bytes_of_the_command_line_are_themselves() -> None:
    """Python hands over what is no UTF-8 as lone surrogates."""
    of = output(layout(field("name", "string", 0, 4)))
    assert kept("name == 'a\udcff'", of, [b"a\xff\0\0", b"a\xfe\0\0"]) == [True, False]
    assert kept("name ~ 'a\udcff*'", of, [b"a\xffbc", b"abc\xff"]) == [True, False]
    with pytest.raises(UsageError, match="not a character"):
        make_filters("name == '\ud800'", None, [of])
