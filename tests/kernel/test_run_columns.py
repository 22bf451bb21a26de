"""``run -o arrow`` and ``-o parquet``, read back by pyarrow."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.kit import bell
from tests.kit.bell import ME
from tests.kit.cli import Host

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host that built the bell."""
    root = tmp_path_factory.mktemp("host")
    made = Host(root=root)
    made.run("build", "-q", "-t", "bell:1.0", bell.write(root / "bell"))
    return made


@pytest.mark.parametrize("engine", ["wasm", "reference"])
@pytest.mark.parametrize("rings", [0, 3])
@pytest.mark.parametrize("shape", ["arrow", "parquet"])
def test_a_file_is_whole_after_a_signal(
    host: Host, tmp_path: Path, shape: str, engine: str, rings: int
) -> None:
    file = tmp_path / f"events.{shape}"
    arguments = ("--engine", engine, "-o", f"events:{shape}", "-f", file, "bell:1.0", ME)
    with host.started("run", "--sigint-ok", *arguments) as running:
        running.until("^attached ", stderr=True)
        bell.ring(rings)
        # A thread of a library would keep what the run gives up.
        assert len(list(Path(f"/proc/{running.pid}/task").iterdir())) == 1
        assert shape == "arrow" or not file.exists()
        done = running.end(signal.SIGINT)
    assert done.code == 0
    table = pq.read_table(file) if shape == "parquet" else stream(file)
    assert table.schema == pa.schema([("number", pa.uint64())])
    assert table["number"].to_pylist() == list(range(1, rings + 1))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def stream(file: Path) -> pa.Table:
    """A stream that was written to a file."""
    with pa.OSFile(str(file)) as opened:
        return pa.ipc.open_stream(opened).read_all()


def test_what_the_filter_keeps_goes_through_a_pipe(host: Host, tmp_path: Path) -> None:
    code = (
        "import pyarrow as pa, sys; of = pa.ipc.open_stream(sys.stdin.buffer).read_all(); "
        "print(of['number'].to_pylist())"
    )
    fifo, out = tmp_path / "fifo", tmp_path / "out"
    os.mkfifo(fifo)
    with out.open("wb") as printed:
        reader = subprocess.Popen(
            ["sh", "-c", f'exec "$0" -c "$1" <{fifo}', sys.executable, code], stdout=printed
        )
    arguments = ("-o", "arrow", "-f", fifo, "--filter", "number != 2", "--max-events=2")
    with host.started("run", *arguments, "bell:1.0", ME) as running:
        running.until("^attached ", stderr=True)
        bell.ring(3)
        assert running.end().code == 0
    assert reader.wait() == 0
    assert out.read_text() == "[1, 3]\n"


def test_a_file_that_was_there_stays_until_the_new_one_is_whole(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "events.parquet"
    file.write_text("old")
    arguments = ("-o", "parquet", "-f", file, "bell:1.0", ME)
    with host.started("run", *arguments) as running:
        running.until("^attached ", stderr=True)
        running.end(signal.SIGKILL)
    assert file.read_text() == "old"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-o", "parquet"), "-o parquet writes a regular file"),
        (("-o", "parquet", "-f", "-"), "-o parquet writes a regular file"),
        (("-o", "parquet", "-f", "/dev/null"), "-o parquet writes a regular file"),
        (("-o", "parquet", "-f", "/nowhere/x", "--timeout=1ms"), "cannot write /nowhere/x"),
        (("-o", "parquet", "-f", "x", "--every", "1s"), "windows are shown as"),
    ],
)
def test_what_cannot_be_is_told(host: Host, arguments: tuple[str, ...], told: str) -> None:
    done = host.run("run", *arguments, "bell:1.0", ME, code=None)
    assert done.code == 125
    assert told in done.stderr


def test_a_stream_on_a_terminal_needs_force(host: Host) -> None:
    with host.terminal("run", "-o", "arrow", "bell:1.0", ME) as screen:
        screen.until("Arrow streams are not for a terminal")


def test_without_pyarrow_the_error_says_what_to_install(host: Host, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('none here')")
    arguments = ("run", "-o", "arrow", "bell:1.0", ME)
    done = host.run(*arguments, code=None, env={"PYTHONPATH": str(tmp_path)})
    assert done.code == 125
    assert "pip install 'bpfpack[arrow]'" in done.stderr


def test_a_link_stays_one_and_the_mode_is_that_of_any_new_file(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "link.parquet"
    file.symlink_to("real.parquet")
    file.with_name("real.parquet").touch()
    arguments = ("-o", "parquet", "-f", file, "--fields", "number", "--max-events=1")
    with host.started("run", *arguments, "bell:1.0", ME) as running:
        running.until("^attached ", stderr=True)
        bell.ring(2)
        assert running.end().code == 0
    assert file.is_symlink()
    assert pq.read_table(file).to_pylist() == [{"number": 1}]
    umask = os.umask(0o077)
    os.umask(umask)
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask
