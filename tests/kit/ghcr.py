"""A registry that is called ghcr.io, for commands as the documentation prints them.

A network namespace of its own, in whose mount namespace ``/etc/hosts`` names loopback for
ghcr.io and the system's CA bundle holds the registry's authority.
"""

import ctypes
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.kit.cli import REPO
from tests.kit.pki import make_ca
from tests.kit.servers import docker_registry
from tests.kit.tokenserver import everybody_may_pull, token_server

#: Who may push there.
USER: Final = "x"
USER_PASSWORD: Final = "hunter2"

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


@contextmanager
def ghcr(scratch: Path) -> Iterator[tuple[str, ...]]:
    """Serve https://ghcr.io, whose pushes need a password; gives what leads a command there."""
    (scratch / "hosts").write_text("127.0.0.1 localhost ghcr.io\n")
    tls = make_ca(scratch / "pki", "ghcr.io")
    with namespaces(scratch / "hosts", tls.ca) as holder:
        enter = ("nsenter", f"--target={holder}", "--net", "--mount", f"--wd={REPO}", "--")
        with network_of(holder):
            tokens = token_server(
                scratch / "tokens",
                address=("127.0.0.1", 8443),
                tls=tls,
                realm_host="ghcr.io:8443",
                users={USER: USER_PASSWORD},
                grant=everybody_may_pull,
            )
            running = tokens.__enter__()
        try:
            with docker_registry(
                scratch / "registry",
                token_auth=running,
                tls=tls,
                listen="127.0.0.1:443",
                host="ghcr.io",
                prefix=enter,
            ):
                yield enter
        finally:
            tokens.__exit__(None, None, None)
