"""execsnoop builds with every clang and shows the programs that this test starts."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.kit.exampleruns import attached, events, set_global, shown
from tests.kit.objects import CLANGS
from tests.kit.sources import EXAMPLES, example


@pytest.mark.parametrize("clang", CLANGS)
def test_it_builds(clang: str) -> None:
    result = example("execsnoop", clang)
    assert result.warnings == ()
    assert {p.option for p in result.config.params} == {"pid", "parent", "uid", "name"}


@pytest.mark.kernel
@pytest.mark.parametrize("clang", CLANGS)
def test_it_shows_what_is_started(clang: str) -> None:
    result = example("execsnoop", clang)
    long = ["x" * 200, "y" * 200, "z" * 200]
    with attached(result, **set_global(result, "parent", os.getpid())) as session:
        subprocess.run(["/bin/echo", "one", "two three"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["/bin/true", *long], check=True)
        seen = events(session, result)
    assert [(e["comm"], e["args"], e["ppid"]) for e in seen] == [
        ("echo", "/bin/echo one two three", os.getpid()),
        ("true", " ".join(["/bin/true", *long])[:511], os.getpid()),
    ]


@pytest.mark.kernel
def test_a_process_and_its_children() -> None:
    """What -c and -p choose, but not what the children start."""
    result = example("execsnoop")
    with attached(result, **set_global(result, "target_pid", os.getpid())) as session:
        subprocess.run(["/bin/sh", "-c", "/bin/true; /bin/true"], check=True)
        assert [e["comm"] for e in events(session, result)] == ["sh"]


@pytest.mark.kernel
@pytest.mark.parametrize(("name", "count"), [("true", 1), ("tru", 0), ("truest", 0)])
def test_the_name_is_whole(name: str, count: int) -> None:
    result = example("execsnoop")
    values = {**set_global(result, "parent", os.getpid()), **set_global(result, "name", name)}
    with attached(result, **values) as session:
        subprocess.run(["/bin/true"], check=True)
        assert len(events(session, result)) == count


@pytest.mark.kernel
def test_the_command_shows_it(tmp_path: Path) -> None:
    (event,) = shown(
        tmp_path / "home",
        EXAMPLES / "execsnoop",
        "--parent",
        str(os.getpid()),
        run=("--max-events=1",),
        cause=lambda: subprocess.run(["/bin/true", "x"], check=True),
    )
    assert (event["comm"], event["args"]) == ("true", "/bin/true x")
