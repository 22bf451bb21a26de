"""`build --container`: the digest of any other build, and a container that can do nothing else."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfpack.builder import container
from bpfpack.builder.build import BuildOptions
from bpfpack.builder.container import build_in_container
from bpfpack.spec.errors import BuildError
from bpfpack.spec.limits import LIMITS, MIB
from bpfpack.spec.value import replace
from tests.image.conftest import Images
from tests.kit import bell
from tests.kit.cli import REPO, Host
from tests.kit.docker import Engine

# The images are built within the first of these.
pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]

OPENSNOOP = REPO / "examples/opensnoop"


@pytest.fixture
def host(docker_engine: Engine, tmp_path: Path) -> Host:
    return Host(root=tmp_path / "host", extra={"DOCKER_HOST": docker_engine.host})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return bell.write(tmp_path / "bell")


@pytest.fixture
def pretending(docker_engine: Engine, tmp_path: Path) -> Callable[[str], str]:
    """Make an image whose bpfpack is a shell script of ours."""

    def make(script: str) -> str:
        place = tmp_path / "pretending"
        place.mkdir()
        (place / "bpfpack").write_text(f"#!/bin/sh\n{script}\n")
        (place / "bpfpack").chmod(0o755)
        (place / "Dockerfile").write_text(
            f"FROM {docker_engine.base()}\nCOPY bpfpack /usr/local/bin/bpfpack\n"
        )
        docker_engine.run("build", "-t", "bpfpack-test/pretending", place)
        return "bpfpack-test/pretending"

    return make


def digest(host: Host, *argv: str | Path) -> str:
    return host.run("build", "-q", *argv).stdout.split()[-1]


@pytest.mark.parametrize("extra", [(), ("--with-source",), ("--arch", "aarch64")])
def test_the_digest_is_that_of_the_same_compiler_outside(
    host: Host, images: Images, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    types = tmp_path / "vmlinux"
    shutil.copy("/sys/kernel/btf/vmlinux", types)
    told = (*extra, "--vmlinux", str(types)) if "--arch" in extra else extra
    inside = digest(host, "--container", images.build, "-t", "inside:1", *told, OPENSNOOP)
    assert inside == digest(host, "--clang", "clang-19", "-t", "outside:1", *told, OPENSNOOP)


def test_one_file_an_epoch_and_other_compilers(host: Host, images: Images, project: Path) -> None:
    source = next(project.glob("*.bpf.c"))
    dated = Host(root=host.root, extra={**host.extra, "SOURCE_DATE_EPOCH": "1700000000"})
    inside = digest(dated, "--container", images.build, "-t", "inside:1", source)
    assert inside == digest(dated, "--clang", "clang-19", "-t", "outside:1", source)
    assert inside != digest(host, "--container", images.build, "-t", "undated:1", source)
    done = host.run("build", "--container", images.build, "--clang", "clang-2", source, code=8)
    assert "clang-2 is not installed" in done.stderr


def test_it_runs_here_as_what_was_built_here(host: Host, images: Images, project: Path) -> None:
    host.run("build", "--container", images.build, "-t", "bell:1", project)
    done = host.run("run", "--dry-run", "bell:1", bell.ME)
    assert "warning" not in done.stderr


def test_an_archive_goes_to_a_file_and_to_a_pipe(
    host: Host, images: Images, project: Path, tmp_path: Path
) -> None:
    host.run("build", "-q", "--container", images.build, "-f", tmp_path / "bell.tar", project)
    piped = subprocess.run(
        host.command("build", "-q", "--container", images.build, "-f", "-", project),
        check=True,
        capture_output=True,
        env=host.environment,
    )
    assert piped.stdout == (tmp_path / "bell.tar").read_bytes()
    assert not list((host.root / "data").glob("store/refs/*"))


@pytest.mark.parametrize("typed", ["bell", ".", "./bell/broken.bpf.c", "/"])
def test_what_does_not_compile_is_said_in_the_users_paths(
    host: Host, images: Images, tmp_path: Path, typed: str
) -> None:
    project = tmp_path / "bell"
    project.mkdir()
    (project / "broken.bpf.c").write_text("int broken = ;\n")
    cwd = project if typed == "." else tmp_path
    argument = str(project) if typed == "/" else typed
    inside = host.run("build", "--container", images.build, argument, cwd=cwd, code=8)
    outside = host.run("build", "--clang", "clang-19", argument, cwd=cwd, code=8)
    assert inside.stderr == outside.stderr
    assert "broken.bpf.c:1:14: error: expected expression" in inside.stderr


def test_what_bpfpack_toml_gets_wrong_is_said_as_outside(
    host: Host, images: Images, project: Path
) -> None:
    with (project / "bpfpack.toml").open("a") as file:
        file.write("\n[params.nothing]\noption = 'x'\n")
    inside = host.run("build", "--container", images.build, project, code=None)
    outside = host.run("build", "--clang", "clang-19", project, code=None)
    assert (inside.code, inside.stderr) == (outside.code, outside.stderr)
    assert "nothing" in inside.stderr and inside.code != 0


def test_warnings_come_out(host: Host, images: Images, project: Path) -> None:
    source = next(project.glob("*.bpf.c"))
    source.write_text(f"{source.read_text()}\nstatic int unused(void) {{ return 1; }}\n")
    done = host.run("build", "--container", images.build, "-t", "bell:1", project)
    assert f"warning: {source}:" in done.stderr and "unused function" in done.stderr


def test_without_a_daemon_or_an_image_it_says_what_to_do(
    host: Host, docker_engine: Engine, project: Path, tmp_path: Path
) -> None:
    elsewhere = Host(root=host.root, extra={"DOCKER_HOST": f"unix://{tmp_path}/none"})
    done = elsewhere.run("build", "--container", "any", project, code=8)
    assert "error: no docker daemon answers" in done.stderr and "DOCKER_HOST" in done.stderr
    done = host.run("build", "--container", "no/such:image", project, code=8)
    assert done.stderr.startswith("error: docker has no image no/such:image\n")
    assert "docker build --target build" in done.stderr
    done = host.run("build", "--container", docker_engine.base(), project, code=8)
    assert "has no bpfpack in it" in done.stderr
    done = host.run("build", "--container", "Not An Image", project, code=8)
    assert done.stderr.startswith("error: docker")
    assert not docker_engine.containers()


PROBE = """
{
    echo "error: seen"
    echo "id $(id -u) groups $(id -G)"
    grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
    for place in / /etc /usr/bin /.bpfpack /.bpfpack/project/*; do
        if touch "$place/mark" 2>/dev/null; then echo "wrote $place"; fi
    done
    find /.bpfpack -type f
    tail -n +3 /proc/net/dev
    [ -e /var/run/docker.sock ] && echo "has a socket"
    printf '\\033]52;c;aGk=\\007\\n'
} >&2
exit 8
"""


def test_what_builds_can_do_nothing_else(
    host: Host, project: Path, pretending: Callable[[str], str]
) -> None:
    (project / ".git").mkdir()
    (project / ".git/config").write_text("password")
    (project / "identity.key").write_text("secret")
    done = host.run("build", "--container", pretending(PROBE), project, code=8)
    seen = [line.strip() for line in done.stderr.splitlines()]
    assert "error: seen" in seen
    assert "id 65534 groups 65534" in seen
    assert {"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"} <= set(
        line.replace("\\x09", "\t") for line in seen
    )
    assert not [line for line in seen if line.startswith("wrote") or "socket" in line]
    assert [line for line in seen if line.startswith(str(project))] == [f"{project}/bell.bpf.c"]
    assert [line.partition(":")[0] for line in seen if ": " in line and "lo" in line[:3]] == ["lo"]
    assert "\x1b" not in done.stderr and "\\x1b]52" in done.stderr


@pytest.mark.parametrize(
    ("script", "bounds", "message"),
    [
        ("cat /dev/zero", {"archive": MIB}, f"wrote more than {MIB} bytes"),
        ("exec sleep 1000", {"container_seconds": 1}, "took more than 1 s"),
        (
            "tail /dev/zero",
            {"container_memory": 32 * MIB},
            f"needs more than {32 * MIB} bytes of memory",
        ),
        ("yes >&2 & sleep 1; kill $!; exit 8", {"tool_messages": 100}, "ended the build"),
        ("exit 77", {}, "ended the build with code 77"),
    ],
)
def test_every_resource_is_bounded(
    docker_engine: Engine,
    project: Path,
    pretending: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    bounds: dict[str, int],
    message: str,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.host)
    monkeypatch.setenv("DOCKER_CONFIG", docker_engine.environment["DOCKER_CONFIG"])
    bounded = replace(LIMITS, **bounds)
    monkeypatch.setattr(container, "LIMITS", bounded)
    with pytest.raises(BuildError, match=message) as raised:
        build_in_container(pretending(script), project, BuildOptions())
    assert len(raised.value.log) <= bounded.tool_messages
    assert not docker_engine.containers()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 0", "built"),
        ("head -c 10000 /dev/urandom", "built"),
        ("echo not an archive", "built"),
    ],
)
def test_what_comes_back_is_read_as_any_archive(
    host: Host, project: Path, pretending: Callable[[str], str], script: str, message: str
) -> None:
    done = host.run("build", "--container", pretending(script), project, code=None)
    assert done.code in (3, 6) and message in done.stderr and "internal" not in done.stderr
    assert host.run("list", "-o", "json").json == []


def started(engine: Engine, since: float) -> str:
    """Return the id of the container that starts next, as the daemon tells it."""
    command = engine.command(
        "events", f"--since={since:.9f}", "--filter=event=start", "--format={{.ID}}"
    )
    env = os.environ | engine.environment
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        found = process.stdout.readline().strip()
        process.kill()
    assert found
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_container_outlives_its_build(
    host: Host,
    docker_engine: Engine,
    project: Path,
    pretending: Callable[[str], str],
    number: signal.Signals,
) -> None:
    image, since = pretending("exec sleep 1000"), time.time()
    with host.started("build", "--container", image, project) as running:
        started(docker_engine, since)
        done = running.end(number)
    assert done.code == 128 + number
    assert not docker_engine.containers()


def test_the_next_build_removes_what_a_killed_one_left(
    host: Host, docker_engine: Engine, project: Path, pretending: Callable[[str], str]
) -> None:
    image, since = (
        pretending("[ -e /.bpfpack/vmlinux ] && exit 8; exec sleep 1000"),
        time.time(),
    )
    with host.started("build", "--container", image, project) as running:
        left = started(docker_engine, since)
        running.end(signal.SIGKILL)
    assert docker_engine.containers() == [left]
    with (project.parent / "types.h").open("w") as types:
        types.write("")
    host.run("build", "--container", image, "--vmlinux", types.name, project, code=8)
    assert not docker_engine.containers()
