"""Record layouts: every leaf where the compiler put it, shown as types and tags say."""

import struct
from collections.abc import Callable, Mapping

import pytest

from bpfpack.spec.btf import Btf, Struct, Var
from bpfpack.spec.displays import FORMATS, FieldDisplay
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.record import Field, RecordLayout
from tests.kit.elfwriter import BtfWriter
from tests.kit.objects import CLANGS, TARGETS, compiled


def layout_of(
    name: str,
    struct_name: str,
    clang: str,
    target: str,
    display: Mapping[str, FieldDisplay] | None = None,
) -> RecordLayout:
    spec = ObjectSpec.from_bytes(compiled(name, clang, target).read_bytes())
    btf = spec.types("the test")
    type_id = btf.find(Struct, struct_name)
    assert type_id is not None
    return RecordLayout.of(btf, type_id, display)


def one(layout: RecordLayout, name: str) -> Field:
    found = layout.field(name)
    assert found is not None, name
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("clang", CLANGS)
def test_an_event_without_a_word_about_display(clang: str, target: str) -> None:
    layout = layout_of("everything", "event", clang, target)
    assert (layout.type, layout.size, layout.flexible) == ("struct event", 104, True)
    assert layout.byte_order == ("little" if target == "bpfel" else "big")
    assert [(f.name, f.type, f.offset, f.size, f.base, f.format) for f in layout.fields] == [
        ("when", "__u64", 0, 8, "uint", "dec"),
        ("pid", "pid_t", 8, 4, "int", "pid"),
        ("uid", "uid_t", 12, 4, "uint", "dec"),
        ("comm", "char[16]", 16, 16, "string", "string"),
        ("peer.port", "__u16", 32, 2, "uint", "dec"),
        ("peer.address", "__be32", 36, 4, "uint", "ipv4"),
        ("word", "__u32", 40, 4, "uint", "dec"),
        ("octets", "__u8[4]", 40, 4, "bytes", "hex"),
        ("low", "int", 44, 1, "int", "dec"),
        ("high", "unsigned int", 44, 2, "uint", "dec"),
        ("flag", "_Bool", 46, 1, "bool", "dec"),
        ("verdict", "enum verdict", 48, 4, "enum", "enum"),
        ("wide", "enum wide", 56, 8, "enum", "enum"),
        ("matrix", "short[2][3]", 64, 2, "int", "dec"),
        ("name", "const volatile char *", 80, 8, "pointer", "hex"),
        ("ratio", "double", 88, 8, "float", "dec"),
        ("callback", "int (*)(const struct inner *, ...)", 96, 8, "pointer", "hex"),
        ("rest", "__u8[]", 104, 0, "bytes", "hex"),
    ]
    assert one(layout, "matrix").dimensions == (2, 3)
    assert one(layout, "rest").flexible
    assert not one(layout, "comm").flexible
    assert one(layout, "peer.port").path == ("peer", "port")
    assert one(layout, "peer.port").title == "peer.port"
    assert layout.field("peer") is None


@pytest.mark.parametrize("clang", CLANGS)
def test_labels_of_enums(clang: str) -> None:
    layout = layout_of("everything", "event", clang, "bpfel")
    verdict, wide = one(layout, "verdict"), one(layout, "wide")
    # Before clang 15 BTF does not say whether an enum has a sign.
    drop = -1 if verdict.signed else 0xFFFFFFFF
    assert verdict.signed == (clang != "clang-14")
    assert verdict.labels == {0: "PASS", drop: "DROP", 7: "LATER"}
    # And it cuts the values of a large one, which then names nothing.
    assert wide.labels == ({} if clang == "clang-14" else {1: "SMALL", 1 << 32: "LARGE"})


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("clang", CLANGS)
def test_bit_fields_read_back_what_the_compiler_stored(clang: str, target: str) -> None:
    spec = ObjectSpec.from_bytes(compiled("layout", clang, target).read_bytes())
    filled = next(v for v in spec.variables if v.name == "filled")
    layout = RecordLayout.of(spec.types("the test"), filled.type_id)
    assert {f.name: integer(f, filled.initial, layout.byte_order) for f in layout.fields} == {
        "a": 1,
        "b": 19,
        "c": 0x123456789,
        "d": -1234,
        "e": 200,
    }


def integer(field: Field, record: bytes, order: ByteOrder) -> int:
    """Read an integer as the documentation of `Field` says."""
    raw = int.from_bytes(record[field.offset : field.offset + field.size], order)
    bits = field.bits or field.size * 8
    value = raw >> field.shift & (1 << bits) - 1
    return value - (value >> bits - 1 << bits) if field.signed else value


def test_arrays_of_structs_are_spelt_out() -> None:
    layout = layout_of("layout", "layout", CLANGS[0], TARGETS[0])
    names = [f.name for f in layout.fields if f.path[0].startswith("several")]
    assert names == [f"several[{i}].{m}" for i in range(3) for m in "ab"]
    first, second = one(layout, "several[0].b"), one(layout, "several[1].b")
    assert second.offset - first.offset == 8
    assert one(layout, "packed.c").offset - one(layout, "packed.a").offset == 5
    assert one(layout, "huge").size == 16
    assert (one(layout, "tail").base, one(layout, "tail").size) == ("string", 0)


def test_the_display_of_members() -> None:
    display = {
        "uid": FieldDisplay(title="USER", format="user"),
        "peer.port": FieldDisplay(format="port", order="host"),
        "when": FieldDisplay(format="timestamp", unit="us", clock="boot"),
        "peer": FieldDisplay(hidden=True),
        "high": FieldDisplay(labels={3: "three"}),
        "word": FieldDisplay(format="flags", labels={1: "ONE"}),
        "octets": FieldDisplay(format="ipv4"),
        "verdict": FieldDisplay(labels={7: "ANOTHER"}),
    }
    layout = layout_of("everything", "event", CLANGS[2], TARGETS[0], display)
    assert (one(layout, "uid").title, one(layout, "uid").format) == ("USER", "user")
    assert (one(layout, "peer.port").order, one(layout, "peer.port").format) == ("host", "port")
    assert (one(layout, "when").unit, one(layout, "when").clock) == ("us", "boot")
    assert {f.name for f in layout.fields if f.hidden} == {"peer.port", "peer.address"}
    assert (one(layout, "high").format, one(layout, "high").labels) == ("enum", {3: "three"})
    assert (one(layout, "word").format, one(layout, "word").labels) == ("flags", {1: "ONE"})
    assert one(layout, "octets").format == "ipv4"
    assert one(layout, "verdict").labels == {0: "PASS", -1: "DROP", 7: "ANOTHER"}


def test_the_display_of_array_elements_has_no_subscript() -> None:
    display = {"several.b": FieldDisplay(format="hex", title="B")}
    layout = layout_of("layout", "layout", CLANGS[0], TARGETS[0], display)
    assert [f.name for f in layout.fields if f.format == "hex" and f.title == "B"] == [
        "several[0].b",
        "several[1].b",
        "several[2].b",
    ]


@pytest.mark.parametrize(
    ("member", "display", "fault"),
    [
        ("no_such", FieldDisplay(), "no such member in 'no_such'"),
        ("peer.no_such", FieldDisplay(), "no such member in 'peer.no_such'"),
        ("peer", FieldDisplay(title="PEER"), "a struct is shown by its members in 'peer'"),
        ("peer", FieldDisplay(format="dec"), "a struct is shown by its members in 'peer'"),
        ("when", FieldDisplay(format="ipv4"), "uint of 8 bytes cannot be shown as ipv4 in 'when'"),
        ("when", FieldDisplay(format="ipv6"), "bytes of 8 bytes cannot be shown as ipv6 in 'when'"),
        ("when", FieldDisplay(format="port"), "cannot be shown as port in 'when'"),
        ("when", FieldDisplay(format="string"), "cannot be shown as string in 'when'"),
        ("comm", FieldDisplay(format="duration"), "cannot be shown as duration in 'comm'"),
        ("comm", FieldDisplay(format="user"), "cannot be shown as user in 'comm'"),
        ("ratio", FieldDisplay(format="hex"), "float of 8 bytes cannot be shown as hex in 'ratio'"),
        ("name", FieldDisplay(format="string"), "pointer of 8 bytes cannot be shown as string"),
        ("low", FieldDisplay(format="ipv6"), "cannot be shown as ipv6 in 'low'"),
        ("octets", FieldDisplay(format="bytes"), "uint of 1 bytes cannot be shown as bytes"),
        ("peer", FieldDisplay(format="bytes"), "a struct is shown by its members in 'peer'"),
        ("ratio", FieldDisplay(format="bytes"), "float of 8 bytes cannot be shown as bytes"),
        ("when", FieldDisplay(format="roman"), "uint of 8 bytes cannot be shown as roman"),
        ("flag", FieldDisplay(format="flags"), "bool of 1 bytes cannot be shown as flags"),
    ],
)
def test_what_cannot_be_shown_so(member: str, display: FieldDisplay, fault: str) -> None:
    with pytest.raises(SpecError) as error:
        layout_of("everything", "event", CLANGS[0], TARGETS[0], {member: display})
    assert fault in str(error.value)


def made(build: Callable[[BtfWriter], int], **display: FieldDisplay) -> RecordLayout:
    """Lay out the type that ``build`` writes."""
    writer = BtfWriter()
    type_id = build(writer)
    return RecordLayout.of(Btf.parse(writer.build(), "little"), type_id, display)


def member(name: str, build: Callable[[BtfWriter], int]) -> Callable[[BtfWriter], int]:
    """Return what writes a struct of one member."""
    return lambda w: w.record("s", 4096, (name, build(w), 0))


def octets(*dimensions: int, name: str = "unsigned char") -> Callable[[BtfWriter], int]:
    """Return what writes an array of bytes."""

    def build(w: BtfWriter) -> int:
        type_id = w.integer(name, 1, signed=False)
        for length in reversed(dimensions):
            type_id = w.array(type_id, length)
        return type_id

    return build


@pytest.mark.parametrize(
    ("name", "build", "format_", "expected"),
    [
        ("comm", octets(16), None, ("string", 16, (), "string")),
        ("data", octets(16), None, ("bytes", 16, (), "hex")),
        ("data", octets(16), "string", ("string", 16, (), "string")),
        ("data", octets(16), "path", ("string", 16, (), "path")),
        ("data", octets(16), "hex", ("bytes", 16, (), "hex")),
        ("data", octets(16), "ipv6", ("bytes", 16, (), "ipv6")),
        ("data", octets(2, 16), "ipv6", ("bytes", 16, (2,), "ipv6")),
        ("data", octets(3, 4), "ipv4", ("bytes", 4, (3,), "ipv4")),
        ("argv", octets(8, 32, name="char"), None, ("string", 32, (8,), "string")),
        ("argv", octets(0, 32, name="char"), None, ("string", 32, (0,), "string")),
        ("text", octets(0, name="char"), None, ("string", 0, (), "string")),
        ("blob", octets(8, name="char"), "hex", ("bytes", 8, (), "hex")),
        ("sent", lambda w: w.integer("long", 8), "bytes", ("int", 8, (), "bytes")),
        ("sent", lambda w: w.array(w.integer(), 4), "bytes", ("int", 4, (4,), "bytes")),
        ("numbers", octets(8), "dec", ("uint", 1, (8,), "dec")),
        ("one", octets(), None, ("uint", 1, (), "dec")),
        ("words", lambda w: w.array(w.integer("u32", 4), 4), "ipv6", ("bytes", 16, (), "ipv6")),
        ("words", lambda w: w.array(w.integer("u32", 4), 2), "ipv4", ("int", 4, (2,), "ipv4")),
        ("huge", lambda w: w.integer("__int128", 16), "ipv6", ("bytes", 16, (), "ipv6")),
        ("huge", lambda w: w.integer("__int128", 16), None, ("int", 16, (), "dec")),
        ("in6", lambda w: w.record("in6_addr", 16), None, ("bytes", 16, (), "ipv6")),
        ("in6", lambda w: w.array(w.record("in6_addr", 16), 2), None, ("bytes", 16, (2,), "ipv6")),
        ("in4", lambda w: w.record("in_addr", 4), None, ("bytes", 4, (), "ipv4")),
        ("raw", lambda w: w.record("other", 12), "hex", ("bytes", 12, (), "hex")),
        ("ppid", lambda w: w.integer("unsigned int", 4), None, ("int", 4, (), "pid")),
        ("ppid", lambda w: w.integer("unsigned int", 4), "dec", ("int", 4, (), "dec")),
        (
            "dport",
            lambda w: w.add(8, "__be16", w.integer("u16", 2)),
            None,
            ("int", 2, (), "port"),
        ),
        (
            "proto",
            lambda w: w.add(8, "__be16", w.integer("u16", 2)),
            None,
            ("int", 2, (), "dec"),
        ),
        (
            "qualified",
            lambda w: w.add(10, "", w.add(18, "t", w.add(8, "pid_t", w.integer()))),
            None,
            ("int", 4, (), "pid"),
        ),
    ],
)
def test_shapes(
    name: str,
    build: Callable[[BtfWriter], int],
    format_: str | None,
    expected: tuple[str, int, tuple[int, ...], str],
) -> None:
    display = {name: FieldDisplay(format=format_)} if format_ else {}
    (found,) = made(member(name, build), **display).fields
    assert (found.base, found.size, found.dimensions, found.format) == expected


def test_a_type_that_is_no_struct_is_one_field() -> None:
    writer = BtfWriter()
    var = writer.var("counter", writer.integer("__u64", 8, signed=False))
    btf = Btf.parse(writer.build(), "little")
    display = {"count": FieldDisplay(format="hex")}
    layout = RecordLayout.of(btf, var, display, name="count")
    assert btf.kind(var) is Var
    assert (layout.type, layout.size, layout.flexible) == ("__u64", 8, False)
    (field,) = layout.fields
    assert (field.path, field.base, field.format, field.offset) == (("count",), "uint", "hex", 0)


def test_an_address_as_a_key_is_one_field() -> None:
    (field,) = made(lambda w: w.record("in6_addr", 16, ("s6", w.array(w.integer(), 4), 0))).fields
    assert (field.path, field.format, field.size) == (("value",), "ipv6", 16)
    inside = made(lambda w: w.record("other", 16, ("a", w.array(w.integer(), 4), 0)))
    assert [f.path for f in inside.fields] == [("a",)]


@pytest.mark.parametrize("name", ["pad", "__pad", "_pad1", "padding", "__padding2_"])
def test_padding_is_hidden(name: str) -> None:
    (found,) = made(member(name, octets(3))).fields
    assert found.hidden


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        (lambda w: w.record("s", 0), "has nothing to show in 'struct s'"),
        (member("f", lambda w: w.add(16, "long double", 16)), "float cannot be shown in 'f'"),
        (member("f", lambda w: w.add(13, "", 0)), "has no size"),
        (member("f", lambda w: w.add(7, "later")), "has no size"),
        (member("f", lambda w: w.array(w.record("t", 4), 0)), "flexible array of structs"),
        (member("f", octets(3, 0)), "array of nothing cannot be shown in 'f'"),
        (member("f", lambda w: w.array(w.array(w.integer(), 0), 3)), "array of nothing"),
        (
            lambda w: w.record("s", 8, ("a", w.array(w.integer(), 0), 0), ("b", 1, 0)),
            "flexible array that is not the last in 'a'",
        ),
        (lambda w: w.record("s", 8, ("a", w.integer(), 3)), "does not start at a byte in 'a'"),
    ],
)
def test_types_that_cannot_be_shown(build: Callable[[BtfWriter], int], fault: str) -> None:
    with pytest.raises(SpecError) as error:
        made(build)
    assert fault in str(error.value)


def test_layouts_are_bounded() -> None:
    """Few bytes of BTF can stand for any number of fields, or of structs without any."""

    def nested(w: BtfWriter, leaf: int) -> int:
        for _ in range(20):
            leaf = w.record("n", 0, *[(f"m{i}", leaf, 0) for i in range(50)])
        return leaf

    for build in (
        lambda w: nested(w, w.record("empty", 0)),
        lambda w: w.record("s", 0, ("a", w.array(w.record("empty", 0), 0xFFFFFFFF), 0)),
        lambda w: w.record("s", 8, ("a", 1, 0)),
    ):
        with pytest.raises(LimitExceeded):
            made(build)


def test_every_format_has_a_rule() -> None:
    """A format that is new in the config must be thought of here."""
    for format_ in FORMATS:
        for build in (octets(16), octets(4), octets(), lambda w: w.integer("u32", 4)):
            try:
                made(member("m", build), m=FieldDisplay(format=format_))
            except SpecError:
                continue
            break
        else:
            pytest.fail(f"nothing can be shown as {format_}")


def test_reads_a_whole_record() -> None:
    """Offsets and shapes together: numbers packed by `struct` come back."""

    def build(w: BtfWriter) -> int:
        u16, u64 = w.integer("u16", 2, signed=False), w.integer("u64", 8, signed=False)
        inner = w.record("inner", 4, ("x", u16, 0), ("y", u16, 16))
        pair = w.array(inner, 2)
        return w.record("s", 16, ("n", u64, 0), ("p", pair, 64))

    record = struct.pack("<QHHHH", 1 << 63, 1, 2, 3, 4)
    layout = made(build)
    assert [integer(f, record, "little") for f in layout.fields] == [1 << 63, 1, 2, 3, 4]
