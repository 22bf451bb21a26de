"""A cgroup of version 2, made for one test."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bpfpack.runner.mounts import mount_points


@contextmanager
def cgroup(name: str) -> Iterator[Path]:
    """A cgroup below the root, removed at the end."""
    root = min(mount_points("cgroup2"), key=len)
    path = Path(root, f"bpfpack-{name}-{os.getpid()}")
    path.mkdir()
    try:
        yield path
    finally:
        path.rmdir()


def run_inside(path: Path, command: Sequence[str]) -> str:
    """Run a program in a cgroup, from its start on, and return what it prints."""
    script = 'echo $$ > "$0"/cgroup.procs && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, str(path), *command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
