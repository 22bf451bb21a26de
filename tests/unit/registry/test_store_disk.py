"""The local store under everything that can happen to a directory."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.store.record import Origin, Record
from bpfpack.registry.transfer import copy
from bpfpack.spec import mediatypes
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import (
    ContentError,
    DigestMismatch,
    NotFound,
    SpecError,
    StoreError,
)
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Manifest
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import legacy_tag
from bpfpack.spec.value import replace
from tests.kit import storewriter
from tests.kit.packages import (
    LINUX_AMD64,
    LINUX_S390X,
    artifact,
    fill,
    index_of,
    package,
    signature_image,
)

REPO = Path(__file__).parents[3]
REF = Reference.parse("ghcr.io/x/tiny:1.0")
NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    """A store that holds `package` as `REF`."""
    made = DiskStore(tmp_path / "store")
    fill(made.repository(REF.name, origin=Origin.BUILT), package(), REF.tag)
    return made


def blob_file(store: DiskStore, want: Descriptor) -> Path:
    return store.root / "blobs" / want.digest.algorithm / want.digest.encoded


def record_file(store: DiskStore) -> Path:
    return store.root / "refs" / "ghcr.io%x%tiny" / "1.0"


def test_what_is_stored_is_an_oci_layout_of_0600_files(store: DiskStore) -> None:
    assert (store.root / "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'
    assert not (store.root / "index.json").exists()
    for path in [store.root, *store.root.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_record_says_where_it_came_from(store: DiskStore) -> None:
    (record,) = store.records()
    assert record.reference == REF
    assert record.origin is Origin.BUILT
    assert record.descriptor == package().manifest.descriptor
    assert record.created == "2026-01-02T03:04:05Z"
    assert record.added.endswith("Z")
    assert Record.from_bytes(record.to_bytes(), "here") == record


def test_a_store_that_is_not_there_is_empty_and_is_not_made(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "none")
    assert store.records() == ()
    assert store.find(REF) is None
    with pytest.raises(NotFound) as caught:
        store.resolve(REF)
    assert caught.value.hint and "bpfpack pull ghcr.io/x/tiny:1.0" in caught.value.hint
    assert store.prune().digests == ()
    assert not store.root.exists()


def test_names_that_could_be_confused_are_kept_apart(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    texts = ["a/b/c:1", "a/b:c", "localhost/a:1", "a:1", "[::1]:5000/a:1", "h.example:80/a:1"]
    texts.append("h.example/" + "a" * 245 + ":1")
    for i, text in enumerate(texts):
        ref = Reference.parse(text)
        fill(store.repository(ref.name), package(object_=str(i).encode()), ref.tag)
    assert {str(r.reference) for r in store.records()} == set(texts)
    for i, text in enumerate(texts):
        expected = package(object_=str(i).encode()).manifest
        assert store.resolve(Reference.parse(text)) == expected


def test_by_digest_with_and_without_a_record(store: DiskStore) -> None:
    digest = package().manifest.descriptor.digest
    pinned = replace(REF, digest=digest)
    assert store.resolve(pinned) == package().manifest
    assert store.find(pinned) == store.find(REF)
    assert store.find(REF.with_tag(None).with_digest(digest)) is None
    store.record(pinned, package().manifest, Origin.PULLED)
    found = store.find(REF.with_tag(None).with_digest(digest))
    assert found and str(found.reference) == f"ghcr.io/x/tiny@{digest}"
    assert store.repository(REF.name).tags() == ("1.0",)


def test_tag_gives_a_second_name_of_the_same_origin(store: DiskStore) -> None:
    target = Reference.parse("corp.example/y")
    assert store.tag(REF, target).origin is Origin.BUILT
    assert store.resolve(target.with_tag("latest")) == package().manifest
    assert len(store.names_of(package().manifest.descriptor.digest)) == 2
    with pytest.raises(NotFound):
        store.tag(Reference.parse("no/such:thing"), target)


def test_remove_and_prune(store: DiskStore) -> None:
    subject = package().manifest.descriptor
    repository = store.repository(REF.name)
    fill(repository, artifact(b"bundle", subject=subject))
    fill(repository, signature_image((b"payload", "s")), legacy_tag(subject.digest))
    assert store.prune(grace=-1).digests == ()
    store.remove(REF)
    with pytest.raises(NotFound):
        store.remove(REF)
    assert store.prune().digests == (), "younger than the grace period"
    seen = store.prune(grace=-1, dry_run=True)
    assert store.manifest(subject.digest) == package().manifest
    assert store.prune(grace=-1) == seen
    assert seen.size > 0
    assert sorted(p.name for p in store.root.rglob("*") if p.is_file()) == [
        "lock",
        "lock-attached",
        "oci-layout",
    ]


def sign_both_ways(store: DiskStore, name: str, text: str) -> None:
    """Attach a referrer and a ``.sig`` to `package` in the repository ``name``."""
    subject, repository = package().manifest.descriptor, store.repository(name)
    fill(repository, artifact(text.encode(), subject=subject))
    fill(repository, signature_image((b"payload", text)), legacy_tag(subject.digest))


def signatures_in(store: DiskStore, name: str) -> tuple[int, bool]:
    """How many referrers `package` has there, and whether it has a ``.sig``."""
    digest, repository = package().manifest.descriptor.digest, store.repository(name)
    try:
        repository.resolve(legacy_tag(digest))
    except NotFound:
        return len(repository.referrers(digest)), False
    return len(repository.referrers(digest)), True


def test_a_second_name_of_another_repository_carries_no_signatures(
    store: DiskStore, tmp_path: Path
) -> None:
    """They would tell whoever sees the one of the other, and let the one hide the other's."""
    sign_both_ways(store, REF.name, "private")
    public, again = Reference.parse("public.example/x:1.0"), REF.with_tag("2.0")
    store.tag(REF, public)
    store.tag(REF, again)
    for reference, expected in ((public, (0, False)), (again, (1, True))):
        target = DiskStore(tmp_path / "target").repository(reference.name)
        copy(store.repository(reference.name), target, reference.tag or "", reference.tag)
        assert signatures_in(target.store, reference.name) == expected
    sign_both_ways(store, public.name, "public")
    assert signatures_in(store, public.name) == signatures_in(store, REF.name) == (1, True)


def test_prune_drops_the_signatures_of_a_name_that_is_gone(store: DiskStore) -> None:
    """Its content stays under the other name, with the signatures that are there."""
    corp = Reference.parse("corp.example/x:1.0")
    store.tag(REF, corp)
    sign_both_ways(store, REF.name, "evil")
    sign_both_ways(store, corp.name, "corp")
    assert store.prune(grace=-1).digests == ()
    store.remove(REF)
    store.prune()
    assert signatures_in(store, REF.name) == (1, True), "younger than the grace period"
    removed = store.prune(grace=-1)
    assert len(removed.digests) == 3, "bundle, its manifest, and that of .sig"
    assert signatures_in(store, REF.name) == (0, False)
    assert signatures_in(store, corp.name) == (1, True)
    assert store.resolve(corp) == package().manifest
    assert not list((store.root / "referrers").glob("ghcr*"))


def test_the_referrer_that_came_last_is_first(store: DiskStore) -> None:
    subject, repository = package().manifest.descriptor, store.repository(REF.name)
    for i in range(40):
        made = artifact(b"%d" % i, subject=subject)
        fill(repository, made)
        assert repository.referrers(subject.digest)[0].digest == made.manifest.descriptor.digest
        (path,) = store.root.glob(
            f"referrers/*/*/*/sha256-{made.manifest.descriptor.digest.encoded}"
        )
        os.utime(path, ns=(i, i))


def test_prune_keeps_the_children_that_are_here_of_an_index(store: DiskStore) -> None:
    other = package("other")
    fill(store.repository(REF.name), other)
    children = {LINUX_AMD64: package().manifest, LINUX_S390X: other.manifest}
    store.repository(REF.name).put(index_of(children), "1.0")
    shutil.copytree(store.root, store.root.with_name("partial"))
    assert store.prune(grace=-1).digests == ()
    partial = DiskStore(store.root.with_name("partial"))
    blob_file(partial, other.manifest.descriptor).unlink()
    assert len(partial.prune(grace=-1).digests) == 2, "the readme and config of the lost child"
    assert partial.resolve(REF) == index_of(children)


def test_prune_removes_nothing_when_a_named_package_is_damaged(store: DiskStore) -> None:
    path = blob_file(store, package().manifest.descriptor)
    path.write_bytes(path.read_bytes()[:-1])
    before = sorted(store.root.rglob("*"))
    with pytest.raises(StoreError, match="damaged"):
        store.prune(grace=-1)
    assert sorted(store.root.rglob("*")) == before


def test_damaged_bytes_are_refused_and_mended_by_the_next_pull(store: DiskStore) -> None:
    repository = store.repository(REF.name)
    manifest, layer = package().manifest, package().manifest.layers[0]
    for want in (manifest.descriptor, layer):
        path = blob_file(store, want)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    with pytest.raises(DigestMismatch):
        store.resolve(REF)
    with pytest.raises(DigestMismatch), repository.fetch(layer) as stream:
        read_exactly(stream, layer, LIMITS.layer)
    assert not repository.has(layer)
    fill(repository, package(), REF.tag)
    assert store.resolve(REF) == manifest
    with repository.fetch(layer) as stream:
        read_exactly(stream, layer, LIMITS.layer)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"reference":"ghcr.io/x/tiny:1.0","descriptor":{},"origin":"built","added":""}',
        b'{"reference":"ghcr.io/x/tiny:1.0","origin":"magic","added":""}',
    ],
)
def test_a_damaged_record_is_named(store: DiskStore, content: bytes) -> None:
    record_file(store).write_bytes(content)
    with pytest.raises(StoreError, match=r"refs/ghcr\.io%x%tiny/1\.0 is damaged"):
        store.find(REF)


def test_a_record_moved_to_another_name_is_refused(store: DiskStore) -> None:
    record_file(store).rename(record_file(store).with_name("2.0"))
    with pytest.raises(StoreError, match="record of"):
        store.resolve(REF.with_tag("2.0"))


def test_a_name_by_digest_holds_that_content_only(store: DiskStore) -> None:
    other = package("other").manifest.descriptor.digest
    pinned = REF.with_tag(None).with_digest(other)
    with pytest.raises(SpecError, match="is not what"):
        store.record(pinned, package().manifest, Origin.LOADED)
    with pytest.raises(SpecError, match="is not what"):
        store.tag(REF, pinned)
    assert [str(r.reference) for r in store.records()] == [str(REF)]
    good = record_file(store).read_bytes()
    (record_file(store).parent / str(other)).write_bytes(
        good.replace(b"ghcr.io/x/tiny:1.0", str(pinned).encode())
    )
    with pytest.raises(StoreError, match=r"damaged.*cannot name"):
        store.find(pinned)


def test_a_name_by_sha512_is_kept_under_the_digest_of_the_store(store: DiskStore) -> None:
    manifest = package().manifest
    long = Digest("sha512", "0" * 128).of(manifest.raw)
    made = store.record(REF.with_tag(None).with_digest(long), manifest, Origin.PULLED)
    assert made.reference.digest == manifest.descriptor.digest
    assert store.find(made.reference) == made


def link_elsewhere(path: Path) -> None:
    """Put a link in the place of ``path``, to the very same content."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


PLACES: dict[str, Callable[[DiskStore], Path]] = {
    "blob": lambda s: blob_file(s, package().manifest.descriptor),
    "blobs": lambda s: s.root / "blobs",
    "algorithm": lambda s: s.root / "blobs" / "sha256",
    "record": record_file,
    "refs": lambda s: s.root / "refs",
    "repository": lambda s: record_file(s).parent,
    "store": lambda s: s.root,
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_link_is_refused(store: DiskStore, place: Callable[[DiskStore], Path]) -> None:
    link_elsewhere(place(store))
    with pytest.raises(StoreError, match="link"):
        store.resolve(REF)


@pytest.mark.kernel
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_another_owner_is_refused(store: DiskStore, place: Callable[[DiskStore], Path]) -> None:
    os.chown(place(store), NOBODY, NOBODY)
    with pytest.raises(StoreError, match=f"belongs to user {NOBODY}") as caught:
        store.resolve(REF)
    assert caught.value.hint and "chown" in caught.value.hint


@pytest.mark.kernel
def test_owners_can_be_widened_for_reading(store: DiskStore) -> None:
    os.chown(store.root, NOBODY, NOBODY)
    widened = DiskStore(store.root, owners=frozenset({0, NOBODY}))
    assert widened.resolve(REF) == package().manifest


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_what_others_can_write_is_refused(
    store: DiskStore, place: Callable[[DiskStore], Path]
) -> None:
    place(store).chmod(0o777)
    with pytest.raises(StoreError, match="others can write") as caught:
        store.resolve(REF)
    assert caught.value.hint and "chmod go-w" in caught.value.hint


def test_a_fifo_in_the_place_of_a_record_does_not_hang(store: DiskStore) -> None:
    record_file(store).unlink()
    os.mkfifo(record_file(store), 0o600)
    with pytest.raises(StoreError, match="not a regular file"):
        store.resolve(REF)


def test_a_record_that_never_ends_is_bounded(store: DiskStore) -> None:
    with record_file(store).open("wb") as file:
        file.truncate(LIMITS.manifest + 1)
    with pytest.raises((StoreError, SpecError)):
        store.find(REF)


def test_a_push_that_fails_leaves_nothing(store: DiskStore) -> None:
    before = sorted(store.root.rglob("*"))
    want = Descriptor.of(b"right", "a/b")
    with pytest.raises(ContentError):
        store.repository(REF.name).push(want, io.BytesIO(b"wrong"))
    assert sorted(store.root.rglob("*")) == before


def test_left_over_files_of_a_killed_writer_are_swept(store: DiskStore) -> None:
    left = [d / ".tmp-1234" for d in (record_file(store).parent, store.root / "blobs" / "sha256")]
    for path in left:
        path.write_bytes(b"half")
    assert [str(r.reference) for r in store.records()] == [str(REF)]
    store.prune()
    assert all(path.exists() for path in left), "its writer may be alive"
    store.prune(grace=-1)
    assert not any(path.exists() for path in left)


def test_killed_before_every_single_change(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.kit.storekills", tmp_path / "store"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 50


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    store, names = DiskStore(tmp_path / "store"), ["one", "two", "three"]
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.kit.storewriter", store.root, name],
            cwd=REPO,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    assert [writer.communicate()[0] for writer in writers] == ["done\n"] * len(names)
    subject = package("subject").manifest.descriptor.digest
    made = {}
    for name in names:
        for i in range(storewriter.ROUNDS):
            made[name, i] = package(f"{name}-{i}", object_=f"{name} {i}".encode()).manifest
            assert store.resolve(Reference.parse(f"r.example/{name}:{i}")) == made[name, i]
    assert store.resolve(Reference.parse(storewriter.SHARED)) in made.values()
    signatures = store.repository(storewriter.SHARED).resolve(legacy_tag(subject))
    assert isinstance(signatures, Manifest)
    assert len(signatures.layers) == len(made)


_COUNT = """
import sys
from pathlib import Path
from bpfpack.registry.store.disk import DiskStore
from bpfpack.spec.reference import Reference
store, counts = DiskStore(Path(sys.argv[1])), {}
def hook(event, args):
    if event in ("open", "os.listdir", "os.scandir"):
        counts[event] = counts.get(event, 0) + 1
sys.addaudithook(hook)
store.resolve(Reference.parse(sys.argv[2]))
heavy = {"requests", "oras", "typer", "rich", "tarfile", "tempfile"} & set(sys.modules)
print(sorted(counts.items()), sorted(heavy))
"""


def test_looking_up_costs_the_same_among_ten_thousand(store: DiskStore) -> None:
    def count() -> str:
        return subprocess.run(
            [sys.executable, "-c", _COUNT, store.root, str(REF)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    alone = count()
    record = store.find(REF)
    assert record is not None
    for i in range(10_000):
        reference = Reference.parse(f"ghcr.io/x/tiny{i % 100}:{i}")
        directory = store.root / "refs" / reference.name.replace("/", "%")
        directory.mkdir(exist_ok=True)
        (directory / str(i)).write_bytes(replace(record, reference=reference).to_bytes())
    assert len(store.records()) == 10_001
    assert count() == alone
    assert "listdir" not in alone
    assert alone.endswith("[]\n"), "imports that the hot start cannot afford"


_FULL = """
import io, sys
from pathlib import Path
from bpfpack.registry.store.disk import DiskStore
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import StoreError
from bpfpack.spec.reference import Reference
from tests.kit.packages import fill, package
store = DiskStore(Path(sys.argv[1]))
fill(store.repository("kept"), package(), "1")
data = bytes(range(256)) * 4096
try:
    store.repository("lost").push(Descriptor.of(data, "a/b"), io.BytesIO(data))
except StoreError as e:
    print(e, "|", e.hint)
assert store.resolve(Reference.parse("kept:1")) == package().manifest
assert not list(store.root.rglob(".tmp-*"))
assert not store.repository("lost").has(Descriptor.of(data, "a/b"))
"""


@pytest.mark.kernel
def test_a_full_disk(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=512k,mode=700 none "$1" && exec "$2" -c "$3" "$1/store"'
    run = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", tmp_path, sys.executable, _FULL],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "No space left on device | free some space" in run.stdout


def test_media_types_of_a_manifest_survive(store: DiskStore) -> None:
    found = store.find(REF)
    assert found and found.descriptor.artifact_type == mediatypes.ARTIFACT
