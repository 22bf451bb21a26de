"""`scripts/package-deb`: the same bytes twice, and a package that comes and goes whole."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.image.conftest import Images
from tests.kit.cli import REPO, Host
from tests.kit.docker import Engine

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]

#: Everything in a container but what the kernel or docker put there, what dpkg keeps, and /opt
#: itself, which dpkg removes with the last package in it.
_LEFT_OUT = " -prune -o ".join(f"-path {p}" for p in ("/proc", "/var/lib/dpkg", "/var/log"))
LIST = f"find / -xdev {_LEFT_OUT} -prune -o ! -path /opt -print"
INSTALL = f"""
set -e
touch /tmp/before /tmp/after
{LIST} | sort >/tmp/before
dpkg -i /packages/bpfpack_*.deb >&2
/usr/bin/bpfpack --version
(cd /tmp && /usr/bin/bpfpack init tool >&2 && rm -r tool)
/usr/bin/bpfpack list
/usr/bin/bpfpack run --insecure-skip-verify -q -o json --max-events 1 --timeout 20s \\
    /packages/opensnoop.tar
ls /usr/share/man/man1/bpfpack-run.1.gz /usr/share/zsh/vendor-completions/_bpfpack
bash -n /usr/share/bash-completion/completions/bpfpack
dpkg --purge bpfpack >&2
{LIST} | sort >/tmp/after
diff /tmp/before /tmp/after && echo CLEAN
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree as it is now: nobody changes it between two packages of it."""
    place = tmp_path_factory.mktemp("tree") / "bpfpack"
    listed = subprocess.run(
        ["git", "-C", str(REPO), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (REPO / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, place / name)
    return place


def package(tree: Path, out: Path, **told: str) -> Path:
    done = subprocess.run(
        [tree / "scripts/package-deb", out],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"} | told,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def made(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package(tree, tmp_path_factory.mktemp("packages"))


def test_the_same_sources_give_the_same_bytes(made: Path, tree: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tree, elsewhere)
    # Another file system, where directories have other sizes.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as stage:
        again = package(elsewhere, tmp_path / "out", TZ="Asia/Tokyo", TMPDIR=stage)
    # Digests: to explain two such byte strings takes pytest more than a quarter of an hour.
    assert sha256(again) == sha256(made)


FULL_DISK = """#!/bin/sh
[ "$1" = --print-architecture ] && exec /usr/bin/dpkg-deb "$@"
for last; do :; done
printf half >"$last" || printf half >"$last/bpfpack_0.1.0-1_amd64.deb"
exit 2
"""


def test_half_a_package_has_no_name_of_a_whole_one(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dpkg-deb").write_text(FULL_DISK)
    (tmp_path / "bin" / "dpkg-deb").chmod(0o755)
    out = tmp_path / "out"
    done = subprocess.run(
        [tree / "scripts/package-deb", out],
        check=False,
        capture_output=True,
        env=os.environ
        | {"SOURCE_DATE_EPOCH": "1700000000", "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"},
    )
    assert done.returncode == 2
    assert list(out.iterdir()) == []


def test_lintian_finds_nothing(made: Path) -> None:
    done = subprocess.run(
        ["lintian", "--fail-on=error,warning", "--allow-root", made],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_it_says_what_it_needs(made: Path) -> None:
    control = subprocess.run(
        ["dpkg-deb", "--field", made], check=True, capture_output=True, text=True
    ).stdout
    fields = dict(line.split(": ", 1) for line in control.splitlines() if ": " in line)
    assert "libbpf1 (>= 1:1.0)" in fields["Depends"] and "python3 (>= 3." in fields["Depends"]
    assert {"clang", "libbpf-dev", "llvm"} <= set(fields["Recommends"].split(", "))


def test_it_installs_runs_and_leaves_nothing(
    docker_engine: Engine, images: Images, made: Path, tmp_path: Path
) -> None:
    author = Host(root=tmp_path / "author")
    author.run("build", "-q", "-f", made.parent / "opensnoop.tar", REPO / "examples/opensnoop")
    done = docker_engine.run(
        *("run", "--rm", "--network", "none", "--cap-add", "SYS_ADMIN"),
        *("-v", f"{made.parent}:/packages:ro", images.python, "bash", "-c", INSTALL),
        code=None,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said + done.stderr.decode()
    assert "bpfpack 0.1.0\n" in said and '"path":' in said and said.endswith("CLEAN\n")
