"""Cases 1 to 7, 17 and 22 as commands: what a lying registry leaves on the disk, and where."""

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bpfpack.cli.app import COMMANDS
from bpfpack.spec import mediatypes
from bpfpack.spec.descriptor import Platform
from bpfpack.spec.manifest import Manifest, build_index
from bpfpack.spec.package import Package
from bpfpack.spec.value import replace
from tests.kit.cli import Host
from tests.kit.hostile import Listener, Reply, manifest_reply, serve
from tests.kit.packages import LINUX_S390X, TINY_ELF, index_of, package

PLAIN = package("tiny")
OBJECT = PLAIN.manifest.layers[0]
NOWHERE = Platform(os="linux", architecture="riscv64")


@pytest.fixture
def name(registry: Listener) -> str:
    serve(registry, PLAIN, "1")
    return f"{registry.host}/x:1"


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file that nobody has any business with, beside the host's directories."""
    found = tmp_path / "outside"
    found.mkdir()
    (found / "victim").write_text("unharmed")
    before = tree(tmp_path, but=tmp_path / "host")
    yield found
    assert tree(tmp_path, but=tmp_path / "host") == before


def tree(root: Path, *, but: Path | None = None) -> dict[str, str]:
    """Every file below ``root``, and a hash of it."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not (but and path.is_relative_to(but))
    }


def blobs(host: Host) -> list[Path]:
    """What is in the store, whole or not."""
    return [path for path in (host.root / "data").rglob("*") if path.is_file()]


def with_raw(content: Package, change: Callable[[dict[str, object]], None]) -> bytes:
    """The manifest of ``content`` with something else in it."""
    data = json.loads(content.manifest.raw)
    change(data)
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=bytes(OBJECT.size)),
        Reply(body=PLAIN.blobs[OBJECT.digest] + b"!"),
        Reply(body=PLAIN.blobs[OBJECT.digest][:-1]),
        Reply(endless=b"x" * 65536),
    ],
    ids=["other bytes", "longer", "shorter", "endless"],
)
def test_case_01_a_lie_leaves_no_file(
    host: Host, registry: Listener, name: str, reply: Reply
) -> None:
    registry.on("GET", f"/v2/x/blobs/{OBJECT.digest}", reply)
    told = host.run("pull", "-q", name, code=6)
    assert "stored" not in told.stderr
    assert not [p for p in blobs(host) if p.name == OBJECT.digest.encoded]
    assert not [p for p in blobs(host) if p.name.startswith(".tmp-")]
    assert host.run("list", "-q").stdout == ""


def test_case_01_no_switch_turns_it_off(host: Host, registry: Listener, name: str) -> None:
    """One speaks of signatures alone; none of digests, sizes or certificates."""
    bad = ("insecure", "skip", "tls-verify", "no-verify", "no-check", "disable")
    found = set()
    for command in COMMANDS:
        options = re.findall(r"--[a-z-]+", host.run(command, "--help").stdout)
        found |= {option for option in options if any(word in option for word in bad)}
    assert found == {"--insecure-skip-verify"}
    registry.on("GET", f"/v2/x/blobs/{OBJECT.digest}", Reply(body=bytes(OBJECT.size)))
    told = host.run("run", "--dry-run", *found, name, code=126)
    assert f"expected {OBJECT.digest}" in told.stderr


def test_case_02_foreign_spelling_is_stored_as_it_came(
    host: Host, registry: Listener, name: str
) -> None:
    raw = json.dumps(json.loads(PLAIN.manifest.raw), indent=7, sort_keys=True).encode() + b"\n"
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    for reference in ("1", digest):
        registry.on("GET", f"/v2/x/manifests/{reference}", manifest_reply(raw, mediatypes.MANIFEST))
    assert host.run("pull", "-q", name).stdout.strip().endswith(digest)
    (stored,) = [p for p in blobs(host) if p.name == digest.partition(":")[2]]
    assert stored.read_bytes() == raw


def test_case_03_a_name_comes_after_the_bytes_and_the_disk_has_both(
    host: Host, name: str, tmp_path: Path
) -> None:
    """By the system calls: a temporary file, fsync, rename in its directory, fsync of that."""
    log = tmp_path / "calls"
    calls = "trace=openat,fsync,fdatasync,rename,renameat,renameat2,close"
    strace = ("strace", "-f", "-y", "-e", calls, "-o", str(log))
    traced = Host(root=host.root, prefix=strace)
    traced.run("pull", "-q", name)
    lines = log.read_text().splitlines()
    for want in (OBJECT, PLAIN.manifest.descriptor):
        named = next(n for n, line in enumerate(lines) if _renames(line, want.digest.encoded))
        temporary = re.search(r'"(\.tmp-[0-9a-f]+)"', lines[named])
        assert temporary
        where = re.search(r"<([^>]*)>", lines[named])
        assert where
        assert str(host.root / "data") in where[1], "on the file system that it stays on"
        synced = [line for line in lines[:named] if "fsync(" in line and temporary[1] in line]
        assert synced, "its bytes were made durable first"
        after = [line for line in lines[named:] if "fsync(" in line and f"<{where[1]}>" in line]
        assert after, "and then its name"


def _renames(line: str, name: str) -> bool:
    return "rename" in line and f'"{name}"' in line


class TestCase04:
    """An index gives a platform's package, all of them on request, or an error."""

    def serve(self, registry: Listener, children: Mapping[Platform, Manifest]) -> str:
        index = index_of(children)
        for reference in ("multi", index.descriptor.digest):
            registry.on(
                "GET", f"/v2/x/manifests/{reference}", manifest_reply(index.raw, index.media_type)
            )
        return f"{registry.host}/x:multi"

    def test_none_for_this_platform(self, host: Host, registry: Listener, name: str) -> None:
        multi = self.serve(registry, {LINUX_S390X: PLAIN.manifest})
        told = host.run("pull", "-q", multi, code=3)
        assert "s390x" in told.stderr or "platform" in told.stderr
        assert host.run("list", "-q").stdout == ""

    def test_none_at_all(self, host: Host, registry: Listener, name: str) -> None:
        multi = self.serve(registry, {})
        host.run("pull", "-q", multi, code=3)
        assert host.run("list", "-q").stdout == ""

    def test_all_of_them(self, host: Host, registry: Listener, name: str) -> None:
        second = package("second", object_=TINY_ELF + b"2")
        serve(registry, second)
        multi = self.serve(registry, {LINUX_S390X: PLAIN.manifest, NOWHERE: second.manifest})
        host.run("pull", "-q", "--all-platforms", multi)
        for content in (PLAIN, second):
            assert [p for p in blobs(host) if p.name == content.manifest.layers[0].digest.encoded]

    def test_a_child_that_is_missing(self, host: Host, registry: Listener, name: str) -> None:
        second = package("second", object_=TINY_ELF + b"2")
        multi = self.serve(registry, {LINUX_S390X: PLAIN.manifest, NOWHERE: second.manifest})
        host.run("pull", "-q", "--all-platforms", multi, code=4)
        assert host.run("list", "-q").stdout == ""


@pytest.mark.parametrize("where", ["header", "layer", "config", "child", "subject"])
@pytest.mark.parametrize(
    "digest",
    ["sha256:../../../../outside/victim", "sha256:" + "A" * 64, "md5:" + "0" * 32, "../victim"],
    ids=["a path", "upper case", "another algorithm", "no digest"],
)
def test_case_05_what_a_server_calls_a_digest_is_no_path(
    host: Host, registry: Listener, name: str, outside: Path, where: str, digest: str
) -> None:
    """In the header, and in everything that the manifest names."""

    def change(data: dict[str, object]) -> None:
        lie = {"mediaType": mediatypes.WASM, "digest": digest, "size": 8}
        match where:
            case "layer":
                data["layers"] = [lie]
            case "config":
                data["config"] = lie
            case "subject":
                data["subject"] = lie

    if where == "child":
        raw = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": mediatypes.INDEX,
                "manifests": [{"mediaType": mediatypes.MANIFEST, "digest": digest, "size": 8}],
            }
        ).encode()
        reply = manifest_reply(raw, mediatypes.INDEX)
    else:
        reply = manifest_reply(with_raw(PLAIN, change), mediatypes.MANIFEST)
    if where == "header":
        reply = manifest_reply(
            PLAIN.manifest.raw, mediatypes.MANIFEST, Docker_Content_Digest=digest
        )
    registry.on("GET", "/v2/x/manifests/1", reply)
    told = host.run("pull", "-q", name, code=None)
    assert told.code in (3, 6), told.stderr
    assert host.run("list", "-q").stdout == ""


def members() -> dict[str, bytes]:
    """A good archive of the package."""
    found = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": build_index(
            (
                replace(
                    PLAIN.manifest.descriptor,
                    annotations={"org.opencontainers.image.ref.name": "r.example/x:1"},
                ),
            )
        ).raw,
        f"blobs/sha256/{PLAIN.manifest.descriptor.digest.encoded}": PLAIN.manifest.raw,
    }
    return found | {f"blobs/sha256/{d.encoded}": data for d, data in PLAIN.blobs.items()}


def tar(*extra: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as writer:
        for member in extra:
            writer.addfile(member, io.BytesIO(b"0" * member.size))
        for path, data in members().items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            writer.addfile(info, io.BytesIO(data))
    return out.getvalue()


def entry(
    path: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 4
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.linkname = kind, link
    info.size = size if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    "traps",
    [
        [entry("../outside/victim")],
        [entry("/tmp/bpfpack-victim")],
        [entry("blobs/sha256/../../../outside/victim")],
        [entry("blobs", tarfile.SYMTYPE, "../outside"), entry("blobs/victim")],
        [entry("blobs/sha256", tarfile.SYMTYPE, "/etc")],
        [entry("index.json", tarfile.LNKTYPE, "../outside/victim")],
        [entry("blobs/null", tarfile.CHRTYPE)],
        [entry("blobs/pipe", tarfile.FIFOTYPE)],
        [entry("..", tarfile.DIRTYPE)],
    ],
    ids=[
        *("dot dot", "absolute", "dot dot inside", "through a link", "symlink", "hardlink"),
        *("device", "fifo", "directory above"),
    ],
)
@pytest.mark.parametrize("way", ["load", "inspect", "run"])
def test_case_06_an_archive_writes_nothing_outside(
    host: Host, outside: Path, traps: list[tarfile.TarInfo], way: str
) -> None:
    """Nothing is ever extracted: members are read by name, and these names are none."""
    path = host.root / "attack.tar"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(tar(*traps))
    words = {
        "load": ("load", "-f", "attack.tar"),
        "inspect": ("inspect", "./attack.tar"),
        "run": ("run", "--dry-run", "./attack.tar"),
    }
    told = host.run(*words[way], code=None)
    assert told.code == (125 if way == "run" else 3), told.stderr
    assert "Traceback" not in told.stderr
    assert not Path("/tmp/bpfpack-victim").exists()
    assert not (host.root / "data").exists() or host.run("list", "-q").stdout == ""


def test_case_06_the_archive_without_traps_is_taken(host: Host) -> None:
    (host.root).mkdir(exist_ok=True)
    (host.root / "good.tar").write_bytes(tar())
    assert "r.example/x:1" in host.run("load", "-f", "good.tar").stdout


def test_case_07_a_neighbour_is_not_inside(host: Host, tmp_path: Path) -> None:
    """A rule for ``out`` says nothing of ``out-evil``, however that is spelled."""
    pub = host.keygen()
    for directory in ("out", "out-evil"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "x.tar").write_bytes(tar())
    host.run("trust", "add", f"file:{tmp_path}/out", "--key", pub)
    (tmp_path / "out" / "link").symlink_to(tmp_path / "out-evil")
    words = {
        "out/x.tar": True,
        "out-evil/../out/x.tar": True,
        "out-evil/x.tar": False,
        "out/../out-evil/x.tar": False,
        "out/link/x.tar": False,
    }
    for path, covered in words.items():
        told = host.run("run", "--dry-run", f"{tmp_path}/{path}", code=126)
        assert ("no rule covers it" not in told.stderr) is covered, path


@pytest.mark.parametrize(
    "title",
    ["../../outside/victim", "/tmp/bpfpack-victim", "a/../../outside/victim", "..", "victim\n"],
)
def test_case_17_a_title_is_no_path(
    host: Host, registry: Listener, name: str, outside: Path, title: str
) -> None:
    """Annotations name files for people; nothing is written under them."""

    def change(data: dict[str, object]) -> None:
        layers = data["layers"]
        assert isinstance(layers, list)
        for layer in layers:
            layer.setdefault("annotations", {})[mediatypes.TITLE] = title

    raw = with_raw(PLAIN, change)
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    for reference in ("1", digest):
        registry.on("GET", f"/v2/x/manifests/{reference}", manifest_reply(raw, mediatypes.MANIFEST))
    host.run("pull", "-q", name, code=None, cwd=outside)
    host.run("save", "-f", host.root / "x.tar", name, code=None, cwd=outside)
    for path in host.root.rglob("*"):
        assert path.name not in ("victim", "bpfpack-victim")
    assert not Path("/tmp/bpfpack-victim").exists()


def test_case_22_an_archive_is_the_same_wherever_it_is_written(
    host: Host, name: str, tmp_path: Path
) -> None:
    """By another process, at another time, in another zone, with another umask and owner."""
    other = Host(root=tmp_path / "another")
    archives = []
    for one, zone, umask in ((host, "UTC", 0o022), (other, "Asia/Tokyo", 0o077)):
        one.run("pull", "-q", name)
        for path in (one.root / "data").rglob("*"):
            os.utime(path, (umask * 1e7, umask * 1e7))
        archive = one.root / "x.tar"
        subprocess.run(
            one.command("save", "-f", archive, name),
            env=one.environment | {"TZ": zone},
            umask=umask,
            check=True,
            capture_output=True,
        )
        archives.append(archive.read_bytes())
    assert archives[0] == archives[1]
    with tarfile.open(fileobj=io.BytesIO(archives[0])) as reader:
        found = reader.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in found} == {(0, 0, 0, "", "")}
    assert len({m.mode for m in found if m.isfile()}) == 1
