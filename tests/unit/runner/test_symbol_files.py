"""Symbols that were stripped from programs, and the files that they are found in."""

import ctypes
import lzma
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.runner.attach.symbols import ElfFile
from bpfpack.runner.symbols.frame import Frame
from bpfpack.runner.symbols.functions import FileFunctions
from bpfpack.runner.symbols.mappings import MappedFile
from bpfpack.runner.symbols.tables import Tables, read_functions
from bpfpack.runner.symbols.user import UserSymbols
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import replace
from tests.kit.objects import run, tool
from tests.kit.stripped import compiled, debug_file, linked_program, packed
from tests.unit.runner.test_stack_symbols import code_offset, started


def functions(path: Path, roots: Iterable[str] = ()) -> FileFunctions | None:
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_functions(fd, "/program", roots)
    finally:
        os.close(fd)


def build_id(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY)
    try:
        return ElfFile(fd).build_id().hex()
    finally:
        os.close(fd)


def is_named(found: FileFunctions | None, offset: int) -> bool:
    return found is not None and found.find(offset) == ("second", 0)


def test_build_ids(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    notes = run(tool("readelf"), "-n", path)
    assert build_id(path) == notes.partition("Build ID: ")[2].split()[0]
    assert build_id(compiled(tmp_path, "-Wl,--build-id=none")) == ""


def test_a_debug_file_by_the_build_id(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    offset, _ = code_offset(path, "second")
    name = build_id(path)
    root = tmp_path / "root"
    folder = root / "usr/lib/debug/.build-id" / name[:2]
    moved = debug_file(path, folder / f"{name[2:]}.debug")
    assert not is_named(functions(path), offset)
    assert is_named(functions(path, [str(root)]), offset)
    # Of another program, under the name of this one.
    (tmp_path / "other").mkdir()
    moved.write_bytes(compiled(tmp_path / "other", "-O1").read_bytes())
    assert not is_named(functions(path, [str(root)]), offset)


@pytest.mark.parametrize("where", [".", ".debug", "usr/lib/debug"])
@pytest.mark.parametrize("linked", ["-Wl,--build-id", "-Wl,--build-id=none"])
def test_a_debug_file_by_its_name(tmp_path: Path, where: str, linked: str) -> None:
    path = compiled(tmp_path, linked)
    offset, _ = code_offset(path, "second")
    root = tmp_path / "root"
    moved = debug_file(path, root / where / "program.debug")
    run(tool("objcopy"), f"--add-gnu-debuglink={moved}", path)
    assert is_named(functions(path, [str(root)]), offset)
    with moved.open("ab") as file:
        file.write(b"x")
    # Only the checksum tells that it is another.
    assert is_named(functions(path, [str(root)]), offset) == (linked == "-Wl,--build-id")


def test_a_debug_file_outside_of_its_root(tmp_path: Path) -> None:
    """A link in a container does not lead to the host."""
    path = compiled(tmp_path, "-Wl,--build-id=none")
    offset, _ = code_offset(path, "second")
    moved = debug_file(path, tmp_path / "program.debug")
    run(tool("objcopy"), f"--add-gnu-debuglink={moved}", path)
    root = tmp_path / "root"
    root.mkdir()
    (root / "program.debug").symlink_to(moved)
    assert not is_named(functions(path, [str(root)]), offset)
    (root / "program.debug").unlink()
    moved.rename(root / "program.debug")
    assert is_named(functions(path, [str(root)]), offset)


def test_symbols_that_are_packed_into_the_program(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    offset, _ = code_offset(path, "second")
    moved = debug_file(path, tmp_path / "program.debug")
    packed(path, lzma.compress(moved.read_bytes()))
    assert is_named(functions(path), offset)


@pytest.mark.parametrize(
    "data", [b"", b"no xz", lzma.compress(bytes(80 << 20)), lzma.compress(b"\x7fELF")]
)
def test_packed_data_of_attackers(tmp_path: Path, data: bytes) -> None:
    path = compiled(tmp_path)
    offset, _ = code_offset(path, "second")
    debug_file(path, tmp_path / "program.debug")
    packed(path, data)
    assert not is_named(functions(path), offset)


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program that names a debug file, to be damaged."""
    return linked_program(tmp_path_factory.mktemp("linked"))


@given(data=st.data())
def test_a_damaged_file_is_a_table_or_none(linked: bytes, data: st.DataObject) -> None:
    damaged = bytearray(linked)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(linked) - 1))] = data.draw(st.integers(0, 255))
    fd = os.memfd_create("damaged")
    try:
        os.write(fd, damaged)
        read_functions(fd, "/program", ["/nowhere"])
    finally:
        os.close(fd)


def test_reading_takes_no_more_than_its_share_of_a_run(tmp_path: Path) -> None:
    """Of files that others put there to keep us busy."""
    path = compiled(tmp_path)
    tables = Tables()
    assert tables.of(mapped(path, build_id(path)), 1, ["/"]) is not None
    tables._spent = LIMITS.stack_seconds + 1.0
    assert tables.of(mapped(path, build_id(path)), 2, ["/"]) is not None
    (tmp_path / "other").mkdir()
    other = compiled(tmp_path / "other", "-O1")
    assert tables.of(mapped(other, build_id(other)), 1, ["/"]) is None


def test_tables_of_files_that_were_used_longest_ago_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(LIMITS, stack_tables=8192)
    monkeypatch.setattr("bpfpack.runner.symbols.tables.LIMITS", small)
    tables = Tables()
    for i in range(8):
        (tmp_path / str(i)).mkdir()
        path = compiled(tmp_path / str(i), f"-DNUMBER={i}", "-Wl,--build-id=none")
        assert tables.of(MappedFile(str(path), str(path)), 1, ["/"]) is not None
        path.unlink()
    kept = [
        i
        for i in range(8)
        if tables.of(MappedFile(str(p := tmp_path / str(i) / "program"), str(p)), 1, ["/"])
    ]
    assert kept
    assert kept == list(range(8))[-len(kept) :]
    assert len(kept) < 4


def mapped(path: Path, name: str) -> MappedFile:
    return MappedFile(str(path), str(path), None, bytes.fromhex(name))


def test_the_same_file_of_many_is_read_once(tmp_path: Path) -> None:
    """Of one image in several containers: other files, the same content."""
    path = compiled(tmp_path)
    tables, name, found = Tables(), build_id(path), []
    for i in range(3):
        root = tmp_path / str(i)
        root.mkdir()
        (root / "program").write_bytes(path.read_bytes())
        file = mapped(Path("/program"), name)
        found.append(tables.of(file, 1000 + i, [str(root)]))
    assert len({id(f.table) for f in found if f is not None}) == 1


def test_a_file_that_is_gone_has_the_names_of_its_like(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    offset, _ = code_offset(path, "second")
    tables, file = Tables(), mapped(path, build_id(path))
    assert tables.of(file, 1, ["/"]) is not None
    gone = mapped(tmp_path / "gone", build_id(path))
    found = tables.of(gone, 2, ["/"])
    assert found is not None
    assert is_named(found, offset)
    # Another that claims to be the same: whose names are true, nobody knows.
    run(tool("objcopy"), "--redefine-sym", "second=lies", path)
    assert tables.of(file, 3, ["/"]) is not None
    assert tables.of(gone, 2, ["/"]) is None


def test_another_file_at_the_same_path_is_not_taken_for_it(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    file = mapped(path, build_id(path))
    inode = file._replace(build_id=b"", inode=path.stat().st_ino)
    path.unlink()
    compiled(tmp_path, "-O1", "-DOTHER").rename(tmp_path / "x")
    path.write_bytes((tmp_path / "x").read_bytes() + b"x")
    if path.stat().st_ino == inode.inode:
        inode = inode._replace(inode=inode.inode + 1)
    other = file._replace(build_id=bytes(20))
    assert Tables().of(inode, 1, ["/"]) is None
    assert Tables().of(other, 1, ["/"]) is None


def test_a_program_that_was_removed_while_it_runs(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    symbols = UserSymbols()
    with started(path) as process:
        offset, _ = code_offset(path, "first")
        lines = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
        line = next(x for x in lines if " r-xp " in x and x.endswith(str(path)))
        address = int(line.split("-")[0], 16) + offset - int(line.split()[2], 16)
        path.unlink()
        (frame,) = symbols.frames(process.pid, [address])
        process.send_signal(signal.SIGKILL)
    assert frame.function == "first"


def test_names_of_cxx_are_shown_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.cc").write_text(
        "#include <unistd.h>\n"
        "namespace ns { struct S { __attribute__((noinline)) int f(long n); };\n"
        "int S::f(long n) { char c; return read(0, &c, n); } }\n"
        "int main() { return ns::S().f(1); }\n"
    )
    path = tmp_path / "program"
    run(tool("c++"), "-O0", "-o", path, tmp_path / "a.cc")
    offset, _ = code_offset(path, "_ZN2ns1S1fEl")
    symbols = UserSymbols()
    with started(path) as process:
        lines = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
        line = next(x for x in lines if " r-xp " in x and x.endswith(str(path)))
        address = int(line.split("-")[0], 16) + offset - int(line.split()[2], 16)
        frames = symbols.frames(process.pid, [address])
        process.send_signal(signal.SIGKILL)
    symbols.close()
    assert frames == (Frame(address, "ns::S::f(long)", 0, str(path)),)


def test_the_code_that_the_kernel_maps_into_all(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    symbols, own = UserSymbols(), Path("/proc/self/maps").read_text().splitlines()
    start, end = (int(x, 16) for x in next(o for o in own if "[vdso]" in o).split()[0].split("-"))
    image = ctypes.string_at(start, end - start)
    (tmp_path / "vdso").write_bytes(image)
    rows = (line.split() for line in run(tool("nm"), "-D", tmp_path / "vdso").splitlines())
    offset, name = next((int(r[0], 16), r[2]) for r in rows if "clock_gettime" in r[2])
    with started(path) as process:
        line = next(
            x for x in Path(f"/proc/{process.pid}/maps").read_text().splitlines() if "[vdso]" in x
        )
        (frame,) = symbols.frames(process.pid, [int(line.split("-")[0], 16) + offset])
        process.send_signal(signal.SIGKILL)
    assert (frame.function or "").lstrip("_") in {
        name.partition("@")[0].lstrip("_"),
        "vdso_clock_gettime",
        "clock_gettime",
    }
