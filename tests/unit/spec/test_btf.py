"""BTF: every kind, agreement with bpftool, and refusal of what is malformed."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from bpfpack.spec import btf as b
from bpfpack.spec.btf import Btf
from bpfpack.spec.btfext import LineInfo
from bpfpack.spec.elf import ByteOrder, Elf
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import Limits
from tests.kit.elfwriter import BtfWriter
from tests.kit.objects import CLANGS, TARGETS, compiled, linked, run, stripped, tool

ORDERS: tuple[ByteOrder, ...] = ("little", "big")


def btf_of(path: Path) -> Btf:
    elf = Elf.parse(path.read_bytes())
    section = elf.section(".BTF")
    assert section is not None
    return Btf.parse(section.data, elf.byte_order)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("clang", CLANGS)
@pytest.mark.parametrize("name", ["everything", "layout"])
def test_agrees_with_bpftool(name: str, clang: str, target: str) -> None:
    check_against_bpftool(compiled(name, clang, target))


@pytest.mark.parametrize("clang", CLANGS)
def test_agrees_with_bpftool_on_stripped_and_linked_objects(clang: str) -> None:
    check_against_bpftool(stripped(compiled("everything", clang)))
    parts = compiled("everything", clang), compiled("second", clang)
    check_against_bpftool(linked(*parts))


def check_against_bpftool(path: Path) -> None:
    told = json.loads(run(tool("bpftool"), "btf", "dump", "file", path, "-j"))["types"]
    found = btf_of(path)
    found.validate()
    assert len(found) == len(told) + 1
    for entry in told:
        kind = entry.pop("kind").replace("_", "").lower()
        seen = found[entry["id"]]
        assert type(seen).__name__.lower() == kind
        if kind == "enum" and entry["encoding"] == "UNSIGNED":
            # bpftool 7.1 extends the sign of what it calls unsigned.
            for value in entry["values"]:
                value["val"] &= 0xFFFFFFFF
        assert as_bpftool(found, seen, entry) == entry


def as_bpftool(found: Btf, seen: b.BtfType, told: dict[str, Any]) -> dict[str, Any]:
    """Say of a type what bpftool says, taking from ``told`` only what is not in the BTF."""
    said: dict[str, Any] = {"id": told["id"], "name": getattr(seen, "name", "") or "(anon)"}
    match seen:
        case b.Int():
            encoding = "SIGNED" if seen.signed else "CHAR" if seen.char else None
            encoding = "BOOL" if seen.bool else encoding or "(none)"
            said |= {"size": seen.size, "bits_offset": seen.bit_offset, "nr_bits": seen.bits}
            said |= {"encoding": encoding}
        case b.Array(element, index, length):
            said |= {"type_id": element, "index_type_id": index, "nr_elems": length}
        case b.Struct() | b.Union():
            said |= {"size": seen.size, "vlen": len(seen.members), "members": members(seen)}
        case b.Enum() | b.Enum64():
            values = [{"name": v.name, "val": v.value} for v in seen.values]
            encoding = "SIGNED" if seen.signed else "UNSIGNED"
            said |= {"encoding": encoding, "size": seen.size, "vlen": len(values), "values": values}
        case b.Fwd():
            said |= {"fwd_kind": "union" if seen.union else "struct"}
        case b.Func():
            linkage = ("static", "global", "extern")[seen.linkage]
            said |= {"type_id": seen.type_id, "linkage": linkage}
        case b.FuncProto():
            params = [{"name": p.name or "(anon)", "type_id": p.type_id} for p in seen.params]
            said |= {"ret_type_id": seen.return_id, "vlen": len(params), "params": params}
        case b.Var():
            linkage = ("static", "global", "extern")[seen.linkage]
            said |= {"type_id": seen.type_id, "linkage": linkage}
        case b.DataSec():
            # libbpf has put in the sizes and offsets of a linker; `layout` tests those.
            said |= {"size": told["size"], "vlen": len(seen.variables)}
            said |= {"vars": told["vars"]}
            assert [v["type_id"] for v in told["vars"]] == [v.type_id for v in seen.variables]
        case b.Float():
            said |= {"size": seen.size}
        case b.DeclTag():
            said |= {"type_id": seen.type_id, "component_idx": seen.component}
        case _:
            said |= {"type_id": getattr(seen, "type_id", None)}
    return said


def members(seen: b.Struct | b.Union) -> list[dict[str, Any]]:
    said = []
    for m in seen.members:
        member = {"name": m.name or "(anon)", "type_id": m.type_id, "bits_offset": m.bit_offset}
        said.append(member | ({"bitfield_size": m.bit_size} if m.bit_size else {}))
    return said


def every_kind(order: ByteOrder) -> bytes:
    w = BtfWriter(order)
    integer = w.integer()  # 1
    w.ptr(integer)
    w.array(integer, 7)
    w.record("s", 8, ("a", integer, 0), ("", integer, 32))
    w.record("u", 4, ("a", integer, 0), kind=5)
    w.add(6, "e", 4, w.name("X"), -2, vlen=1, flag=True, layout="Ii")
    w.add(7, "forward", flag=True)
    w.add(8, "alias", integer)
    w.add(9, "", integer)
    w.add(10, "", integer)
    w.add(11, "", 2)
    w.add(12, "f", 13, vlen=1)
    w.add(13, "", integer, w.name("p"), integer, 0, 0, vlen=2)
    w.var("v", integer)
    w.datasec(".data", 4, (14, 0, 4))
    w.add(16, "double", 8)
    w.add(17, "tag", 4, -1, layout="i")
    w.add(18, "user", integer)
    w.add(19, "wide", 8, w.name("Y"), 5, 0xFFFFFFFF, vlen=1, flag=True)
    w.record("bits", 4, ("b", integer, 3 << 24 | 5), flag=True)
    return w.build()


@pytest.mark.parametrize("order", ORDERS)
def test_reads_every_kind(order: ByteOrder) -> None:
    found = Btf.parse(every_kind(order), order)
    expected: list[b.BtfType] = [
        b.Void(),
        b.Int("int", 4, True, False, False, 0, 32),
        b.Ptr(1),
        b.Array(1, 1, 7),
        b.Struct("s", 8, (b.Member("a", 1, 0, 0), b.Member("", 1, 32, 0))),
        b.Union("u", 4, (b.Member("a", 1, 0, 0),)),
        b.Enum("e", 4, True, (b.Enumerator("X", -2),)),
        b.Fwd("forward", True),
        b.Typedef("alias", 1),
        b.Volatile(1),
        b.Const(1),
        b.Restrict(2),
        b.Func("f", 13, 1),
        b.FuncProto(1, (b.Param("p", 1), b.Param("", 0))),
        b.Var("v", 1, 1),
        b.DataSec(".data", 4, (b.SectionVar(14, 0, 4),)),
        b.Float("double", 8),
        b.DeclTag("tag", 4, -1),
        b.TypeTag("user", 1),
        b.Enum64("wide", 8, True, (b.Enumerator("Y", 5 - (1 << 32)),)),
        b.Struct("bits", 4, (b.Member("b", 1, 5, 3),)),
    ]
    seen = [found[i] for i in range(len(found))]
    assert seen == expected
    assert [type(t) for t in seen] == [type(t) for t in expected]
    assert [found.kind(i) for i in range(len(found))] == [type(t) for t in expected]


def test_finds_by_kind_and_whole_name() -> None:
    found = Btf.parse(every_kind("little"), "little")
    assert found.find(b.Struct, "s") == 4
    assert found.find(b.Union, "s") is None
    assert found.find(b.Struct, "bit") is None
    assert list(found.ids(b.Struct)) == [4, 20]


@pytest.mark.parametrize("clang", CLANGS)
def test_tags_of_types_members_variables_and_functions(clang: str) -> None:
    found = btf_of(stripped(compiled("everything", clang)))
    event = found.find(b.Struct, "event")
    assert event is not None
    assert found.tags_of(event) == ()
    assert found.tags_of(event, 2) == ("bpfpack:title=USER",)
    assert set(found.tags_of(event, 3)) == {"bpfpack:one", "bpfpack:two"}
    for kind, name, tag in (
        (b.Var, "events", "bpfpack:output=event"),
        (b.Var, "target_pid", "bpfpack:option=pid"),
        (b.Func, "on_wakeup", "bpfpack:optional"),
    ):
        type_id = found.find(kind, name)
        assert type_id is not None
        assert found.tags_of(type_id) == (tag,)


@pytest.mark.parametrize("clang", CLANGS)
def test_spells_types_as_c_does(clang: str) -> None:
    found = btf_of(compiled("everything", clang))
    event = found[found.find(b.Struct, "event") or 0]
    assert isinstance(event, b.Struct)
    spelled = {m.name: found.spelling(m.type_id) for m in event.members if m.name}
    assert spelled == {
        "when": "__u64",
        "pid": "pid_t",
        "uid": "uid_t",
        "comm": "char[16]",
        "peer": "struct inner",
        "verdict": "enum verdict",
        "wide": "enum wide",
        "matrix": "short[2][3]",
        "name": "const volatile char *",
        "ratio": "double",
        "callback": "int (*)(const struct inner *, ...)",
        "rest": "__u8[]",
    }


def test_spells_what_is_written_around_the_name() -> None:
    w = BtfWriter()
    char = w.integer("char", 1)
    pointer = w.ptr(char)
    constant = w.add(10, "", pointer)
    array = w.array(constant, 3)
    to_array = w.ptr(array)
    nothing = w.add(13, "", 0)
    function = w.ptr(nothing)
    anonymous = w.record("", 0)
    forward = w.add(7, "later")
    void_pointer = w.ptr(0)
    tagged = w.ptr(w.add(18, "user", char))
    restricted = w.add(11, "", pointer)
    const_array = w.add(10, "", w.array(char, 2))
    found = Btf.parse(w.build(), "little")
    assert [
        found.spelling(i)
        for i in (constant, array, to_array, function, anonymous, forward, void_pointer, tagged)
    ] == [
        "char *const",
        "char *const[3]",
        "char *const (*)[3]",
        "void (*)(void)",
        "struct {...}",
        "struct later",
        "void *",
        "char *",
    ]
    assert found.spelling(restricted) == "char *restrict"
    assert found.spelling(const_array) == "const char[2]"


def test_spelling_is_bounded() -> None:
    w = BtfWriter()
    w.ptr(1)
    w.add(13, "", 2, *([w.name("p"), 2] * 100), vlen=100)
    found = Btf.parse(w.build(), "little")
    for type_id in (1, 2):
        with pytest.raises(LimitExceeded, match="too deep"):
            found.spelling(type_id)


def header(**changes: int) -> bytes:
    names = ("magic", "version", "flags", "length", "types", "size", "strings", "strings_size")
    values = dict(zip(names, (0xEB9F, 1, 0, 24, 0, 0, 0, 1), strict=True)) | changes
    return struct.pack("<HBBIIIII", *values.values()) + b"\0"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "shorter than its header"),
        (header(magic=0x9FEB), "not BTF in little-endian order"),
        (header(version=2), "unknown version 2"),
        (header(length=20), "parts outside it"),
        (header(length=0xFFFFFFF0), "parts outside it"),
        (header(strings_size=2), "parts outside it"),
        (header(types=0xFFFFFFFC, size=8), "parts outside it"),
        (header(size=1), "types and strings overlap"),
        (header(strings_size=0), "do not begin and end with NUL"),
        (header()[:-1] + b"x", "do not begin and end with NUL"),
    ],
)
def test_refuses_a_bad_header(data: bytes, fault: str) -> None:
    with pytest.raises(SpecError, match=fault):
        Btf.parse(data, "little")


def test_takes_a_longer_header_than_it_knows() -> None:
    plain = every_kind("little")
    longer = plain[:4] + struct.pack("<I", 32) + plain[8:24] + bytes(8) + plain[24:]
    assert Btf.parse(longer, "little").find(b.Struct, "s") == 4


@pytest.mark.parametrize(
    ("kind", "word", "extra", "vlen", "fault"),
    [
        (0, 0, (), 0, "unknown kind 0"),
        (20, 0, (), 0, "unknown kind 20"),
        (4, 4, (0, 0), 1, "cut short"),
        (4, 4, (), 65535, "cut short"),
        (1, 3, (24,), 0, "integer of 24 bits in 3 bytes"),
        (1, 4, (33,), 0, "integer of 33 bits in 4 bytes"),
        (1, 4, (0,), 0, "integer of 0 bits"),
        (2, 9, (), 0, "refers to type 9 of 2"),
        (3, 0, (9, 0, 1), 0, "refers to type 9 of 2"),
        (3, 0, (0, 9, 1), 0, "refers to type 9 of 2"),
        (4, 4, (0, 9, 0), 1, "refers to type 9 of 2"),
        (4, 4, (0, 0, 33), 1, "member 0 outside it"),
        (4, 4, (999, 0, 0), 1, "name outside the strings"),
        (6, 3, (), 0, "enum of 3 bytes"),
        (12, 0, (), 0, "function without prototype"),
        (13, 9, (), 0, "refers to type 9 of 2"),
        (13, 0, (0, 9), 1, "refers to type 9 of 2"),
        (14, 9, (0,), 0, "refers to type 9 of 2"),
        (15, 0, (9, 0, 0), 1, "refers to type 9 of 2"),
        (16, 3, (), 0, "float of 3 bytes"),
        (17, 9, (0,), 0, "refers to type 9 of 2"),
        (18, 9, (), 0, "refers to type 9 of 2"),
        (19, 3, (), 0, "enum of 3 bytes"),
    ],
)
def test_refuses_a_bad_type(
    kind: int, word: int, extra: tuple[int, ...], vlen: int, fault: str
) -> None:
    w = BtfWriter()
    w.add(kind, "", word, *extra, vlen=vlen)
    with pytest.raises(SpecError, match=fault) as error:
        Btf.parse(w.build(), "little").validate()
    assert error.value.path[0] == ".BTF"


def test_refuses_a_type_that_is_not_there() -> None:
    found = Btf.parse(every_kind("little"), "little")
    for type_id in (21, -1):
        with pytest.raises(SpecError, match="no such type"):
            _ = found[type_id]


def test_refuses_names_that_are_too_long_or_no_text() -> None:
    w = BtfWriter()
    w.add(8, "n" * 5000, 0)
    with pytest.raises(LimitExceeded, match="name longer"):
        _ = Btf.parse(w.build(), "little")[1]
    data = every_kind("little").replace(b"alias", b"\xff\xff\xff\xff\xff")
    with pytest.raises(SpecError, match="not UTF-8"):
        _ = Btf.parse(data, "little")[8]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("clang", CLANGS)
def test_knows_the_line_of_a_program(clang: str, target: str) -> None:
    path = compiled("everything", clang, target)
    elf, found = Elf.parse(path.read_bytes()), btf_of(path)
    section = elf.section(".BTF.ext")
    assert section is not None
    lines = LineInfo.parse(section.data, found, elf.byte_order)
    line = lines.line_of("tp_btf/sched_wakeup", 0)
    assert line is not None
    source = Path(line.file).read_text().splitlines()
    assert source[line.number - 1].strip() == line.text
    # The first line with code: `return 0;`, two below the name.
    assert source[line.number - 3] == "int on_wakeup(void *context)"
    assert lines.line_of("tp_btf/other", 0) is None


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "shorter"),
        (bytes(24), "not BTF"),
        (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 4), "outside it"),
        (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 2) + b"ab", "cut short"),
        (struct.pack("<HBBIIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 4, 12), "of 12 bytes"),
        (struct.pack("<HBBIIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 8, 16) + bytes(4), "cut short"),
        (
            struct.pack("<HBBIIIIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 12, 16, 0, 9),
            "outside it",
        ),
    ],
)
def test_refuses_bad_line_information(data: bytes, fault: str) -> None:
    found = Btf.parse(every_kind("little"), "little")
    with pytest.raises(SpecError, match=fault):
        LineInfo.parse(data, found, "little")


def test_all_names_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of many members may begin anywhere in one long name."""
    w = BtfWriter()
    integer = w.integer()
    long = w.name("n" * 4000)
    words = [w for i in range(4000) for w in (long + i, integer, 0)]
    for _ in range(10):
        w.add(4, "s", 4, *words, vlen=4000)
    monkeypatch.setattr(b, "LIMITS", Limits(btf_names=20_000_000))
    with pytest.raises(LimitExceeded, match="names take more"):
        Btf.parse(w.build(), "little").validate()


def test_the_number_of_types_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(b, "LIMITS", Limits(btf_types=20))
    with pytest.raises(LimitExceeded, match="more than 20 types"):
        Btf.parse(every_kind("little"), "little")
