"""What reaches a terminal and what a pipe: colours, bars, and nobody's escape sequences."""

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.kit import bell
from tests.kit.cli import Host
from tests.kit.hostile import json_reply, listener
from tests.kit.servers import bpfpack_registry

#: Clear the screen, a title, red, right-to-left override, a carriage return.
EVIL = "a\x1b[2J\x1b]0;owned\x07\x1b[31mb\u202ec\rd"
_FORBIDDEN = ("\x1b[2J", "\x1b]0", "\x1b[31mb", "\x07", "\u202e")


def assert_safe(shown: str) -> None:
    assert not [code for code in _FORBIDDEN if code in shown], repr(shown)
    assert "\r" not in shown.replace("\r\n", "")


@pytest.fixture
def evil(fresh: Host, tmp_path: Path) -> Host:
    """A host with a package whose words attack the terminal."""
    directory = bell.write(tmp_path / "evil")
    words = json.dumps(EVIL)
    (directory / "bpfpack.toml").write_text(
        f"description = {words}\nlicense = {words}\n[params.target_pid]\nhelp = {words}\n"
    )
    (directory / "README.md").write_text(EVIL + "\nsecond\n")
    fresh.run("build", "-q", "-t", "evil:1", directory)
    return fresh


@pytest.mark.parametrize(
    "argv",
    [
        ("inspect", "evil:1"),
        ("inspect", "--readme", "evil:1"),
        ("inspect", "-o", "json", "evil:1"),
        ("inspect", "-o", "yaml", "evil:1"),
        ("run", "evil:1", "--help"),
        ("run", "--dry-run", "evil:1"),
        ("list",),
    ],
)
def test_the_words_of_a_package(evil: Host, argv: tuple[str, ...]) -> None:
    with evil.terminal(*argv) as screen:
        assert screen.end() == 0, screen.shown
    assert_safe(screen.shown)


@pytest.mark.parametrize(
    "argv",
    [
        ("inspect", EVIL),
        ("run", EVIL),
        ("run", f"./{EVIL}"),
        (f"{EVIL}",),
        ("build", f"--{EVIL}"),
        ("run", f"--{EVIL}"),
        ("trust", "add", EVIL),
        ("load", "-f", EVIL),
    ],
)
def test_the_words_of_the_user(fresh: Host, argv: tuple[str, ...]) -> None:
    """A name may have been pasted from anywhere."""
    with fresh.terminal(*argv) as screen:
        assert screen.end() != 0
    assert_safe(screen.shown.replace(EVIL, ""))


def test_the_words_of_a_registry(fresh: Host) -> None:
    with listener() as lying:
        error = {"errors": [{"code": "DENIED", "message": EVIL, "detail": EVIL}]}
        lying.on("GET", "/v2/x/bell/manifests/1", json_reply(error, status=403))
        with fresh.terminal("pull", f"{lying.host}/x/bell:1") as screen:
            assert screen.end() == 5
    assert_safe(screen.shown)


def test_the_words_of_an_archive(fresh: Host, tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(EVIL))
    with fresh.terminal("load", "-f", path) as screen:
        assert screen.end() == 3
    assert_safe(screen.shown)


def test_colours_only_on_a_terminal(fresh: Host) -> None:
    with fresh.terminal("inspect", "nothing") as screen:
        assert screen.end() == 4
    assert "\x1b[31;1merror:\x1b[0m" in screen.shown
    with fresh.terminal("inspect", "nothing", env={"NO_COLOR": "1"}) as plain:
        assert plain.end() == 4
    assert "\x1b" not in plain.shown
    assert "\x1b" not in fresh.run("inspect", "nothing", code=4).stderr


def test_progress(host: Host, tmp_path: Path) -> None:
    """Bars on a terminal, a line for each blob in a pipe, nothing with -q."""
    with bpfpack_registry(tmp_path) as registry:
        name = f"{registry.host}/x/bell:1"
        source = Host(root=tmp_path / "source")
        source.run("build", "-q", "-t", name, host.root / "bell")
        with source.terminal("push", "--no-sign", name) as screen:
            assert screen.end() == 0
        assert "\x1b[" in screen.shown
        assert "━" in screen.shown
        other = Host(root=tmp_path / "other")
        told = other.run("pull", name)
        assert len(re.findall(r"^pull +[0-9a-f]{12} ", told.stderr, re.MULTILINE)) == 2
        assert "\x1b" not in told.stderr + told.stdout
        assert re.fullmatch(rf"{re.escape(name)}  sha256:[0-9a-f]{{64}}\n", told.stdout)
        third = Host(root=tmp_path / "third")
        with third.terminal("pull", "-q", name) as quiet:
            assert quiet.end() == 0
        assert "━" not in quiet.shown


@pytest.mark.parametrize("command", ["list", "images", "trust ls"])
@pytest.mark.parametrize("format_", ["table", "wide", "json", "yaml"])
def test_listings(host: Host, command: str, format_: str) -> None:
    import yaml

    shown = host.run(*command.split(), "-o", format_).stdout
    if format_ in ("json", "yaml"):
        rows = yaml.safe_load(shown)
        assert isinstance(rows, list)
        assert [r["reference"] for r in rows] == (["bell:1"] if command != "trust ls" else [])
    else:
        assert shown.splitlines()[0].split()[0] in ("REPOSITORY", "SCOPE")


def test_a_full_disk_and_a_closed_pipe(host: Host) -> None:
    command = " ".join(host.command("list"))
    for redirected, code, told in (
        (f"{command} >/dev/full", 1, "error: cannot write the output: No space left on device\n"),
        (f"{command} | true; exit ${{PIPESTATUS[0]}}", None, ""),
    ):
        done = subprocess.run(
            ["bash", "-c", redirected],
            env=host.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert code in (None, done.returncode)
        assert done.stderr == told


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(host: Host, closed: str) -> None:
    """No file takes their number, and no result that nobody can get is called a success."""
    before = sorted(host.root.rglob("*"))
    lost = ">&-" in closed.split()
    for argv, code in (
        ("list", 1 if lost else 0),
        ("inspect nothing", 4),
        ("save bell:1", 1 if lost else 0),
        ("run --dry-run bell:1", 125 if lost else 0),
    ):
        done = subprocess.run(
            ["bash", "-c", f"{' '.join(host.command(*argv.split()))} {closed}"],
            env=host.environment,
            capture_output=True,
            errors="replace",
            timeout=60,
            check=False,
        )
        assert done.returncode == code, (argv, done.stderr)
        assert "Traceback" not in done.stderr
    assert sorted(host.root.rglob("*")) == before


_HOT = """
import atexit, sys
from bpfpack.cli import main
def tell():
    sys.stderr.write("modules " + " ".join(sorted({m.partition(".")[0] for m in sys.modules})))
atexit.register(tell)
main()
"""
_HEAVY = {"typer", "click", "rich", "requests", "oras", "pydantic", "aiohttp", "yaml", "tomlkit"}


def loaded(host: Host, *argv: str) -> set[str]:
    """The modules a command imported."""
    done = subprocess.run(
        [sys.executable, "-c", _HOT, *argv],
        env=host.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.partition("modules ")[2].split())


def test_a_cached_run_imports_nothing_heavy(host: Host) -> None:
    assert "typer" in loaded(host, "list")
    for argv in (("--dry-run", "bell:1"), ("--help",), ("bell:1", "--help")):
        assert not _HEAVY & loaded(host, "run", *argv)


@pytest.mark.kernel
def test_a_cached_run_to_its_end_imports_nothing_heavy(host: Host) -> None:
    assert not _HEAVY & loaded(host, "run", "--timeout=10ms", "bell:1", bell.ME)


def test_help_imports_no_command(host: Host) -> None:
    assert not {"cryptography", "requests", "oras", "aiohttp", "yaml"} & loaded(host, "--version")
