"""Functions in ELF files: those that compilers make, and those that nobody should."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.runner.attach.symbols import ElfFile
from bpfpack.spec.errors import SpecError
from tests.kit.objects import run, tool

SOURCE = """
__attribute__((noinline)) int global(int n) { __asm__ volatile(""); return n; }
__attribute__((weak, noinline)) int weak(int n) { __asm__ volatile(""); return n + 1; }
static __attribute__((noinline, used)) int local(int n) { __asm__ volatile(""); return n + 2; }
static int one(void) { return 1; }
static int (*choose(void))(void) { return one; }
int chosen(void) __attribute__((ifunc("choose")));
int data = 5;
int main(void) { return global(1) + weak(2) + local(3) + data; }
"""
TWIN = (
    'static __attribute__((noinline, used)) int twin(int n) { __asm__ volatile("#%d"); return n; }'
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    (folder / "a.c").write_text(SOURCE + TWIN % 1)
    (folder / "b.c").write_text(TWIN % 2)
    run(tool("cc"), "-O1", "-o", folder / "program", folder / "a.c", folder / "b.c")
    return folder / "program"


def _function(path: Path, name: str, inside: int = 0) -> int:
    fd = os.open(path, os.O_RDONLY)
    try:
        return ElfFile(fd).function(name, inside)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["global", "weak", "local", "main"])
@pytest.mark.parametrize("linked", ["-pie", "-no-pie", "-static", "-shared"])
def test_an_offset_is_where_the_code_is(tmp_path: Path, name: str, linked: str) -> None:
    (tmp_path / "a.c").write_text(SOURCE)
    flags = ("-fPIC", linked) if linked == "-shared" else (linked,)
    run(tool("cc"), "-O1", *flags, "-o", tmp_path / "a.out", tmp_path / "a.c")
    listed = run(tool("nm"), tmp_path / "a.out").splitlines()
    (address,) = [int(line.split()[0], 16) for line in listed if line.endswith(f" {name}")]
    headers = run(tool("readelf"), "-lW", tmp_path / "a.out")
    for line in headers.splitlines():
        words = line.split()
        if words[:1] == ["LOAD"]:
            offset, start, size = (int(words[i], 16) for i in (1, 2, 4))
            if start <= address < start + size:
                break
    assert _function(tmp_path / "a.out", name) == address - start + offset


def test_an_offset_ends_with_the_function(program: Path) -> None:
    sizes = {
        words[3]: int(words[1], 16)
        for words in map(str.split, run(tool("nm"), "-S", program).splitlines())
        if len(words) == 4
    }
    first, size = _function(program, "main"), sizes["main"]
    assert _function(program, "main", size - 1) == first + size - 1
    for beyond in (size, 1 << 40, (1 << 63) - 1):
        with pytest.raises(SpecError) as caught:
            _function(program, "main", beyond)
        told = f"has {size} bytes of 'main', and +{beyond:#x} is beyond them"
        assert str(caught.value) == told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("twin", "has several functions 'twin', at 0x"),
        ("chosen", "chooses its 'chosen' as it is loaded"),
        ("data", "has no function 'data'"),
        ("nothing", "has no function 'nothing'"),
        ("glob", "has no function 'glob'"),
    ],
)
def test_what_is_no_function_is_told(program: Path, name: str, told: str) -> None:
    with pytest.raises(SpecError) as caught:
        _function(program, name)
    assert told in str(caught.value)


def test_names_that_are_spelled_alike_are_told(program: Path) -> None:
    with pytest.raises(SpecError) as caught:
        _function(program, "globale")
    assert "global" in (caught.value.hint or "")


def test_a_stripped_program_says_so(program: Path, tmp_path: Path) -> None:
    run(tool("cc"), "-static", "-s", "-o", tmp_path / "bare", program.parent / "a.c")
    with pytest.raises(SpecError, match="it is stripped"):
        _function(tmp_path / "bare", "main")


def test_a_program_of_32_bits(tmp_path: Path) -> None:
    """As a linker lays it out: one header, one segment, a table of two symbols."""
    names, symbols = b"\0main\0", struct.pack("<IIIBBH", 1, 0x8001040, 4, 0x12, 0, 1)
    symbols = bytes(16) + symbols
    head = b"\x7fELF\1\1\1".ljust(16, b"\0")
    at_symbols, at_names = 84, 84 + len(symbols)
    at_sections = at_names + len(names)
    head += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0, 52, at_sections, 0, 52, 32, 1, 40, 3, 0)
    segment = struct.pack("<IIIIIIII", 1, 0x1000, 0x8001000, 0, 0x100, 0x100, 5, 0x1000)
    section = struct.Struct("<IIIIIIIIII")
    sections = bytes(40)
    sections += section.pack(0, 2, 0, 0, at_symbols, len(symbols), 2, 1, 4, 16)
    sections += section.pack(0, 3, 0, 0, at_names, len(names), 0, 0, 1, 0)
    path = tmp_path / "small"
    path.write_bytes(head + segment + symbols + names + sections)
    assert _function(path, "main") == 0x1040


@given(data=st.data())
def test_a_damaged_file_is_an_offset_or_a_fault(program: Path, data: st.DataObject) -> None:
    good = bytearray(program.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # The headers, where every number leads somewhere.
        at = data.draw(
            st.one_of(st.integers(0, 1024), st.integers(len(good) - 2048, len(good) - 1))
        )
        good[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    fd = os.memfd_create("damaged")
    try:
        os.write(fd, good[: cut if data.draw(st.booleans()) else len(good)])
        try:
            assert ElfFile(fd).function("global") >= 0
        except SpecError as e:
            assert str(e)
        try:
            ElfFile(fd).require_marker("a", "b")
        except SpecError as e:
            assert str(e)
    finally:
        os.close(fd)
