"""tcpstates builds with every clang and shows the states of this test's own connections."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit.exampleruns import attached, events, set_global, shown
from tests.kit.objects import CLANGS
from tests.kit.sources import EXAMPLES, example

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
STATES = ["CLOSE", "SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE"]


@contextmanager
def server(family: socket.AddressFamily = socket.AF_INET) -> Iterator[socket.socket]:
    """A server on a loopback address and a port of the kernel's choice."""
    with socket.create_server((LOOPBACK[family], 0), family=family) as listening:
        yield listening


def connect(listening: socket.socket) -> None:
    """Open one connection; the client closes first, and both ends are closed on return."""
    with socket.create_connection(listening.getsockname()[:2]):
        accepted, _ = listening.accept()
    with accepted:
        accepted.recv(1)


def states(seen: list[dict[str, Any]]) -> list[str]:
    """The states that one end of a connection went through."""
    assert [e["from"] for e in seen[1:]] == [e["to"] for e in seen[:-1]]
    return [seen[0]["from"], *(e["to"] for e in seen)]


@pytest.mark.parametrize("clang", CLANGS)
def test_it_builds(clang: str) -> None:
    result = example("tcpstates", clang)
    assert result.warnings == ()
    assert {p.option for p in result.config.params} == {"local-port", "remote-port"}


@pytest.mark.kernel
@pytest.mark.parametrize("clang", CLANGS)
@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "::ffff:127.0.0.1"), (socket.AF_INET6, "::1")],
    ids=["ipv4", "ipv6"],
)
def test_it_shows_the_life_of_a_connection(
    clang: str, family: socket.AddressFamily, address: str
) -> None:
    result = example("tcpstates", clang)
    with server(family) as listening:
        port = listening.getsockname()[1]
        with attached(result, **set_global(result, "remote_port", port)) as session:
            connect(listening)
            seen = events(session, result)
    assert states(seen) == STATES
    assert {(e["laddr"], e["raddr"], e["rport"]) for e in seen} == {(address, address, port)}
    assert (seen[0]["pid"], seen[0]["after"]) == (os.getpid(), 0)
    assert all(0 < e["after"] < 60_000_000_000 for e in seen[1:])


@pytest.mark.kernel
def test_the_port_of_this_host() -> None:
    """What a server sees: it listens, and is closed last."""
    result = example("tcpstates")
    with server() as listening:
        port = listening.getsockname()[1]
        with attached(result, **set_global(result, "local_port", port)) as session:
            connect(listening)
            listening.close()
            seen = events(session, result)
    assert {e["lport"] for e in seen} == {port}
    assert [e["to"] for e in seen] == ["SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK"] + [
        "CLOSE"
    ] * 2


@pytest.mark.kernel
def test_the_command_shows_it(tmp_path: Path) -> None:
    with server() as listening:
        seen = shown(
            tmp_path / "home",
            EXAMPLES / "tcpstates",
            f"--remote-port={listening.getsockname()[1]}",
            run=("--max-events=5",),
            cause=lambda: connect(listening),
        )
    assert states(seen) == STATES
