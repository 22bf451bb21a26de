"""The image: what is in it, what is not, and a signed package that shows events in it."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.conftest import Images
from tests.kit.cli import REPO, Host
from tests.kit.docker import Engine
from tests.kit.servers import RunningRegistry, bpfpack_registry

# The images are built within the first of these.
pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]

TOOLS = "clang clang-19 llvm-strip bpftool gcc cc ld make pip pip3 git"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    with bpfpack_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def author(tmp_path: Path) -> Host:
    made = Host(root=tmp_path / "author")
    made.keygen()
    return made


def test_the_tool_comes_without_a_compiler(docker_engine: Engine, images: Images) -> None:
    shell = ("run", "--rm", "--network", "none", "--entrypoint", "sh", images.run, "-c")
    found = docker_engine.lines(*shell, f"command -v {TOOLS}; find / -xdev -name 'ensurepip'")
    assert not [line for line in found if "python3" not in line]
    modules = docker_engine.run(*shell, "/opt/bpfpack/bin/python -m pip --version", code=1)
    assert b"No module named pip" in modules.stderr
    assert docker_engine.lines("run", "--rm", "--network", "none", images.run, "--version") == [
        "bpfpack 0.1.0"
    ]


def test_all_but_run_needs_no_privileges(
    docker_engine: Engine, images: Images, author: Host, registry: RunningRegistry
) -> None:
    author.run("build", "-q", "-t", f"{registry.host}/x/opensnoop:1", REPO / "examples/opensnoop")
    author.push("-q", f"{registry.host}/x/opensnoop:1")
    limits = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    shown = docker_engine.run(
        *("run", "--rm", "--network", "host", "--user", "65534:65534", *limits),
        *(images.run, "inspect", "-o", "json", f"{registry.host}/x/opensnoop:1"),
    )
    assert json.loads(shown.stdout)["config"]["name"] == "opensnoop"


def test_a_signed_package_is_pulled_and_shows_what_happens_outside(
    docker_engine: Engine,
    images: Images,
    author: Host,
    registry: RunningRegistry,
    tmp_path: Path,
) -> None:
    name = f"{registry.host}/x/opensnoop:1"
    author.run("build", "-q", "-t", name, REPO / "examples/opensnoop")
    author.push("-q", name)
    operator = Host(root=tmp_path / "operator")
    key = author.root / "config" / "identity.pub"
    operator.run("trust", "add", f"{registry.host}/x", "--key", key)
    marker = tmp_path / "opened-by-this-test"
    command = docker_engine.command(
        *("run", "--rm", "--network", "host", "--cap-drop", "ALL", "--cap-add", "SYS_ADMIN"),
        *("-v", f"{operator.root / 'config'}:/etc/bpfpack:ro"),
        *(images.run, "run", "-o", "json", name, "--failed"),
    )
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | docker_engine.environment,
    ) as process:
        assert process.stdout and process.stderr
        said = ""
        while (line := process.stderr.readline()) and not line.startswith("attached "):
            said += line
        assert line, said
        with pytest.raises(FileNotFoundError):
            marker.read_bytes()
        event = next(e for e in map(json.loads, process.stdout) if e["path"] == str(marker))
        assert event["pid"] == os.getpid()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert not docker_engine.containers()


def test_without_capabilities_it_says_which_are_missing(
    docker_engine: Engine, images: Images, author: Host, tmp_path: Path
) -> None:
    author.run("build", "-q", "-f", tmp_path / "opensnoop.tar", REPO / "examples/opensnoop")
    done = docker_engine.run(
        *("run", "--rm", "--network", "none", "-v", f"{tmp_path}:/packages:ro", images.run),
        *("run", "--insecure-skip-verify", "/packages/opensnoop.tar"),
        code=126,
    )
    assert b"CAP_BPF" in done.stderr and b"CAP_PERFMON" in done.stderr
