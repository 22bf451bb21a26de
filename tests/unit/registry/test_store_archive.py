"""OCI archives: written the same every time, read without trusting a byte of them."""

import contextlib
import gzip
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.registry.archiving import load, save
from bpfpack.registry.store.archive import ArchiveWriter
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.store.files import DirectoryFiles, tar_from_path, tar_from_stream
from bpfpack.registry.store.layout import Layout
from bpfpack.registry.store.memory import MemoryStore
from bpfpack.registry.store.record import Origin
from bpfpack.registry.transfer import copy
from bpfpack.spec import mediatypes
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.errors import (
    BpfpackError,
    DigestMismatch,
    LimitExceeded,
    NotFound,
    SpecError,
    StoreError,
    UsageError,
)
from bpfpack.spec.limits import LIMITS, MIB
from bpfpack.spec.manifest import Manifest, build_index
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import legacy_tag
from tests.kit.packages import artifact, fill, package, signature_image

REF = Reference.parse("ghcr.io/x/tiny:1.0")
SUBJECT = package().manifest.descriptor.digest
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    """A store that holds a signed package."""
    made = DiskStore(tmp_path / "store")
    repository = made.repository(REF.name)
    fill(repository, package(), REF.tag)
    subject = package().manifest.descriptor
    fill(repository, artifact(b"bundle", subject=subject))
    fill(repository, signature_image((b"payload", "s")), legacy_tag(subject.digest))
    return made


def archived(store: DiskStore, path: Path, *references: Reference) -> Path:
    with ArchiveWriter() as writer:
        save(store, references or (REF,), writer)
        writer.save(path)
    return path


def tar_of(members: Mapping[str, bytes]) -> bytes:
    """A tar that a stranger made."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def layout_members() -> dict[str, bytes]:
    """The files of a good layout that holds `package`."""
    content = package()
    index = build_index((content.manifest.descriptor,))
    blobs = {content.manifest.descriptor.digest: content.manifest.raw, **content.blobs}
    named = {f"blobs/{d.algorithm}/{d.encoded}": data for d, data in blobs.items()}
    return {"oci-layout": LAYOUT, "index.json": index.raw, **named}


def opened(data: bytes) -> Layout:
    return Layout.from_stream(io.BytesIO(data), "it")


# Writing


def test_the_same_content_gives_the_same_bytes(store: DiskStore, tmp_path: Path) -> None:
    first = archived(store, tmp_path / "first.tar").read_bytes()
    again = DiskStore(tmp_path / "again")
    repository, subject = again.repository(REF.name), package().manifest.descriptor
    fill(repository, signature_image((b"payload", "s")), legacy_tag(subject.digest))
    fill(repository, artifact(b"bundle", subject=subject))
    fill(repository, package(), REF.tag)
    assert archived(again, tmp_path / "second.tar").read_bytes() == first


def test_members_say_nothing_about_who_wrote_them_and_when(
    store: DiskStore, tmp_path: Path
) -> None:
    with tarfile.open(archived(store, tmp_path / "a.tar")) as archive:
        members = archive.getmembers()
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_a_failed_save_leaves_the_old_file(store: DiskStore, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"old")
    blob = store.root / "blobs" / "sha256" / package().manifest.layers[0].digest.encoded
    blob.write_bytes(b"damaged")
    with pytest.raises(BpfpackError):
        archived(store, path)
    assert path.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "store"]


def test_a_device_is_written_to_and_not_replaced(store: DiskStore, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    archived(store, pipe)
    reader.join()
    assert got == [archived(store, tmp_path / "a.tar").read_bytes()]
    assert pipe.is_fifo()


def test_save_by_digest_and_load_elsewhere(store: DiskStore, tmp_path: Path) -> None:
    pinned = REF.with_digest(package().manifest.descriptor.digest)
    path = archived(store, tmp_path / "a.tar", pinned)
    target = DiskStore(tmp_path / "target")
    with Layout.open(path) as layout:
        (moved,) = load(layout, target)
    assert str(moved.reference) == f"{REF.name}@{pinned.digest}"
    assert moved.copied.signatures == 2
    (record,) = target.records()
    assert record.origin is Origin.LOADED
    assert target.prune(grace=-1).digests == ()


def test_an_archive_takes_the_signatures_of_the_names_it_holds(
    store: DiskStore, tmp_path: Path
) -> None:
    """And of both where it holds two names of one content."""
    corp, tag = Reference.parse("corp.example/t:1.0"), legacy_tag(SUBJECT)
    store.tag(REF, corp)
    fill(store.repository(corp.name), signature_image((b"payload", "corp")), tag)

    def signatures(*references: Reference) -> list[str]:
        with Layout.open(archived(store, tmp_path / "a.tar", *references)) as layout:
            assert len(layout.repository().referrers(SUBJECT)) == (REF in references)
            found = layout.repository().resolve(tag)
            assert isinstance(found, Manifest)
            moved = load(layout, DiskStore(tmp_path / "target"))
            assert not [problem for one in moved for problem in one.copied.problems]
        return [la.annotations["dev.cosignproject.cosign/signature"] for la in found.layers]

    assert signatures(REF) == ["s"]
    assert signatures(corp) == ["corp"]
    assert sorted(signatures(REF, corp)) == ["corp", "s"]


def test_load_under_another_name(store: DiskStore, tmp_path: Path) -> None:
    target, name = DiskStore(tmp_path / "target"), Reference.parse("corp.example/t:9")
    with Layout.open(archived(store, tmp_path / "a.tar")) as layout:
        load(layout, target, name=name)
    assert target.resolve(name) == package().manifest
    assert len(target.records()) == 1


def test_a_name_by_the_digest_of_other_content_is_not_loaded(
    store: DiskStore, tmp_path: Path
) -> None:
    """Nor may the user be talked into it with -t."""
    good = package("good").manifest.descriptor.digest
    lying = REF.with_tag(None).with_digest(good)
    repository, target = store.repository(REF.name), DiskStore(tmp_path / "target")
    with ArchiveWriter() as writer:
        copy(repository, writer.repository(REF.name), "1.0", None)
        writer.add(package().manifest, str(lying))
        writer.save(tmp_path / "a.tar")
    with Layout.open(tmp_path / "a.tar") as layout:
        for name in (None, lying):
            with pytest.raises(SpecError, match=f"is the name of {SUBJECT}"):
                load(layout, target, name=name)
    assert target.records() == ()


def test_several_packages_in_one_archive(store: DiskStore, tmp_path: Path) -> None:
    second = Reference.parse("corp.example/other:1.0")
    fill(store.repository(second.name), package("other"), second.tag)
    with Layout.open(archived(store, tmp_path / "a.tar", REF, second)) as layout:
        assert layout.repository(REF.name).resolve("1.0") == package().manifest
        assert layout.repository(second.name).resolve("1.0") == package("other").manifest
        assert layout.repository(second.name).tags() == ("1.0",)
        with pytest.raises(SpecError, match="several packages named"):
            layout.repository().resolve("1.0")
        with pytest.raises(SpecError, match="several packages") as caught:
            layout.only()
        assert caught.value.hint and "load" in caught.value.hint
        assert len(load(layout, DiskStore(tmp_path / "target"))) == 2


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (("r.example/a:1", "z"), SpecError),
        (("r.example/a:1", "r.example/b@sha256:" + "0" * 64), SpecError),
        (("r.example/a:1", f"r.example/b:sha256-{'0' * 64}.sig"), UsageError),
    ],
)
def test_one_bad_name_and_nothing_is_loaded(
    tmp_path: Path, names: tuple[str, str], error: type[BpfpackError]
) -> None:
    writer = ArchiveWriter()
    for name, content in zip(names, (package(), package("other")), strict=True):
        for want in (content.manifest.config, *content.manifest.layers):
            writer.push(want, io.BytesIO(content.blobs[want.digest]))
        writer.add(content.manifest, name)
    with writer:
        writer.save(tmp_path / "a.tar")
    target = DiskStore(tmp_path / "target")
    with Layout.open(tmp_path / "a.tar") as layout, pytest.raises(error):
        load(layout, target)
    assert target.records() == ()


def test_an_archive_gets_no_name_that_is_for_signatures(store: DiskStore, tmp_path: Path) -> None:
    target, name = DiskStore(tmp_path / "target"), REF.with_tag(f"sha256-{'0' * 64}.att")
    with (
        Layout.open(archived(store, tmp_path / "a.tar", REF)) as layout,
        pytest.raises(UsageError, match="signs or describes"),
    ):
        load(layout, target, name=name)
    assert target.records() == ()


def test_a_package_without_a_name_is_found_but_not_loaded_without_one(tmp_path: Path) -> None:
    with opened(tar_of(layout_members())) as layout:
        assert layout.only().descriptor.digest == package().manifest.descriptor.digest
        with pytest.raises(SpecError, match="no full name"):
            load(layout, DiskStore(tmp_path / "target"))


@pytest.mark.registry
def test_skopeo_reads_what_we_write_and_we_read_what_it_writes(
    store: DiskStore, tmp_path: Path
) -> None:
    ours, theirs = archived(store, tmp_path / "ours.tar"), tmp_path / "theirs.tar"
    subprocess.run(
        ["skopeo", "copy", f"oci-archive:{ours}:{REF}", f"oci-archive:{theirs}:{REF}"],
        check=True,
        capture_output=True,
    )
    with Layout.open(theirs) as layout:
        assert layout.repository(REF.name).resolve("1.0") == package().manifest
        copy(layout.repository(), MemoryStore(), "1.0", "1.0")


# Reading what others made


def test_gzip_pipes_and_leading_dots(tmp_path: Path) -> None:
    members = {f"./{name}": data for name, data in layout_members().items()}
    data = gzip.compress(tar_of(members)[:2000]) + gzip.compress(tar_of(members)[2000:])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(data))
    writer.start()
    with Layout.open(pipe) as layout:
        writer.join()
        assert layout.repository().resolve(layout.only().descriptor.digest) == package().manifest


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    """One header and its data, whatever they are."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def with_entry(name: str, kind: bytes, target: str = "", data: bytes = b"") -> bytes:
    """A good archive with one thing more in front."""
    return member(name, data, kind, target) + tar_of(layout_members())


def claiming(size: int) -> bytes:
    """A member that says it is larger than the archive."""
    info = tarfile.TarInfo("blobs/x")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def pax(record: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return with_entry("header", kind, data=record)


ATTACKS: Mapping[str, bytes] = {
    "empty": b"",
    "zeros": bytes(10240),
    "noise": b"noise" * 1000,
    "absolute_name": tar_of({"/etc/passwd": b""} | layout_members()),
    "dot_dot": tar_of({"blobs/../../etc/passwd": b""} | layout_members()),
    "dot_dot_in_front": tar_of({"../x": b""} | layout_members()),
    "dot_in_the_middle": tar_of({"blobs/./x": b""} | layout_members()),
    "empty_part": tar_of({"blobs//x": b""} | layout_members()),
    "dot_dot_directory": with_entry("a/../..", tarfile.DIRTYPE),
    "symbolic_link": with_entry("blobs", tarfile.SYMTYPE, "/etc"),
    "hard_link": with_entry("index.json", tarfile.LNKTYPE, "/etc/passwd"),
    "device": with_entry("blobs/null", tarfile.CHRTYPE),
    "block_device": with_entry("blobs/sda", tarfile.BLKTYPE),
    "fifo": with_entry("blobs/fifo", tarfile.FIFOTYPE),
    "contiguous": with_entry("blobs/cont", tarfile.CONTTYPE),
    "sparse": with_entry("blobs/sparse", tarfile.GNUTYPE_SPARSE),
    "the_same_name_twice": member("blobs/x", b"1") + member("blobs/x", b"2") + bytes(1024),
    "one_name_in_two_spellings": member("x", b"1") + member("./x", b"2") + bytes(1024),
    "larger_than_the_archive": claiming(10**9),
    "larger_than_any_disk": claiming(2**62),
    "long_name_of_a_megabyte": with_entry("x", tarfile.GNUTYPE_LONGNAME, data=bytes(MIB)),
    "long_name_that_escapes": with_entry("x", tarfile.GNUTYPE_LONGNAME, data=b"../../x\0"),
    "pax_path_that_escapes": pax(b"16 path=../../x\n"),
    "pax_size": pax(b"17 size=99999999\n"),
    "pax_size_negative": pax(b"11 size=-1\n"),
    "pax_length_beyond": pax(b"99 path=x\n"),
    "pax_length_zero": pax(b"0 path=x\n"),
    "pax_without_equals": pax(b"8 pathx\n"),
    "pax_not_utf8": pax(b"10 path=\xff\n"),
    "pax_sparse": pax(b"22 GNU.sparse.major=1\n"),
    "pax_global_path": pax(b"10 path=x\n", tarfile.XGLTYPE),
    "ends_after_a_header": pax(b"10 path=x\n")[:1024],
    "truncated_member": tar_of(layout_members())[:1200],
    "bzip2": b"BZh91AY&SY",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(100),
    "zip": b"PK\x03\x04" + bytes(100),
    "gzip_truncated": gzip.compress(tar_of(layout_members()))[:-20],
    "gzip_of_noise": b"\x1f\x8b" + b"noise" * 20,
    "gzip_bomb": gzip.compress(bytes(64 * MIB)),
    "no_oci_layout": tar_of({"index.json": b"{}"}),
    "no_index": tar_of({"oci-layout": LAYOUT}),
    "layout_version_2": tar_of(layout_members() | {"oci-layout": b'{"imageLayoutVersion":"2"}'}),
    "layout_no_json": tar_of(layout_members() | {"oci-layout": b"1.0.0"}),
    "layout_of_a_megabyte": tar_of(layout_members() | {"oci-layout": b" " * MIB + LAYOUT}),
    "index_no_json": tar_of(layout_members() | {"index.json": b"\xff"}),
    "index_is_a_manifest": tar_of(layout_members() | {"index.json": package().manifest.raw}),
    "index_too_large": tar_of(layout_members() | {"index.json": b" " * (LIMITS.manifest + 1)}),
    "index_digest_escapes": tar_of(
        layout_members()
        | {
            "index.json": json.dumps(
                {
                    "schemaVersion": 2,
                    "manifests": [
                        {"mediaType": mediatypes.MANIFEST, "size": 1, "digest": "sha256:../../x"}
                    ],
                }
            ).encode()
        }
    ),
    "docker_save": tar_of({"manifest.json": b"[]", "repositories": b"{}"}),
}


@pytest.mark.parametrize("data", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "attack.tar"
    path.write_bytes(data)
    with pytest.raises(SpecError):
        Layout.open(path)
    with pytest.raises(SpecError):
        opened(data)
    assert [p.name for p in tmp_path.iterdir()] == ["attack.tar"]


def test_the_good_archive_that_the_attacks_alter_is_accepted() -> None:
    with opened(tar_of(layout_members())) as layout:
        assert len(layout.packages()) == 1
    with opened(pax(b"13 mtime=1.5\n")) as layout:
        assert len(layout.packages()) == 1


def test_docker_save_is_told_apart() -> None:
    with pytest.raises(SpecError, match="docker save") as caught:
        opened(ATTACKS["docker_save"])
    assert caught.value.hint and "skopeo" in caught.value.hint


def test_members_are_counted() -> None:
    data = b"".join(member(f"m{i}") for i in range(2 * LIMITS.archive_members + 1))
    with pytest.raises(LimitExceeded, match="members"):
        opened(data)


@pytest.mark.parametrize("size", [1, 511, 512, 5000])
def test_a_file_of_another_kind_is_named(size: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"# A README\n" * 500)
    os.truncate(path, size)
    with pytest.raises(SpecError, match=f"^{path}: neither an OCI archive "):
        Layout.open(path)
    path.write_bytes(b"\x7fELF" + bytes(size))
    with pytest.raises(SpecError, match=f"^{path}: an ELF file, not an OCI archive$") as caught:
        Layout.open(path)
    assert caught.value.hint and ".o" in caught.value.hint


def test_a_sum_that_does_not_fit_is_a_damaged_archive() -> None:
    data = bytearray(tar_of(layout_members()))
    data[0] ^= 1
    with pytest.raises(SpecError, match="checksum"):
        opened(bytes(data))


def test_an_archive_larger_than_allowed(tmp_path: Path) -> None:
    path = tmp_path / "large.tar"
    with path.open("wb") as file:
        file.truncate(LIMITS.archive + 1)
    with pytest.raises(LimitExceeded):
        tar_from_path(path)


def test_a_swapped_blob_is_refused() -> None:
    members = layout_members()
    layer = package().manifest.layers[0]
    members[f"blobs/sha256/{layer.digest.encoded}"] = bytes(layer.size)
    with opened(tar_of(members)) as layout:
        repository = layout.repository()
        with pytest.raises(DigestMismatch), repository.fetch(layer) as stream:
            read_exactly(stream, layer, LIMITS.layer)
        with pytest.raises(DigestMismatch):
            copy(repository, MemoryStore(), package().manifest.descriptor.digest, "1")


def test_a_swapped_manifest_is_refused() -> None:
    members = layout_members()
    digest = package().manifest.descriptor.digest
    members[f"blobs/sha256/{digest.encoded}"] = package("other").manifest.raw
    with opened(tar_of(members)) as layout, pytest.raises(DigestMismatch):
        layout.repository().resolve(digest)


def test_a_missing_blob_is_not_found(tmp_path: Path) -> None:
    members = layout_members()
    del members[f"blobs/sha256/{package().manifest.layers[0].digest.encoded}"]
    store = DiskStore(tmp_path / "store")
    with opened(tar_of(members)) as layout, pytest.raises(NotFound):
        load(layout, store, name=REF)
    assert store.records() == ()


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", "index.json"])
def test_links_in_a_directory_are_refused(store: DiskStore, tmp_path: Path, name: str) -> None:
    root = tmp_path / "layout"
    root.mkdir()
    subprocess.run(["tar", "-xf", archived(store, tmp_path / "a.tar"), "-C", root], check=True)
    (root / name).rename(tmp_path / "elsewhere")
    (root / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"link|directory"), Layout.open(root) as layout:
        layout.repository().resolve("1.0")


def test_a_directory_with_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "oci-layout")
    files = DirectoryFiles(tmp_path)
    with pytest.raises(StoreError, match="not a regular file"):
        files.size("oci-layout")
    files.close()


def test_what_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Layout.open(tmp_path / "none")


@given(data=st.binary(max_size=2048))
def test_a_layout_or_one_of_our_errors(data: bytes) -> None:
    with pytest.raises(BpfpackError):
        opened(data)


@given(at=st.integers(0, 511), value=st.integers(0, 255), fix=st.booleans())
def test_any_byte_of_a_header_may_lie(at: int, value: int, fix: bool) -> None:
    data = bytearray(tar_of(layout_members()))
    data[at] = value
    if fix:  # with a checksum that fits
        data[148:156] = b" " * 8
        data[148:156] = b"%06o\0 " % sum(data[:512])
    with contextlib.suppress(BpfpackError), opened(bytes(data)) as layout:
        layout.packages()


def test_gnu_sizes_in_base_256() -> None:
    info = bytearray(member("blobs/x", b"data"))
    info[124:136] = b"\x80" + (4).to_bytes(11, "big")
    info[148:156] = b" " * 8
    info[148:156] = b"%06o\0 " % sum(info[:512])
    files = tar_from_stream(io.BytesIO(bytes(info) + bytes(1024)))
    assert files.size("blobs/x") == 4
    files.close()
