"""What a build elsewhere is given, and what it says where nothing can be built in."""

from pathlib import Path

import pytest

from bpfpack.builder.build import inputs
from bpfpack.spec.errors import BuildError, SpecError, UsageError
from tests.kit.cli import Host


@pytest.fixture
def project(tmp_path: Path) -> Path:
    place = tmp_path / "tool"
    (place / "include").mkdir(parents=True)
    (place / ".git").mkdir()
    for name in ("tool.bpf.c", "other.bpf.c", "include/shared.h", ".git/config.h", "key.pem"):
        (place / name).write_text(f"/* {name} */\n")
    (place / "README.md").write_text("# tool\n")
    (place / "bpfpack.toml").write_text('version = "1"\n[build]\nflags = ["-Iinclude"]\n')
    return place


def test_a_directory_gives_what_its_build_reads_and_nothing_else(project: Path) -> None:
    given = inputs(project)
    assert sorted(map(str, given.files)) == [
        *("README.md", "bpfpack.toml", "include/shared.h", "other.bpf.c", "tool.bpf.c")
    ]
    assert (given.name, given.argument, given.from_source) == ("tool", Path(), True)


def test_one_file_gives_its_headers_too(project: Path) -> None:
    given = inputs(project / "tool.bpf.c")
    assert {"tool.bpf.c", "include/shared.h", "bpfpack.toml"} <= {str(f) for f in given.files}
    assert "README.md" not in {str(f) for f in given.files}
    assert (given.argument, given.shown) == (Path("tool.bpf.c"), f"{project}/")


def test_an_object_is_not_from_source(tmp_path: Path) -> None:
    (tmp_path / "tool.bpf.o").write_bytes(b"\x7fELF")
    given = inputs(tmp_path / "tool.bpf.o")
    assert given.files == {Path("tool.bpf.o"): b"\x7fELF"} and not given.from_source


def test_what_a_build_refuses_is_refused_before_any_container(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.h").write_text("secret")
    (project / "link.h").symlink_to(tmp_path / "secret.h")
    with pytest.raises(BuildError, match="leaves the project"):
        inputs(project)
    (project / "link.h").unlink()
    (project / "bpfpack.toml").write_text('[build]\nflags = ["-fplugin=x.so"]\n')
    with pytest.raises((BuildError, SpecError), match="fplugin"):
        inputs(project)
    with pytest.raises(UsageError):
        inputs(tmp_path / "none")


@pytest.mark.parametrize("host", ["unix:///none/docker.sock", "tcp://127.0.0.1:1", "nonsense://x"])
def test_without_a_daemon_it_says_so(project: Path, tmp_path: Path, host: str) -> None:
    """As a command of its own: docker's SDK leaves the socket that it could not connect open."""
    here = Host(root=tmp_path / "host", extra={"DOCKER_HOST": host})
    done = here.run("build", "--container", "any", project, code=8)
    assert done.stderr.startswith("error: no docker daemon answers: ")
    assert "set DOCKER_HOST" in done.stderr
