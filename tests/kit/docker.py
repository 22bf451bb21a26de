"""Docker's engine for tests: a daemon of our own, and a base image made of Debian's packages.

`docker_engine` is a fixture of the whole session, known everywhere through ``conftest.py``;
mark what uses it ``image``.  The daemon has its own socket, pid file and data root, makes no
bridge and no firewall rules (``--network none`` and ``host`` work), and ends with the session.
What takes minutes is kept in the cache: layers in the daemon's data root, the base image's
file system by what it is made of.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

PROGRAMS: Final = ("docker", "dockerd", "mmdebstrap")
SUITE: Final = "bookworm"
BASE: Final = "bpfpack-test/base"

_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_CA_BUNDLE: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_READY: Final = "API listen on"
_STOP_SECONDS: Final = 60


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A running daemon; ``root`` is a scratch directory that ends with it."""

    root: Path
    socket: Path

    @property
    def host(self) -> str:
        """What DOCKER_HOST is set to."""
        return f"unix://{self.socket}"

    @property
    def environment(self) -> dict[str, str]:
        """What its clients need, besides PATH: no credentials of whoever runs the tests."""
        return {"DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.root / "client")}

    def run(
        self,
        *argv: str | Path,
        code: int | None = 0,
        stdin: bytes | None = None,
        seconds: int = 600,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command of docker's to its end, which must be ``code`` (None: any)."""
        done = subprocess.run(
            self.command(*argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=os.environ | self.environment | {"DOCKER_BUILDKIT": "0"},
            timeout=seconds,
            check=False,
        )
        said = done.stdout[-20000:].decode(errors="replace"), done.stderr.decode(errors="replace")
        assert code in (None, done.returncode), f"{argv} ended with {done.returncode}:\n{said}"
        return done

    def command(self, *argv: str | Path) -> list[str]:
        """The whole command line, for `subprocess` and `environment`."""
        return [_program("docker"), *map(str, argv)]

    def lines(self, *argv: str | Path) -> list[str]:
        """Return what a command prints, line by line."""
        return self.run(*argv).stdout.decode().splitlines()

    def containers(self) -> list[str]:
        """Return the ids of all containers, running or not."""
        return self.lines("ps", "-aq", "--no-trunc")

    def base(self) -> str:
        """Return the name of a small Debian, imported unless the data root has it."""
        packed = base_file_system()
        name = f"{BASE}:{packed.name.partition('.')[0]}"
        if not self.lines("images", "-q", name):
            self.run("import", packed, name)
        return name


def missing() -> str | None:
    """Say what this machine lacks to run an engine, or None."""
    if os.geteuid() != 0:
        return "needs root"
    lacking = [p for p in PROGRAMS if shutil.which(p, path=_PATH) is None]
    return f"needs {' and '.join(lacking)}" if lacking else None


def cache() -> Path:
    """Return the directory that the machine keeps between runs, made if need be."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = home / "bpfpack-tests"
    place.mkdir(parents=True, exist_ok=True)
    return place


def base_file_system() -> Path:
    """Return a tar of a minimal Debian with this machine's certificates, made once.

    Inside a container nothing else would make the registries' certificates known.
    """
    bundle = _CA_BUNDLE.read_bytes()
    key = hashlib.sha256(b"\0".join((SUITE.encode(), b"minbase", bundle))).hexdigest()[:16]
    kept = cache() / f"{key}.base.tar"
    with _locked(cache() / "base.lock"):
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=cache(), prefix="base-") as scratch:
                made = Path(scratch, "root.tar")
                _bootstrap(made)
                made.rename(kept)
    return kept


def _bootstrap(target: Path) -> None:
    command = [
        *(_program("mmdebstrap"), "--variant=minbase", "--mode=root"),
        "--include=ca-certificates",
        f"--customize-hook=copy-in {_CA_BUNDLE} {_CA_BUNDLE.parent}",
        *(SUITE, str(target), "http://deb.debian.org/debian"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """A daemon for the whole session."""
    with running_engine() as engine:
        yield engine


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Run a daemon to the end of the block; its layers are kept in the cache.

    Where another run of the tests holds those, it starts with none.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bpfpack-docker-") as scratch,
        contextlib.ExitStack() as stack,
    ):
        root = Path(scratch)
        data = root / "data"
        with contextlib.suppress(BlockingIOError):
            stack.enter_context(_locked(cache() / "docker.lock", fcntl.LOCK_NB))
            data = cache() / "docker"
        (root / "client").mkdir()
        with _daemon(root, data):
            engine = Engine(root=root, socket=root / "socket")
            # What a run that was killed has left in the data root.
            if left := engine.containers():
                engine.run("rm", "--force", *left)
            engine.run("image", "prune", "--force")
            yield engine


@contextmanager
def _daemon(root: Path, data: Path) -> Iterator[None]:
    command = [
        # It goes with this process, also when that is killed.
        *("setpriv", "--pdeathsig", "TERM", _program("dockerd")),
        *("--data-root", data, "--exec-root", root / "exec", "--pidfile", root / "pid"),
        *("--host", f"unix://{root / 'socket'}", "--storage-driver", "overlay2"),
        *("--bridge=none", "--iptables=false", "--ip6tables=false"),
        *("--ip-forward=false", "--ip-masq=false", "--config-file", root / "none.json"),
    ]
    (root / "none.json").write_text("{}")
    with subprocess.Popen(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": _PATH},
    ) as process:
        assert process.stdout is not None
        try:
            log: list[str] = []
            for line in process.stdout:
                log.append(line)
                if _READY in line:
                    break
            else:
                raise AssertionError(f"dockerd did not start:\n{''.join(log)}")
            drain = threading.Thread(target=log.extend, args=(process.stdout,))
            drain.start()
            try:
                yield
            finally:
                process.terminate()
                drain.join()
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)
            _unmount(root)


def _unmount(root: Path) -> None:
    """Undo what a daemon leaves mounted: the host's network namespace, once used."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if (place := line.split()[4]).startswith(f"{root}/"):
            subprocess.run([_program("umount"), place], check=True)


@contextmanager
def _locked(path: Path, flags: int = 0) -> Iterator[None]:
    """Hold a lock file; with LOCK_NB raises BlockingIOError when it is held."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | flags)
        yield


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    assert found, f"{name} is not installed"
    return found
