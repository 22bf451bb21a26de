"""ObjectSpec: the same object from every compiler, and refusal of what is ambiguous."""

import ctypes
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfpack.spec import code, objectspec
from bpfpack.spec.btf import Struct
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS, Limits
from bpfpack.spec.mapspec import MapSpec
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.value import replace
from tests.kit.elfwriter import (
    ALLOC_EXEC,
    EXIT,
    FUNC,
    LOCAL,
    NOBITS,
    NOTYPE,
    OBJECT,
    BtfWriter,
    ElfWriter,
    Section,
    Symbol,
    instruction,
)
from tests.kit.objects import CLANGS, TARGETS, compiled, linked, stripped

OPEN, SWITCH, WAKEUP, WAKEUP_TOO = "trace_open", "on_switch", "on_wakeup", "on_wakeup_too"


def read(path: Path) -> ObjectSpec:
    return ObjectSpec.from_bytes(path.read_bytes())


def made(clang: str, form: str) -> Path:
    """Return the object as one of FORMS."""
    if form in TARGETS:
        return compiled("everything", clang, form)
    path = compiled("everything", clang)
    path = path if form == "linked" else stripped(path)
    return path if form == "stripped" else linked(path)


FORMS = (*TARGETS, "stripped", "linked", "stripped-linked")


@pytest.fixture(params=[(c, f) for c in CLANGS for f in FORMS], ids="-".join)
def spec(request: pytest.FixtureRequest) -> ObjectSpec:
    """The object in every way in which it can come to us."""
    return read(made(*request.param))


def test_head(spec: ObjectSpec) -> None:
    assert spec.license == "Dual BSD/GPL"
    assert spec.kernel_version == 0x60C00
    assert spec.btf is not None


def test_programs(spec: ObjectSpec) -> None:
    assert [(p.name, p.section, p.kind.autoload) for p in spec.programs] == [
        (OPEN, "tracepoint/syscalls/sys_enter_openat", True),
        (SWITCH, "?raw_tp/sched_switch", False),
        (WAKEUP, "tp_btf/sched_wakeup", True),
        (WAKEUP_TOO, "tp_btf/sched_wakeup", True),
    ]
    by_name = {p.name: p for p in spec.programs}
    assert by_name[WAKEUP].instructions == 2
    assert by_name[WAKEUP].size == 16
    assert by_name[WAKEUP_TOO].offset == 16


def test_helpers_of_functions_and_callbacks_count(spec: ObjectSpec) -> None:
    by_name = {p.name: p for p in spec.programs}
    # map_lookup_elem, get_current_pid_tgid, for_each_map_elem, tail_call; of the callback
    # get_prandom_u32; of a function's function get_smp_processor_id.
    assert by_name[OPEN].helpers == {1, 14, 164, 12, 7, 8}
    assert by_name[SWITCH].helpers == {131, 133}
    assert by_name[SWITCH].kfuncs == {"kernel_function"}
    assert not by_name[WAKEUP].helpers
    assert not by_name[WAKEUP].kfuncs


def test_functions(spec: ObjectSpec) -> None:
    assert {(f.name, f.exported) for f in spec.functions} == {
        ("keep_event", False),
        ("helper_user", False),
        ("shared", True),
        ("each", False),
    }


def test_maps(spec: ObjectSpec) -> None:
    btf = spec.types("the test")
    maps = {m.name: m for m in spec.maps}
    assert {n: (m.type_name, m.key_size, m.value_size, m.max_entries) for n, m in maps.items()} == {
        "events": ("ringbuf", 0, 0, 256 * 1024),
        "counts": ("hash", 8, 8, 1024),
        "inner_one": ("array", 4, 4, 1),
        "outer": ("array_of_maps", 4, 4, 2),
        "jumps": ("prog_array", 4, 4, 2),
    }
    counts, inner = maps["counts"], maps["outer"].inner
    assert (counts.type, counts.flags, counts.pinned, counts.inner) == (1, 1, True, None)
    assert counts.key_type_id is not None and counts.value_type_id is not None
    assert btf.spelling(counts.key_type_id) == "struct inner"
    assert btf.spelling(counts.value_type_id) == "__u64"
    assert inner is not None
    assert (inner.name, inner.type_name, inner.value_size) == ("outer.inner", "array", 4)
    assert btf.tags_of(maps["events"].var_id) == ("bpfpack:output=event",)


def test_variables(spec: ObjectSpec) -> None:
    btf = spec.types("the test")
    p = "<" if spec.byte_order == "little" else ">"
    found = {v.name: v for v in spec.variables}
    assert {n: (v.section, btf.spelling(v.type_id), v.const) for n, v in found.items()} == {
        "target_pid": (".rodata", "const volatile pid_t", True),
        "only_failed": (".rodata", "const volatile bool", True),
        "prefix": (".rodata", "const volatile char[8]", True),
        "default_peer": (".rodata", "const volatile struct inner", True),
        "seen": (".data", "__u64", False),
        "hidden": (".data.hidden", "__u32", False),
        "missed": (".bss", "__u32", False),
        "local_state": (".bss", "volatile int", False),
    }
    assert {n: v.initial for n, v in found.items()} == {
        "target_pid": struct.pack(f"{p}i", 42),
        "only_failed": b"\0",
        "prefix": b"abc\0\0\0\0\0",
        "default_peer": struct.pack(f"{p}HxxI", 443, 0x7F000001),
        "seen": struct.pack(f"{p}Q", 5),
        "hidden": struct.pack(f"{p}I", 9),
        "missed": bytes(4),
        "local_state": bytes(4),
    }
    for v in spec.variables:
        (section,) = [s for s in spec.data_sections if s.name == v.section]
        assert section.const == v.const
        if section.data:
            assert section.data[v.offset : v.offset + v.size] == v.initial


def test_externs(spec: ObjectSpec) -> None:
    assert {(e.name, e.section, e.weak, e.function) for e in spec.externs} == {
        ("CONFIG_HZ", ".kconfig", False, False),
        ("kernel_function", ".ksyms", True, True),
        ("kernel_variable", ".ksyms", True, False),
    }


def test_is_deterministic() -> None:
    path = compiled("everything")
    assert read(path) == read(path)
    assert read(path) != replace(read(path), license="MIT")


@pytest.mark.parametrize("clang", CLANGS)
def test_linking_keeps_two_variables_of_one_name_apart(clang: str) -> None:
    found = read(linked(compiled("everything", clang), compiled("second", clang)))
    twins = [v for v in found.variables if v.name == "local_state"]
    assert len(twins) == 2
    assert len({v.offset for v in twins}) == 2
    exit_program = next(p for p in found.programs if p.name == "on_exit")
    assert exit_program.helpers == {8}
    assert "threshold" in {v.name for v in found.variables}


def test_lines() -> None:
    path = compiled("everything")
    found = read(path)
    program = found.programs[0]
    line = found.line_of(program.section, program.offset)
    assert line is not None
    assert line.file.endswith("everything.bpf.c")
    assert found.line_of("xdp", 0) is None
    assert replace(found, btf_ext=b"").line_of(program.section, 0) is None


def test_an_object_with_neither_btf_nor_maps_is_one() -> None:
    writer = ElfWriter()
    writer.function("pass", "xdp", EXIT)
    writer.section("license", b"GPL\0")
    found = ObjectSpec.from_bytes(writer.build())
    assert (found.license, found.btf, found.maps, found.variables) == ("GPL", None, (), ())
    with pytest.raises(SpecError, match="no BTF, which an output needs") as error:
        found.types("an output")
    assert error.value.hint == "compile with `clang -g`"


def test_maps_need_btf() -> None:
    path = compiled("everything", CLANGS[0], TARGETS[0], debug=False)
    with pytest.raises(SpecError, match="no BTF, which a map needs"):
        read(path)


def test_maps_of_old_objects_are_named() -> None:
    writer = ElfWriter()
    writer.section("maps", bytes(20))
    with pytest.raises(SpecError, match="before libbpf 1") as error:
        ObjectSpec.from_bytes(writer.build())
    assert error.value.hint is not None


def fault_of(writer: ElfWriter) -> str:
    with pytest.raises(SpecError) as error:
        ObjectSpec.from_bytes(writer.build())
    return str(error.value)


@pytest.mark.parametrize("name", [".BTF", ".maps", "license", ".rodata", ".data.x", ".text"])
def test_two_sections_of_one_name(name: str) -> None:
    writer = ElfWriter()
    writer.section(name, b"1234")
    writer.section(name, b"5678")
    assert fault_of(writer) == f"second section of this name in '{name}'"


def test_license_and_version() -> None:
    writer = ElfWriter()
    writer.section("license", b"\xff\0")
    assert fault_of(writer) == "not UTF-8 in 'license'"
    writer = ElfWriter()
    writer.section("version", b"123")
    assert fault_of(writer) == "not 4 bytes in 'version'"


@pytest.mark.parametrize(
    ("symbols", "fault"),
    [
        ([Symbol("f", 1, 4, 8)], "not whole instructions in 'xdp.f'"),
        ([Symbol("f", 1, 0, 12)], "not whole instructions in 'xdp.f'"),
        ([Symbol("f", 1, 0, 0)], "not whole instructions in 'xdp.f'"),
        ([Symbol("f", 1, 8, 16)], "reaches past its section in 'xdp.f'"),
        ([Symbol("f", 1, 1 << 62, 8)], "reaches past its section in 'xdp.f'"),
        ([Symbol("f", 1, 0, 16), Symbol("g", 1, 8, 8)], "overlaps another function in 'xdp.g'"),
        ([Symbol("f", 1, 0, 8, FUNC, LOCAL)], "a program must not be static in 'xdp.f'"),
        (
            [Symbol("f", 1, 0, 8), Symbol("f", 1, 8, 8)],
            "two programs of one name, or none in 'xdp.f'",
        ),
        ([Symbol("", 1, 0, 8)], "two programs of one name, or none in 'xdp.'"),
    ],
)
def test_functions_that_make_no_sense(symbols: list[Symbol], fault: str) -> None:
    writer = ElfWriter(symbols=symbols)
    writer.section("xdp", EXIT * 2, flags=ALLOC_EXEC)
    assert fault_of(writer) == fault


def test_unknown_section() -> None:
    writer = ElfWriter()
    writer.function("f", "kprob/x", EXIT)
    assert fault_of(writer) == "unknown program section, nearest 'kprobe' in 'kprob/x'"


def with_call(source: int, immediate: int, *, section: str = "xdp") -> ElfWriter:
    writer = ElfWriter()
    call = instruction(0x85, source=source, immediate=immediate, order="little")
    writer.function("f", section, call + EXIT)
    return writer


def test_calls_that_cannot_be_followed() -> None:
    """A number of a kernel function, or a place: policy could not judge what is called."""
    assert "cannot be followed" in fault_of(with_call(2, 4711))
    assert "cannot be followed" in fault_of(with_call(1, 0))
    assert "cannot be followed" in fault_of(with_call(7, 0))


@pytest.mark.parametrize("immediate", [5, -100, 0x7FFFFFFF])
def test_calls_to_nowhere(immediate: int) -> None:
    writer = with_call(1, immediate)
    text = writer.function("g", ".text", EXIT, bind=LOCAL)
    writer.symbols.append(Symbol("", text, type=3, bind=LOCAL))
    writer.relocations[1] = [(0, 3)]
    assert "call to where no function is" in fault_of(writer)


def test_calls_to_what_another_file_defines() -> None:
    with pytest.raises(SpecError, match="calls undefined 'shared' in 'on_exit'") as error:
        read(compiled("second"))
    assert error.value.hint is not None


def test_recursion_ends() -> None:
    writer = ElfWriter()
    call = instruction(0x85, source=1, immediate=-1, order="little")
    main = writer.function("f", "xdp", call + EXIT)
    text = writer.function("g", ".text", call + EXIT)
    writer.relocations = {main: [(0, 2)], text: [(0, 2)]}
    found = ObjectSpec.from_bytes(writer.build())
    assert [p.name for p in found.programs] == ["f"]


def with_types(btf: BtfWriter, *sections: tuple[str, bytes], symbols: list[Symbol]) -> ElfWriter:
    writer = ElfWriter(symbols=symbols)
    for name, data in sections:
        writer.section(name, data)
    writer.section(".BTF", btf.build())
    return writer


def variables_of(*entries: tuple[str, int, int], symbols: list[Symbol], data: bytes) -> ElfWriter:
    btf = BtfWriter()
    integer = btf.integer()
    listed = [(btf.var(name, integer), offset, size) for name, offset, size in entries]
    btf.datasec(".data", len(data), *listed)
    return with_types(btf, (".data", data), symbols=symbols)


def test_where_variables_are() -> None:
    """Symbols say it; BTF says it where there are none."""
    placed = [Symbol("a", 1, 4, 4, OBJECT), Symbol("b", 1, 0, 4, NOTYPE)]
    writer = variables_of(("a", 0, 4), ("b", 0, 4), ("c", 8, 4), symbols=placed, data=bytes(12))
    found = ObjectSpec.from_bytes(writer.build())
    assert [(v.name, v.offset) for v in found.variables] == [("b", 0), ("a", 4), ("c", 8)]


@pytest.mark.parametrize(
    ("entries", "symbols", "fault"),
    [
        ([("a", 8, 4)], [], "reaches past its section in '.data.a'"),
        ([("a", 0xFFFFFFFF, 4)], [], "reaches past its section in '.data.a'"),
        ([("a", 0, 4)], [Symbol("a", 1, 1 << 62, 4, OBJECT)], "reaches past its section"),
        ([("a", 0, 2)], [], "2 bytes are less than its type takes in '.data.a'"),
        ([("a", 0, 4), ("b", 2, 4)], [], "overlaps 'a' in '.data.b'"),
        (
            [("a", 0, 4)],
            [Symbol("a", 1, 4, 4, OBJECT), Symbol("a", 1, 2, 4, OBJECT)],
            "several symbols of this name in '.data.a'",
        ),
    ],
)
def test_variables_that_make_no_sense(
    entries: list[tuple[str, int, int]], symbols: list[Symbol], fault: str
) -> None:
    assert fault in fault_of(variables_of(*entries, symbols=symbols, data=bytes(8)))


def test_a_huge_bss_takes_no_memory() -> None:
    writer = ElfWriter()
    writer.section(".bss", type=NOBITS, size=LIMITS.object + 1)
    with pytest.raises(LimitExceeded):
        ObjectSpec.from_bytes(writer.build())


def test_lists_that_are_not_of_variables() -> None:
    for section, fault in ((".data", "not a variable"), (".ksyms", "not an extern")):
        btf = BtfWriter()
        btf.datasec(section, 4, (btf.integer(), 0, 4))
        writer = with_types(btf, (".data", bytes(4)), symbols=[])
        assert fault_of(writer) == f"{fault} in '{section}.type 1'"


def test_two_lists_for_one_section() -> None:
    btf = BtfWriter()
    var = btf.var("a", btf.integer())
    btf.datasec(".data", 4, (var, 0, 4))
    btf.datasec(".data", 8, (var, 4, 4))
    writer = with_types(btf, (".data", bytes(8)), symbols=[])
    assert "two lists" in fault_of(writer)


def one_map(
    *numbers: tuple[str, int],
    types: tuple[str, ...] = (),
    linkage: int = 1,
    extra: Callable[[BtfWriter], list[tuple[str, int, int]]] = lambda btf: [],
) -> ElfWriter:
    btf = BtfWriter()
    integer = btf.integer()
    members = [(name, btf.ptr(btf.array(integer, value)), 0) for name, value in numbers]
    members += [(name, btf.ptr(integer), 0) for name in types]
    members += extra(btf)
    definition = btf.record("", 64, *members)
    btf.datasec(".maps", 64, (btf.var("m", definition, linkage), 0, 64))
    return with_types(btf, (".maps", bytes(64)), symbols=[])


def map_of(writer: ElfWriter) -> MapSpec:
    (found,) = ObjectSpec.from_bytes(writer.build()).maps
    return found


def test_a_map_by_sizes_alone() -> None:
    found = map_of(one_map(("type", 1), ("key_size", 16), ("value_size", 3), ("map_extra", 5)))
    assert (found.key_size, found.value_size, found.extra) == (16, 3, 5)
    assert (found.key_type_id, found.max_entries, found.pinned) == (None, 0, False)


def test_numbers_that_are_enums() -> None:
    """libbpf 1.4 writes __ulong so, for what does not fit into the length of an array."""

    def extra(btf: BtfWriter) -> list[tuple[str, int, int]]:
        value = btf.add(19, "", 8, btf.name("v"), 0, 1, vlen=1)
        return [("map_extra", value, 0)]

    assert map_of(one_map(("type", 33), extra=extra)).extra == 1 << 32


def values(kind: str) -> Callable[[BtfWriter], list[tuple[str, int, int]]]:
    def extra(btf: BtfWriter) -> list[tuple[str, int, int]]:
        target = btf.add(13, "", 0) if kind == "function" else btf.record("x", 0)
        return [("values", btf.array(btf.ptr(target), 0 if kind != "fixed" else 3), 0)]

    return extra


@pytest.mark.parametrize(
    ("writer", "fault"),
    [
        (one_map(), "unknown map type 0 in '.maps.m.type'"),
        (one_map(("type", 200)), "unknown map type 200 in '.maps.m.type'"),
        (one_map(("type", 1), ("pinning", 2)), "unknown pinning 2 in '.maps.m.pinning'"),
        (one_map(("type", 1), ("colour", 2)), "unknown in a map definition in '.maps.m.colour'"),
        (
            one_map(("type", 1), ("key_size", 8), types=("key",)),
            "8 bytes, and a type of 4 in '.maps.m.key_size'",
        ),
        (one_map(("type", 1), linkage=2), "map of another object in '.maps.m'"),
        (
            one_map(("type", 1), extra=lambda b: [("key", 1, 0)]),
            "not written with __type in '.maps.m.key'",
        ),
        (
            one_map(("type", 1), extra=lambda b: [("max_entries", 1, 0)]),
            "not written with __uint in '.maps.m.max_entries'",
        ),
        (one_map(("type", 1), extra=values("map")), "values in a map of type hash"),
        (one_map(("type", 3), extra=values("map")), "values in a map of type prog_array"),
        (
            one_map(("type", 12), extra=values("function")),
            "not a struct that defines a map in '.maps.m.values'",
        ),
        (one_map(("type", 12), extra=values("fixed")), "not written with __array"),
        (one_map(("type", 12), extra=values("map")), "unknown map type 0 in '.maps.m.values.type'"),
    ],
)
def test_maps_that_make_no_sense(writer: ElfWriter, fault: str) -> None:
    assert fault in fault_of(writer)


@pytest.mark.parametrize("section", [".struct_ops", ".struct_ops.link", "?.struct_ops.link"])
def test_struct_ops_are_maps(section: str) -> None:
    btf = BtfWriter()
    ops = btf.record("tcp_congestion_ops", 8, ("init", btf.ptr(0), 0))
    btf.datasec(section, 8, (btf.var("cubic", ops), 0, 8))
    found = map_of(with_types(btf, (section, bytes(8)), symbols=[]))
    assert (found.name, found.type_name, found.key_size, found.value_size) == (
        *("cubic", "struct_ops"),
        *(4, 8),
    )


def test_finds_the_event_that_only_a_static_function_keeps(spec: ObjectSpec) -> None:
    assert spec.types("the test").find(Struct, "event") is not None


class Libbpf:
    """What libbpf itself reads from an object, without loading it."""

    def __init__(self, data: bytes) -> None:
        self._lib = ctypes.CDLL("libbpf.so.1")
        self._lib.libbpf_set_print(None)
        for name in ("object__open_mem", "object__next_map", "object__next_program"):
            self.function(name, ctypes.c_void_p)
        self._object = self._lib.bpf_object__open_mem(data, ctypes.c_size_t(len(data)), None)
        assert self._object

    def function(self, name: str, result: Any) -> Any:
        found = getattr(self._lib, f"bpf_{name}")
        found.restype = result
        return found

    def each(self, kind: str) -> Iterator[ctypes.c_void_p]:
        following = self.function(f"object__next_{kind}", ctypes.c_void_p)
        at = None
        while at := following(ctypes.c_void_p(self._object), ctypes.c_void_p(at)):
            yield ctypes.c_void_p(at)

    def number(self, name: str, of: ctypes.c_void_p) -> int:
        return int(self.function(name, ctypes.c_uint32)(of))

    def text(self, name: str, of: ctypes.c_void_p) -> str:
        value: bytes = self.function(name, ctypes.c_char_p)(of)
        return value.decode()

    def close(self) -> None:
        self._lib.bpf_object__close(ctypes.c_void_p(self._object))


@pytest.mark.parametrize("form", ["bpfel", "stripped", "linked"])
@pytest.mark.parametrize("clang", CLANGS)
def test_agrees_with_libbpf(clang: str, form: str) -> None:
    data = made(clang, form).read_bytes()
    found, told = ObjectSpec.from_bytes(data), Libbpf(data)
    try:
        assert [
            (
                p.name,
                p.section.removeprefix("?"),
                p.instructions,
                p.kind.prog_type,
                p.kind.attach_type or 0,
            )
            for p in found.programs
        ] == [
            (
                told.text("program__name", p),
                told.text("program__section_name", p),
                told.number("program__insn_cnt", p),
                told.number("program__type", p),
                told.number("program__expected_attach_type", p),
            )
            for p in told.each("program")
        ]
        assert {
            (m.name, m.type, m.key_size, m.value_size, m.max_entries, m.flags) for m in found.maps
        } == {
            (
                told.text("map__name", m),
                *(
                    told.number(f"map__{what}", m)
                    for what in ("type", "key_size", "value_size", "max_entries", "map_flags")
                ),
            )
            for m in told.each("map")
            if not told.number("map__is_internal", m) & 1
        }
    finally:
        told.close()


def test_many_sections_and_symbols_take_no_square_of_time() -> None:
    """20,000 sections of code with a symbol each: looking through all for each would not end."""
    writer = ElfWriter()
    for number in range(20_000):
        writer.sections.append(Section(f"xdp/{number % 10}", EXIT, flags=ALLOC_EXEC))
        writer.symbols.append(Symbol(f"f{number}", number + 1, size=8))
    assert fault_of(writer) == f"more than {LIMITS.functions} functions"
    writer.symbols = writer.symbols[: LIMITS.programs]
    assert len(ObjectSpec.from_bytes(writer.build()).programs) == LIMITS.programs
    writer.symbols.append(Symbol("g", LIMITS.programs + 1, size=8))
    assert fault_of(writer) == f"more than {LIMITS.programs} programs"


def test_many_variables_and_maps() -> None:
    count = LIMITS.variables + 1
    btf = BtfWriter()
    var = btf.var("a", btf.record("nothing", 0))
    btf.datasec(".data", 4, *[(var, 0, 0)] * count)
    writer = with_types(btf, (".data", bytes(4)), symbols=[])
    assert "more than 16384 variables" in fault_of(writer)
    btf = BtfWriter()
    integer = btf.ptr(btf.array(btf.integer(), 1))
    definition = btf.record("", 64, *[("type", integer, 0)] * 65)
    btf.datasec(".maps", 64, (btf.var("m", definition), 0, 64))
    writer = with_types(btf, (".maps", bytes(64)), symbols=[])
    assert "more than 64 members" in fault_of(writer)


def test_many_instructions_and_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    call = instruction(0x85, immediate=1, order="little")
    writer = ElfWriter()
    writer.function("f", "xdp", call * 4 + EXIT)
    for limits, fault in (
        (Limits(program_instructions=4), "more than 4 instructions in 'xdp.f'"),
        (Limits(calls=3), "more than 3 calls in 'xdp'"),
    ):
        monkeypatch.setattr(code, "LIMITS", limits)
        assert fault_of(writer) == fault


def test_following_calls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "LIMITS", Limits(calls=2))
    writer = ElfWriter()
    call = instruction(0x85, source=1, immediate=-1, order="little")
    for name in ("f", "g"):
        at = writer.function(name, f"xdp/{name}", call + EXIT)
        writer.relocations[at] = [(0, 3)]
    writer.function("h", ".text", EXIT)
    assert fault_of(writer) == "more than 2 calls to follow"


def test_two_maps_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    btf = BtfWriter()
    kind = btf.ptr(btf.array(btf.integer(), 1))
    definition = btf.record("", 8, ("type", kind, 0))
    entries = [(btf.var(name, definition), 0, 8) for name in ("m", "n", "m")]
    btf.datasec(".maps", 64, *entries)
    writer = with_types(btf, (".maps", bytes(64)), symbols=[])
    assert fault_of(writer) == "two maps of this name in '.maps.m'"
    monkeypatch.setattr(objectspec, "LIMITS", Limits(maps=1))
    assert fault_of(writer) == "more than 1 maps in '.maps.n'"


def test_many_externs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectspec, "LIMITS", Limits(variables=2))
    btf = BtfWriter()
    var = btf.var("x", btf.integer(), 2)
    btf.datasec(".ksyms", 0, *[(var, 0, 0)] * 3)
    assert fault_of(with_types(btf, symbols=[])) == "more than 2 externs in '.ksyms'"
