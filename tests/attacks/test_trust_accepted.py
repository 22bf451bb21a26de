"""What is no attack, and must not be taken for one: the same content by other ways.

`tests/peers/test_cosign.py` has the signatures that name nothing, and `unnamed`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.attacking import accepted, publish, refused
from tests.kit.cli import PASSWORD, Host
from tests.kit.servers import RunningRegistry, bpfpack_registry, docker_registry

SECRET = {"BPFPACK_PASSWORD": PASSWORD}


def public(who: Host) -> Path:
    return who.root / "config" / "identity.pub"


def digest_of(who: Host, reference: str) -> str:
    return who.run("list", "-q", reference).stdout.strip()


class TestTags:
    def test_a_second_tag_that_its_owner_pushes(self, author: Host, host: Host, name: str) -> None:
        publish(author, "1", f"{name}:1.0")
        author.run("tag", f"{name}:1.0", f"{name}:latest")
        author.push("-q", f"{name}:latest")
        for tag in ("1.0", "latest"):
            accepted(host, f"{name}:{tag}")
        assert digest_of(host, f"{name}:1.0") == digest_of(host, f"{name}:latest")

    def test_a_second_tag_that_its_owner_signs(
        self, author: Host, mallory: Host, host: Host, name: str
    ) -> None:
        """Somebody else moved the tag; signed under it, it counts."""
        publish(author, "1", f"{name}:1.0")
        mallory.run("pull", "-q", f"{name}:1.0")
        mallory.run("tag", f"{name}:1.0", f"{name}:stable")
        mallory.run("push", "-q", "--no-sign", f"{name}:stable")
        assert "not for the tag stable" in refused(host, f"{name}:stable")
        author.run("sign", "-y", f"{name}:stable", env=SECRET)
        accepted(host, "--pull=always", f"{name}:stable")

    def test_a_tag_that_moves_on_and_all_tags(self, author: Host, host: Host, name: str) -> None:
        publish(author, "1", f"{name}:1")
        accepted(host, f"{name}:1")
        newer = publish(author, "2", f"{name}:1")
        accepted(host, "--pull=always", f"{name}:1")
        assert digest_of(host, f"{name}:1") == newer

    def test_by_digest_whatever_the_tag(self, author: Host, host: Host, name: str) -> None:
        digest = publish(author, "1", f"{name}:1.0")
        accepted(host, f"{name}@{digest}")
        accepted(host, f"{name}:anything@{digest}")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[RunningRegistry]:
    """A registry of other people."""
    with bpfpack_registry(tmp_path / "elsewhere") as running:
        yield running


class TestCopies:
    def test_to_another_registry_with_signed_as(
        self, author: Host, host: Host, name: str, elsewhere: RunningRegistry, tmp_path: Path
    ) -> None:
        publish(author, "1", f"{name}:1")
        copy = f"{elsewhere.host}/vendor/bell"
        carrier = Host(root=tmp_path / "carrier")
        carrier.run("copy", "-q", f"{name}:1", f"{copy}:1")
        assert "no rule covers it" in refused(host, f"{copy}:1")
        scope, signed_as = copy.rpartition("/")[0], name.rpartition("/")[0]
        host.run("trust", "add", scope, "--key", public(author))
        told = refused(host, f"{copy}:1")
        assert f"was made for {name}:1" in told and f"--signed-as {signed_as}" in told
        host.run("trust", "rm", scope)
        host.run("trust", "add", scope, "--key", public(author), "--signed-as", signed_as)
        accepted(host, f"{copy}:1")

    def test_by_digest_while_the_content_is_here_from_elsewhere(
        self, author: Host, host: Host, name: str, elsewhere: RunningRegistry
    ) -> None:
        """Signatures belong to a repository: those of the copy are looked for at the copy."""
        digest = publish(author, "1", f"{name}:1")
        copy = f"{elsewhere.host}/vendor/bell"
        publish(author, "1", f"{copy}:1")
        host.run("trust", "add", copy, "--key", public(author))
        accepted(host, f"{name}@{digest}")
        assert "is not signed" in refused(host, "--no-pull", f"{copy}@{digest}")
        accepted(host, f"{copy}@{digest}")
        accepted(host, "--no-pull", f"{copy}@{digest}")

    def test_signed_as_is_no_excuse_for_another_name(
        self, author: Host, host: Host, name: str, elsewhere: RunningRegistry, tmp_path: Path
    ) -> None:
        """A copy keeps its path below the prefix, and its tag."""
        publish(author, "1", f"{name}:1")
        carrier = Host(root=tmp_path / "carrier")
        scope, signed_as = f"{elsewhere.host}/vendor", name.rpartition("/")[0]
        for target in ("vendor/firewall:1", "vendor/bell:2"):
            carrier.run("copy", "-q", f"{name}:1", f"{elsewhere.host}/{target}")
        host.run("trust", "add", scope, "--key", public(author), "--signed-as", signed_as)
        for target in ("vendor/firewall:1", "vendor/bell:2"):
            assert f"was made for {name}:1" in refused(host, f"{elsewhere.host}/{target}")

    def test_by_an_archive_under_the_same_name(
        self, author: Host, host: Host, name: str, tmp_path: Path
    ) -> None:
        """The way to a host without a network."""
        publish(author, "1", f"{name}:1")
        author.run("save", "-q", "-f", tmp_path / "a.tar", f"{name}:1")
        host.run("load", "-q", "-f", tmp_path / "a.tar")
        accepted(host, "--no-pull", f"{name}:1")


@pytest.mark.registry
class TestMirrors:
    """Debian's docker-registry in front of ours, as a pull-through mirror."""

    @pytest.fixture
    def mirror(self, registry: RunningRegistry, tmp_path: Path) -> Iterator[RunningRegistry]:
        with docker_registry(tmp_path / "mirror", upstream=registry.url) as running:
            yield running

    def test_a_pull_through_a_mirror(
        self, author: Host, host: Host, name: str, mirror: RunningRegistry
    ) -> None:
        digest = publish(author, "1", f"{name}:1")
        through = f"{mirror.host}/x/bell"
        scope, signed_as = through.rpartition("/")[0], name.rpartition("/")[0]
        assert "no rule covers it" in refused(host, f"{through}:1")
        host.run("trust", "add", scope, "--key", public(author), "--signed-as", signed_as)
        accepted(host, f"{through}:1")
        assert digest_of(host, f"{through}:1") == digest

    def test_an_unsigned_package_stays_unsigned(
        self, author: Host, host: Host, name: str, mirror: RunningRegistry
    ) -> None:
        author.run("tag", "bell:1", f"{name}:1")
        author.run("push", "-q", "--no-sign", f"{name}:1")
        scope = f"{mirror.host}/x"
        signed_as = name.rpartition("/")[0]
        host.run("trust", "add", scope, "--key", public(author), "--signed-as", signed_as)
        assert "is not signed" in refused(host, f"{mirror.host}/x/bell:1")
