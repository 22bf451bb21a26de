"""opensnoop builds with every clang and shows the opens that this test causes."""

import os
from pathlib import Path

import pytest

from bpfpack.spec.config import EventType
from tests.kit.exampleruns import attached, events, set_global, shown
from tests.kit.objects import CLANGS
from tests.kit.sources import EXAMPLES, example


@pytest.mark.parametrize("clang", CLANGS)
def test_it_builds(clang: str) -> None:
    result = example("opensnoop", clang)
    config = result.config
    assert result.warnings == ()
    assert {(p.option, p.short, p.role) for p in config.params} == {
        ("pid", "p", "target-pid"),
        ("uid", "u", None),
        ("failed", "x", None),
        ("name", "n", None),
    }
    assert {p.name for p in config.programs if not p.optional} == {"enter_openat", "exit_openat"}
    (output,) = config.outputs
    assert output.types == (EventType(type="event"),)


@pytest.mark.kernel
@pytest.mark.parametrize("clang", CLANGS)
def test_it_shows_what_is_opened(clang: str, tmp_path: Path) -> None:
    result = example("opensnoop", clang)
    file = tmp_path / "opened"
    with attached(result, **set_global(result, "target_pid", os.getpid())) as session:
        file.write_text("x")
        with pytest.raises(FileNotFoundError):
            os.open(tmp_path / "missing", os.O_RDONLY)
        seen = [e for e in events(session, result) if e["path"].startswith(str(tmp_path))]
    assert [(Path(e["path"]).name, e["pid"]) for e in seen] == [
        ("opened", os.getpid()),
        ("missing", os.getpid()),
    ]
    assert seen[0]["comm"] == Path("/proc/self/comm").read_text().strip()[:15]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"failed": 1}, ["missing"]),
        ({"target_uid": os.geteuid()}, ["opened", "missing"]),
        ({"target_uid": os.geteuid() + 1}, []),
        ({"name": Path("/proc/self/comm").read_text().strip()}, ["opened", "missing"]),
        ({"name": "no-such-command"}, []),
    ],
)
def test_its_options(values: dict[str, int | str], names: list[str], tmp_path: Path) -> None:
    result = example("opensnoop")
    given = {k: b for name, v in values.items() for k, b in set_global(result, name, v).items()}
    with attached(result, **set_global(result, "target_pid", os.getpid()), **given) as session:
        (tmp_path / "opened").write_text("x")
        with pytest.raises(FileNotFoundError):
            os.open(tmp_path / "missing", os.O_RDONLY)
        seen = [e["path"] for e in events(session, result)]
    assert [Path(p).name for p in seen if p.startswith(str(tmp_path))] == names


@pytest.mark.kernel
def test_the_command_shows_it(tmp_path: Path) -> None:
    file = tmp_path / "opened"
    (event,) = shown(
        tmp_path / "home",
        EXAMPLES / "opensnoop",
        f"--pid={os.getpid()}",
        run=("--max-events=1",),
        cause=lambda: file.write_text("x"),
    )
    assert (event["path"], event["pid"]) == (str(file), os.getpid())
