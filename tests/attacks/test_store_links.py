"""Links, pipes, foreign owners and foreign bytes in the store, met by the commands."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfpack.registry.store.disk import DiskStore
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import ContentError, DigestMismatch, NotFound, StoreError
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import legacy_tag
from tests.kit.cli import Host
from tests.kit.packages import artifact, fill, package, signature_image

REF = Reference.parse("r.example/tiny:1")
NAME = str(REF)
OTHER = Reference.parse("r.example/other:1")
MANIFEST = package().manifest
SECRET = b"root:$6$secret"
NOBODY = 65534


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A user whose store holds two packages, the first of them signed."""
    found = Host(root=tmp_path / "host")
    found.root.mkdir()
    store = store_of(found)
    fill(store.repository(REF.name), package(), REF.tag)
    fill(store.repository(OTHER.name), package("other"), OTHER.tag)
    repository = store.repository(REF.name)
    fill(repository, artifact(b"bundle", subject=MANIFEST.descriptor))
    fill(repository, signature_image((b"payload", "s")), legacy_tag(MANIFEST.descriptor.digest))
    return found


def store_of(host: Host) -> DiskStore:
    return DiskStore(host.root / "data/store")


def blob(host: Host, want: Descriptor = MANIFEST.descriptor) -> Path:
    return store_of(host).root / "blobs/sha256" / want.digest.encoded


def record(host: Host, reference: Reference = REF) -> Path:
    return store_of(host).root / "refs" / reference.name.replace("/", "%") / str(reference.tag)


def secret(host: Host) -> Path:
    path = host.root / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    os.utime(path, (1, 1))
    return path


COMMANDS: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", str(REF)),
    "run": ("run", "--dry-run", str(REF)),
    "save": ("save", "-f", "out.tar", str(REF)),
    "tag": ("tag", str(REF), "r.example/new:1"),
    "verify": ("verify", str(REF)),
    "push": ("push", "--no-sign", str(REF)),
}


def linked(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def moved_and_linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("argv", COMMANDS.values(), ids=COMMANDS)
def test_a_blob_that_is_a_link_to_a_secret_shows_nothing_of_it(
    host: Host, argv: tuple[str, ...]
) -> None:
    linked(blob(host), secret(host))
    done = host.run(*argv, code=None)
    assert done.code in (1, 125) and "link" in done.stderr
    assert "root:" not in done.stdout + done.stderr


@pytest.mark.parametrize("argv", COMMANDS.values(), ids=COMMANDS)
def test_a_blob_that_is_a_hard_link_to_a_secret_shows_nothing_of_it(
    host: Host, argv: tuple[str, ...]
) -> None:
    path = blob(host)
    path.unlink()
    path.hardlink_to(secret(host))
    done = host.run(*argv, code=None)
    assert done.code in (6, 126), done.stderr
    assert "root:" not in done.stdout + done.stderr


def test_a_pull_in_the_place_of_a_hard_link_leaves_what_it_led_to(host: Host) -> None:
    path, kept = blob(host), secret(host)
    path.unlink()
    path.hardlink_to(kept)
    fill(store_of(host).repository(REF.name), package(), REF.tag)
    assert store_of(host).resolve(REF) == MANIFEST
    assert (kept.read_bytes(), kept.stat().st_mtime, kept.stat().st_nlink) == (SECRET, 1.0, 1)


def test_prune_of_a_hard_link_leaves_what_it_led_to(host: Host) -> None:
    path, kept = blob(host), secret(host)
    path.unlink()
    path.hardlink_to(kept)
    store = store_of(host)
    for reference in (REF, OTHER):
        store.remove(reference)
    store.prune(grace=-1)
    assert not path.exists()
    assert kept.read_bytes() == SECRET


def test_a_record_that_is_a_link_to_the_record_of_another_package(host: Host) -> None:
    linked(record(host), record(host, OTHER))
    done = host.run("run", "--dry-run", NAME, code=125)
    assert "link" in done.stderr


def test_a_record_copied_from_another_package(host: Host) -> None:
    shutil.copyfile(record(host, OTHER), record(host))
    done = host.run("run", "--dry-run", NAME, code=125)
    assert "it is the record of r.example/other:1" in done.stderr


@pytest.mark.parametrize("kind", ["blob", "record"])
@pytest.mark.parametrize("argv", [COMMANDS["inspect"], COMMANDS["run"], ("prune", "--force")])
def test_a_pipe_keeps_nobody_waiting(host: Host, kind: str, argv: tuple[str, ...]) -> None:
    path = blob(host) if kind == "blob" else record(host)
    path.unlink()
    os.mkfifo(path, 0o600)
    done = host.run(*argv, code=None)
    assert done.code in (1, 125) and "not a regular file" in done.stderr


def test_a_directory_in_the_place_of_a_blob(host: Host) -> None:
    blob(host).unlink()
    blob(host).mkdir(0o700)
    assert "not a regular file" in host.run("inspect", NAME, code=1).stderr


def test_a_blob_of_other_content_and_the_same_size(host: Host) -> None:
    want = MANIFEST.layers[0]
    blob(host, want).write_bytes(b"x" * want.size)
    with pytest.raises(DigestMismatch):
        store_of(host).repository(REF.name).push(want, io.BytesIO(b"x" * want.size))
    done = host.run("run", "--dry-run", "--insecure-skip-verify", NAME, code=126)
    assert "damaged" in done.stderr or "expected" in done.stderr
    host.run("save", "-f", "out.tar", NAME, code=6)
    assert not (host.root / "out.tar").exists()


@pytest.mark.parametrize("name", ["lock", "lock-attached"])
def test_a_lock_that_is_a_link_makes_no_file_elsewhere(host: Host, name: str) -> None:
    lock = store_of(host).root / name
    lock.unlink()
    lock.symlink_to(host.root / "made")
    with pytest.raises(StoreError, match="link"):
        fill(
            store_of(host).repository(REF.name),
            signature_image((b"payload", "t")),
            legacy_tag(MANIFEST.descriptor.digest),
        )
    assert not (host.root / "made").exists()


SIGNATURES: dict[str, str] = {
    "attached": f"attached/r.example%tiny/{legacy_tag(MANIFEST.descriptor.digest)}",
    "attached of the repository": "attached/r.example%tiny",
    "referrers": f"referrers/r.example%tiny/sha256/{MANIFEST.descriptor.digest.encoded}",
    "referrers of the repository": "referrers/r.example%tiny",
}


@pytest.mark.parametrize("place", SIGNATURES.values(), ids=SIGNATURES)
def test_signatures_behind_a_link_do_not_count(host: Host, place: str) -> None:
    moved_and_linked(store_of(host).root / place)
    done = host.run("verify", "-o", "json", NAME, code=6)
    failed = [p for p in done.json["places"] if p["state"] == "failed"]
    assert failed and "link" in str(failed)


@pytest.mark.parametrize("mode", [0o720, 0o702])
@pytest.mark.parametrize("place", ["", "blobs", "blobs/sha256", "refs", "refs/r.example%tiny"])
def test_a_store_that_others_can_write_is_refused(host: Host, place: str, mode: int) -> None:
    (store_of(host).root / place).chmod(mode)
    done = host.run("run", "--dry-run", NAME, code=125)
    assert "others can write" in done.stderr and "chmod go-w" in done.stderr


@pytest.mark.kernel
@pytest.mark.parametrize("place", [blob, record], ids=["blob", "record"])
def test_a_file_of_another_user_is_refused(host: Host, place: Callable[[Host], Path]) -> None:
    os.chown(place(host), NOBODY, NOBODY)
    done = host.run("run", "--dry-run", NAME, code=125)
    assert f"belongs to user {NOBODY}" in done.stderr and "chown" in done.stderr


@pytest.mark.kernel
def test_a_store_of_another_user_is_refused_also_for_writing(host: Host) -> None:
    os.chown(store_of(host).root, NOBODY, NOBODY)
    with pytest.raises(StoreError, match="belongs to user"):
        fill(store_of(host).repository(REF.name), package(), REF.tag)
    assert "belongs to user" in host.run("prune", "--force", code=1).stderr


def test_a_store_behind_a_link_of_somebody_else(host: Host, tmp_path: Path) -> None:
    """A directory that anybody may write, as /tmp is: whose link it is decides."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "data").symlink_to(host.root / "data")
    store = DiskStore(shared / "data/store")
    assert store.resolve(REF) == MANIFEST
    if os.geteuid() == 0:
        os.lchown(shared / "data", NOBODY, NOBODY)
        with pytest.raises(StoreError, match=f"belongs to user {NOBODY}"):
            store.resolve(REF)


def test_a_name_that_leaves_the_store_is_no_name(host: Host) -> None:
    outside = host.root / "data/victim"
    outside.write_bytes(b"mine")
    for name in ("..", "../victim", "%2e%2e/victim", "r.example/../victim"):
        with pytest.raises((NotFound, ContentError, ValueError)):
            store_of(host).remove(Reference.parse(name))
    assert outside.read_bytes() == b"mine"
