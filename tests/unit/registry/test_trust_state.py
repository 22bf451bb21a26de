"""policy.toml, the host key and the high-water marks on a real disk, ours and not ours."""

import base64
import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bpfpack.registry.trust import podman, policyfile
from bpfpack.registry.trust.hostkey import HostKey
from bpfpack.registry.trust.marks import MarkFiles
from bpfpack.registry.trust.policyfile import NewRule
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import NotFound, SpecError, TrustError, UsageError
from bpfpack.spec.origin import Origin
from bpfpack.spec.policy import Key, Policy
from bpfpack.spec.trust import Mark
from bpfpack.spec.value import replace
from tests.kit.signing import CHECK, NOW, key_of, trusted

ONE, TWO = Digest.sha256(b"one"), Digest.sha256(b"two")
ALICE, BOB = trusted("alice"), trusted("bob")


def load(config: Path) -> Policy:
    return policyfile.load(config, config / "no-system")


def take_over(path: Path) -> None:
    """Have another user own it, as only root can."""
    os.chown(path, 12345, 12345, follow_symlinks=False)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def chmod(path: Path, mode: int) -> None:
    path.chmod(mode)


def link_to(path: Path, target: Path) -> None:
    """Put a link in place of the file, which moves to ``target`` when that is its neighbour."""
    if target.parent == path.parent:
        path.rename(target)
    else:
        path.unlink()
    path.symlink_to(target)


def exchange(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


WAYS: dict[str, Callable[[Path], None]] = {
    "others can write it": lambda p: chmod(p, 0o666),
    "its group can write it": lambda p: chmod(p, 0o660),
    "others can write its directory": lambda p: chmod(p.parent, 0o777),
    "others can write above it": lambda p: chmod(p.parent.parent, 0o777),
    "a link": lambda p: link_to(p, p.with_name("real")),
    "a dangling link": lambda p: link_to(p, Path("/nonexistent")),
    "a directory": lambda p: exchange(p, Path.mkdir),
    "a FIFO": lambda p: exchange(p, os.mkfifo),
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "home" / "config"


class TestPolicyFile:
    def test_missing_is_empty_and_denies(self, config: Path) -> None:
        policy = load(config)
        assert (policy.scopes, policy.problem) == ({}, None)
        assert not config.exists()

    def test_add_makes_a_private_file_that_says_what_was_meant(self, config: Path) -> None:
        window = {"not_before": NOW, "not_after": NOW + timedelta(days=1)}
        rule = NewRule(
            scope="GHCR.io/x",
            key=trusted("alice", **window),
            signed_as="quay.io/x",
            unnamed=True,
            level="warn",
            max_age="90d",
        )
        scope = policyfile.add(config, rule)
        assert (config / "policy.toml").stat().st_mode & 0o777 == 0o600
        assert scope.name == "ghcr.io/x"
        assert scope.keys[0].not_after == NOW + timedelta(days=1)
        assert (scope.signed_as, scope.unnamed, scope.level) == ("quay.io/x", True, "warn")
        assert load(config).scopes == {"ghcr.io/x": scope}

    def test_comments_order_and_spelling_survive(self, config: Path) -> None:
        policyfile.add(config, NewRule(scope="ghcr.io/x", key=ALICE))
        path = config / "policy.toml"
        header = '[[scopes."ghcr.io/x".keys]]'
        text = path.read_text()
        assert header in text
        spelled = '# asked for by ops\n[scopes."GHCR.io/x"]  # ticket 7\nlevel = "warn" # soon\n'
        path.write_text(text.replace(header, f'{spelled}[[scopes."GHCR.io/x".keys]]  # first'))
        policyfile.add(config, NewRule(scope="ghcr.io/x", key=BOB, unnamed=True))
        policyfile.add(config, NewRule(scope="quay.io/y", key=BOB))
        policyfile.remove(config, "quay.io/y")
        policyfile.remove(config, "ghcr.io/x", "bob")
        left = path.read_text()
        assert "# asked for by ops" in left
        assert '[scopes."GHCR.io/x"]  # ticket 7\nlevel = "warn" # soon' in left
        assert "# first" in left
        scope = load(config).scopes["ghcr.io/x"]
        assert [k.name for k in scope.keys] == ["alice"]
        assert scope.unnamed

    def test_the_host_can_be_listed_and_struck(self, config: Path) -> None:
        policyfile.add(config, NewRule(scope="ghcr.io/x", key=ALICE, host=True))
        assert load(config).scopes["ghcr.io/x"].host
        policyfile.remove(config, "ghcr.io/x", "host")
        assert not load(config).scopes["ghcr.io/x"].host

    def test_a_key_goes_by_name_or_fingerprint_and_the_last_takes_the_rule(
        self, config: Path
    ) -> None:
        for key in (ALICE, BOB):
            policyfile.add(config, NewRule(scope="ghcr.io/x", key=key))
        with pytest.raises(NotFound):
            policyfile.remove(config, "ghcr.io/x", "carol")
        policyfile.remove(config, "ghcr.io/x", f"SHA256:{ALICE.fingerprint[:16]}")
        assert [k.name for k in load(config).scopes["ghcr.io/x"].keys] == ["bob"]
        policyfile.remove(config, "ghcr.io/x", "bob")
        assert load(config).scopes == {}
        with pytest.raises(NotFound):
            policyfile.remove(config, "ghcr.io/x")

    @pytest.mark.parametrize(
        "rule",
        [
            NewRule(scope="ghcr.io/*", key=ALICE),
            NewRule(scope="ghcr.io/x", key=trusted("alice", not_after=NOW)),
            NewRule(scope="ghcr.io/x", key=replace(BOB, name="alice")),
            NewRule(scope="ghcr.io/x", max_age="soon"),
            NewRule(scope="ghcr.io/y", key=ALICE, max_age="soon"),
            NewRule(scope="ghcr.io/y", key=ALICE, level="maybe"),
            NewRule(scope="ghcr.io/y", key=ALICE, signed_as="x"),
        ],
    )
    def test_a_bad_rule_changes_nothing(self, config: Path, rule: NewRule) -> None:
        policyfile.add(config, NewRule(scope="ghcr.io/x", key=ALICE))
        before = (config / "policy.toml").read_bytes()
        with pytest.raises((SpecError, UsageError)):
            policyfile.add(config, rule)
        assert (config / "policy.toml").read_bytes() == before

    @pytest.mark.parametrize("key", [ALICE, replace(ALICE, name="other"), None])
    def test_a_key_that_is_there_changes_the_options(self, config: Path, key: Key | None) -> None:
        held = trusted("alice", not_after=NOW)
        policyfile.add(config, NewRule(scope="ghcr.io/x", key=held, host=True, unnamed=True))
        before = (config / "policy.toml").read_bytes()
        policyfile.add(config, NewRule(scope="ghcr.io/x", key=key, host=True))
        assert (config / "policy.toml").read_bytes() == before
        rule = policyfile.add(config, NewRule(scope="ghcr.io/x", key=key, signed_as="quay.io/x"))
        ((name, until),) = [(k.name, k.not_after) for k in rule.keys]
        assert (name, until, rule.host, rule.unnamed) == ("alice", NOW, True, True)
        assert rule.signed_as == "quay.io/x"

    def test_a_rule_needs_a_key(self, config: Path) -> None:
        with pytest.raises(UsageError):
            policyfile.add(config, NewRule(scope="ghcr.io/x"))

    @pytest.mark.parametrize(
        "content",
        [
            b"\xff",
            b"version = 1\nversion = 1\n",
            b"version = 1\nunknown = 1\n",
            b"[scopes]\n",
            b"",
            b"version = 1 # \x00",
            b"x = " + b"[" * 5000,
            b"version = " + b"1" * 6000,
            b" " * (1024 * 1024 + 1),
        ],
    )
    def test_a_file_that_is_no_policy_denies_all_and_is_not_overwritten(
        self, config: Path, content: bytes
    ) -> None:
        config.mkdir(parents=True)
        (config / "policy.toml").write_bytes(content)
        assert str(config / "policy.toml") in str(load(config).problem)
        with pytest.raises(TrustError):
            policyfile.add(config, NewRule(scope="ghcr.io/x", key=ALICE))
        assert (config / "policy.toml").read_bytes() == content

    @pytest.mark.parametrize("way", WAYS)
    def test_a_file_that_others_may_have_made_denies_all(self, config: Path, way: str) -> None:
        policyfile.add(config, NewRule(scope="ghcr.io/x", key=ALICE))
        assert load(config).scopes
        WAYS[way](config / "policy.toml")
        policy = load(config)
        assert policy.problem
        assert policy.scopes == {}

    @as_root
    def test_a_file_of_another_user_denies_all(self, config: Path) -> None:
        for path in (config / "policy.toml", config, config.parent):
            policyfile.add(config, NewRule(scope="ghcr.io/x", key=ALICE))
            take_over(path)
            assert "belongs to user 12345" in str(load(config).problem)
            os.chown(path, 0, 0)
            policyfile.remove(config, "ghcr.io/x")

    def test_user_and_system_files(self, tmp_path: Path) -> None:
        user, system = tmp_path / "user", tmp_path / "system"
        policyfile.add(user, NewRule(scope="ghcr.io/x", key=ALICE))
        policyfile.add(system, NewRule(scope="quay.io", key=BOB))
        assert set(policyfile.load(user, system).scopes) == {"ghcr.io/x", "quay.io"}
        path = system / "policy.toml"
        path.write_text("user_rules = false\n" + path.read_text())
        assert set(policyfile.load(user, system).scopes) == {"quay.io"}
        path.write_text("nonsense")
        assert str(path) in str(policyfile.load(user, system).problem)
        assert policyfile.load(system, system).problem

    def test_two_writers_lose_nothing(self, config: Path) -> None:
        names = [f"ghcr.io/x{i}" for i in range(12)]
        threads = [
            threading.Thread(target=policyfile.add, args=(config, NewRule(scope=name, key=ALICE)))
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(load(config).scopes) == set(names)


def podman_policy(requirement: Any, scope: str = "ghcr.io/x") -> bytes:
    default = [{"type": "insecureAcceptAnything"}]
    return json.dumps(
        {"default": default, "transports": {"docker": {scope: requirement}, "oci": {}}}
    ).encode()


class TestPodman:
    PEM = ALICE.pem

    def read(self, path: str) -> str:
        return {"/etc/a.pub": self.PEM, "/etc/b.pub": BOB.pem}[path]

    def test_keys_by_path_and_by_value(self, config: Path) -> None:
        data = base64.b64encode(self.PEM.encode()).decode()
        for fields, count in (
            ({"keyPath": "/etc/a.pub"}, 1),
            ({"keyPaths": ["/etc/a.pub", "/etc/b.pub"]}, 2),
            ({"keyData": data}, 1),
            ({"keyDatas": [data]}, 1),
        ):
            document = podman_policy([{"type": "sigstoreSigned", **fields}])
            found = podman.import_policy(document, self.read)
            assert len(found.rules) == count
            assert {name for name, _ in found.skipped} == {"default", "oci"}
        for rule in found.rules:
            assert policyfile.add(config, rule).keys[0].pem.strip() == self.PEM.strip()

    @pytest.mark.parametrize(
        ("identity", "told"),
        [
            ({"type": "matchRepoDigestOrExact"}, (None, None)),
            ({"type": "matchRepository"}, (None, True)),
            (
                {"type": "remapIdentity", "prefix": "ghcr.io/x", "signedPrefix": "quay.io/x"},
                ("quay.io/x", None),
            ),
        ],
    )
    def test_identities_with_a_counterpart(
        self, identity: dict[str, str], told: tuple[object, object]
    ) -> None:
        requirement = {
            "type": "sigstoreSigned",
            "keyPath": "/etc/a.pub",
            "signedIdentity": identity,
        }
        (rule,) = podman.import_policy(podman_policy([requirement]), self.read).rules
        assert (rule.signed_as, rule.unnamed) == told

    @pytest.mark.parametrize(
        "requirement",
        [
            [{"type": "insecureAcceptAnything"}],
            [{"type": "reject"}],
            [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/etc/a.pub"}],
            [],
            [{"type": "sigstoreSigned"}],
            [{"type": "sigstoreSigned", "keyPath": "/etc/a.pub", "keyData": "x"}],
            [{"type": "sigstoreSigned", "keyPaths": []}],
            [{"type": "sigstoreSigned", "keyData": "é"}],
            [{"type": "sigstoreSigned", "keyPath": "/etc/a.pub", "rekorPublicKeyPath": "/x"}],
            [{"type": "sigstoreSigned", "fulcio": {}}],
            [{"type": "sigstoreSigned", "keyPath": "/etc/a.pub"}] * 2,
            [
                {
                    "type": "sigstoreSigned",
                    "keyPath": "/etc/a.pub",
                    "signedIdentity": {"type": "exactReference"},
                }
            ],
        ],
    )
    def test_what_has_no_equal_is_left_out_and_told(self, requirement: Any) -> None:
        found = podman.import_policy(podman_policy(requirement), self.read)
        assert found.rules == ()
        assert "ghcr.io/x" in {name for name, _ in found.skipped}

    @pytest.mark.parametrize(
        "data", [b"", b"[]", b"{}", b'{"default":[],"x":1}', b'{"default":[],"default":[]}']
    )
    def test_a_file_that_is_none(self, data: bytes) -> None:
        with pytest.raises(SpecError):
            podman.import_policy(data, self.read)


class TestHostKey:
    def test_nothing_is_made_before_something_is_built(self, tmp_path: Path) -> None:
        host = HostKey(tmp_path / "state")
        assert host.public_pem() is None
        assert host.place(ONE).state == "absent"
        assert not host.built_here(ONE)
        assert not (tmp_path / "state").exists()

    def test_endorsed_content_is_vouched_for_by_the_same_key(self, tmp_path: Path) -> None:
        host = HostKey(tmp_path / "state")
        for digest in (ONE, TWO, ONE):
            host.endorse(digest)
        pem = host.public_pem()
        assert pem
        for digest in (ONE, TWO):
            (candidate,) = host.place(digest).candidates
            CHECK.verify(pem, candidate.signed, candidate.signature)
            assert HostKey(tmp_path / "state").built_here(digest)
        assert host.place(Digest.sha256(b"three")).state == "absent"
        for path in (tmp_path / "state").rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path

    def test_records_of_another_host_are_not_ours(self, tmp_path: Path) -> None:
        ours, theirs = HostKey(tmp_path / "ours"), HostKey(tmp_path / "theirs")
        ours.endorse(ONE)
        theirs.endorse(TWO)
        name = f"sha256-{TWO.encoded}"
        copied = (tmp_path / "theirs" / "built" / name).read_bytes()
        (tmp_path / "ours" / "built" / name).write_bytes(copied)
        assert theirs.built_here(TWO)
        assert not ours.built_here(TWO)

    def test_a_record_renamed_to_another_digest(self, tmp_path: Path) -> None:
        host = HostKey(tmp_path / "state")
        host.endorse(ONE)
        built = tmp_path / "state" / "built"
        (built / f"sha256-{ONE.encoded}").rename(built / f"sha256-{TWO.encoded}")
        assert not host.built_here(TWO)

    def test_a_key_that_others_can_read_signs_nothing(self, tmp_path: Path) -> None:
        host = HostKey(tmp_path / "state")
        host.endorse(ONE)
        (tmp_path / "state" / "host.key").chmod(0o644)
        with pytest.raises(Exception, match="others can read"):
            host.endorse(TWO)

    @pytest.mark.parametrize("way", WAYS)
    def test_a_record_that_others_may_have_made(self, tmp_path: Path, way: str) -> None:
        host = HostKey(tmp_path / "state")
        host.endorse(ONE)
        WAYS[way](tmp_path / "state" / "built" / f"sha256-{ONE.encoded}")
        assert host.place(ONE).state == "failed"

    def test_two_processes_make_one_key(self, tmp_path: Path) -> None:
        digests = [Digest.sha256(b"%d" % i) for i in range(8)]
        threads = [
            threading.Thread(target=HostKey(tmp_path / "state").endorse, args=(digest,))
            for digest in digests
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(HostKey(tmp_path / "state").built_here(digest) for digest in digests)


def mark(created: datetime, digest: Digest = ONE, tag: str = "1.0") -> Mark:
    return Mark(repository="ghcr.io/x/y", tag=tag, created=created, digest=digest)


class TestMarks:
    def test_raised_and_never_lowered(self, tmp_path: Path) -> None:
        marks = MarkFiles(tmp_path / "state")
        assert marks.newest("ghcr.io/x/y", "1.0") is None
        assert not (tmp_path / "state").exists()
        marks.record(mark(NOW))
        marks.record(mark(NOW - timedelta(milliseconds=1), TWO))
        assert marks.newest("ghcr.io/x/y", "1.0") == mark(NOW)
        marks.record(mark(NOW + timedelta(milliseconds=1), TWO))
        found = MarkFiles(tmp_path / "state").newest("ghcr.io/x/y", "1.0")
        assert found == mark(NOW + timedelta(milliseconds=1), TWO)

    def test_each_tag_and_repository_has_its_own(self, tmp_path: Path) -> None:
        marks = MarkFiles(tmp_path / "state")
        marks.record(mark(NOW, tag="1.0"))
        marks.record(mark(NOW, tag="2.0"))
        assert marks.newest("ghcr.io/x/z", "1.0") is None
        assert marks.newest("ghcr.io/x/y", "3.0") is None
        assert marks.tags("ghcr.io/x/y") == ("1.0", "2.0")
        assert marks.tags("ghcr.io/x/z") == ()
        assert marks.tags("GHCR.io/x/y") == ("1.0", "2.0"), "DNS does not tell them apart"
        assert marks.newest("GHCR.io/x/y", "1.0") == mark(NOW, tag="1.0")
        assert marks.newest("ghcr.io/x/z") is None
        marks.record(mark(NOW + timedelta(days=1), tag="1.0"))
        assert marks.newest("GHCR.io/x/y") == mark(NOW, tag="2.0"), "not an older branch"
        marks.record(mark(NOW + timedelta(days=2), tag="latest"))
        assert marks.newest("GHCR.io/x/y") == mark(NOW + timedelta(days=2), tag="latest")

    @pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"x" * 5000, b'{"tag":"1.0"}'])
    def test_a_damaged_mark_is_not_no_mark(self, tmp_path: Path, content: bytes) -> None:
        marks = MarkFiles(tmp_path / "state")
        marks.record(mark(NOW))
        (path,) = (tmp_path / "state").rglob("*.json")
        path.write_bytes(content)
        with pytest.raises(TrustError, match="cannot tell what was accepted"):
            marks.newest("ghcr.io/x/y", "1.0")
        with pytest.raises(TrustError, match="cannot tell what was accepted"):
            marks.record(mark(NOW))

    def test_a_mark_moved_under_another_tag(self, tmp_path: Path) -> None:
        marks = MarkFiles(tmp_path / "state")
        marks.record(mark(NOW))
        (path,) = (tmp_path / "state").rglob("*.json")
        path.rename(path.with_name(f"{Digest.sha256(b'2.0').encoded}.json"))
        with pytest.raises(TrustError, match="about another name"):
            marks.newest("ghcr.io/x/y", "2.0")

    @pytest.mark.parametrize("way", WAYS)
    def test_a_mark_that_others_may_have_made(self, tmp_path: Path, way: str) -> None:
        marks = MarkFiles(tmp_path / "state")
        marks.record(mark(NOW))
        (path,) = (tmp_path / "state").rglob("*.json")
        WAYS[way](path)
        with pytest.raises(TrustError):
            marks.newest("ghcr.io/x/y", "1.0")

    def test_racing_writers_keep_the_newest(self, tmp_path: Path) -> None:
        times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(12)]
        threads = [
            threading.Thread(target=MarkFiles(tmp_path / "state").record, args=(mark(t),))
            for t in reversed(times)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert MarkFiles(tmp_path / "state").newest("ghcr.io/x/y", "1.0") == mark(times[-1])


def test_keys_in_force_are_the_ones_written(tmp_path: Path) -> None:
    """The whole way from a key file to a rule that decides."""
    pem = key_of("alice").public_pem
    policyfile.add(tmp_path / "c", NewRule(scope="stdin:", key=Key(name="a", pem=pem)))
    origin = Origin(kind="stdin", reference=None, location="-")
    scope = load(tmp_path / "c").rule_for(origin)
    assert scope
    assert scope.keys[0].fingerprint == key_of("alice").fingerprint
