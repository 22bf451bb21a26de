#!/usr/bin/env python3
"""Writes the vectors that are bytes: objects, BTF and signatures, the same every time.

    scripts/vectors.py            write them into spec/vectors
    scripts/vectors.py --check    say whether what is there differs, and end with 1 if so

Each invalid one is the valid one with a single fault.
"""

import argparse
import base64
import json
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from bpfpack.spec.elf import ByteOrder  # noqa: E402
from tests.kit.elfwriter import (  # noqa: E402
    EXIT,
    LOCAL,
    OBJECT,
    BtfWriter,
    ElfWriter,
    Symbol,
    prefix,
)
from tests.kit.judgements import judgements  # noqa: E402

DECL_TAG, FUNC, PROTO, FLOAT, ENUM, TYPEDEF, VOLATILE, CONST = 17, 12, 13, 16, 6, 8, 9, 10
ALL = 0xFFFFFFFF
HASH, ARRAY, RINGBUF = 1, 2, 27
BITS = 24


class Types(BtfWriter):
    """BTF with what C programs have in it."""

    def __init__(self, order: ByteOrder = "little") -> None:
        super().__init__(order)
        self.int = self.integer()
        self.u8 = self.integer("unsigned char", 1, signed=False)
        self.u16 = self.integer("__u16", 2, signed=False)
        self.u32 = self.integer("__u32", 4, signed=False)
        self.u64 = self.integer("__u64", 8, signed=False)
        self.char = self.integer("char", 1)
        self.pid = self.add(TYPEDEF, "pid_t", self.int)

    def tag(self, text: str, target: int, component: int = ALL) -> None:
        """Say something of a type, or of one of its members."""
        self.add(DECL_TAG, f"bpfpack:{text}", target, component)

    def function(self, name: str, *params: tuple[str, int]) -> int:
        """A static function that returns int."""
        words = [w for n, t in params for w in (self.name(n), t)]
        return self.add(FUNC, name, self.add(PROTO, "", self.int, *words, vlen=len(params)))

    def number(self, value: int) -> int:
        """A pointer to an array of that length, which is how maps hold numbers."""
        return self.ptr(self.array(self.int, value))

    def map(self, name: str, *members: tuple[str, int]) -> tuple[int, int, int]:
        """A map's variable, as a list of globals has it."""
        size = 8 * len(members)
        kind = self.record("", size, *((n, t, 64 * i) for i, (n, t) in enumerate(members)))
        return self.var(name, kind), 0, size


def tracer_types(order: ByteOrder = "little") -> Types:
    """The types of `tracer`, without its lists of globals."""
    types = Types(order)
    types.event = types.record(  # type: ignore[attr-defined]  # remembered for below
        "event",
        32,
        *(("pid", types.pid, 0), ("ret", types.int, 32), ("sent", types.u64, 64)),
        ("comm", types.array(types.char, 16), 128),
    )
    return types


def tracer_btf(order: ByteOrder = "little", *, words: bool = True) -> bytes:
    """A ring, a histogram, a table, an option, two events with a discriminator."""
    types = tracer_types(order)
    event = types.event  # type: ignore[attr-defined]  # set there
    pair = [("kind", types.u32, 0), ("fd", types.u32, 32)]
    opened, closed = types.record("opened", 8, *pair), types.record("closed", 8, *pair)
    other = types.record("other", 8, ("fd", types.u32, 0), ("kind", types.u32, 32))
    slots = types.record("slots", 64, ("slots", types.array(types.u64, 8), 0))
    ring = types.map("events", ("type", types.number(RINGBUF)), ("max_entries", types.number(4096)))
    latency, totals = (
        types.map(
            name,
            *(("type", types.number(HASH)), ("max_entries", types.number(16))),
            *(("key", types.ptr(types.u32)), ("value", types.ptr(value))),
        )
        for name, value in (("latency", slots), ("totals", types.u64))
    )
    option = types.var("target_pid", types.add(CONST, "", types.add(VOLATILE, "", types.pid)))
    types.datasec(".maps", 80, ring, (latency[0], 16, 32), (totals[0], 48, 32))
    types.datasec(".rodata", 4, (option, 0, 4))
    for kept in (opened, closed, other):
        types.function(f"keep_{kept}", ("of", types.ptr(kept)))
    if words:
        say(types, event, option)
    return types.build()


def say(types: Types, event: int, option: int) -> None:
    """The author's words, as bpfpack.h writes them."""
    types.tag("format=errno", event, 1)
    types.tag("format=bytes", event, 2)
    types.tag("title=SENT", event, 2)
    types.tag("help=only this process", option)
    types.tag("short=p", option)
    carried = types.ptr(types.add(CONST, "", event))
    types.tag("events=events", types.function("__bpfpack_type_events_0", ("__bpfpack_of", carried)))
    latency = types.function("__bpfpack_type_latency_1", ("__bpfpack_of", types.ptr(0)))
    types.tag("histogram=latency", latency)
    types.tag("unit=us", latency)
    interval = types.ptr(types.array(types.char, 500))
    totals = types.function(
        "__bpfpack_type_totals_2", ("__bpfpack_of", types.ptr(0)), ("__bpfpack_interval", interval)
    )
    types.tag("table=totals", totals)
    types.tag("sort=value", totals)
    package = types.function("__bpfpack_package_3")
    types.tag("name=tracer", package)
    types.tag("description=shows what is sent", package)
    types.tag("author=A. Uthor", package)


def tracer(
    order: ByteOrder = "little",
    *,
    btf: bytes | None = None,
    change: Callable[[ElfWriter], object] = lambda _: None,
) -> bytes:
    """One program, three maps, one option; ``change`` makes the fault."""
    elf = ElfWriter(order)
    elf.section("license", b"GPL\0")
    elf.function("on_enter", "raw_tp/sys_enter", EXIT)
    maps = elf.section(".maps", bytes(80))
    rodata = elf.section(".rodata", struct.pack(f"{prefix(order)}i", 42))
    elf.section(".BTF", tracer_btf(order) if btf is None else btf)
    elf.symbols += [
        Symbol("events", maps, 0, 16, OBJECT),
        Symbol("latency", maps, 16, 32, OBJECT),
        Symbol("totals", maps, 48, 32, OBJECT),
        Symbol("target_pid", rodata, 0, 4, OBJECT),
    ]
    change(elf)
    return elf.build()


def values(order: ByteOrder) -> bytes:
    """An object whose type `values` has one member of each kind."""
    types = Types(order)
    real = types.add(FLOAT, "double", 8)
    wide = types.integer("__int128", 16)
    yes = types.add(1, "_Bool", 1, 4 << 24 | 8)
    verdict = types.add(
        ENUM, "verdict", 4, types.name("PASS"), 0, types.name("DROP"), ALL, vlen=2, flag=True
    )
    peer = types.record("peer", 8, ("address", types.u32, 0), ("port", types.u16, 32))
    either = types.record("", 4, ("word", types.u32, 0), ("half", types.u16, 0), kind=5)
    low, high = (3 << BITS | 32 * 8, 13 << BITS | 32 * 8 + 3)
    types.record(
        "values",
        136,
        *(("when", types.u64, 0), ("size", types.u64, 64), ("code", types.int, 128)),
        *(("verdict", verdict, 160), ("name", types.array(types.char, 8), 192)),
        *(("low", types.int, low), ("high", types.u32, high)),
        *(("flag", yes, 36 * 8), ("mac", types.array(types.u8, 3), 37 * 8)),
        *(("peer", peer, 40 * 8), ("", either, 48 * 8), ("flags", types.u32, 52 * 8)),
        *(("ratio", real, 56 * 8), ("where", types.ptr(types.char), 64 * 8)),
        *(("big", wide, 80 * 8), ("address6", types.array(types.u8, 16), 96 * 8)),
        *(("counts", types.array(types.array(types.u16, 3), 2), 112 * 8),),
        ("argv", types.array(types.array(types.char, 4), 3), 124 * 8),
        flag=True,
    )
    elf = ElfWriter(order)
    elf.section("license", b"GPL\0")
    elf.section(".BTF", types.build())
    return elf.build()


def poke(data: bytes, at: int, layout: str, *fields: int) -> bytes:
    """Overwrite a few bytes."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, at, *fields)
    return bytes(changed)


def map_btf(*members: tuple[str, Callable[[Types], int]], times: int = 1) -> bytes:
    """BTF of a map of these members, listed so many times."""
    types = Types()
    listed = types.map("events", *((name, make(types)) for name, make in members))
    types.datasec(".maps", 80, *[listed] * times)
    return types.build()


def number(value: int) -> Callable[[Types], int]:
    return lambda types: types.number(value)


def globals_btf(*places: tuple[int, int]) -> bytes:
    """BTF of a list of globals at these offsets, of these sizes."""
    types = Types()
    variables = [(types.var(f"v{i}", types.u32), *place) for i, place in enumerate(places)]
    types.datasec(".rodata", 4, *variables)
    return types.build()


def add(name: str, data: bytes) -> Callable[[ElfWriter], object]:
    return lambda elf: elf.section(name, data)


def set_of(index: int, **fields: Any) -> Callable[[ElfWriter], object]:
    """Change one section, counted from 0."""

    def change(elf: ElfWriter) -> None:
        for key, value in fields.items():
            setattr(elf.sections[index], key, value)

    return change


def set_symbol(**fields: Any) -> Callable[[ElfWriter], object]:
    """Change the symbol of the program."""

    def change(elf: ElfWriter) -> None:
        for key, value in fields.items():
            setattr(elf.symbols[0], key, value)

    return change


def broken_objects() -> Iterator[tuple[str, str, bytes]]:
    """Name, fault and bytes of the objects that must be refused."""
    good = tracer()
    header = {"machine": 18, "type": 16, "sections": 40, "count": 60, "names": 62}
    ring = (("type", number(RINGBUF)), ("max_entries", number(4096)))
    yield "not-elf", "The file is a script.", b"#!/bin/sh\n"
    yield "elf-header-cut-short", "The file ends inside the ELF header.", good[:40]
    yield "elf-32-bit", "The ELF class is 32 bit.", poke(good, 4, "B", 1)
    yield "elf-unknown-byte-order", "The ELF data encoding is 3.", poke(good, 5, "B", 3)
    yield "elf-version-0", "The ELF version is 0.", poke(good, 6, "B", 0)
    yield "machine-x86-64", "The object is for x86-64.", poke(good, header["machine"], "<H", 62)
    yield "executable", "An executable, not a relocatable.", poke(good, header["type"], "<H", 2)
    yield "no-section-headers", "There are no sections.", poke(good, header["sections"], "<Q", 0)
    yield (
        *("section-headers-beyond-the-file", "The section headers begin past the end."),
        poke(good, header["sections"], "<Q", 1 << 40),
    )
    yield (
        *("no-section-names", "The table of section names is no section."),
        poke(good, header["names"], "<H", 0),
    )
    yield (
        *("section-beyond-the-file", "A section claims a gibibyte."),
        tracer(change=set_of(3, size=1 << 30)),
    )
    yield (
        *("section-over-the-header", "A section lies over the ELF header."),
        tracer(change=set_of(3, offset=0)),
    )
    yield (
        *("section-compressed", "SHF_COMPRESSED: a reader would unpack it without bound."),
        tracer(change=set_of(4, flags=0x800)),
    )
    yield "file-cut-short", "The last 100 bytes are missing.", good[:-100]
    yield "legacy-maps-section", "Maps as before libbpf 1.0.", tracer(change=add("maps", bytes(20)))
    yield (
        *("two-btf-sections", "A second .BTF: which one a loader takes is open."),
        tracer(change=add(".BTF", tracer_btf())),
    )
    yield "two-licenses", "A second license section.", tracer(change=add("license", b"MIT\0"))
    yield (
        *("license-not-utf8", "The license is no text."),
        tracer(change=set_of(0, data=b"\xff\0")),
    )
    yield (
        *("kernel-version-of-3-bytes", "The version section is no integer."),
        tracer(change=add("version", bytes(3))),
    )
    yield "maps-without-btf", ".maps, but no .BTF.", tracer(change=set_of(4, name=".other"))
    yield "program-static", "A program is a local symbol.", tracer(change=set_symbol(bind=LOCAL))
    yield (
        *("program-beyond-its-section", "A function is longer than its section."),
        tracer(change=set_symbol(size=16)),
    )
    yield (
        *("program-of-half-an-instruction", "A function of 4 bytes."),
        tracer(change=set_symbol(size=4)),
    )
    yield "btf-of-the-other-byte-order", "Big-endian .BTF.", tracer(btf=tracer_btf("big"))
    yield "map-of-unknown-type", "Map type 4000.", tracer(btf=map_btf(("type", number(4000))))
    yield (
        *("map-with-an-unknown-member", "A map says something unknown."),
        tracer(btf=map_btf(*ring, ("colour", number(1)))),
    )
    yield (
        *("map-with-unknown-pinning", "A map is pinned in an unknown way."),
        tracer(btf=map_btf(*ring, ("pinning", number(2)))),
    )
    yield (
        *("map-number-not-an-array", "A number is not the length of an array."),
        tracer(btf=map_btf(("type", lambda types: types.u32))),
    )
    yield "map-twice", "Two maps of one name.", tracer(btf=map_btf(*ring, times=2))
    yield (
        *("global-beyond-its-section", "A global ends past its section."),
        tracer(btf=globals_btf((4, 4))),
    )
    yield (
        *("globals-overlap", "Two globals at one place."),
        tracer(btf=globals_btf((0, 4), (0, 4))),
    )
    yield (
        *("global-smaller-than-its-type", "A global of 2 bytes whose type takes 4."),
        tracer(btf=globals_btf((0, 2))),
    )


def broken_btf() -> Iterator[tuple[str, str, bytes]]:
    """Name, fault and bytes of the BTF that must be refused."""

    def made(build: Callable[[Types], object]) -> bytes:
        types = Types()
        build(types)
        return types.build()

    good = made(lambda t: t.record("s", 8, ("a", t.u32, 0), ("b", t.u32, 32)))
    yield "shorter-than-its-header", "23 bytes.", good[:23]
    yield "unknown-magic", "The magic number is another.", poke(good, 0, "<H", 0xEB9E)
    yield "other-byte-order", "The magic number is that of big-endian.", poke(good, 0, ">H", 0xEB9F)
    yield "unknown-version", "Version 2.", poke(good, 2, "B", 2)
    yield "strings-beyond-the-data", "The strings end past the end.", poke(good, 20, "<I", 1 << 20)
    yield "types-over-the-strings", "Types and strings overlap.", poke(good, 16, "<I", 0)
    yield "strings-without-nul", "The last string does not end.", good[:-1] + b"x"
    yield "unknown-kind", "A type of kind 31.", made(lambda t: t.add(31, "x", 0))
    yield "type-cut-short", "A struct of 9 members has none.", made(lambda t: t.add(4, "s", vlen=9))
    yield "reference-to-nothing", "A pointer to type 900.", made(lambda t: t.ptr(900))
    yield (
        *("member-of-nothing", "A member of type 900."),
        made(lambda t: t.record("s", 8, ("a", 900, 0))),
    )
    yield (
        *("member-outside-its-struct", "A member begins past the end of its struct."),
        made(lambda t: t.record("s", 4, ("a", t.u32, 64))),
    )
    yield (
        *("member-ends-outside-its-struct", "The last byte of a member is past the end."),
        made(lambda t: t.record("s", 7, ("a", t.u32, 0), ("b", t.u32, 32))),
    )
    yield "integer-of-33-bits", "33 bits in 4 bytes.", made(lambda t: t.add(1, "x", 4, 33))
    yield "enum-of-3-bytes", "An enum of 3 bytes.", made(lambda t: t.add(ENUM, "e", 3))
    yield "float-of-3-bytes", "A float of 3 bytes.", made(lambda t: t.add(FLOAT, "f", 3))
    yield "name-outside-the-strings", "A name at offset 2^30.", poke(good, 24, "<I", 1 << 30)
    yield "name-not-utf8", "A name is no text.", good.replace(b"int\0", b"i\xff\xff\0")
    yield (
        *("function-without-prototype", "A function whose type is an integer."),
        made(lambda t: t.add(FUNC, "f", t.int)),
    )
    yield (
        *("typedef-of-itself", "A member whose type leads back to itself."),
        made(lambda t: t.record("s", 4, ("a", t.add(TYPEDEF, "loop", 8), 0))),
    )
    yield (
        *("struct-within-itself", "A struct that holds itself."),
        made(lambda t: t.record("", 4, ("", 8, 0))),
    )


def good_btf(order: ByteOrder) -> bytes:
    """Structs, a union, bit-fields, arrays, what is anonymous."""
    types = Types(order)
    inner = types.record("inner", 8, ("a", types.u16, 0), ("b", types.u32, 32))
    union = types.record("", 8, ("one", types.u64, 0), ("two", inner, 0), kind=5)
    types.record(
        "outer",
        24,
        *(("", union, 0), ("low", types.int, 3 << BITS | 64), ("high", types.u32, 5 << BITS | 67)),
        *(("list", types.array(types.u16, 3), 96), ("text", types.ptr(types.char), 192 - 64)),
        flag=True,
    )
    return types.build()


def vector(kind: str, clause: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "clause": clause,
        **more,
        "base64": base64.b64encode(data).decode(),
    }


def written() -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and content of each, but for what must come out."""
    orders: tuple[ByteOrder, ...] = ("little", "big")
    for order in orders:
        yield f"valid/object/tracer-{order}-endian", vector("object", "6.1", tracer(order))
        yield f"valid/object/values-{order}-endian", vector("object", "6.1", values(order))
        btf = vector("btf", "6.1", good_btf(order), byteOrder=order)
        yield f"valid/btf/members-{order}-endian", btf
    silent = tracer(btf=tracer_btf(words=False))
    yield "valid/object/tracer-without-words", vector("object", "6.6", silent)
    for name, fault, data in broken_objects():
        clause = "6.2" if "map" in name else "6.1"
        yield f"invalid/object/{name}", vector("object", clause, data, fault=fault)
    for name, fault, data in broken_btf():
        made = vector("btf", "6.1", data, fault=fault, byteOrder="little")
        yield f"invalid/btf/{name}", made
    yield from judgements()


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the binary vectors.")
    parser.add_argument("--check", action="store_true", help="only say what differs")
    check = parser.parse_args().check
    differ = 0
    for name, made in written():
        path = REPO / "spec/vectors" / f"{name}.json"
        held = json.loads(path.read_text()) if path.exists() else {}
        # What must come out is written by hand.
        kept = {key: held[key] for key in ("expect", "error", "path") if key in held}
        if {**made, **kept} == held:
            continue
        differ += 1
        print(f"{'differs' if check else 'written'}: {path.relative_to(REPO)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({**made, **kept}, indent=2, ensure_ascii=False)
            path.write_text(text + "\n")
    return int(check and differ > 0)


if __name__ == "__main__":
    sys.exit(main())
