"""What root reads of the user who called sudo."""

import os
from pathlib import Path

import pytest

from bpfpack.registry.home import Home, HomeBuilds, HomeStore
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.store.record import Origin
from bpfpack.registry.trust.hostkey import HostKey
from bpfpack.spec.errors import ContentError, StoreError, UsageError
from bpfpack.spec.policy import Invoker
from bpfpack.spec.reference import Reference
from tests.kit.packages import fill
from tests.kit.packages import package as make_package

USER = 65534
NAME = Reference.parse("tool:1")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with one package in its store, which its user built."""
    path = tmp_path / "home"
    path.mkdir(mode=0o755)
    made = Home(user=Invoker(uid=USER, name="alice"), path=path)
    store = DiskStore(path / ".local/share/bpfpack/store")
    package = make_package()
    fill(store.repository("tool", origin=Origin.BUILT), package, "1")
    HostKey(path / ".local/state/bpfpack").endorse(package.manifest.descriptor.digest)
    for found in (path, *path.rglob("*")):
        os.chown(found, USER, USER)
    return made


def test_its_packages_and_builds_are_read(home: Home) -> None:
    found = HomeStore(home).resolve(NAME)
    place = HomeBuilds(home).place(found.descriptor.digest)
    assert (place.name, place.state) == ("user", "present")


def test_it_is_never_written(home: Home) -> None:
    store = HomeStore(home)
    with pytest.raises(StoreError, match="only read"):
        store.record(NAME, store.resolve(NAME), Origin.BUILT)


def test_a_store_that_is_swapped_while_it_is_open_stays_the_one_that_was_checked(
    home: Home, tmp_path: Path
) -> None:
    store = HomeStore(home)
    other = tmp_path / "other"
    (other / "tool").mkdir(parents=True)
    (other / "tool" / "1").write_text("{}")
    with store.opened("refs") as refs:
        assert refs is not None
        store.root.rename(store.root.with_name("gone"))
        store.root.symlink_to(other)
        with refs.below("tool") as directory:
            assert directory is not None
            assert b'"reference":"tool:1"' in (directory.read("1", 10_000) or b"")
    with pytest.raises(StoreError, match="link"):
        store.find(NAME)


def test_a_record_that_is_replaced_after_it_was_read_changes_nothing(home: Home) -> None:
    store = HomeStore(home)
    found = store.find(NAME)
    assert found is not None
    record = store.root / "refs" / "tool" / "1"
    record.write_bytes(record.read_bytes().replace(found.descriptor.digest.encoded.encode(), b"0"))
    digest = found.descriptor.digest
    assert store.manifest(digest).descriptor.digest == digest
    blob = store.root / "blobs" / "sha256" / digest.encoded
    blob.write_bytes(blob.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(ContentError):
        store.manifest(digest)


@pytest.mark.parametrize("text", ["", "0", "-1", "01", "1x", "1\n", "99999999999", "4294967294"])
def test_a_caller_that_is_none(text: str) -> None:
    assert Home.of_caller({"SUDO_UID": text, "SUDO_USER": "root"}, 0) is None


def test_only_root_reads_for_others() -> None:
    assert Home.of_caller({"SUDO_UID": str(USER)}, 1000) is None
    found = Home.of_caller({"SUDO_UID": str(USER), "SUDO_USER": "somebody else"}, 0)
    assert found is not None and found.user.name == "nobody"


@pytest.mark.parametrize("name", ["no-such-user", "0", "root", "99999999999", "a\0b"])
def test_a_user_whose_builds_cannot_be_trusted(name: str) -> None:
    with pytest.raises(UsageError):
        Home.of_user(name)
