"""Help, suggestions and exit codes of the command line itself."""

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from bpfpack.cli.app import COMMANDS, EPILOG, Group, make_command
from bpfpack.cli.run_options import EXAMPLES, parse_run
from tests.kit.cli import Host


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and every command of a command, by its words."""
    for name, entry in COMMANDS.items():
        if name == "run":
            continue
        module = import_module(f"bpfpack.cli.commands.{entry.module}")
        command = make_command(module, entry.alias_of or name)
        yield name, command
        for inner, sub in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", sub


ALL = dict(commands())


def examples(command: Any) -> list[str]:
    """The lines of a command's Examples block."""
    _, _, block = (command.epilog or "").partition("Examples:")
    return [line.strip() for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("name", [n for n in COMMANDS if n not in ("run", "images")])
def test_the_table_says_what_the_docstring_says(name: str) -> None:
    command = ALL[name]
    first = inspect.cleandoc(command.help or "").splitlines()[0]
    line = COMMANDS[name].line.rstrip(".")
    assert first.startswith(line), (first, line)


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_examples_that_parse(name: str) -> None:
    lines = examples(ALL[name])
    assert lines
    for line in lines:
        calls = [part for part in re.split(r"[|>]", line) if part.split()[0] == "bpfpack"]
        for call in calls:
            _parse(shlex.split(call)[1:])


@pytest.mark.parametrize("line", [*EXAMPLES, *EPILOG[2:]])
def test_other_examples_parse(line: str) -> None:
    _parse(shlex.split(line)[1:])


def _parse(words: list[str]) -> None:
    """Parse as typer would, without running; raises what the user would be told."""
    if words[0] == "run":
        assert parse_run(words[1:]).reference
        return
    name, words = words[0], words[1:]
    command = ALL[name]
    if f"{name} {words[:1] and words[0]}" in ALL:
        command, words = ALL[f"{name} {words[0]}"], words[1:]
    command.make_context(name, list(words))


def test_the_table_lists_what_there_is() -> None:
    """No command module is missing from it."""
    assert {c.module for n, c in COMMANDS.items() if n != "run"} == {
        m.stem for m in (_commands_directory()).glob("*.py") if m.stem != "__init__"
    }
    assert Group(name="x").list_commands(None) == list(COMMANDS)


def _commands_directory() -> Any:
    from tests.kit.cli import REPO

    return REPO / "cli" / "bpfpack" / "cli" / "commands"


@pytest.mark.parametrize("name", [*ALL, "run"])
def test_help_of_a_command(name: str, fresh: Host) -> None:
    shown = fresh.run(*name.split(), "--help").stdout
    assert shown.startswith("Usage: bpfpack ")
    assert "Examples:" in shown
    assert "\x1b" not in shown


def test_alone_it_prints_help(fresh: Host) -> None:
    done = fresh.run(code=2)
    for group in ("Packages:", "Registries:", "Trust:", "Running:", "Examples:"):
        assert group in done.stdout
    assert fresh.run("--help").stdout == done.stdout


def test_version(fresh: Host) -> None:
    assert re.fullmatch(r"bpfpack \d+\.\d+\S*\n", fresh.run("--version").stdout)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ("bild", "did you mean `bpfpack build`?"),
        ("frobnicate", "see `bpfpack --help`"),
        ("ls", "did you mean `bpfpack list`?"),
        ("ps", "`bpfpack list` shows the packages"),
        ("rm bell:1", "did you mean `bpfpack rmi`?"),
        ("version", "did you mean `bpfpack --version`?"),
        ("vesion", "did you mean `bpfpack --version`?"),
        ("trust shwo", "did you mean `bpfpack trust ls`?"),
        ("verify ./a.tar", "a reference is wanted here, not a path: './a.tar'"),
        ("sign /srv/a.tar", "bpfpack load -f /srv/a.tar"),
        ("help run", "did you mean `bpfpack --help`?"),
        ("trust list", "did you mean `bpfpack trust ls`?"),
        ("trust tset", "did you mean `bpfpack trust test`?"),
        ("build --vmlnux x", "--vmlinux"),
        ("trust ad", "add"),
        ("completion", "Missing argument 'shell'. Choose from: bash, zsh, fish\n"),
        ("list -o xml", "xml"),
        ("tag one", "see `bpfpack tag --help`"),
        ("push --key", "--key"),
        ("sign --expires soon bell:1", "soon"),
    ],
)
def test_mistakes(argv: str, told: str, host: Host) -> None:
    done = host.run(*argv.split(), code=None)
    assert done.code in (2, 3)
    assert told in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("typed", ["execs", "execs/", "Execs.bpf.c", "localhost:1/execs"])
def test_a_path_without_its_dot(typed: str, fresh: Host) -> None:
    for name in ("execs", "localhost:1/execs"):
        (fresh.root / name).mkdir(parents=True)
    (fresh.root / "Execs.bpf.c").touch()
    told = fresh.run("run", "--no-pull", typed, code=None).stderr
    assert f"a path begins with ./: did you mean ./{typed.rstrip('/')}?\n" in told
    assert "did you mean" not in fresh.run("run", "--no-pull", f"{typed[:-2]}xx", code=None).stderr


def test_no_command_prints_by_itself() -> None:
    """The printer is the one place; a raw write goes through its `writing`."""
    for path in _commands_directory().parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path}:{node.lineno}"
