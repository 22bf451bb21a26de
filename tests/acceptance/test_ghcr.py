"""The two commands of the README, word for word, against a registry that is called ghcr.io.

A network namespace of its own, in whose mount namespace ``/etc/hosts`` names loopback for
ghcr.io and the system's CA bundle holds the registry's authority.
"""

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.cli import PASSWORD, REPO, Host
from tests.kit.pki import make_ca
from tests.kit.servers import docker_registry
from tests.kit.tokenserver import everybody_may_pull, token_server

pytestmark = [pytest.mark.kernel, pytest.mark.registry]

_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


@contextmanager
def namespaces(hosts: Path, authority: Path) -> Iterator[int]:
    """Hold a network and a mount namespace for the block; returns the holder's pid."""
    script = (
        f"ip link set lo up && mount --bind {hosts} /etc/hosts"
        f" && mount --bind {authority} {_BUNDLE} && echo ready && exec sleep infinity"
    )
    with subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout and holder.stdout.readline() == "ready\n"
            yield holder.pid
        finally:
            holder.kill()


@contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Be in the network of ``pid`` for the block: a socket made there stays there."""
    with Path("/proc/self/ns/net").open() as here, Path(f"/proc/{pid}/ns/net").open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(here.fileno())


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """A registry at https://ghcr.io whose pushes need a password; how to get there."""
    (tmp_path / "hosts").write_text("127.0.0.1 localhost ghcr.io\n")
    tls = make_ca(tmp_path / "pki", "ghcr.io")
    with namespaces(tmp_path / "hosts", tls.ca) as holder:
        enter = ("nsenter", f"--target={holder}", "--net", "--mount", f"--wd={REPO}", "--")
        with network_of(holder):
            tokens = token_server(
                tmp_path / "tokens",
                address=("127.0.0.1", 8443),
                tls=tls,
                realm_host="ghcr.io:8443",
                users={"x": "hunter2"},
                grant=everybody_may_pull,
            )
            running = tokens.__enter__()
        try:
            with docker_registry(
                tmp_path / "registry",
                token_auth=running,
                tls=tls,
                listen="127.0.0.1:443",
                host="ghcr.io",
                prefix=enter,
            ):
                yield enter
        finally:
            tokens.__exit__(None, None, None)


def test_push_and_run_word_for_word(inside: tuple[str, ...], tmp_path: Path) -> None:
    author = Host(root=tmp_path / "author", prefix=inside)
    with author.terminal("keygen") as screen:
        screen.answer("Password", PASSWORD)
        screen.answer("again", PASSWORD)
        assert screen.end() == 0, screen.shown
        assert PASSWORD not in screen.shown
    with author.terminal("login", "ghcr.io") as screen:
        screen.answer("Username", "x")
        screen.answer("Password", "hunter2")
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
    author.run("login", "ghcr.io", "-u", "x", "--password-stdin", stdin=b"hunter2\n")
    author.run("build", "-t", "ghcr.io/x/opensnoop:1.0", "examples/opensnoop", cwd=REPO)
    author.push("ghcr.io/x/opensnoop:1.0")
    stranger = Host(root=tmp_path / "stranger", prefix=inside)
    refused = stranger.run("run", "ghcr.io/x/opensnoop", code=126)
    assert refused.stdout == ""
    assert "bpfpack trust add ghcr.io/x" in refused.stderr
