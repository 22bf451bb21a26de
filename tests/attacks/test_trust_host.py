"""Attacks from the same machine: passwords in children, links, foreign owners, archives, sources.

Each goes through the commands; the units have tests of their own (`docs/attacks.md`).
"""

import gzip
import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfpack.spec.limits import MIB
from tests.kit import bell
from tests.kit.attacking import accepted, publish, refused
from tests.kit.bell import ME
from tests.kit.cli import PASSWORD, Host

NOBODY = 65534
SECRETS = {"BPFPACK_PASSWORD": "s3cret-1", "COSIGN_PASSWORD": "s3cret-2"}


NAME = "registry.example/x/bell:1"


@pytest.fixture(scope="module")
def prepared(built: Host, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host with a store, a rule and a mark, and no registry; only to be copied."""
    root = tmp_path_factory.mktemp("prepared")
    shutil.copytree(built.root, root / "author")
    author, made = Host(root=root / "author"), Host(root=root / "alone")
    author.run("sign", "--as", NAME, "bell:1", env={"BPFPACK_PASSWORD": PASSWORD})
    author.run("save", "-q", "-f", root / "a.tar", NAME)
    made.run("load", "-q", "-f", root / "a.tar")
    key = author.root / "config" / "identity.pub"
    made.run("trust", "add", "registry.example/x", "--key", key)
    accepted(made, NAME)
    return made


@pytest.fixture
def alone(prepared: Host, tmp_path: Path) -> Host:
    """That host, to be spoilt."""
    shutil.copytree(prepared.root, tmp_path / "alone")
    return Host(root=tmp_path / "alone")


class TestPasswordsInChildren:
    """No process that we start finds the password of a key in its environment."""

    def spy(self, host: Host, program: str) -> Path:
        """Put a program first on the path that writes down what it sees."""
        seen = host.root / "seen"
        path = host.root / "bin" / program
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\nenv >> {seen}\nexit 1\n")
        path.chmod(0o755)
        seen.touch(mode=0o666)
        return path

    def environment(self, host: Host, spy: Path) -> dict[str, str]:
        return SECRETS | {"PATH": f"{spy.parent}:{host.environment['PATH']}"}

    @pytest.mark.parametrize(
        "command", [("login", "-u", "me", "--password-stdin"), ("pull",), ("search",)]
    )
    def test_a_credential_helper(self, host: Host, name: str, command: tuple[str, ...]) -> None:
        spy = self.spy(host, "docker-credential-spy")
        docker = host.root / "docker"
        docker.mkdir(exist_ok=True)
        (docker / "config.json").write_text('{"credsStore": "spy"}')
        target = name.partition("/")[0] if command[0] == "login" else f"{name}:1"
        host.run(*command, target, stdin=b"x\n", code=None, env=self.environment(host, spy))
        assert "s3cret" not in (host.root / "seen").read_text()

    def test_a_compiler(self, tmp_path: Path) -> None:
        made = Host(root=tmp_path / "builder")
        directory = bell.write(made.root / "bell")
        spy = self.spy(made, "clang")
        made.run("build", "-q", directory, code=None, env=self.environment(made, spy))
        assert "s3cret" not in (made.root / "seen").read_text()

    @pytest.mark.kernel
    def test_the_command_that_is_traced(self, tmp_path: Path) -> None:
        made = Host(root=tmp_path / "tracer")
        directory = bell.write(made.root / "bell")
        source = directory / "bell.bpf.c"
        source.write_text(source.read_text().replace("short(p),", "short(p), role(target-pid),"))
        seen = made.root / "seen"
        traced = ("-c", f"sh -c 'env > {seen}'")
        made.run("run", *traced, directory, env=SECRETS | {"OTHER": "kept"})
        assert "OTHER=kept" in seen.read_text()
        assert "s3cret" not in seen.read_text()

    def test_no_option_takes_one(self, host: Host) -> None:
        """Whoever lists processes would read it."""
        for command in ("keygen", "pubkey", "sign", "push"):
            told = host.run(command, "--password", "x", code=2).stderr
            assert "No such option" in told


class TestHelperNames:
    @pytest.mark.parametrize("helper", ["x/../evil", "x/evil", "evil;id", "EVIL", "a b", "é"])
    def test_a_name_that_is_a_path(self, host: Host, name: str, helper: str) -> None:
        """Each would be found where a look-up that takes it would look."""
        places = host.root / "bin"
        for spelled in (f"docker-credential-{helper}", "docker-credential-evil"):
            evil = places / spelled
            (places / spelled.rpartition("/..")[0]).mkdir(parents=True, exist_ok=True)
            evil.parent.mkdir(parents=True, exist_ok=True)
            evil.write_text(f"#!/bin/sh\ntouch {host.root}/ran\n")
            evil.chmod(0o755)
        docker = host.root / "docker"
        docker.mkdir(exist_ok=True)
        (docker / "config.json").write_text(f'{{"credsStore": "{helper}"}}')
        path = {"PATH": f"{places}:{host.environment['PATH']}"}
        done = host.run("logout", name.partition("/")[0], cwd=places, code=None, env=path)
        assert done.code == 1 and "not the name of a credential helper" in done.stderr
        assert not (host.root / "ran").exists()


def _link(path: Path) -> None:
    kept = path.with_name(f"kept-{path.name}")
    path.rename(kept)
    path.symlink_to(kept)


def _give_away(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def _open_up(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o022)


WAYS: dict[str, Callable[[Path], None]] = {
    "link": _link,
    "foreign_owner": _give_away,
    "writable_by_others": _open_up,
}


class TestFilesOfOthers:
    """What others could have written is believed nowhere, and each place fails closed."""

    PLACES = (
        "config/policy.toml",
        "config",
        "state",
        "state/marks",
        "data/store",
        "data/store/blobs",
        "data/store/refs",
    )

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("place", PLACES)
    def test_run_refuses(self, alone: Host, place: str, way: str) -> None:
        path = alone.root / place
        assert path.exists()
        WAYS[way](path)
        done = alone.run("run", "--dry-run", NAME, ME, code=None)
        assert done.code in (125, 126, 127), done
        assert "Traceback" not in done.stderr and done.stdout == ""

    @pytest.mark.parametrize("way", WAYS)
    def test_what_signs_it(self, alone: Host, way: str) -> None:
        store = alone.root / "data" / "store"
        WAYS[way](store / "attached")
        accepted(alone, NAME)  # the other form is whole
        WAYS[way](store / "referrers")
        assert "could not look" in refused(alone, NAME)

    @pytest.mark.parametrize("way", WAYS)
    def test_a_blob(self, alone: Host, way: str) -> None:
        """A link in the place of the object would have root read anything."""
        for path in (alone.root / "data" / "store" / "blobs").rglob("*"):
            if path.is_file():
                WAYS[way](path)
        refused(alone, NAME, code=125)

    @pytest.mark.parametrize("way", WAYS)
    def test_a_key_signs_nothing(self, author: Host, way: str) -> None:
        WAYS[way](author.root / "config" / "identity.key")
        done = author.run(
            *("sign", "--as", NAME, "bell:1"), env={"BPFPACK_PASSWORD": PASSWORD}, code=None
        )
        assert done.code != 0 and "signed" not in done.stdout

    def test_a_store_of_another_user(self, alone: Host) -> None:
        """Content may be read where root is told so; by itself nobody else's counts."""
        for path in (alone.root / "data").rglob("*"):
            os.chown(path, NOBODY, NOBODY)
        refused(alone, NAME, code=125)


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip_of_64_mib": lambda: gzip.compress(bytes(64 * MIB)),
    "gzip_in_gzip": lambda: gzip.compress(gzip.compress(bytes(64 * MIB))),
    "zstd": lambda: b"\x28\xb5\x2f\xfd" + bytes(1000),
    "5000_members": lambda: _tar(*((_entry(f"blobs/{i}"), b"") for i in range(5000))),
    "a_sparse_member": lambda: _tar((_entry("x", tarfile.GNUTYPE_SPARSE), b"")),
    "a_link_to_shadow": lambda: _tar((_entry("index.json", tarfile.SYMTYPE, "/etc/shadow"), b"")),
    "a_hard_link": lambda: _tar((_entry("index.json", tarfile.LNKTYPE, "/etc/shadow"), b"")),
    "a_name_that_climbs": lambda: _tar((_entry("../../../../tmp/climbed"), b"x")),
    "an_absolute_name": lambda: _tar((_entry("/tmp/climbed"), b"x")),
    "a_device": lambda: _tar((_entry("blobs/sda", tarfile.BLKTYPE), b"")),
}


class TestArchiveBombs:
    @pytest.mark.parametrize("bomb", BOMBS)
    @pytest.mark.parametrize("way", ["load", "load_stdin", "run", "run_stdin"])
    def test_it_is_refused_and_leaves_nothing(self, tmp_path: Path, bomb: str, way: str) -> None:
        host = Host(root=tmp_path / "host")
        host.root.mkdir()
        path = tmp_path / "bomb.tar"
        path.write_bytes(BOMBS[bomb]())
        argv: dict[str, tuple[str | Path, ...]] = {
            "load": ("load", "-f", path),
            "load_stdin": ("load",),
            "run": ("run", "--dry-run", path),
            "run_stdin": ("run", "--dry-run", "-"),
        }
        stdin = path.read_bytes() if way.endswith("stdin") else None
        done = host.run(*argv[way], stdin=stdin, code=None)
        assert done.code > 0 and "Traceback" not in done.stderr and "internal" not in done.stderr
        assert done.stdout == ""
        assert not Path("/tmp/climbed").exists()
        assert not [p for p in host.root.rglob("*") if p.is_file() and p.stat().st_size > MIB]


class TestCompilerTricks:
    """A source directory is input too, also for `run`, which builds it."""

    @pytest.mark.parametrize("command", ["build", "run"])
    @pytest.mark.parametrize(
        "line",
        ['#include "{secret}"', "#include <{secret}>", '#line 1 "{secret}"\n#error here'],
    )
    def test_a_file_outside_the_project_is_not_read(
        self, tmp_path: Path, line: str, command: str
    ) -> None:
        host = Host(root=tmp_path / "host")
        secret = tmp_path / "shadow"
        secret.write_text("root:s3cret-hash:1:::\n")
        secret.chmod(0o600)
        directory = bell.write(host.root / "bell")
        source = directory / "bell.bpf.c"
        source.write_text(line.format(secret=secret) + "\n" + source.read_text())
        done = host.run(command, directory, code=None)
        assert done.code != 0
        assert "s3cret-hash" not in done.stderr + done.stdout

    @pytest.mark.parametrize(
        "flag",
        [
            "-fplugin=./evil.so",
            "-fpass-plugin=./evil.so",
            "-Xclang",
            "-load",
            "@flags",
            "-B.",
            "-include/etc/shadow",
            "-I/etc",
            "-I../..",
            "--config=evil.cfg",
            "-wrapper",
            "-Wp,-I/etc",
            "-o/tmp/x",
        ],
    )
    def test_a_flag_that_reaches_further(self, tmp_path: Path, flag: str) -> None:
        host = Host(root=tmp_path / "host")
        directory = bell.write(host.root / "bell")
        (directory / "bpfpack.toml").write_text(f'[build]\nflags = ["{flag}"]\n')
        told = host.run("build", directory, code=None)
        assert told.code != 0
        assert f"compiler flag '{flag}'" in told.stderr


class TestShadowing:
    def test_a_directory_named_as_a_reference(self, host: Host, author: Host, name: str) -> None:
        """What lies in the working directory is no package of that name."""
        publish(author, "1", f"{name}:1")
        evil = bell.write(host.root / f"{name}:1")
        source = evil / "bell.bpf.c"
        source.write_text("#error this was built\n" + source.read_text())
        done = host.run("run", "--dry-run", f"{name}:1", ME, cwd=host.root)
        assert "this was built" not in done.stderr
