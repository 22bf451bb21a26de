"""Wheel and sdist: what is in them, and that the wheel alone is enough, on every Python here."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
ROOTS = ("spec", "builder", "registry", "runner", "cli")
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
#: What a package is made with, and what is not written in Python.
NOTABLE = (
    "bpfpack/builder/include/bpfpack.h",
    "bpfpack/builder/templates/tracepoint/program.bpf.c",
    "bpfpack/spec/schema/config.schema.json",
    "bpfpack/spec/py.typed",
)
ENGINE = "bpfpack/runner/engine/engine.wasm"


@cache
def _version(python: str) -> str:
    code = "import sys, venv; print('{}.{}'.format(*sys.version_info))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _pythons() -> dict[str, str]:
    """Return the interpreters of the supported versions on this machine, by version."""
    places = [str(p) for p in Path.home().glob(".pyenv/versions/*/bin/python3")]
    named = [shutil.which(f"python{version}") or "" for version in VERSIONS]
    found = {_version(p): p for p in (*places, *filter(None, named), sys.executable)}
    return {version: found[version] for version in VERSIONS if version in found}


PYTHONS = _pythons()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(place), str(REPO)]
    subprocess.run(command, check=True, capture_output=True)
    return place


def data_files() -> set[str]:
    """Every tracked file of the five roots that is part of the package."""
    listed = subprocess.run(
        ["git", "-C", str(REPO), "ls-files", "-z", *(f"{root}/bpfpack" for root in ROOTS)],
        check=True,
        capture_output=True,
        text=True,
    )
    names = (name for name in listed.stdout.split("\0") if name and (REPO / name).exists())
    return {name.partition("/")[2] for name in names}


def test_wheel_holds_all_five_roots_and_their_data(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert set(NOTABLE) <= data_files() <= set(names)
    # Compiled by the build, of any machine: git does not know it.
    assert zipfile.ZipFile(wheel).read(ENGINE).startswith(b"\0asm")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert {n.split("/")[1] for n in names if n.startswith("bpfpack/")} >= {*ROOTS, "__main__.py"}
    assert "bpfpack/__init__.py" not in names
    assert not [n for n in names if "__pycache__" in n or n.startswith("tests")]


def test_sdist_holds_sources_tests_and_the_header(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for root, path in (("builder", NOTABLE[0]), ("builder", NOTABLE[1]), ("spec", NOTABLE[2])):
        assert f"{root}/{path}" in names
    assert {"scripts/setup", "spec/SPEC.md", "examples/opensnoop/opensnoop.bpf.c"} <= names
    assert {"LICENSE", "README.md", "conftest.py", "tests/arch/test_layout.py"} <= names
    assert {"Dockerfile", ".dockerignore", "packaging/requirements.txt"} <= names
    assert {"scripts/build-engine", "scripts/hatch_build.py", "runner/engine/walk.c"} <= names


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_installed_from_the_wheel_it_works(built: Path, tmp_path: Path, python: str) -> None:
    (wheel,) = built.glob("*.whl")
    venv = tmp_path / "venv"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("BPFPACK_", "PYTHON"))}
    subprocess.run([python, "-m", "venv", venv], check=True, env=env)
    subprocess.run([venv / "bin/pip", "install", "-q", wheel], check=True, env=env)
    for kind in ("CONFIG", "DATA", "STATE", "CACHE", "RUN"):
        env[f"BPFPACK_{kind}_DIR"] = str(tmp_path / "dirs" / kind.lower())

    def bpfpack(*arguments: str) -> str:
        # A warning is a failure, as it is for the tests: what is deprecated ends one day.
        command = [str(venv / "bin/python"), "-W", "error", "-m", "bpfpack", *arguments]
        ended = subprocess.run(
            command, check=False, capture_output=True, text=True, env=env, cwd=tmp_path
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    version = subprocess.run(
        [venv / "bin/bpfpack", "--version"], check=True, capture_output=True, text=True, env=env
    )
    assert version.stdout == "bpfpack 0.1.0\n"
    assert "Usage: bpfpack" in bpfpack("--help")
    bpfpack("init", "opens")
    assert "opens" in bpfpack("build", "-t", "opens:1", "./opens")
    assert '"option": "pid"' in bpfpack("inspect", "-o", "json", "opens:1")
    if os.geteuid() == 0 and Path("/sys/kernel/btf/vmlinux").exists():
        bpfpack(
            "run",
            "--engine",
            "wasm",
            "-q",
            "-o",
            "json",
            "--max-events",
            "1",
            "--timeout",
            "10s",
            "opens:1",
        )


def _told_of_a_wheel(page: str) -> list[str]:
    """The commands of a page that make and install a wheel, in their order."""
    block = re.search(
        r"^[^\n]*pip wheel .*?bpfpack /usr/local/bin/$", (REPO / page).read_text(), re.M | re.S
    )
    assert block is not None
    lines = [line.partition(" #")[0].rstrip() for line in block[0].splitlines()]
    return [line for line in lines if re.match(r"\S*(?:pip|python3|ln) ", line)]


def test_what_is_told_of_installing_a_wheel_works(built: Path, tmp_path: Path) -> None:
    """In a clone with the venv that setup makes, which has nothing but what bpfpack needs."""
    told = _told_of_a_wheel("README.md")
    assert len(told) == 4
    assert told == _told_of_a_wheel("README.zh.md") == _told_of_a_wheel("docs/install.md")
    (sdist,) = built.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True)
    (clone,) = tmp_path.glob("bpfpack-*")
    there = tmp_path / "usr/local"
    for name in ("bin", "lib"):
        (there / name).mkdir(parents=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("BPFPACK_", "PYTHON", "VIRT"))}
    env["PIP_NO_COMPILE"] = "1"  # half of the time
    env["PATH"] = f"{there / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    subprocess.run(["python3", "-m", "venv", clone / ".venv"], check=True, env=env)
    script = "\n".join(["set -e", *told, "bpfpack --version"]).replace("/usr/local", str(there))
    done = subprocess.run(
        ["bash", "-c", script], check=False, capture_output=True, text=True, env=env, cwd=clone
    )
    assert (done.returncode, done.stdout) == (0, "bpfpack 0.1.0\n"), done.stderr


def test_what_is_pinned_is_what_is_asked_for() -> None:
    """`packaging/lock` was run since the dependencies changed."""
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((REPO / "pyproject.toml").read_text())
    for file, wanted in (
        ("requirements.txt", project["project"]["dependencies"]),
        ("build.txt", project["build-system"]["requires"]),
    ):
        text = (REPO / "packaging" / file).read_text()
        pinned = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))
        for requirement in map(Requirement, wanted):
            assert requirement.specifier.contains(pinned[requirement.name.lower()]), requirement
        assert text.count("==") <= text.count("--hash=sha256:")
