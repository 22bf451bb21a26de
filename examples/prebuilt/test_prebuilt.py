"""A tool that knows nothing of bpfpack, compiled without it, becomes a package by TOML alone."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bpfpack.builder.build import build
from bpfpack.spec.config import EventType, Output
from tests.kit.exampleruns import shown
from tests.kit.objects import CLANGS, run, tool
from tests.kit.sources import EXAMPLES, object_of

HERE = EXAMPLES / "prebuilt"


def compiled(directory: Path, clang: str = CLANGS[0]) -> Path:
    """The object as its own project makes it, with our TOML beside it."""
    directory.mkdir(exist_ok=True)
    target = directory / "sigsnoop.bpf.o"
    run(
        *(tool(clang), "-g", "-O2", "-target", "bpf", "-Wall", "-Werror"),
        *("-I", f"/usr/include/{sys.implementation._multiarch}"),
        *("-c", HERE / "prebuilt.bpf.c", "-o", target),
    )
    shutil.copy(HERE / "bpfpack.toml", directory)
    return target


@pytest.mark.parametrize("clang", CLANGS)
def test_toml_says_all_that_tags_would(clang: str, tmp_path: Path) -> None:
    path = compiled(tmp_path / "tool", clang)
    result = build(path)
    config = result.config
    assert b"bpfpack" not in object_of(result)
    assert (config.name, result.warnings, result.draft, result.from_source) == (
        *("sigsnoop", ()),
        *(None, False),
    )
    assert {(p.option, p.short, p.role) for p in config.params} == {
        ("pid", "p", "target-pid"),
        ("signal", "s", None),
        ("failed", "x", None),
    }
    assert config.outputs == (
        Output(name="counts", map="counts", kind="table", interval_ms=1000),
        Output(name="events", map="events", kind="events", types=(EventType(type="event"),)),
    )
    assert {name: shown.format for name, shown in config.fields["event"].items()} == {
        **{"ts": "timestamp", "uid": "user", "tpid": "pid", "sig": "signal"},
        **{"result": None, "tcomm": None},
    }


def test_without_toml_there_is_a_draft(tmp_path: Path) -> None:
    """It says what the object leaves no choice of, and is a package as it stands."""
    path = compiled(tmp_path / "tool")
    (path.parent / "bpfpack.toml").unlink()
    draft = build(path).draft
    assert draft is not None
    for line in ('type = "event"', "# [params.filtered_pid]", "# [outputs.counts]", "# sig = "):
        assert line in draft
    (path.parent / "bpfpack.toml").write_text(draft)
    assert [o.name for o in build(path).config.outputs] == ["events"]
    spoken = "\n".join(line.removeprefix("# ") for line in draft.splitlines())
    spoken = spoken.replace('short = ""', "").replace('version = "1.0"', "", 1)
    (path.parent / "bpfpack.toml").write_text(spoken)
    config = build(path).config
    assert {o.name: o.kind for o in config.outputs} == {"counts": "table", "events": "events"}
    assert config.programs[0].optional


@pytest.mark.kernel
def test_the_command_shows_it(tmp_path: Path) -> None:
    path = compiled(tmp_path / "tool")
    with subprocess.Popen(["/bin/sleep", "60"]) as child:

        def cause() -> None:
            child.send_signal(signal.SIGCONT)
            child.send_signal(signal.SIGTERM)
            child.wait()

        lines = shown(
            tmp_path / "home",
            path.parent,
            *("--pid", str(os.getpid()), "--signal", "term"),
            run=("--insecure-skip-verify", "--timeout=1s"),
            cause=cause,
        )
    (event,) = [line for line in lines if line["output"] == "events"]
    assert {key: event[key] for key in ("pid", "tpid", "sig", "result", "tcomm")} == {
        **{"pid": os.getpid(), "tpid": child.pid, "sig": "SIGTERM"},
        **{"result": "delivered", "tcomm": "sleep"},
    }
    (*_, table) = [line for line in lines if line["output"] == "counts"]
    assert table["rows"] == [{"key": {"sig": "SIGTERM"}, "value": 1}]
