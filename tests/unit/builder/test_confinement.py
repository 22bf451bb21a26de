"""The compiler meets a hostile project: it reads nothing else and runs nothing of it."""

import itertools
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfpack.builder import confine, sandbox, toolchain
from bpfpack.builder.build import build, inputs
from bpfpack.builder.flags import check_flags
from bpfpack.builder.opened import ProjectFiles
from bpfpack.builder.project import source_files
from bpfpack.builder.sandbox import Identity
from bpfpack.spec.errors import BuildError, UsageError
from tests.kit.objects import CLANGS, tool
from tests.kit.sources import LICENSE, PRELUDE, PROGRAM, built, object_of, write_project

SECRET = "correct horse battery staple"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that everybody may read, outside the project."""
    path = tmp_path / "outside" / "secret"
    path.parent.mkdir()
    path.write_text(f"{SECRET}\n")
    for parent in (path, path.parent, tmp_path):
        parent.chmod(0o755 if parent.is_dir() else 0o644)
    return path


def run(
    *command: str | Path, readable: tuple[Path, ...] = (), seconds: int = 60, most: int = 2**26
) -> sandbox.Finished:
    """Run a tool in the sandbox."""
    return sandbox.run(
        [tool(str(command[0])), *map(str, command[1:])],
        readable=readable,
        identity=Identity.current(),
        cwd=Path("/"),
        seconds=seconds,
        most=most,
    )


@pytest.mark.parametrize("clang", CLANGS)
@pytest.mark.parametrize(
    "attack",
    [
        '#include "{}"\n',
        '#include "/etc/shadow"\n',
        'asm(".pushsection .rodata\\n.incbin \\"{}\\"\\n.popsection");\n',
        'asm(".include \\"{}\\"");\n',
    ],
)
def test_a_file_outside_the_project_cannot_be_read(
    attack: str, clang: str, secret: Path, tmp_path: Path
) -> None:
    tool(clang)
    with pytest.raises(BuildError) as caught:
        built(tmp_path / "project", attack.replace("{}", str(secret)) + PROGRAM, clang=clang)
    assert SECRET not in caught.value.log
    assert "root:" not in caught.value.log
    assert "does not compile" in str(caught.value)


@pytest.mark.parametrize("clang", CLANGS)
def test_a_line_directive_brings_no_foreign_text_into_the_object(
    clang: str, secret: Path, tmp_path: Path
) -> None:
    tool(clang)
    body = f'#line 1 "{secret}"\n{PROGRAM}'
    result = built(tmp_path / "project", body, clang=clang)
    assert SECRET.encode() not in object_of(result)


def test_the_same_directive_would_bring_it_without_the_sandbox(
    secret: Path, tmp_path: Path
) -> None:
    source = tmp_path / "x.c"
    source.write_text(f'#line 1 "{secret}"\nint probe(void *ctx) {{ return 0; }}\n')
    command = [tool("clang"), "--target=bpf", "-g", "-O2", "-c", str(source), "-o", "-"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert SECRET.encode() in done.stdout


def test_a_path_that_climbs_out_is_closed(secret: Path, tmp_path: Path) -> None:
    for climb in ("../outside/secret", "../" * 12 + str(secret).lstrip("/")):
        with pytest.raises(BuildError, match="does not compile"):
            built(tmp_path / "project", f'#include "{climb}"\n{PROGRAM}')


def test_a_link_out_of_the_project_is_refused(secret: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "stolen.h").symlink_to(secret)
    with pytest.raises(BuildError, match=r"stolen\.h: a link that leaves the project"):
        built(project, PROGRAM)


def test_a_link_that_nobody_includes_is_refused_with_what_to_do(tmp_path: Path) -> None:
    whole = PRELUDE + PROGRAM + LICENSE
    write_project(tmp_path / "out", {"x.bpf.c": whole})
    project = write_project(tmp_path / "one", {"t.bpf.c": whole})
    for name in ("unrelated.c", "x.bpf.c"):
        link = project / name
        link.symlink_to("../out/x.bpf.c")
        with pytest.raises(BuildError, match=f"{link}: a link that leaves") as error:
            build(link if name == "x.bpf.c" else project / "t.bpf.c")
        assert "build where the link leads" in (error.value.hint or "")
        link.unlink()
    build(tmp_path / "out" / "x.bpf.c")
    build(project / "t.bpf.c")


def test_a_readme_outside_the_project_is_refused(secret: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    with pytest.raises(BuildError, match=r"bpfpack\.toml:1: leaves the project"):
        built(project, PROGRAM, toml='readme = "../outside/secret"\n')
    (project / "link.md").symlink_to(secret)
    with pytest.raises(BuildError, match="a link that leaves the project"):
        built(project, PROGRAM, toml='readme = "link.md"\n')


@pytest.mark.parametrize("name", ["README.md", "bpfpack.toml", "vmlinux.h"])
@pytest.mark.parametrize("target", ["{}", "../outside/secret", "inside/../../outside/secret"])
def test_what_a_build_looks_for_by_itself_is_no_link_out(
    name: str, target: str, secret: Path, tmp_path: Path
) -> None:
    project = write_project(tmp_path / "project", {"inside/x.h": "", "t.bpf.c": PROGRAM})
    (project / name).symlink_to(target.format(secret))
    readers: tuple[Callable[[Path], object], ...] = (build, inputs)
    for reads in readers:
        with pytest.raises(BuildError, match=rf"{name}: a link that leaves the project"):
            reads(project)


def test_an_object_that_is_a_link_out_is_not_read(secret: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "x.bpf.o").symlink_to(secret)
    readers: tuple[Callable[[Path], object], ...] = (build, inputs)
    for reads, what in itertools.product(readers, (project, project / "x.bpf.o")):
        with pytest.raises(BuildError, match=r"x\.bpf\.o: a link that leaves the project"):
            reads(what)


def test_links_inside_a_project_are_followed(tmp_path: Path) -> None:
    project = write_project(
        tmp_path / "real", {"deep/README": "read me", "deep/n.h": "#define N 1\n"}
    )
    (project / "README.md").symlink_to("deep/../deep/README")
    (project / "n.h").symlink_to("deep/n.h")
    (tmp_path / "project").symlink_to("real")
    body = f'#include "n.h"\n#if N != 1\n#error none\n#endif\n{PROGRAM}'
    blobs = built(tmp_path / "project", body).package.blobs
    assert b"read me" in blobs.values()


def test_a_link_to_itself_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"t.bpf.c": PROGRAM})
    (project / "README.md").symlink_to("README.md")
    with pytest.raises(BuildError, match=r"README\.md: Too many levels of symbolic links"):
        inputs(project)
    (project / "README.md").unlink()
    os.mkfifo(project / "README.md")
    with pytest.raises(BuildError, match=r"README\.md: not a file"):
        inputs(project)


def test_a_project_that_changes_while_it_is_read_shows_nothing_else(
    secret: Path, tmp_path: Path
) -> None:
    """Each step of the way is swapped after it was looked at, as an attacker would."""
    project = write_project(tmp_path / "project", {"t.bpf.c": PROGRAM, "d/secret": "ours"})
    with ProjectFiles(project) as files:
        names = source_files(project, deep=True)
        (project / "t.bpf.c").unlink()
        (project / "t.bpf.c").symlink_to(secret)
        with pytest.raises(BuildError, match="a link that leaves the project"):
            files.read_sources(names)
        (project / "d").rename(project / "e")
        (project / "d").symlink_to(secret.parent)
        with pytest.raises(BuildError, match="a link that leaves the project"):
            files.read(Path("d/secret"), 100)
        project.rename(tmp_path / "moved")
        (tmp_path / "project").symlink_to(secret.parent)
        assert files.read(Path("e/secret"), 100) == b"ours"
        with pytest.raises(FileNotFoundError):
            files.read(Path("secret"), 100)


@pytest.mark.parametrize(
    "flag",
    [
        "-fplugin=./evil.so", "-Xclang", "-load", "@file", "-B.", "-include", "-imacros",
        "-o/tmp/x", "--config=x", "-Wl,x", "-Wa,-I/etc", "-Wp,-MD,/tmp/x", "-I/etc", "-I../..",
        "-I", "-mllvm", "-mcpu=probe", "-save-temps", "-ivfsoverlay", "-isystem/etc", "-x", "-E",
        "-fdebug-prefix-map=a=b", "-std=c++17", "--sysroot=/", "-D1=2", "", "evil.o",
        "-Ogenerate", "-gsplit-dwarf", "-W\n-fplugin=x",
    ],
)  # fmt: skip
def test_flags_that_reach_further_are_refused(flag: str) -> None:
    with pytest.raises(UsageError):
        check_flags([flag])


def test_flags_that_describe_the_program_are_taken(tmp_path: Path) -> None:
    flags = [
        "-DN=3",
        "-D",
        "M",
        "-UQ",
        "-O1",
        "-g",
        "-Wno-unused",
        "-std=gnu11",
        "-mcpu=v2",
        "-Iinc",
    ]
    write_project(tmp_path, {"inc/n.h": "#define INC 1\n"})
    body = '#include "n.h"\n#if N + INC != 4 || !defined(M)\n#error flags\n#endif\n' + PROGRAM
    assert built(tmp_path, body, toml=f"[build]\nflags = {flags}\n").warnings == ()


def test_a_plugin_in_the_toml_names_its_line(tmp_path: Path) -> None:
    toml = '[build]\nflags = ["-fplugin=./evil.so"]\n'
    with pytest.raises(BuildError, match=r"bpfpack\.toml:2: compiler flag '-fplugin=./evil.so'"):
        built(tmp_path, PROGRAM, toml=toml)


def test_tools_run_without_privileges() -> None:
    expected = 65534 if os.geteuid() == 0 else os.geteuid()
    assert run("id", "-u").output.decode().strip() == str(expected)
    dump = run("setpriv", "--dump").output.decode()
    assert "no_new_privs: 1" in dump
    if os.geteuid() == 0:
        assert "Supplementary groups: [none]" in dump
    status = run("cat", "/proc/self/status", readable=(Path("/proc"),)).output.decode()
    assert "CapEff:\t0000000000000000" in status
    assert "CapPrm:\t0000000000000000" in status


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_tools_run_as_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "12345")
    monkeypatch.setenv("SUDO_GID", "23456")
    assert run("id", "-u").output == b"12345\n"
    assert run("id", "-g").output == b"23456\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("uid", ["0", "-1", "x", "", "4294967295", "99999999999"])
def test_sudo_never_means_root(uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setenv("SUDO_GID", "100")
    assert run("id", "-u").output == b"65534\n"


def test_tools_write_nowhere_and_connect_nowhere(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    target = tmp_path / "written"
    assert run("touch", target, readable=(tmp_path,)).code
    assert not target.exists()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert run("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}").code


def test_a_kernel_without_landlock_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(confine.__file__).read_text()
    without = text.replace("version = _version()", "version = 0")
    assert without != text
    (tmp_path / "confine.py").write_text(without)
    monkeypatch.setattr(confine, "__file__", str(tmp_path / "confine.py"))
    (warning,) = built(tmp_path / "project", PROGRAM).warnings
    assert warning.startswith("this kernel has no Landlock")
    assert run("id", "-u").output != b"0\n"


def test_tools_see_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFPACK_PASSWORD", SECRET)
    monkeypatch.setenv("CPATH", "/etc")
    assert SECRET not in run("env").output.decode()
    assert "CPATH" not in run("env").output.decode()


def test_a_tool_that_never_ends_is_ended() -> None:
    with pytest.raises(BuildError, match="sleep took more than 1 s"):
        run("sleep", "1000", seconds=1)


def test_a_tool_that_never_stops_writing_is_stopped() -> None:
    with pytest.raises(BuildError, match="yes wrote more than 1048576 bytes"):
        run("yes", most=2**20)


def test_the_users_paths_stand_in_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path / "tools" / "x", {"x.bpf.c": "int a = ;\n" + LICENSE})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BuildError, match=r"^tools/x/x\.bpf\.c does not compile$") as caught:
        build(Path("tools/x"))
    assert caught.value.log.startswith("tools/x/x.bpf.c:1:9: error:")
    assert "bpfpack-build" not in caught.value.log


def test_warnings_of_the_compiler_are_kept(tmp_path: Path) -> None:
    body = 'SEC("raw_tp/sys_enter") int probe(void *ctx) { int unused; return 0; }\n'
    (warning,) = built(tmp_path, body).warnings
    assert "unused variable" in warning
    assert str(tmp_path) in warning


@pytest.mark.parametrize(
    ("missing", "package"),
    [("clang", "clang"), ("clang-77", "clang-77"), ("llvm-strip", "llvm"), ("bpftool", "bpftool")],
)
def test_a_missing_tool_is_named_with_its_package(
    missing: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "_SBIN", str(tmp_path))
    with pytest.raises(BuildError, match=f"^{missing} is not installed$") as caught:
        toolchain.find_tool(missing)
    assert caught.value.hint == f"Debian, Ubuntu: apt install {package}"


@pytest.mark.parametrize("name", ["clang -O3", "nosuch", "/opt/clang-77", "bpftool-7", "clang-x"])
def test_no_package_is_invented(name: str) -> None:
    with pytest.raises(BuildError, match=f"^{name!r} is not a program that is here$") as caught:
        toolchain.find_tool(name)
    assert caught.value.hint is None


def test_missing_headers_are_named_with_their_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(toolchain, "_BPF_HEADERS", (str(tmp_path),))
    with pytest.raises(BuildError, match="libbpf's headers") as caught:
        toolchain.include_directories(toolchain.architecture("x86_64"))
    assert caught.value.hint == "Debian, Ubuntu: apt install libbpf-dev"
