"""Where files go, and which directories are good enough for them."""

import os
from pathlib import Path

import pytest

from bpfpack.registry.owned import OwnedDir
from bpfpack.registry.paths import Dirs
from bpfpack.spec.errors import LimitExceeded, StoreError, UsageError

NOBODY = 65534
HOME = {"HOME": "/home/u"}


def test_a_user_has_the_xdg_defaults() -> None:
    found = Dirs.of(HOME, 1000)
    assert found == Dirs(
        config=Path("/home/u/.config/bpfpack"),
        data=Path("/home/u/.local/share/bpfpack"),
        state=Path("/home/u/.local/state/bpfpack"),
        cache=Path("/home/u/.cache/bpfpack"),
        run=Path("/tmp/bpfpack-1000"),
    )
    assert found.store == Path("/home/u/.local/share/bpfpack/store")


def test_xdg_variables_win_when_absolute() -> None:
    told = {"XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "/run/user/7", "XDG_DATA_HOME": "rel"}
    found = Dirs.of(HOME | told, 7)
    assert found.config == Path("/c/bpfpack")
    assert found.run == Path("/run/user/7/bpfpack")
    assert found.data == Path("/home/u/.local/share/bpfpack")


def test_root_is_not_led_to_the_files_of_the_user_who_called_sudo() -> None:
    names = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
    found = Dirs.of(HOME | dict.fromkeys(names, "/home/u/x"), 0)
    assert found.config == Path("/etc/bpfpack")
    assert found.store == Path("/var/lib/bpfpack/store")
    assert found.state == Path("/var/lib/bpfpack/state")
    assert found.cache == Path("/var/cache/bpfpack")
    assert found.run == Path("/run/bpfpack")


@pytest.mark.parametrize("kind", ["config", "data", "state", "cache", "run"])
@pytest.mark.parametrize("euid", [0, 1000])
def test_our_own_variables_win_over_all(kind: str, euid: int) -> None:
    environ = HOME | {f"BPFPACK_{kind.upper()}_DIR": "/t"}
    assert getattr(Dirs.of(environ, euid), kind) == Path("/t")


def test_what_cannot_be_known_is_asked_for() -> None:
    with pytest.raises(UsageError) as caught:
        Dirs.of({}, 1000)
    assert caught.value.hint == "set BPFPACK_CONFIG_DIR to a directory"
    with pytest.raises(UsageError, match="not an absolute path"):
        Dirs.of(HOME | {"BPFPACK_DATA_DIR": "here"}, 1000)


def test_a_directory_is_made_with_its_parents_for_us_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        OwnedDir.open(tmp_path / "a" / "b", create=True).close()
    finally:
        os.umask(before)
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        assert path.stat().st_mode & 0o7777 == 0o700
    with pytest.raises(StoreError, match="does not exist"):
        OwnedDir.open(tmp_path / "c", create=False)


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(StoreError, match="not absolute"):
        OwnedDir.open(Path("x"), create=True)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
@pytest.mark.parametrize("place", ["a", "a/b", "a/b/c"])
def test_others_who_can_write_anywhere_on_the_way(tmp_path: Path, mode: int, place: str) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / place).chmod(mode)
    with pytest.raises(StoreError, match=rf"others can write .*/{place}$") as caught:
        OwnedDir.open(tmp_path / "a" / "b" / "c", create=True)
    assert caught.value.hint == f"chmod go-w {tmp_path / place}"


def test_a_sticky_parent_is_fine_and_a_sticky_directory_is_not(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    OwnedDir.open(tmp_path / "a", create=True).close()
    with pytest.raises(StoreError, match="others can write"):
        OwnedDir.open(tmp_path, create=True)


@pytest.mark.kernel
@pytest.mark.parametrize("place", ["a", "a/b", "a/b/c"])
def test_another_owner_anywhere_on_the_way(tmp_path: Path, place: str) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    os.chown(tmp_path / place, NOBODY, NOBODY)
    with pytest.raises(StoreError, match=rf"/{place} belongs to user {NOBODY}"):
        OwnedDir.open(tmp_path / "a" / "b" / "c", create=True)


def test_a_parent_may_be_a_link_of_ours(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "relative").symlink_to("../real/deep")
    OwnedDir.open(tmp_path / "absolute" / "relative" / "x", create=True).close()
    assert (tmp_path / "real" / "deep" / "x").is_dir()


def test_the_directory_itself_may_not_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="symbolic link"):
        OwnedDir.open(tmp_path / "link", create=True)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(StoreError, match="link"):
        OwnedDir.open(tmp_path / "a" / "x", create=True)


@pytest.mark.kernel
def test_a_link_that_somebody_else_put_into_a_sticky_parent(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    (tmp_path / "tmp" / "link").symlink_to(tmp_path / "real")
    os.chown(tmp_path / "tmp" / "link", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(StoreError, match=f"belongs to user {NOBODY}"):
        OwnedDir.open(tmp_path / "tmp" / "link" / "x", create=True)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(StoreError, match="not a directory"):
            OwnedDir.open(path, create=True)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_only_names_are_names(tmp_path: Path, name: str) -> None:
    with OwnedDir.open(tmp_path) as directory:
        for use in (directory.find_file, directory.find_child, directory.remove):
            with pytest.raises(StoreError, match="not a file name"):
                use(name)
        with pytest.raises(StoreError, match="not a file name"):
            directory.write(name, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_whole_and_read_within_bounds(tmp_path: Path) -> None:
    with OwnedDir.open(tmp_path) as directory:
        directory.write("x", b"12345", mode=0o644)
        assert directory.read("x", 5) == b"12345"
        assert directory.read("y", 5) is None
        with pytest.raises(LimitExceeded):
            directory.read("x", 4)
        assert directory.names() == ["x"]
        assert directory.remove("x")
        assert not directory.remove("x")


def test_no_descriptor_leaks(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (tmp_path / "a", tmp_path / "link", tmp_path / "link" / "x", tmp_path / "no"):
        with pytest.raises(StoreError):
            OwnedDir.open(path, create=False)
    with OwnedDir.open(tmp_path) as directory:
        for use in (directory.find_file, directory.find_child):
            with pytest.raises(StoreError):
                use("a" if use == directory.find_file else "link")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
