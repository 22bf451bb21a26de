"""`sudo bpfpack run` of what a user built or pulled, by the real sudo and real users."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.kit import bell
from tests.kit.bell import ME
from tests.kit.cli import PROGRAM, Host
from tests.kit.servers import bpfpack_registry
from tests.kit.sudoers import Machine, machine

pytestmark = pytest.mark.kernel

STORE: Final = "/home/alice/.local/share/bpfpack/store"
STATE: Final = "/home/alice/.local/state/bpfpack"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Alice and Mallory may call sudo; Alice has built the bell."""
    with machine(tmp_path_factory.mktemp("machine"), "alice", "mallory") as made:
        bell.write(made.path("/home/alice/bell"))
        give(made.path("/home/alice/bell"), uid(made, "alice"))
        made.run("alice", "build", "-q", "-t", "bell:1", "bell")
        yield made


@pytest.fixture
def host(shared: Machine) -> Iterator[Machine]:
    """That machine; what a test does to homes and to root's files is undone."""
    for name in ("alice", "mallory"):
        home = shared.path(f"/home/{name}")
        shutil.copytree(home, home.with_name(f"kept-{name}"), symlinks=True)
        give(home.with_name(f"kept-{name}"), uid(shared, name))
    yield shared
    for name in ("alice", "mallory"):
        home = shared.path(f"/home/{name}")
        shutil.rmtree(home)
        home.with_name(f"kept-{name}").rename(home)
    for place in ("/etc/bpfpack", "/var/lib/bpfpack"):
        shutil.rmtree(shared.path(place), ignore_errors=True)


def uid(made: Machine, name: str) -> int:
    return made.path(f"/home/{name}").stat().st_uid


def give(path: Path, owner: int) -> None:
    for found in (path, *path.rglob("*")):
        os.chown(found, owner, owner, follow_symlinks=False)


def plan(host: Machine, user: str, *argv: str, code: int | None = 0) -> str:
    """Plan a run by sudo; a refusal prints no plan."""
    done = host.run(user, "run", "--dry-run", *argv, ME, code=code, sudo=True)
    assert "Traceback" not in done.stderr and bool(done.stdout) == (done.code == 0)
    return done.stderr


def trust(host: Machine, *argv: str, user: str = "alice") -> str:
    return host.run(user, "trust", *argv, sudo=True).stdout


class TestBuiltByTheUser:
    def test_it_runs_once_root_s_policy_names_the_user(self, host: Machine) -> None:
        told = plan(host, "alice", "bell:1", code=126)
        assert "is of alice, whose builds do not count for root" in told
        command = "sudo bpfpack trust add --local-builds alice"
        assert command in told
        host.call("alice", *command.replace("bpfpack", str(PROGRAM)).split())
        assert "from the store of alice" in plan(host, "alice", "bell:1")
        assert "alice (uid " in trust(host, "ls")
        done = host.run("alice", "run", "--timeout", "0.1s", "bell:1", ME, sudo=True)
        assert "attached 1 program" in done.stderr

    def test_it_is_forgotten_and_other_rules_stay(self, host: Machine) -> None:
        trust(host, "add", "--local-builds", "alice")
        key = f"{STATE}/host.pub"
        trust(host, "add", "ghcr.io/x", "--key", key)
        assert "trust-local-builds" in trust(host, "ls")
        trust(host, "rm", "--local-builds", str(uid(host, "alice")))
        listed = trust(host, "ls")
        assert "ghcr.io/x" in listed and "trust-local-builds" not in listed
        plan(host, "alice", "bell:1", code=126)

    def test_what_another_user_built_does_not_count(self, host: Machine) -> None:
        """Not even the same bytes, with the record that Alice's key made."""
        trust(host, "add", "--local-builds", "alice")
        local = host.path("/home/mallory/.local")
        shutil.copytree(host.path("/home/alice/.local"), local)
        give(local, uid(host, "mallory"))
        told = plan(host, "mallory", "bell:1", code=126)
        assert "is of mallory, whose builds do not count for root" in told

    def test_a_key_that_was_exchanged_does_not_count(self, host: Machine) -> None:
        trust(host, "add", "--local-builds", "alice")
        for name in ("host.key", "host.pub"):
            host.path(f"{STATE}/{name}").unlink()
        host.run("alice", "build", "-q", "-t", "bell:1", "bell")
        told = plan(host, "alice", "bell:1", code=126)
        assert "is not by the key of alice" in told
        assert "trust rm --local-builds alice" in told

    def test_a_scope_that_does_not_list_host_asks_for_its_keys(self, host: Machine) -> None:
        trust(host, "add", "--local-builds", "alice")
        host.run("alice", "tag", "bell:1", "ghcr.io/x/bell:1")
        plan(host, "alice", "ghcr.io/x/bell:1")
        trust(host, "add", "ghcr.io/x", "--key", f"{STATE}/host.pub")
        assert "does not list" in plan(host, "alice", "ghcr.io/x/bell:1", code=126)

    def test_only_root_says_so(self, host: Machine) -> None:
        told = host.run("mallory", "trust", "add", "--local-builds", "alice", code=2).stderr
        assert "root's" in told

    def test_who_built_nothing_has_no_key_to_record(self, host: Machine) -> None:
        done = host.run("alice", "trust", "add", "--local-builds", "mallory", sudo=True, code=2)
        assert "mallory has built nothing" in done.stderr

    def test_its_digest_names_it_too(self, host: Machine) -> None:
        digest = host.run("alice", "list", "-q", "bell:1").stdout.strip()
        trust(host, "add", "--local-builds", "alice")
        plan(host, "alice", digest)

    def test_root_s_own_store_comes_first(self, host: Machine) -> None:
        host.run("alice", "build", "-q", "-t", "bell:1", "/home/alice/bell", sudo=True)
        assert "store of alice" not in plan(host, "alice", "bell:1")

    def test_a_name_that_nobody_has(self, host: Machine) -> None:
        told = plan(host, "alice", "nothing:1", code=127)
        assert STORE in told


class TestPulledByTheUser:
    @pytest.fixture
    def pulled(self, host: Machine, tmp_path: Path) -> tuple[str, str]:
        """A reference that Alice pulled from a registry that is gone, and its author's key."""
        author = Host(root=tmp_path / "author")
        key = author.keygen()
        with bpfpack_registry(tmp_path / "registry") as registry:
            reference = f"{registry.host}/x/bell:1"
            directory = bell.write(author.root / "bell")
            author.run("build", "-q", "-t", reference, directory)
            author.push("-q", reference)
            place = host.path("/home/alice/author.pub")
            shutil.copy(key, place)
            give(place, uid(host, "alice"))
            name = f"{registry.host}/x"
            host.run("alice", "trust", "add", name, "--key", "/home/alice/author.pub")
            host.run("alice", "pull", "-q", reference)
        return reference, name

    def test_root_s_policy_alone_decides(self, host: Machine, pulled: tuple[str, str]) -> None:
        reference, scope = pulled
        assert "no rule covers it" in plan(host, "alice", reference, code=126)
        trust(host, "add", scope, "--key", "/home/alice/author.pub")
        assert "from the store of alice" in plan(host, "alice", reference)

    def test_root_s_marks_alone_count(self, host: Machine, pulled: tuple[str, str]) -> None:
        reference, scope = pulled
        trust(host, "add", scope, "--key", "/home/alice/author.pub")
        marks = host.path("/var/lib/bpfpack/state/marks")
        shutil.rmtree(host.path(f"{STATE}/marks"))
        plan(host, "alice", reference)
        assert any(path.is_file() for path in marks.rglob("*"))
        assert not host.path(f"{STATE}/marks").exists()


def link(path: Path) -> None:
    kept = path.with_name(f"kept-{path.name}")
    path.rename(kept)
    path.symlink_to(kept.name)


def give_to_root(path: Path) -> None:
    os.chown(path, 0, 0)


def give_away(path: Path) -> None:
    os.chown(path, 65534, 65534)


def open_up(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o022)


def pipe(path: Path) -> None:
    owner = path.stat().st_uid
    path.unlink()
    os.mkfifo(path)
    os.chown(path, owner, owner)


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DIRECTORIES: Final[dict[str, Callable[[Path], None]]] = {
    "link": link,
    "of_root": give_to_root,
    "of_another": give_away,
    "writable_by_others": open_up,
}
FILES: Final = DIRECTORIES | {"pipe": pipe, "changed": spoil}


class TestFilesThatCouldBeAnybodys:
    """Each as Alice or others could leave it for root to read."""

    @pytest.fixture(autouse=True)
    def trusted(self, host: Machine) -> None:
        trust(host, "add", "--local-builds", "alice")

    @pytest.mark.parametrize("way", DIRECTORIES)
    @pytest.mark.parametrize(
        "place",
        [
            "/home/alice/.local",
            "/home/alice/.local/share",
            STORE,
            f"{STORE}/blobs",
            f"{STORE}/refs",
            STATE,
            f"{STATE}/built",
        ],
    )
    def test_a_directory(self, host: Machine, place: str, way: str) -> None:
        DIRECTORIES[way](host.path(place))
        plan(host, "alice", "bell:1", code=126 if place.startswith(STATE) else 125)

    @pytest.mark.parametrize("way", FILES)
    @pytest.mark.parametrize("place", [f"{STORE}/refs", f"{STORE}/blobs", f"{STATE}/built"])
    def test_a_file(self, host: Machine, place: str, way: str) -> None:
        for path in host.path(place).rglob("*"):
            if path.is_file():
                FILES[way](path)
        done = host.run("alice", "run", "--dry-run", "bell:1", ME, sudo=True, code=None)
        assert done.code in (125, 126, 127) and done.stdout == "", done
        assert "Traceback" not in done.stderr and "internal" not in done.stderr

    @pytest.mark.parametrize("way", DIRECTORIES)
    def test_a_broken_store_hides_no_registry(self, host: Machine, way: str) -> None:
        """A name with a registry is asked for there, as if the user had no store."""
        DIRECTORIES[way](host.path(STORE))
        told = plan(host, "alice", "127.0.0.1:9/x/bell:1", code=125)
        assert "the store of alice is not used" in told

    @pytest.mark.parametrize("way", ["of_another", "writable_by_others"])
    def test_root_s_own_policy(self, host: Machine, way: str) -> None:
        DIRECTORIES[way](host.path("/etc/bpfpack/policy.toml"))
        assert "everything is refused" in plan(host, "alice", "bell:1", code=126)

    def test_variables_of_the_user_lead_nowhere(self, host: Machine) -> None:
        """Home directories come from the account database."""
        done = host.call(
            "mallory",
            *("sudo", "HOME=/home/alice", "XDG_DATA_HOME=/home/alice/.local/share"),
            *(PROGRAM, "run", "--dry-run", "bell:1", ME),
            code=127,
        )
        assert "/home/mallory/.local/share/bpfpack/store" in done.stderr
