"""README and documentation do what they say: every console block is run."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.cli import PASSWORD, REPO, Host
from tests.kit.documents import Step, matches, steps
from tests.kit.ghcr import USER, USER_PASSWORD, ghcr

pytestmark = [pytest.mark.kernel, pytest.mark.registry]

PAGES = sorted(
    path.relative_to(REPO).as_posix()
    for path in [*REPO.glob("README*.md"), *REPO.glob("docs/*.md")]
    if "```console" in path.read_text()
)
_MARK = "@@ step"
# A terminal would be asked, and sudo would run it as root, which we are.
_PRELUDE = f"""
exec 2>&1 </dev/null
export PYTHONUNBUFFERED=1 # the order of a terminal
sudo() {{ "$@"; }}
bpfpack() {{
    case $1 in
    keygen | push | sign) BPFPACK_PASSWORD={shlex.quote(PASSWORD)} command bpfpack "$@" ;;
    login) command bpfpack "$@" -u {USER} --password-stdin <<<{USER_PASSWORD} ;;
    *) command bpfpack "$@" ;;
    esac
}}
mark() {{ local code=$?; printf '\\n{_MARK}\\n'; return $code; }}
while :; do cat /etc/hostname /etc/missing; sleep 0.1; done >/dev/null 2>&1 &
"""


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """The author's and another one, both with ghcr.io within reach."""
    with ghcr(tmp_path) as enter:
        yield (
            Host(root=tmp_path / "author", prefix=enter),
            Host(root=tmp_path / "other", prefix=enter),
        )


@pytest.mark.parametrize("page", PAGES)
def test_the_console_blocks_of(page: str, machines: tuple[Host, Host], tmp_path: Path) -> None:
    told = list(steps((REPO / page).read_text()))
    work = tmp_path / "work"
    work.mkdir()
    (work / "examples").symlink_to(REPO / "examples")
    got = _run(told, machines, work)
    wrong = []
    for step, output in zip(told, got, strict=True):
        home = machines[step.host].root
        shown = output.replace(str(home / "home"), "/home/you")
        shown = shown.replace(str(home / "docker"), "/home/you/.docker")
        shown = shown.replace(str(home / "config"), "/home/you/.config/bpfpack")
        if step.output is not None and not matches(step.output, shown):
            wrong.append(f"$ {step.command}\n{shown}")
    assert not wrong, f"{page} says something else:\n" + "\n".join(wrong)


def _run(told: list[Step], machines: tuple[Host, Host], work: Path) -> list[str]:
    """One shell for the page, so that directories, variables and ``$?`` last."""
    script, host = [_PRELUDE, f"cd {work}"], 0
    for step in told:
        script.append("mark")
        if step.host != host:
            host = step.host
            environment = machines[host].environment
            public = machines[0].root / "config" / "identity.pub"
            script.append(f"cp {public} .")
            script += [f"export {k}={shlex.quote(v)}" for k, v in environment.items()]
        script.append(step.command)
    done = _shell("\n".join([*script, "mark"]), machines[0], work.parent / "output")
    return done.split(f"\n{_MARK}\n")[1:-1]


def _shell(script: str, host: Host, output: Path) -> str:
    """Run it to its end, and end with it what it left in the background."""
    with (
        output.open("wb") as out,
        subprocess.Popen(
            [*host.prefix, "bash", "-c", script],
            env=host.environment,
            stdout=out,
            start_new_session=True,
        ) as shell,
    ):
        try:
            shell.wait(timeout=120)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
    return output.read_text(errors="replace")


def _programs() -> list[str]:
    """The whole programs of the guide to writing."""
    blocks = re.findall(r"^```c\n(.*?)^```$", (REPO / "docs/writing.md").read_text(), re.M | re.S)
    return [block for block in blocks if block.startswith("#include")]


@pytest.mark.parametrize("number", range(4))
def test_the_programs_of_the_guide_build_and_load(number: int, tmp_path: Path) -> None:
    host = Host(root=tmp_path / "host")
    source = tmp_path / f"guide{number}.bpf.c"
    source.write_text(_programs()[number])
    host.run("run", "-q", "--timeout", "100ms", source, cwd=tmp_path)


def test_the_guide_has_no_other_programs() -> None:
    assert len(_programs()) == 4


def test_the_site_builds_without_a_network(tmp_path: Path) -> None:
    """Strictly: a page that is missing or a link inside the site that leads nowhere is an error."""
    done = subprocess.run(
        [
            "unshare",
            "--net",
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "-q",
            "-d",
            tmp_path / "site",
        ],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in tmp_path.rglob("*.html")}
    assert {"index.html", "tutorial.html", "commands/bpfpack-run.html"} <= pages
    for page in pages:
        text = (tmp_path / "site" / page).read_text()
        assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']https?://", text), page
