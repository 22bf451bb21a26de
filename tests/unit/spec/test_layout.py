"""C layout: the compiler's own numbers against ours."""

import struct

import pytest

from bpfpack.spec.btf import Btf, Struct
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.layout import array_of, members, resolve, size_of
from bpfpack.spec.objectspec import ObjectSpec, Variable
from tests.kit.elfwriter import BtfWriter
from tests.kit.objects import CLANGS, TARGETS, compiled


def spec_of(clang: str, target: str) -> tuple[ObjectSpec, Btf]:
    spec = ObjectSpec.from_bytes(compiled("layout", clang, target).read_bytes())
    return spec, spec.types("the test")


def variable(spec: ObjectSpec, name: str) -> Variable:
    return next(v for v in spec.variables if v.name == name)


def numbers(spec: ObjectSpec, name: str) -> list[int]:
    data = variable(spec, name).initial
    prefix = "<" if spec.byte_order == "little" else ">"
    return [n for (n,) in struct.iter_unpack(f"{prefix}I", data)]


def named(btf: Btf, name: str) -> int:
    found = btf.find(Struct, name)
    assert found is not None
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("clang", CLANGS)
def test_offsets_and_sizes_are_the_compilers(clang: str, target: str) -> None:
    spec, btf = spec_of(clang, target)
    found = members(btf, named(btf, "layout"))
    ours = [n for m in found for n in (m.bit_offset // 8, size_of(btf, m.type_id))]
    tail = ours[-2:]
    assert ours[:-2] == numbers(spec, "expected")
    assert tail[1] == 0
    assert [m.name for m in found][:5] == ["first", "inside", "one", "two", "nested"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("clang", CLANGS)
def test_sizes_are_the_compilers(clang: str, target: str) -> None:
    spec, btf = spec_of(clang, target)
    ours = [size_of(btf, named(btf, name)) for name in ("small", "tight", "layout", "bits")]
    huge = next(m for m in members(btf, named(btf, "layout")) if m.name == "huge")
    assert [*ours, size_of(btf, huge.type_id)] == numbers(spec, "sizes")


def test_anonymous_members_keep_where_their_tags_are() -> None:
    _, btf = spec_of(CLANGS[0], TARGETS[0])
    one = next(m for m in members(btf, named(btf, "layout")) if m.name == "one")
    owner = btf[one.owner]
    assert not isinstance(owner, Struct)
    assert one.component == 0


def test_arrays_of_arrays() -> None:
    _, btf = spec_of(CLANGS[0], TARGETS[0])
    found = {m.name: array_of(btf, m.type_id) for m in members(btf, named(btf, "layout"))}
    assert found["grid"][1] == (2, 5)
    assert found["tail"][1] == (0,)
    assert found["big"][1] == ()
    assert btf.spelling(found["grid"][0]) == "__u16"


def test_bit_fields_of_old_compilers() -> None:
    w = BtfWriter()
    narrow = w.add(1, "unsigned int", 4, 3 << 16 | 5)
    w.record("s", 4, ("f", narrow, 8))
    btf = Btf.parse(w.build(), "little")
    (member,) = members(btf, 2)
    assert (member.bit_offset, member.bit_size) == (11, 5)


def test_two_members_of_one_name() -> None:
    w = BtfWriter()
    integer = w.integer()
    inner = w.record("", 4, ("a", integer, 0))
    outer = w.record("s", 8, ("a", integer, 0), ("", inner, 32))
    with pytest.raises(SpecError, match="two members") as error:
        members(Btf.parse(w.build(), "little"), outer)
    assert error.value.path == ("struct", "a")


@pytest.mark.parametrize(("size", "offset"), [(4, 8), (4, 32), (3, 0), (0, 0)])
def test_a_member_that_ends_outside_its_struct(size: int, offset: int) -> None:
    w = BtfWriter()
    integer = w.integer()
    bad = w.record("bad", size, ("a", integer, offset))
    holder = w.record("holder", 64, ("", w.record("", size, ("a", integer, offset)), 0))
    tight = w.record("tight", 6, ("a", integer, 16), ("empty", w.array(integer, 0), 48))
    btf = Btf.parse(w.build(), "little")
    for type_id in (bad, holder):
        with pytest.raises(SpecError, match="does not lie within it") as error:
            members(btf, type_id)
        assert error.value.path[-1] == "a"
    assert len(members(btf, tight)) == 2


def test_cycles_end() -> None:
    w = BtfWriter()
    w.add(8, "a", 2)
    w.add(9, "", 1)
    w.add(3, "", 0, 3, 3, 1)
    w.record("s", 8, ("", 4, 0))
    btf = Btf.parse(w.build(), "little")
    for broken in (
        lambda: resolve(btf, 1),
        lambda: size_of(btf, 1),
        lambda: size_of(btf, 3),
        lambda: array_of(btf, 3),
        lambda: members(btf, 4),
    ):
        with pytest.raises(LimitExceeded):
            broken()


def test_a_struct_of_structs_of_structs_does_not_explode() -> None:
    w = BtfWriter()
    inner = w.record("", 0)
    for _ in range(30):
        inner = w.record("", 0, *[("", inner, 0)] * 50)
    btf = Btf.parse(w.build(), "little")
    with pytest.raises(LimitExceeded, match="nested too deep"):
        members(btf, inner)


def test_sizes_are_bounded() -> None:
    w = BtfWriter()
    array = w.integer()
    for _ in range(4):
        array = w.array(array, 0xFFFFFFFF)
    with pytest.raises(LimitExceeded, match="larger than"):
        size_of(Btf.parse(w.build(), "little"), array)


@pytest.mark.parametrize("ask", [size_of, members])
def test_what_has_no_layout(ask: object) -> None:
    w = BtfWriter()
    w.add(7, "later")
    btf = Btf.parse(w.build(), "little")
    for type_id in (0, 1):
        with pytest.raises(SpecError, match="has no"):
            ask(btf, type_id)  # type: ignore[operator]  # one of two functions
