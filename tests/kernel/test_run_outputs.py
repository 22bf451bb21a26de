"""``bpfpack run`` of several outputs and several types in one buffer, and where they go."""

import csv
import json
from pathlib import Path

import pytest

from tests.kit import chimes
from tests.kit.bell import ME
from tests.kit.cli import Host, Running

pytestmark = pytest.mark.kernel
QUICK = "--timeout=500ms"


@pytest.fixture(scope="module", params=["RINGBUF", "PERF_EVENT_ARRAY"])
def host(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Host:
    """A host that built the chimes, with a ring or a perf buffer."""
    return chimes.built(tmp_path_factory.mktemp("host"), request.param)


def rung(running: Running, notes: str) -> None:
    running.until("^attached ", stderr=True)
    chimes.ring(notes)


def test_json_lines_name_their_output(host: Host) -> None:
    with host.started("run", "-o", "json", QUICK, "chimes:1", ME) as running:
        rung(running, "hlh")
        done = running.end()
    assert [line for line in done.lines if line["output"] == "bells"] == [
        {"output": "bells", "type": "high", "kind": 1, "number": 1},
        {"output": "bells", "type": "low", "kind": 2, "number": 2, "tone": "do"},
        {"output": "bells", "type": "high", "kind": 1, "number": 3},
    ]
    *_, table = [line for line in done.lines if line["output"] == "counts"]
    counts = {row["key"]["kind"]: row["value"]["calls"] for row in table["rows"]}
    assert counts == {1: 2, 2: 1}


def test_a_table_of_several_types_has_one_header(host: Host) -> None:
    with host.started("run", "-o", "bells:table", "--max-events=4", "chimes:1", ME) as running:
        rung(running, "hhlh")
        done = running.end()
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows == [
        ["TYPE", "KIND", "NUMBER", "TONE"],
        ["high", "1", "1"], ["high", "1", "2"], ["low", "2", "3", "do"], ["high", "1", "4"],
    ]  # fmt: skip


def test_several_tables_have_their_names(host: Host) -> None:
    with host.started("run", QUICK, "chimes:1", ME) as running:
        rung(running, "h")
        shown = running.end().stdout
    assert "bells:\n" in shown
    assert " counts\n" in shown


def test_one_of_several_as_csv(host: Host) -> None:
    with host.started("run", "-o", "bells:csv", "--max-events=2", "chimes:1", ME) as running:
        rung(running, "hl")
        done = running.end()
    assert list(csv.reader(done.stdout.splitlines())) == [
        ["type", "kind", "number", "tone"], ["high", "1", "1", ""], ["low", "2", "2", "do"]
    ]  # fmt: skip


def test_one_alone_needs_no_name_in_json(host: Host) -> None:
    with host.started("run", "-o", "bells:json", "--max-events=1", "chimes:1", ME) as running:
        rung(running, "h")
        assert running.end().lines == [{"type": "high", "kind": 1, "number": 1}]


def test_a_format_for_all_and_another_for_one(host: Host) -> None:
    argv = ("run", "-o", "json", "-o", "bells:table", QUICK, "chimes:1", ME)
    with host.started(*argv) as running:
        rung(running, "l")
        lines = running.end().stdout.splitlines()
    assert "bells:" in lines
    assert [json.loads(line)["output"] for line in lines if line.startswith("{")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-o", "csv"), "-o NAME:csv chooses one of bells, counts"),
        (("-o", "bells:csv", "-o", "counts:csv"), "for one output"),
        (("-o", "nope:json"), "its outputs are bells, counts"),
        (("-o", "counts:raw"), "-o raw is for events"),
        (("-o", "bells:xml"), "'xml' is not one of"),
        (("-o", "bells:csv", "--trace-pipe"), "table or json"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry"])
def test_an_impossible_mode_is_an_error(
    host: Host, words: tuple[str, ...], told: str, dry: tuple[str, ...]
) -> None:
    done = host.run("run", *dry, *words, "chimes:1", ME, code=125)
    assert told in done.stderr
    assert done.stdout == ""


def test_a_file_takes_what_is_shown(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "shown"
    file.write_text("x" * 1000)
    argv = ("run", "-o", "bells:json", "--max-events=2", "-f", str(file), "chimes:1", ME)
    with host.started(*argv) as running:
        rung(running, "hl")
        assert running.end().stdout == ""
    assert [json.loads(line)["number"] for line in file.read_text().splitlines()] == [1, 2]


def test_a_file_that_cannot_be_written(host: Host, tmp_path: Path) -> None:
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "no" / "file", "No such file")):
        done = host.run("run", "-f", path, "chimes:1", ME, code=125)
        assert f"cannot write {path}: {why}" in done.stderr
    kept = tmp_path / "kept"
    kept.write_text("mine")
    host.run("run", "--dry-run", "-f", kept, "chimes:1", ME)
    assert kept.read_text() == "mine"


def test_a_full_disk_is_told_as_one(host: Host) -> None:
    argv = ("run", "-o", "bells:json", "-f", "/dev/full", "chimes:1", ME)
    with host.started(*argv) as running:
        rung(running, "h")
        done = running.end()
    assert (done.code, done.stderr.splitlines()[-1]) == (
        125, "error: cannot write the output: No space left on device"
    )  # fmt: skip


def test_too_few_descriptors_are_told_as_that(host: Host) -> None:
    for most in range(8, 24):
        done = _limited(host, most)
        assert "cannot write the output" not in done, done
        assert "Traceback" not in done
        if "Too many open files" in done:
            assert "ulimit -n" in done


def _limited(host: Host, most: int) -> str:
    limit = Host(root=host.root, prefix=("prlimit", f"--nofile={most}"))
    return limit.run("run", "--timeout=50ms", "chimes:1", ME, code=None).stderr
