"""The same source, compiler and epoch give the same package, wherever and whoever builds."""

import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from bpfpack.builder.build import BuildOptions, build
from bpfpack.spec import mediatypes
from bpfpack.spec.errors import UsageError
from bpfpack.spec.package import Package
from tests.kit.objects import tool
from tests.kit.sources import EXAMPLES, PROGRAM, built, object_of

BUILD = """
import sys
from pathlib import Path
from bpfpack.builder.build import BuildOptions, build
package = build(Path(sys.argv[1]), BuildOptions(with_source=True)).package
print(*sorted(map(str, package.blobs)))
"""


def digests(package: Package) -> list[str]:
    """What identifies a package."""
    return sorted(map(str, package.blobs))


def test_another_directory_and_another_user(tmp_path: Path) -> None:
    projects = [tmp_path / "one" / "opensnoop", tmp_path / "other" / "deep" / "opensnoop"]
    for project in projects:
        shutil.copytree(EXAMPLES / "opensnoop", project)
        os.utime(project / "opensnoop.bpf.c", (1, 1))
    here = digests(build(projects[0], BuildOptions(with_source=True)).package)
    assert here == digests(build(projects[1], BuildOptions(with_source=True)).package)
    if os.geteuid() == 0:
        assert here == _as_nobody(projects[1], tmp_path)


def _as_nobody(project: Path, top: Path) -> list[str]:
    for path in (top, *top.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        place.chmod(0o755)
        copy = shutil.copytree(project, place / project.name)
        command = [
            *(tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"),
            *("env", "-i", f"PATH={os.environ['PATH']}", sys.executable, "-c", BUILD, str(copy)),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=place, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()
    finally:
        shutil.rmtree(place)


def test_no_path_of_this_machine_is_in_the_object(tmp_path: Path) -> None:
    (tmp_path / "own.h").write_text("static const char file[] = __FILE__;\n")
    body = (
        '#include "own.h"\nSEC("raw_tp/sys_exit") int own(void *ctx)\n{\n'
        "\tbpf_trace_printk(file, sizeof(file));\n\treturn 0;\n}\n"
    )
    data = object_of(built(tmp_path, body))
    assert b"own.h\0" in data
    for foreign in (b"/tmp", b"bpfpack-build", str(tmp_path).encode(), str(Path.home()).encode()):
        assert foreign not in data


def test_the_epoch_stands_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    from_environment = built(tmp_path, PROGRAM, with_source=True).package
    assert from_environment.manifest.annotations[mediatypes.CREATED] == "1970-01-02T00:00:00Z"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    given = built(tmp_path, PROGRAM, with_source=True, epoch=86400).package
    assert digests(given) == digests(from_environment)
    unset = built(tmp_path, PROGRAM).package
    assert mediatypes.CREATED not in unset.manifest.annotations


@pytest.mark.parametrize("epoch", ["", "-1", "now", "1" * 30, "1.5"])
def test_an_epoch_that_is_none(epoch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        built(tmp_path, PROGRAM)


def test_the_source_layer_holds_the_project(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.h").write_text("\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "secret.h").write_text("\n")
    package = built(tmp_path, PROGRAM, toml='version = "1"\n', with_source=True).package
    (layer,) = [x for x in package.manifest.layers if x.media_type == mediatypes.SOURCE]
    with tarfile.open(fileobj=BytesIO(package.blobs[layer.digest])) as archive:
        members = archive.getmembers()
    assert [m.name for m in members] == ["bpfpack.toml", "deep/a.h", "test.bpf.c"]
    assert {(m.uid, m.gid, m.uname, m.mtime, m.mode) for m in members} == {(0, 0, "", 0, 0o644)}
