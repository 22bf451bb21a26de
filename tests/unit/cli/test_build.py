"""What a build says to the person who started it."""

import io

import pytest

from bpfpack.cli.printer import Printer
from bpfpack.spec.errors import BpfpackError, BuildError, ProgramRejected
from tests.kit.cli import Host
from tests.kit.sources import LICENSE, PRELUDE, PROGRAM, write_project

LOG = "".join(f"line {i}\n" for i in range(100))


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            BuildError("x does not compile", log=LOG),
            [*(f"  line {i}" for i in range(20)), "  ... 80 lines more; --verbose shows all"],
        ),
        (
            ProgramRejected(13, "probe", LOG),
            [
                "  ... 80 lines before; --verbose shows all",
                *(f"  line {i}" for i in range(80, 100)),
            ],
        ),
    ],
)
def test_the_end_of_a_log_that_matters_is_shown(error: BpfpackError, shown: list[str]) -> None:
    for verbose in (False, True):
        err = io.StringIO()
        printer = Printer(io.StringIO(), err, {})
        printer.verbose = verbose
        printer.error(error)
        _, *log = err.getvalue().splitlines()
        assert log == ([f"  line {i}" for i in range(100)] if verbose else shown)


def test_verbose_shows_all_that_the_compiler_said(fresh: Host) -> None:
    errors = "".join(f"int f{i} = nothing{i};\n" for i in range(15))
    write_project(fresh.root / "bad", {"x.bpf.c": PRELUDE + errors + PROGRAM + LICENSE})
    short = fresh.run("build", "bad", code=8).stderr
    assert "undeclared identifier 'nothing0'" in short
    assert "nothing14" not in short
    assert "--verbose shows all" in short
    for option in ("-v", "--verbose"):
        assert "nothing14" in fresh.run("build", option, "bad", code=8).stderr


@pytest.mark.parametrize("command", [("build",), ("run", "--dry-run")])
def test_warnings_of_the_compiler_come_line_by_line(command: tuple[str, ...], fresh: Host) -> None:
    body = PRELUDE + "#warning hello\n" + PROGRAM + LICENSE
    write_project(fresh.root / "w", {"x.bpf.c": body})
    told = fresh.run(*command, "./w", code=None).stderr.splitlines()
    first = told.index("warning: w/x.bpf.c:6:2: warning: hello [-W#warnings]")
    assert told[first + 1] == "  #warning hello"
    assert not [line for line in told if "\\x0a" in line]


def test_a_terminal_sees_no_escape_of_the_compiler(fresh: Host) -> None:
    body = PRELUDE + "#warning hello\nint a = ;\n"
    write_project(fresh.root / "w", {"x.bpf.c": body})
    with fresh.terminal("build", "w") as screen:
        assert screen.end() == 8
    assert "error: expected expression" in screen.shown
    assert "\\x1b" not in screen.shown
