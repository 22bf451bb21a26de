"""Wheel and sdist: what is in them, and that the wheel alone is enough."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
DATA = (
    "bpfpack/builder/include/bpfpack.h",
    "bpfpack/builder/templates/tracepoint/program.bpf.c",
    "bpfpack/spec/schema/config.schema.json",
    "bpfpack/spec/py.typed",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(place), str(REPO)]
    subprocess.run(command, check=True, capture_output=True)
    return place


def test_wheel_holds_all_five_roots_and_their_data(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert set(DATA) <= set(names)
    assert {n.split("/")[1] for n in names if n.startswith("bpfpack/")} >= {
        *("spec", "builder", "registry", "runner", "cli"),
        "__main__.py",
    }
    assert "bpfpack/__init__.py" not in names


def test_sdist_holds_sources_tests_and_the_header(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for root, path in (("builder", DATA[0]), ("builder", DATA[1]), ("spec", DATA[2])):
        assert f"{root}/{path}" in names
    assert {"scripts/setup", "spec/SPEC.md", "examples/opensnoop/opensnoop.bpf.c"} <= names
    assert {"LICENSE", "README.md", "conftest.py", "tests/arch/test_layout.py"} <= names


def test_installed_from_the_wheel_it_works(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "-q", wheel], check=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("BPFPACK_", "PYTHON"))}
    for kind in ("CONFIG", "DATA", "STATE", "CACHE", "RUN"):
        env[f"BPFPACK_{kind}_DIR"] = str(tmp_path / "dirs" / kind.lower())

    def bpfpack(*arguments: str) -> str:
        command = [str(venv / "bin/bpfpack"), *arguments]
        ended = subprocess.run(
            command, check=True, capture_output=True, text=True, env=env, cwd=tmp_path
        )
        return ended.stdout

    assert "Usage: bpfpack" in bpfpack("--help")
    bpfpack("init", "opens")
    assert "opens" in bpfpack("build", "-t", "opens:1", "./opens")
    assert '"option": "pid"' in bpfpack("inspect", "-o", "json", "opens:1")
