"""ELF: what llvm-readelf sees we see, and what it should refuse we refuse."""

import json
import struct
from pathlib import Path

import pytest

from bpfpack.spec import elf as elf_module
from bpfpack.spec.elf import SHT_NOBITS, Elf
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS, Limits
from tests.kit.elfwriter import EXIT, NOBITS, REL, SYMTAB, ElfWriter, Section, Symbol
from tests.kit.objects import CLANGS, TARGETS, compiled, linked, run, stripped, tool


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("clang", CLANGS)
def test_agrees_with_readelf_on_compiled_objects(clang: str, target: str) -> None:
    check_against_readelf(compiled("everything", clang, target))


def test_agrees_with_readelf_on_stripped_and_linked_objects() -> None:
    check_against_readelf(stripped(compiled("everything")))
    check_against_readelf(linked(compiled("everything"), compiled("second")))


def check_against_readelf(path: Path) -> None:
    elf = Elf.parse(path.read_bytes())
    flags = ("--sections", "--symbols", "--relocations", "--elf-output-style=JSON")
    told = json.loads(run(tool("llvm-readelf-19"), *flags, path))[0]
    sections = [s["Section"] for s in told["Sections"]]
    assert [
        (s.name, s.type, s.flags, s.address, s.offset, s.size, s.link, s.info, s.entry_size)
        for s in elf.sections
    ] == [
        (
            *(s["Name"]["Name"], s["Type"]["Value"], s["Flags"]["Value"], s["Address"]),
            *(s["Offset"], s["Size"], s["Link"], s["Info"], s["EntrySize"]),
        )
        for s in sections
    ]
    assert [(s.name, s.value, s.size, s.bind, s.type) for s in elf.symbols] == [
        (
            # readelf gives a section's symbol the name of the section.
            "" if s["Type"]["Value"] == 3 else s["Name"]["Name"],
            *(s["Value"], s["Size"], s["Binding"]["Value"], s["Type"]["Value"]),
        )
        for s in (entry["Symbol"] for entry in told["Symbols"])
    ]
    for table in told["Relocations"]:
        section = elf.sections[elf.sections[table["SectionIndex"]].info]
        if section.name.startswith(".debug"):
            continue
        assert [(r.offset, r.type) for r in elf.relocations(section)] == [
            (r["Relocation"]["Offset"], r["Relocation"]["Type"]["Value"]) for r in table["Relocs"]
        ]


@pytest.mark.parametrize("order", ["little", "big"])
def test_reads_what_was_written(order: str) -> None:
    writer = ElfWriter(order=order)  # type: ignore[arg-type]  # one of the two
    code = writer.function("f", "xdp", EXIT * 2)
    writer.section(".bss", type=NOBITS, size=1 << 40)
    writer.relocations[code] = [(8, 1)]
    elf = Elf.parse(writer.build())
    assert elf.byte_order == order
    xdp, bss = elf.section("xdp"), elf.section(".bss")
    assert xdp is not None and bss is not None
    assert xdp.data == EXIT * 2
    assert (bss.type, bss.size, bss.data) == (SHT_NOBITS, 1 << 40, b"")
    assert elf.symbols[1] == ("f", 1, 2, code, 0, 16)
    assert elf.relocations(xdp) == ((8, 1, 10),)
    assert elf.section("other") is None


def good() -> bytes:
    writer = ElfWriter()
    writer.relocations[writer.function("f", "xdp", EXIT)] = [(0, 1)]
    return writer.build()


def patched(at: int, layout: str, value: int) -> bytes:
    data = bytearray(good())
    struct.pack_into(layout, data, at, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "not an ELF file"),
        (b"\x7fELF", "shorter than its header"),
        (patched(4, "B", 1), "not a 64-bit"),
        (patched(5, "B", 3), "unknown byte order 3"),
        (patched(6, "B", 2), "unknown ELF version 2"),
        (patched(16, "<H", 2), "not a relocatable object"),
        (patched(18, "<H", 62), "for machine 62"),
        (patched(40, "<Q", 1 << 63), "no section headers"),
        (patched(58, "<H", 40), "no section headers"),
        (patched(60, "<H", 60000), "section headers outside the file"),
        (patched(62, "<H", 600), "no section names"),
        (good()[:-1], "section headers outside the file"),
    ],
)
def test_refuses_a_bad_header(data: bytes, fault: str) -> None:
    with pytest.raises(SpecError, match=fault):
        Elf.parse(data)


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        (Section("x", b"1234", size=1 << 62), "outside the file"),
        (Section("x", b"1234", offset=1 << 62), "outside the file"),
        (Section("x", b"1234", offset=(1 << 64) - 2), "outside the file"),
        (Section("x", b"1234", offset=0), "overlaps the header"),
        (Section("x", b"1234", size=64), "overlaps the"),
        (Section("x", b"1234", flags=0x800), "compressed section"),
        (Section("y" * 2000, b"1234"), "name longer than"),
    ],
)
def test_refuses_a_bad_section(section: Section, fault: str) -> None:
    writer = ElfWriter()
    writer.sections.append(section)
    with pytest.raises(SpecError, match=fault):
        Elf.parse(writer.build())


def test_compressed_debug_information_does_no_harm() -> None:
    writer = ElfWriter()
    writer.section(".debug_info", b"1234", flags=0x800)
    assert Elf.parse(writer.build()).section(".debug_info") is not None


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        (Section(".symtab", bytes(25), SYMTAB, link=2, entry_size=24), "not 24 bytes each"),
        (Section(".symtab", bytes(24), SYMTAB, link=2, entry_size=16), "not 24 bytes each"),
        (Section(".symtab", bytes(24), SYMTAB, link=99, entry_size=24), "without strings"),
        (
            Section(".symtab", bytes(6) + b"\x50\0" + bytes(16), SYMTAB, link=2, entry_size=24),
            "symbol 0 in a section that is not there",
        ),
        (
            Section(".symtab", b"\xff\xff\0\0" + bytes(20), SYMTAB, link=2, entry_size=24),
            "name outside its string table",
        ),
    ],
)
def test_refuses_bad_symbols(section: Section, fault: str) -> None:
    writer = ElfWriter()
    writer.sections.append(section)
    elf = Elf.parse(writer.build())
    with pytest.raises(SpecError, match=fault):
        _ = elf.symbols


def test_refuses_two_symbol_tables() -> None:
    writer = ElfWriter(symbols=[Symbol("f", 1)])
    writer.section(".symtab", bytes(24), type=SYMTAB, link=1, entry_size=24)
    with pytest.raises(SpecError, match="more than one symbol table"):
        _ = Elf.parse(writer.build()).symbols


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (struct.pack("<QQ", 8, 1 << 32), "relocation 0 out of range"),
        (struct.pack("<QQ", 0, 9 << 32), "relocation 0 out of range"),
        (bytes(15), "not 16 bytes each"),
    ],
)
def test_refuses_bad_relocations(data: bytes, fault: str) -> None:
    writer = ElfWriter()
    code = writer.function("f", "xdp", EXIT)
    writer.section(".relxdp", data, type=REL, info=code, entry_size=16)
    elf = Elf.parse(writer.build())
    with pytest.raises(SpecError, match=fault):
        elf.relocations(elf.sections[code])


def test_refuses_two_relocation_tables_of_one_section() -> None:
    writer = ElfWriter()
    code = writer.function("f", "xdp", EXIT)
    writer.section(".other", type=REL, info=code, entry_size=16)
    writer.relocations[code] = [(0, 1)]
    with pytest.raises(SpecError, match="relocated by two tables"):
        elf = Elf.parse(writer.build())
        elf.relocations(elf.sections[code])


def test_refuses_a_name_that_is_no_text() -> None:
    with pytest.raises(SpecError, match="not UTF-8"):
        Elf.parse(good().replace(b".shstrtab", b"\xff\xfe\xfdstrtab"))


def test_bounds_the_size_before_reading() -> None:
    with pytest.raises(LimitExceeded):
        Elf.parse(bytes(LIMITS.object + 1))


@pytest.mark.parametrize("bound", ["elf_sections", "elf_symbols", "elf_relocations"])
def test_bounds_every_table(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf_module, "LIMITS", Limits(**{bound: 1}))
    writer = ElfWriter()
    writer.relocations[writer.function("f", "xdp", EXIT * 2)] = [(0, 1), (8, 1)]
    with pytest.raises(LimitExceeded, match=f"more than 1 {bound.removeprefix('elf_')}"):
        elf = Elf.parse(writer.build())
        elf.relocations(elf.sections[1])
