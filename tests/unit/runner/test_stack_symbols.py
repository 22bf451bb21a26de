"""Names for addresses: of a recorded kernel, of files that compilers make, of real processes."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.runner.symbols.frame import Frame
from bpfpack.runner.symbols.functions import FileFunctions
from bpfpack.runner.symbols.kernel import KernelSymbols
from bpfpack.runner.symbols.mappings import Mappings
from bpfpack.runner.symbols.tables import read_functions
from bpfpack.runner.symbols.user import UserSymbols
from tests.kit.kernelobjects import eventually
from tests.kit.objects import run, tool
from tests.kit.stripped import compiled

KALLSYMS = """\
ffffffff81000000 T _text
ffffffff81000100 t first
ffffffff81000200 T second
ffffffff81000210 D data
ffffffffc0000000 t probe_one\t[module]
0000000000000000 A hidden
"""


@pytest.fixture
def kernel(tmp_path: Path) -> KernelSymbols:
    (tmp_path / "kallsyms").write_text(KALLSYMS)
    return KernelSymbols(str(tmp_path / "kallsyms"))


@pytest.mark.parametrize(
    ("address", "called", "frame"),
    [
        (0xFFFFFFFF81000100, False, ("first", 0, "[kernel]")),
        (0xFFFFFFFF810001FF, False, ("first", 0xFF, "[kernel]")),
        (0xFFFFFFFF81000200, False, ("second", 0, "[kernel]")),
        (0xFFFFFFFF81000200, True, ("first", 0x100, "[kernel]")),
        (0xFFFFFFFF81000220, False, ("second", 0x20, "[kernel]")),
        (0xFFFFFFFFC0000010, False, ("probe_one", 0x10, "[module]")),
        (0x1000, False, (None, 0, "[kernel]")),
    ],
)
def test_functions_of_the_kernel(
    kernel: KernelSymbols, address: int, called: bool, frame: tuple[str | None, int, str]
) -> None:
    assert kernel.frame(address, called=called) == Frame(address, *frame)


symbols = st.tuples(st.integers(1, 40), st.sampled_from("tTwWdDbr"), st.booleans())


@given(rows=st.lists(symbols, max_size=30), address=st.integers(0, 50))
def test_it_finds_what_a_slow_search_finds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, bool]], address: int
) -> None:
    own = sorted(((a, k) for a, k, module in rows if not module), key=lambda row: row[0])
    named = [(a, k, f"f{i}", "[kernel]") for i, (a, k) in enumerate(own)]
    # Those of modules are in no order.
    named += [(1000 + a, k, f"m{i}", "[m]") for i, (a, k, module) in enumerate(rows) if module]
    path = tmp_path_factory.getbasetemp() / "kallsyms"
    path.write_text(
        "".join(f"{a:016x} {k} {n}{chr(9) + m if m == '[m]' else ''}\n" for a, k, n, m in named)
    )
    code = [row for row in named if row[1] in "tTwW"]
    found = KernelSymbols(str(path))
    for at in (address, 1000 + address):
        starts = [row[0] for row in code if row[0] <= at]
        names = {(row[2], row[3]) for row in code if starts and row[0] == max(starts)}
        frame = found.frame(at)
        assert (frame.function or "", frame.file) in (names or {("", "[kernel]")})
        assert frame.offset == (at - max(starts) if starts else 0)
    first = next((row for row in code if row[0] == address and row[3] == "[kernel]"), None)
    if first:
        assert found.frame(address).function == first[2]


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    """Without privileges all addresses are 0 (proc(5), kptr_restrict)."""
    hidden = "\n".join(f"{0:016x} T {name}" for name in ("a", "b")) + "\n"
    (tmp_path / "kallsyms").write_text(hidden)
    for path in (tmp_path / "kallsyms", tmp_path / "missing"):
        found = KernelSymbols(str(path)).frame(0xFFFFFFFF81000000)
        assert found == Frame(0xFFFFFFFF81000000, file="[kernel]")
        assert found.text() == "[kernel]"


def table(path: Path) -> FileFunctions | None:
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_functions(fd)
    finally:
        os.close(fd)


def code_offset(path: Path, name: str) -> tuple[int, int]:
    """Where a function is in the file, and how long, as binutils see it."""
    rows = [line.split() for line in run(tool("nm"), "-S", path).splitlines()]
    ((start, size),) = [(int(r[0], 16), int(r[1], 16)) for r in rows if r[3:] == [name]]
    for line in run(tool("readelf"), "-lW", path).splitlines():
        words = line.split()
        if words[:1] == ["LOAD"]:
            offset, address, length = (int(words[i], 16) for i in (1, 2, 4))
            if address <= start < address + length:
                return start - address + offset, size
    raise AssertionError(name)


@pytest.mark.parametrize("linked", ["-pie", "-no-pie", "-static"])
def test_functions_of_a_file(tmp_path: Path, linked: str) -> None:
    path = compiled(tmp_path, linked)
    found = table(path)
    assert found is not None
    for name in ("first", "second", "main"):
        offset, size = code_offset(path, name)
        assert found.find(offset) == (name, 0)
        assert found.find(offset + size - 1) == (name, size - 1)
        assert found.find(offset + size, called=True) == (name, size)
    assert found.find(1 << 40) is None


def test_a_library_without_its_own_symbols() -> None:
    """What it exports is left; of several names the one that people use."""
    path = next(p for p in Path("/usr/lib").glob("*/libc.so.6"))
    found = table(path)
    assert found is not None
    rows = (line.split() for line in run(tool("nm"), "-D", path).splitlines())
    addresses = {r[-1].partition("@")[0]: int(r[0], 16) for r in rows if len(r) == 3}
    # Code of libraries lies at one distance from where it is loaded, so that this holds.
    assert {found.find(addresses[name]) for name in ("read", "malloc")} == {
        ("read", 0),
        ("malloc", 0),
    }


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\2\1\1" + bytes(57), b"#!/bin/sh\n"])
def test_what_has_no_functions(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    assert table(tmp_path / "x") is None


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small program, to be damaged."""
    return compiled(tmp_path_factory.mktemp("small")).read_bytes()


@given(data=st.data())
def test_a_damaged_file_is_a_table_or_none(small: bytes, data: st.DataObject) -> None:
    damaged = bytearray(small)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(small) - 1))] = data.draw(st.integers(0, 255))
    fd = os.memfd_create("damaged")
    try:
        os.write(fd, damaged)
        found = read_functions(fd)
    finally:
        os.close(fd)
    if found is not None:
        for offset in range(0, len(small), 512):
            found.find(offset, called=True)


def loaded(pid: int, name: str) -> str:
    """What a process has mapped, once that file is there: exec(2) is over before it is."""
    text = ""

    def there() -> bool:
        nonlocal text
        text = Path(f"/proc/{pid}/maps").read_text()
        return " r-xp " in text and f"{name}\n" in text and "libc.so" in text

    assert eventually(there), text
    return text


@contextmanager
def started(path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([path], stdin=subprocess.PIPE) as process:
        loaded(process.pid, str(path))
        yield process


def _address(pid: int, path: Path, name: str) -> int:
    offset, _ = code_offset(path, name)
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, mode, start, *_ = line.split()
        if "x" in mode and line.endswith(str(path)):
            return int(span.split("-")[0], 16) + offset - int(start, 16)
    raise AssertionError(line)


def test_functions_of_a_process_that_has_ended(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    symbols = UserSymbols()
    with started(path) as process:
        first, main = (_address(process.pid, path, name) for name in ("first", "main"))
        symbols.look(process.pid)
        process.send_signal(signal.SIGKILL)
    assert not Path(f"/proc/{process.pid}").exists()
    assert symbols.frames(process.pid, [first + 4, main + 8, 16]) == (
        Frame(first + 4, "first", 4, str(path)),
        Frame(main + 8, "main", 8, str(path)),
        Frame(16),
    )


def test_a_process_that_nobody_has_seen() -> None:
    assert UserSymbols().frames(2**22 + 1, [16, 32]) == (Frame(16), Frame(32))


def test_a_file_that_is_gone_has_a_name_left(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    symbols = UserSymbols()
    with started(path) as process:
        address = _address(process.pid, path, "first")
        symbols.look(process.pid)
        path.unlink()
        (frame,) = symbols.frames(process.pid, [address])
    assert (frame.function, frame.text()) == (None, "[program]")


def test_another_program_in_the_same_process(tmp_path: Path) -> None:
    """What it ran before is still known."""
    path = compiled(tmp_path)
    script = f"read line; exec {path}"
    mappings = Mappings()
    with subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE) as shell:
        spans = loaded(shell.pid, str(Path("/bin/sh").resolve())).splitlines()
        mappings.look(shell.pid)
        before = int(next(s for s in spans if " r-xp " in s).split("-")[0], 16)
        assert shell.stdin
        shell.stdin.write(b"go\n")
        shell.stdin.flush()
        loaded(shell.pid, str(path))
        mappings.look(shell.pid)
        after = _address(shell.pid, path, "main")
        shell.stdin.close()
    new, old = mappings.find(shell.pid, after), mappings.find(shell.pid, before)
    assert new and new.name == str(path)
    assert old and old.name != str(path)
