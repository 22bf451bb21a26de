"""The two commands of the README, word for word, against a registry that is called ghcr.io."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.cli import PASSWORD, REPO, Host
from tests.kit.ghcr import USER, USER_PASSWORD, ghcr

pytestmark = [pytest.mark.kernel, pytest.mark.registry]


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    with ghcr(tmp_path) as enter:
        yield enter


def test_push_and_run_word_for_word(inside: tuple[str, ...], tmp_path: Path) -> None:
    author = Host(root=tmp_path / "author", prefix=inside)
    with author.terminal("keygen") as screen:
        screen.answer("Password", PASSWORD)
        screen.answer("again", PASSWORD)
        assert screen.end() == 0, screen.shown
        assert PASSWORD not in screen.shown
    with author.terminal("login", "ghcr.io") as screen:
        screen.answer("Username", USER)
        screen.answer("Password", USER_PASSWORD)
        assert screen.end() == 0, screen.shown
    author.run("build", "-t", "ghcr.io/x/opensnoop:1.0", "examples/opensnoop", cwd=REPO)
    with author.terminal("push", "ghcr.io/x/opensnoop:1.0") as screen:
        screen.answer("Password", PASSWORD)
        assert screen.end() == 0, screen.shown

    other = Host(root=tmp_path / "other", prefix=inside)
    public = tmp_path / "author.pub"
    public.write_bytes((author.root / "config" / "identity.pub").read_bytes())
    other.run("trust", "add", "ghcr.io/x", "--key", public)
    opened = tmp_path / "opened by this test"
    with other.started("run", "ghcr.io/x/opensnoop") as running:
        running.until("attached", stderr=True)
        os.close(os.open(opened, os.O_CREAT | os.O_WRONLY))
        line = running.until(f"{opened}$").string
        assert str(os.getpid()) in line.split()
        assert running.end(signal.SIGINT).code == 130


def test_without_the_key_it_is_refused(inside: tuple[str, ...], tmp_path: Path) -> None:
    """The same registry, a host that trusts nobody: nothing runs, and it says what to type."""
    author = Host(root=tmp_path / "author", prefix=inside)
    author.keygen()
    author.run(
        "login", "ghcr.io", "-u", USER, "--password-stdin", stdin=f"{USER_PASSWORD}\n".encode()
    )
    author.run("build", "-t", "ghcr.io/x/opensnoop:1.0", "examples/opensnoop", cwd=REPO)
    author.push("ghcr.io/x/opensnoop:1.0")
    stranger = Host(root=tmp_path / "stranger", prefix=inside)
    refused = stranger.run("run", "ghcr.io/x/opensnoop", code=126)
    assert refused.stdout == ""
    assert "bpfpack trust add ghcr.io/x" in refused.stderr
