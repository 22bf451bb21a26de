"""Attacks by whoever holds a repository, by the names that they go by.

The registry is under the attacker's hands, and no key is.  The scenarios are those of
theupdateframework/tuf-conformance, where they make sense for signed tags.
"""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.trust import keys
from bpfpack.registry.trust.attach import attach
from bpfpack.registry.trust.sign import sign
from bpfpack.spec import mediatypes
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature_writer import EMPTY_CONFIG, bundle_manifest
from tests.kit.attacking import (
    accepted,
    copied,
    delete,
    get,
    publish,
    put,
    put_blob,
    refused,
    sig_tag,
    url_of,
)
from tests.kit.bell import ME
from tests.kit.cli import PASSWORD, Host
from tests.kit.servers import RunningRegistry

SECRET = {"BPFPACK_PASSWORD": PASSWORD}


def publish_dated(
    author: Host,
    version: str,
    reference: str,
    *,
    age: timedelta,
    lifetime: timedelta = timedelta(days=400),
) -> str:
    """Push a version with a signature that was made some time ago; returns its digest."""
    author.run("tag", f"bell:{version}", reference)
    named = Reference.parse(reference)
    place = DiskStore(author.root / "data" / "store").repository(named.name)
    content = place.resolve(named.tag or "")
    key = keys.unlock((author.root / "config" / "identity.key").read_bytes(), PASSWORD.encode())
    now = datetime.now(UTC) - age
    attach(place, sign(content.descriptor, named, key, now=now, lifetime=lifetime))
    author.run("push", "-q", "--no-sign", reference)
    return str(content.descriptor.digest)


def public(who: Host) -> Path:
    return who.root / "config" / "identity.pub"


class TestFreeze:
    """What was the newest once is offered for ever."""

    def test_it_ends_with_the_expiry(self, author: Host, host: Host, name: str) -> None:
        ago, life = timedelta(days=30), timedelta(days=29)
        publish_dated(author, "1", f"{name}:1", age=ago, lifetime=life)
        assert "expired" in refused(host, f"{name}:1")

    def test_it_ends_in_the_cache_too(
        self, author: Host, host: Host, name: str, tmp_path: Path
    ) -> None:
        """It was stored while no rule covered it; whatever is run is judged when it is run."""
        ago, life = timedelta(days=30), timedelta(days=29)
        publish_dated(author, "1", f"{name}:1", age=ago, lifetime=life)
        careless = Host(root=tmp_path / "careless")
        careless.run("pull", "-q", f"{name}:1")
        shutil.copytree(host.root / "config", careless.root / "config")
        assert "expired" in refused(careless, "--no-pull", f"{name}:1")

    def test_a_rule_can_end_it_sooner(self, author: Host, host: Host, name: str) -> None:
        publish_dated(author, "1", f"{name}:1", age=timedelta(days=8))
        accepted(host, f"{name}:1")
        scope = name.rpartition("/")[0]
        host.run("trust", "rm", scope)
        host.run("trust", "add", scope, "--key", public(author), "--max-age", "7d")
        assert "max_age" in refused(host, f"{name}:1")

    def test_a_name_moved_back_to_what_was_accepted_before(
        self, author: Host, host: Host, name: str
    ) -> None:
        """The same content may be signed by an older signature; other content may not."""
        publish_dated(author, "1", f"{name}:1", age=timedelta(days=2))
        accepted(host, f"{name}:1")
        publish_dated(author, "2", f"{name}:1", age=timedelta(days=1))
        accepted(host, "--pull=always", f"{name}:1")
        publish_dated(author, "1", f"{name}:1", age=timedelta(days=2))
        assert "older than the one" in refused(host, "--pull=always", f"{name}:1")


class TestFastForward:
    """A signature from the future, so that nothing honest is ever new enough again."""

    def test_it_is_refused_and_leaves_no_mark(self, author: Host, host: Host, name: str) -> None:
        publish_dated(author, "2", f"{name}:1", age=timedelta(days=-400))
        assert "future" in refused(host, f"{name}:1")
        host.run("pull", "-q", f"{name}:1", code=6)
        honest = publish(author, "1", f"{name}:1")
        accepted(host, "--pull=always", f"{name}:1")
        assert host.run("list", "-q", f"{name}:1").stdout.strip() == honest

    def test_a_clock_may_be_wrong_by_hours(self, author: Host, host: Host, name: str) -> None:
        publish_dated(author, "1", f"{name}:1", age=timedelta(hours=-23))
        accepted(host, f"{name}:1")


class TestMixAndMatch:
    """Good content under a name that it was not signed for."""

    @pytest.mark.parametrize("form", ["bundle", "legacy"])
    def test_one_tool_in_the_place_of_another(
        self, author: Host, host: Host, name: str, form: str
    ) -> None:
        digest = publish(author, "1", f"{name}:1")
        other = name.replace("/bell", "/firewall")
        author.run("tag", f"{name}:1", f"{other}:1")
        author.run("push", "-q", "--no-sign", f"{other}:1")
        if form == "legacy":
            put(url_of(other, sig_tag(digest)), copied(name, other, sig_tag(digest)))
        else:
            (entry,) = _referrers(name, digest)
            put(url_of(other, entry["digest"]), copied(name, other, entry["digest"]))
        assert f"was made for {name}:1" in refused(host, f"{other}:1")

    def test_an_older_release_under_the_tag_of_a_newer(
        self, author: Host, host: Host, name: str
    ) -> None:
        publish(author, "1", f"{name}:1.0")
        publish(author, "2", f"{name}:2.0")
        put(url_of(name, "2.0"), get(url_of(name, "1.0")))
        assert f"was made for {name}:1.0, not for the tag 2.0" in refused(host, f"{name}:2.0")

    def test_a_signature_by_digest_is_for_its_repository_alone(
        self, author: Host, host: Host, name: str
    ) -> None:
        digest = publish(author, "1", f"{name}:1")
        other = name.replace("/bell", "/firewall")
        author.run("tag", f"{name}:1", f"{other}:1")
        author.run("push", "-q", "--no-sign", f"{other}:1")
        put(url_of(other, sig_tag(digest)), copied(name, other, sig_tag(digest)))
        assert f"was made for {name}:1" in refused(host, f"{other}@{digest}")
        accepted(host, f"{name}@{digest}")


def _referrers(name: str, digest: str) -> list[dict[str, str]]:
    url = url_of(name, digest).replace("/manifests/", "/referrers/")
    found: list[dict[str, str]] = json.loads(get(url))["manifests"]
    return found


class TestFormatDowngrade:
    """Leaving out, or spoiling, one of the two forms."""

    def test_without_the_bundle_the_same_rules_hold(
        self, author: Host, host: Host, name: str
    ) -> None:
        digest = publish(author, "1", f"{name}:1")
        for entry in _referrers(name, digest):
            delete(url_of(name, entry["digest"]))
        accepted(host, f"{name}:1")
        put(url_of(name, "2"), get(url_of(name, "1")))
        assert "not for the tag 2" in refused(host, f"{name}:2")

    def test_without_the_tag_the_same_rules_hold(self, author: Host, host: Host, name: str) -> None:
        digest = publish(author, "1", f"{name}:1")
        delete(url_of(name, sig_tag(digest)))
        accepted(host, f"{name}:1")
        put(url_of(name, "2"), get(url_of(name, "1")))
        assert "not for the tag 2" in refused(host, f"{name}:2")

    def test_a_strangers_bundle_hides_no_tag(
        self, author: Host, mallory: Host, host: Host, name: str
    ) -> None:
        """cosign 3 looks at nothing but bundles as soon as there is one."""
        digest = publish(author, "1", f"{name}:1")
        for entry in _referrers(name, digest):
            delete(url_of(name, entry["digest"]))
        mallory.run("sign", "-y", f"{name}:1", env=SECRET)
        for entry in _referrers(name, digest):
            assert entry["artifactType"] == mediatypes.SIGSTORE_BUNDLE
        accepted(host, f"{name}:1")

    def test_junk_in_the_tag_hides_no_bundle(self, author: Host, host: Host, name: str) -> None:
        digest = publish(author, "1", f"{name}:1")
        put(url_of(name, sig_tag(digest)), get(url_of(name, "1")))
        accepted(host, f"{name}:1")


class TestJunkBesideTheGoodOne:
    @pytest.mark.parametrize("junk", [b"", b"{", b"\xff", b"[]", b'{"mediaType":"x"}'])
    def test_bundles_that_are_none(self, author: Host, host: Host, name: str, junk: bytes) -> None:
        digest = publish(author, "1", f"{name}:1")
        _attach_junk(name, digest, junk or b" ")
        accepted(host, f"{name}:1")

    def test_signatures_of_strangers(
        self, author: Host, mallory: Host, host: Host, name: str
    ) -> None:
        publish(author, "1", f"{name}:1")
        mallory.run("sign", "-y", f"{name}:1", env=SECRET)
        accepted(host, f"{name}:1")
        verdicts = host.run("verify", "-o", "json", f"{name}:1").json["candidates"]
        assert sorted((c["form"], c["good"]) for c in verdicts) == [
            ("bundle", False),
            ("bundle", True),
            ("legacy", False),
            ("legacy", True),
        ]

    def test_junk_alone_is_no_signature(self, author: Host, host: Host, name: str) -> None:
        author.run("tag", "bell:1", f"{name}:1")
        author.run("push", "-q", "--no-sign", f"{name}:1")
        digest = author.run("list", "-q", "bell:1").stdout.strip()
        _attach_junk(name, digest, b"{}")
        assert "no usable signature" in refused(host, f"{name}:1")


def _attach_junk(name: str, digest: str, data: bytes) -> None:
    subject = Descriptor.of(get(url_of(name, digest)), mediatypes.MANIFEST)
    manifest = bundle_manifest(data, subject, "2026-01-01T00:00:00Z")
    put_blob(name, str(Digest.sha256(EMPTY_CONFIG)), EMPTY_CONFIG)
    put_blob(name, str(Digest.sha256(data)), data)
    put(url_of(name, str(manifest.descriptor.digest)), manifest.raw)


class TestKeyRotation:
    """A rule holds the keys of today; what a key signed yesterday counts while it is there."""

    def test_old_and_new_key(self, author: Host, host: Host, name: str, tmp_path: Path) -> None:
        publish(author, "1", f"{name}:1")
        successor = Host(root=tmp_path / "successor")
        successor.keygen()
        scope = name.rpartition("/")[0]
        host.run("trust", "add", scope, "--key", public(successor), "--name", "new")
        accepted(host, f"{name}:1")
        host.run("trust", "rm", scope, "--key", "author")
        # Nothing that was accepted once is excused from being judged again.
        assert "unknown key" in refused(host, "--no-pull", f"{name}:1")
        assert "unknown key" in refused(host, "--pull=always", f"{name}:1")
        successor.run("sign", "-y", f"{name}:1", env=SECRET)
        accepted(host, "--pull=always", f"{name}:1")

    def test_a_key_that_one_repository_lost_is_no_key_of_another(
        self, author: Host, host: Host, name: str, registry: RunningRegistry
    ) -> None:
        """Trusted for ``y``, it confers nothing on ``x``."""
        publish(author, "1", f"{name}:1")
        host.run("trust", "rm", name.rpartition("/")[0])
        host.run("trust", "add", f"{registry.host}/y", "--key", public(author))
        assert f"trusted for {registry.host}/y and not here" in refused(host, f"{name}:1")

    def test_a_scope_covers_whole_components(
        self, author: Host, host: Host, registry: RunningRegistry
    ) -> None:
        publish(author, "1", f"{registry.host}/xevil/bell:1")
        assert "no rule covers it" in refused(host, f"{registry.host}/xevil/bell:1")


class TestNoNetwork:
    def test_a_key_and_the_store_suffice(self, author: Host, name: str) -> None:
        """Nothing is asked of anybody: not even loopback is up."""
        publish(author, "1", f"{name}:1")
        alone = Host(root=author.root, prefix=("unshare", "--net"))
        alone.run("verify", "--key", public(author), f"{name}:1")
        alone.run("run", "--dry-run", "--key", public(author), "--no-pull", f"{name}:1", ME)

    def test_a_key_alone_implies_unnamed_and_says_so(self, author: Host, name: str) -> None:
        publish(author, "1", f"{name}:1")
        told = author.run("verify", "--key", public(author), f"{name}:1").stderr
        assert "signatures that name no reference count too" in told
