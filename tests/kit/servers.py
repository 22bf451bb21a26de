"""Real registries for tests: our own and Debian's docker-registry, on loopback.

Each runs as a process of its own and ends with its block.
"""

import base64
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.kit.pki import Certificates
from tests.kit.tokenserver import TokenServer

_SERVE = """
import json, logging, sys
from pathlib import Path
from bpfpack.registry.server import Tls, run_server
logging.basicConfig(stream=sys.stdout)
told = json.loads(sys.argv[1])
tls = Tls(certificate=Path(told["tls"][0]), key=Path(told["tls"][1])) if told["tls"] else None
run_server(
    told["listen"], data=Path(told["data"]), tls=tls, hosts=frozenset(told["hosts"]),
    allow_remote=told["allow_remote"], ready=lambda url: print("serving", url, flush=True),
)
"""
_OURS = re.compile(r"serving (https?)://(\S+)")
_DEBIANS = re.compile(r"listening on ([0-9.]+:[0-9]+)")
_STOP_SECONDS = 20


@dataclass(kw_only=True)
class RunningRegistry:
    """A registry process; ``host`` is what a reference begins with."""

    url: str
    host: str
    data: Path
    process: subprocess.Popen[str]
    log: list[str]

    def kill(self) -> None:
        """End it as the out-of-memory killer would."""
        self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(_STOP_SECONDS)


@contextmanager
def bpfpack_registry(
    directory: Path,
    *,
    listen: str = "127.0.0.1:0",
    tls: Certificates | None = None,
    hosts: Sequence[str] = (),
    allow_remote: bool = False,
    prefix: Sequence[str] = (),
) -> Iterator[RunningRegistry]:
    """Run ``bpfpack registry serve`` over ``directory/data``, which may exist already.

    ``prefix`` goes before the command (``ip netns exec NAME``).
    """
    data = directory / "data"
    told = {
        "listen": listen,
        "data": str(data),
        "tls": [str(tls.certificate), str(tls.key)] if tls else None,
        "hosts": list(hosts),
        "allow_remote": allow_remote,
    }
    command = [*prefix, sys.executable, "-c", _SERVE, json.dumps(told)]
    with _running(command, _OURS) as (process, log, listening):
        scheme, host = listening.groups()
        yield RunningRegistry(
            url=f"{scheme}://{host}", host=host, data=data, process=process, log=log
        )


@contextmanager
def docker_registry(
    directory: Path,
    *,
    token_auth: TokenServer | None = None,
    tls: Certificates | None = None,
    delete: bool = True,
    listen: str = "127.0.0.1:0",
    host: str | None = None,
    prefix: Sequence[str] = (),
    upstream: str | None = None,
) -> Iterator[RunningRegistry]:
    """Run Debian's docker-registry; ``host`` is its name where it is not its address.

    With ``upstream``, the URL of another, it is a pull-through mirror of that.
    """
    program = shutil.which("docker-registry")
    assert program, "docker-registry is not installed (Debian package docker-registry)"
    data = directory / "docker-registry"
    data.mkdir(parents=True, exist_ok=True)
    config = directory / "docker-registry.json"
    # YAML is a superset of JSON.
    told = _config(data, token_auth, tls, delete, listen)
    if upstream:
        told["proxy"] = {"remoteurl": upstream}
    config.write_text(json.dumps(told))
    command = [*prefix, program, "serve", str(config)]
    with _running(command, _DEBIANS) as (process, log, listening):
        address = listening[1]
        yield RunningRegistry(
            url=f"{'https' if tls else 'http'}://{host or address}",
            host=host or address,
            data=data,
            process=process,
            log=log,
        )


def write_docker_config(directory: Path, host: str, user: str, password: str) -> Path:
    """Write credentials as ``docker login`` does; ``directory`` is for DOCKER_CONFIG."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "config.json"
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    path.chmod(0o600)
    return path


def _config(
    data: Path,
    token_auth: TokenServer | None,
    tls: Certificates | None,
    delete: bool,
    listen: str,
) -> dict[str, Any]:
    http: dict[str, Any] = {"addr": listen, "secret": "test"}
    if tls:
        http["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(data)},
            "delete": {"enabled": delete},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": http,
    }
    if token_auth:
        config["auth"] = {
            "token": {
                "realm": token_auth.realm,
                "service": token_auth.service,
                "issuer": token_auth.issuer,
                "rootcertbundle": str(token_auth.root_bundle),
            }
        }
    return config


@contextmanager
def _running(
    command: Sequence[str], listens: re.Pattern[str]
) -> Iterator[tuple[subprocess.Popen[str], list[str], re.Match[str]]]:
    """Run a server from the log line that says it listens to the end of the block."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        log: list[str] = []
        assert process.stdout is not None
        try:
            match = _await_line(process.stdout, log, listens)
            drain = threading.Thread(target=log.extend, args=(process.stdout,))
            drain.start()
            try:
                yield process, log, match
            finally:
                _end(process)
                drain.join()
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _await_line(stream: IO[str], log: list[str], wanted: re.Pattern[str]) -> re.Match[str]:
    for line in stream:
        log.append(line)
        if match := wanted.search(line):
            return match
    raise AssertionError(f"the registry did not start:\n{''.join(log)}")
