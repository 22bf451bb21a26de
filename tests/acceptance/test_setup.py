"""`scripts/setup` for somebody who is not root, on a machine that lacks a package.

The machine is an overlay over this one, in a mount namespace of its own: a package is purged
and a user is made there, and this machine stays as it is.
"""

import os
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
LACKING = "libbpf-dev"

SCRIPT = f"""
set -eu
mount -t tmpfs overlay "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for place in dev proc sys; do mount --rbind "/$place" "$1/root/$place"; done
cp -r "$2" "$1/root/home/clone"
chroot "$1/root" sh -eu -c '
    dpkg --purge --force-depends {LACKING} >/dev/null
    useradd --create-home newcomer
    echo "newcomer ALL=(ALL) NOPASSWD:ALL" >/etc/sudoers.d/newcomer
    chown -R newcomer /home/clone
    setpriv --reuid newcomer --regid newcomer --init-groups \\
        env HOME=/home/newcomer /home/clone/scripts/setup
    dpkg-query -W -f "STATUS \\${{db:Status-Status}}\\n" {LACKING}
    setpriv --reuid newcomer --regid newcomer --init-groups \\
        env HOME=/home/newcomer /home/clone/.venv/bin/bpfpack --version
    setpriv --reuid newcomer --regid newcomer --init-groups \\
        env HOME=/home/newcomer /home/clone/scripts/setup
    echo AGAIN
'
"""


@pytest.mark.kernel
def test_setup_uses_sudo_for_what_is_missing(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(REPO), str(clone)], check=True)
    place = tmp_path / "machine"
    place.mkdir()
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("BPFPACK_", "PYTHON", "VIRTUAL"))
    }
    env["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    command = ["unshare", "--mount", "bash", "-c", SCRIPT, "bash", str(place), str(clone)]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"setup: installing Debian packages: {LACKING}" in ended.stderr
    assert "STATUS installed" in ended.stdout
    assert "bpfpack 0.1.0" in ended.stdout
    assert "AGAIN" in ended.stdout
    assert ended.stderr.count("setup: installing") == 2  # packages and .venv, once each
