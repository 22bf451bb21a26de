"""``run --filter``, ``--fields``, ``--unique``, ``--sort`` and ``--limit``, by both engines."""

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


@pytest.fixture(params=["wasm", "reference"])
def engine(request: pytest.FixtureRequest) -> str:
    """The option that chooses an engine."""
    return f"--engine={request.param}"


def rung(running: Running, notes: str) -> None:
    running.until("^attached ", stderr=True)
    chimes.ring(notes)


def test_only_what_is_shown_is_counted(host: Host, engine: str) -> None:
    words = ("-o", "bells:json", "--filter", "tone == 'do' and number > 2", "--max-events=2")
    with host.started("run", engine, *words, "chimes:1", ME) as running:
        rung(running, "llhhlhlhhh")
        done = running.end()
    assert [line["number"] for line in done.lines] == [5, 7]
    assert done.stderr.splitlines()[-1].startswith("2 events (5 filtered out), ")


def test_fields_of_several_types(host: Host, engine: str) -> None:
    words = ("-o", "bells:csv", "--fields", "tone,number", "--filter", "number in (2, 3)")
    with host.started("run", engine, *words, "--limit=2", "chimes:1", ME) as running:
        rung(running, "hhl")
        done = running.end()
    assert sorted(done.stdout.splitlines()) == ["high,,2", "low,do,3", "type,tone,number"]


def test_the_first_of_each(host: Host, engine: str) -> None:
    words = ("-o", "bells:json", "--unique", "kind", "--fields=-kind")
    with host.started("run", engine, *words, QUICK, "chimes:1", ME) as running:
        rung(running, "hhlhl")
        done = running.end()
    assert done.lines == [
        {"type": "high", "number": 1},
        {"type": "low", "number": 3, "tone": "do"},
    ]
    assert " (3 filtered out), " in done.stderr.splitlines()[-1]


def test_events_and_tables_share_an_expression(host: Host) -> None:
    words = ("-o", "json", "--filter", "kind == 2", "--sort=-calls", "--limit=5")
    with host.started("run", *words, QUICK, "chimes:1", ME) as running:
        rung(running, "hlhl")
        done = running.end()
    assert [line["number"] for line in done.lines if line["output"] == "bells"] == [2, 4]
    *_, table = [line for line in done.lines if line["output"] == "counts"]
    assert table["rows"] == [{"key": {"kind": 2}, "value": {"calls": 2}}]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--filter", "kind = 2"), "  kind = 2\n       ^\n  equal is ==\n"),
        (
            ("--filter", "kin == 2"),
            "did you mean kind? the fields are type, kind, number, tone, calls",
        ),
        (("--fields", "tune"), "did you mean tone?"),
        (("--unique", "calls"), "--unique: no field 'calls'"),
        (("--sort", "number"), "--sort: no field 'number'"),
        (("-o", "bells:json", "--sort", "number"), "events are shown as they come"),
        (("-o", "bells:raw", "-f", "x", "--fields", "kind"), "raw output is whole records"),
        (("-o", "counts:json", "--unique", "kind"), "--unique: no events are shown"),
        (("--limit", "0"), "--limit: not a positive whole number"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry"])
def test_what_makes_no_sense_is_told_before_anything_is_loaded(
    host: Host, words: tuple[str, ...], told: str, dry: tuple[str, ...], tmp_path: Path
) -> None:
    done = host.run("run", *dry, *words, "chimes:1", ME, code=125, cwd=tmp_path)
    assert told in done.stderr
    assert "attached" not in done.stderr
