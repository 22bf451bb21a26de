"""``bpfpack run --buffer-size`` and ``--map-size``: what the kernel is asked for."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.kit import chimes
from tests.kit.bell import ME
from tests.kit.cli import Host, Running
from tests.kit.kernelobjects import held

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host that built the chimes with a ring and with a perf buffer."""
    root = tmp_path_factory.mktemp("host")
    made = Host(root=root)
    for name, kind in (("ring", "RINGBUF"), ("perf", "PERF_EVENT_ARRAY")):
        made.run("build", "-q", "-t", f"{name}:1", chimes.write(root / name, kind))
    return made


def entries(running: Running, kind: str) -> int:
    """``max_entries`` of the one map of a kind that a run holds."""
    running.until("^attached ", stderr=True)
    found = []
    for what, number in held(running.pid):
        if what == "map":
            told = subprocess.run(
                ["bpftool", "-j", "map", "show", "id", str(number)],
                check=True, capture_output=True, text=True,
            ).stdout  # fmt: skip
            found.append(json.loads(told))
    (shown,) = [m for m in found if m["type"] == kind]
    return int(shown["max_entries"])


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ((), 4096),
        (("--buffer-size", "1M"), 1 << 20),
        (("--buffer-size=bells=100k",), 128 << 10),
        (("--buffer-size=5000",), 8192),
        (("--buffer-size=1",), 4096),
        (("--buffer-size=1M", "--buffer-size=bells=64k"), 64 << 10),
    ],
)
def test_a_ring_is_a_power_of_two_of_pages(host: Host, words: tuple[str, ...], size: int) -> None:
    with host.started("run", "--timeout=60s", *words, "ring:1", ME) as running:
        assert entries(running, "ringbuf") == size
        assert running.end(2).code == 130


def test_a_larger_ring_loses_less(host: Host) -> None:
    argv = ("run", "-o", "bells:json", "--max-events=2000", "--buffer-size=1M", "ring:1", ME)
    with host.started(*argv) as running:
        running.until("^attached ", stderr=True)
        chimes.ring("h" * 2000)
        done = running.end()
    assert [e["number"] for e in done.lines] == list(range(1, 2001))


@pytest.mark.parametrize(("size", "pages"), [("4096", 1), ("20k", 8), ("1M", 256)])
def test_a_perf_buffer_has_pages_for_each_processor(host: Host, size: str, pages: int) -> None:
    argv = ("run", "--timeout=60s", "--buffer-size", size, "perf:1", ME)
    plan = host.run(argv[0], "--dry-run", *argv[1:]).stdout
    assert f"map bells: {pages} pages for each processor" in plan
    with host.started(*argv) as running:
        running.until("^attached ", stderr=True)
        maps = Path(f"/proc/{running.pid}/maps").read_text().splitlines()
        sizes = {
            int(line.split("-")[1].split()[0], 16) - int(line.split("-")[0], 16)
            for line in maps
            if "anon_inode:[perf_event]" in line
        }
        # One page more, in which the kernel says where it is.
        assert sizes == {(pages + 1) * 4096}
        assert running.end(2).code == 130


def test_entries_of_a_map(host: Host) -> None:
    argv = ("run", "--timeout=60s", "--map-size", "counts=100", "ring:1", ME)
    with host.started(*argv) as running:
        assert entries(running, "hash") == 100
        assert running.end(2).code == 130


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--buffer-size", "lots"), "not a size"),
        (("--buffer-size", "0"), "not a size"),
        (("--buffer-size", "=1M="), "not a size"),
        (("--buffer-size", "counts=1M"), "the buffers are bells"),
        (("--buffer-size", "=2M"), "--buffer-size: '=2M' has no NAME before the '='"),
        (("--buffer-size", "4G"), "--buffer-size: 4294967296 bytes for bells are more than 2147"),
        (("--map-size", "bells=4096"), "--map-size: bells is a ring buffer, which has no entries"),
        (("--map-size", "bells=4096"), "--buffer-size bells=16M gives it room in bytes"),
        (("--map-size", "100"), "not of the form NAME=N"),
        (("--map-size", "nope=100"), "no map is called 'nope'"),
        (("--map-size", "counts=0"), "not a positive whole number"),
    ],
)
def test_a_size_that_makes_no_sense(host: Host, words: tuple[str, ...], told: str) -> None:
    done = host.run("run", "--dry-run", *words, "ring:1", ME, code=125)
    assert told in done.stderr


def test_a_perf_buffer_too_large_for_the_kernel(host: Host) -> None:
    done = host.run("run", "--buffer-size=2G", "perf:1", ME, code=125)
    assert "--buffer-size: 2147483648 bytes for bells are more than 1073741824" in done.stderr
