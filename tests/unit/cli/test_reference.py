"""The manual and the pages of the commands: complete, well formed and up to date."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bpfpack.cli.app import COMMANDS
from bpfpack.cli.reference.pages import all_pages
from tests.kit.cli import REPO, Host

PAGES = {page.name: page for page in all_pages()}


def test_every_command_has_a_page() -> None:
    assert {f"bpfpack {name}" for name in COMMANDS} <= set(PAGES)
    assert {"bpfpack trust add", "bpfpack registry serve", "bpfpack gen vmlinux"} <= set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_help_says(name: str, host: Host) -> None:
    """Each option of the help, and no other."""
    words = name.split()[1:]
    shown = host.run(*words, "--help").stdout
    options = shown.partition("Options:")[2].partition("Examples:")[0]
    helped = set(re.findall(r"(?:^|[\s,|/])(--?[a-z][a-z-]*)(?=[\s,/]|$)", options, re.MULTILINE))
    paged = {spelling for switch in PAGES[name].switches for spelling in switch.spellings}
    assert paged <= helped
    defined = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", options, re.MULTILINE))
    assert defined <= paged


def test_the_documentation_holds_the_pages_of_today(fresh: Host, tmp_path: Path) -> None:
    """`bpfpack gen pages docs/commands` writes them."""
    fresh.run("gen", "pages", tmp_path / "pages")
    made = {p.name: p.read_text() for p in (tmp_path / "pages").iterdir()}
    held = {p.name: p.read_text() for p in (REPO / "docs/commands").iterdir()}
    assert made == held


def test_the_manual_is_roff_without_a_complaint(fresh: Host, tmp_path: Path) -> None:
    assert shutil.which("groff"), "groff-base is not installed"
    fresh.run("gen", "man", tmp_path / "man")
    pages = sorted((tmp_path / "man").iterdir())
    assert {page.stem.replace("-", " ") for page in pages} == set(PAGES)
    for page in pages:
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", page],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        page_of = PAGES[page.stem.replace("-", " ")]
        for switch in page_of.switches:
            for spelling in switch.spellings:
                assert spelling in done.stdout
        flowed = " ".join(done.stdout.split())
        assert page_of.name in flowed


def test_a_directory_that_cannot_be_made(fresh: Host) -> None:
    assert "man" in fresh.run("gen", "man", "/proc/man", code=1).stderr
