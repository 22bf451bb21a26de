"""The engine as the host holds it: its code, its memory, and what becomes of either."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpfpack.cli.engines import OwnedCache
from bpfpack.runner._native import wasmtime
from bpfpack.runner.engine.host import Engine
from bpfpack.spec.errors import EngineError


def files(place: Path) -> dict[str, int]:
    """What a directory holds, by name: the inode tells a file that was written again."""
    return {path.name: path.stat().st_ino for path in place.iterdir()}


def works(place: Path) -> None:
    """An engine starts and traps as it should."""
    with Engine(OwnedCache(place)) as engine, pytest.raises(EngineError, match="out of bounds"):
        engine.enter(0xFFFFFFF0)


def test_compiled_code_is_kept_for_this_engine_and_this_wasmtime(tmp_path: Path) -> None:
    place = tmp_path / "engine"
    works(place)
    kept = files(place)
    (name,) = kept
    assert wasmtime.version() in name
    works(place)
    assert files(place) == kept


def test_code_of_other_versions_is_not_kept_for_ever(tmp_path: Path) -> None:
    cache = OwnedCache(tmp_path)
    for name in ("old", "recent"):
        cache.write(name, b"code")
    os.utime(tmp_path / "old", (0, 0))
    cache.write("new", b"code")
    assert set(files(tmp_path)) == {"recent", "new"}


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x7fELF" + bytes(4096)])
def test_code_that_wasmtime_refuses_is_made_anew(tmp_path: Path, junk: bytes) -> None:
    works(tmp_path)
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    path.write_bytes(junk)
    works(tmp_path)
    assert path.read_bytes() == good


def test_a_directory_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    place = tmp_path / "engine"
    works(place)
    (path,) = place.iterdir()
    path.write_bytes(b"junk")
    place.chmod(0o777)
    works(place)
    assert path.read_bytes() == b"junk"


def test_a_link_in_place_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / "engine").symlink_to(theirs)
    works(tmp_path / "engine")
    assert not list(theirs.iterdir())


def test_a_directory_that_cannot_be_made_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    works(tmp_path / "file" / "engine")


def test_a_trap_is_one_line_and_the_engine_goes_on() -> None:
    with Engine() as engine:
        for _ in range(3):
            with pytest.raises(EngineError) as caught:
                engine.enter(0xFFFFFFF0)
            assert "\n" not in str(caught.value)
            assert "wasm trap: out of bounds memory access" in str(caught.value)


def test_a_view_outlives_its_engine_but_not_its_memory() -> None:
    engine = Engine()
    at = engine.memory.place(4096)
    view = engine.memory.view(at, 4096)
    piece = view[16:32]
    engine.close()
    del engine, view
    gc.collect()
    piece[:] = b"still there, yes"
    assert bytes(piece) == b"still there, yes"


def test_memory_goes_with_the_last_view() -> None:
    def reserved() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmSize:")[2].split()[0]) * 1024

    gc.collect()
    before = reserved()
    engine = Engine()
    view = engine.memory.view(engine.memory.place(1), 1)
    held = reserved()
    assert held - before > 1 << 32
    engine.close()
    del engine
    gc.collect()
    assert reserved() - before > 1 << 32
    del view
    gc.collect()
    assert held - reserved() > 1 << 32


def test_nothing_is_seen_or_placed_beyond_the_memory() -> None:
    with Engine() as engine:
        end = engine.memory.next
        for address, size in ((end, 1), (-1, 1), (0, end + 1), (1 << 40, 1), (8, -1)):
            with pytest.raises(ValueError, match="bytes at"):
                engine.memory.view(address, size)
        with pytest.raises(EngineError, match="no room"):
            engine.memory.place(1 << 32)
        assert bytes(engine.memory.view(engine.memory.place(5000), 5000)) == bytes(5000)
    with pytest.raises(ValueError, match="closed"):
        engine.memory.view(0, 1)


def test_a_second_close_does_nothing() -> None:
    engine = Engine()
    engine.close()
    engine.close()
    with pytest.raises(ValueError, match="closed"):
        engine.enter(0)


def test_the_library_is_found_without_importing_the_package() -> None:
    code = """
import sys
from bpfpack.runner.engine.host import Engine
Engine().close()
assert "wasmtime" not in sys.modules and "importlib.metadata" not in sys.modules
import threading
from pathlib import Path
assert len(list(Path("/proc/self/task").iterdir())) == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)


ABSENT = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]"
#: PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN (linux/prctl.h): as under MemoryDenyWriteExecute.
NO_CODE = "import ctypes; assert not ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)"
NO_SPACE = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))"
WHY = {
    ABSENT: "the Python package wasmtime is not there",
    NO_CODE: "executable",
    NO_SPACE: "Cannot allocate memory",
}


@pytest.mark.parametrize("without", WHY, ids=["wheel", "executable-memory", "address-space"])
@pytest.mark.parametrize("cached", [False, True])
def test_where_it_cannot_be_had_that_is_an_error_of_ours(
    tmp_path: Path, without: str, cached: bool
) -> None:
    if cached:
        works(tmp_path)
    code = f"""
from pathlib import Path
from bpfpack.cli.engines import OwnedCache
from bpfpack.runner.engine.host import Engine
from bpfpack.spec.errors import EngineError
{without}
try:
    Engine(OwnedCache(Path({str(tmp_path)!r})))
except EngineError as e:
    print(e)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert WHY[without] in done.stdout
    assert done.stdout.count("\n") == 1
    assert not done.stderr
