"""A machine with users who may call the real sudo, in a mount namespace of its own.

Accounts, homes and root's own directories are made there; this machine stays as it is.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kit.cli import PROGRAM, Done

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MACHINE: Final = """
set -eu
mount -t tmpfs -o mode=755 machine "$1"
for place in etc var/lib var/cache; do
    mkdir -p "$1/upper/$place" "$1/work/$place"
    mount -t overlay overlay \
        -o "lowerdir=/$place,upperdir=$1/upper/$place,workdir=$1/work/$place" "/$place"
done
mount -t tmpfs -o mode=755 home /home
mount -t tmpfs -o mode=755 run /run
rm -rf /etc/bpfpack /var/lib/bpfpack /var/cache/bpfpack
shift
for user in "$@"; do
    useradd --create-home --shell /bin/sh "$user"
    echo "$user ALL=(ALL) NOPASSWD:ALL" >"/etc/sudoers.d/$user"
done
echo ready
exec sleep infinity
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Users are named; root is whoever calls sudo."""

    pid: int

    def path(self, place: str) -> Path:
        """Where something of that machine is for this process."""
        return Path(f"/proc/{self.pid}/root{place}")

    def run(self, user: str, *argv: str | Path, code: int | None = 0, sudo: bool = False) -> Done:
        """Run bpfpack as a user, or as root by that user's sudo."""
        words = ("sudo", PROGRAM) if sudo else (PROGRAM,)
        return self.call(user, *words, *argv, code=code)

    def call(self, user: str, *argv: str | Path, code: int | None = 0) -> Done:
        """Run any command as a user, with what a login gives of an environment."""
        home = f"/home/{user}"
        done = subprocess.run(
            [
                *("nsenter", f"--mount=/proc/{self.pid}/ns/mnt", f"--wdns={home}"),
                *("setpriv", "--reuid", user, "--regid", user, "--init-groups"),
                *("env", "-i", f"HOME={home}", f"USER={user}", f"PATH={_PATH}", "LANG=C.UTF-8"),
                *map(str, argv),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        told = Done(
            code=done.returncode,
            stdout=done.stdout.decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
        )
        assert code in (None, told.code), f"{argv} ended with {told.code}:\n{told.stderr}"
        return told


@contextmanager
def machine(scratch: Path, *users: str) -> Iterator[Machine]:
    """Make the machine; nothing of it is left after the block."""
    scratch.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", _MACHINE, "sh", scratch, *users],
        stdout=subprocess.PIPE,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            yield Machine(pid=holder.pid)
        finally:
            holder.kill()
