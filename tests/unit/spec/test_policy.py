"""The policy model: scopes, precedence, and a parser that refuses what it does not know."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bpfpack.spec.errors import SpecError
from bpfpack.spec.origin import Origin, OriginKind
from bpfpack.spec.policy import Key, Policy, canonical_scope, parse_age, public_der
from bpfpack.spec.reference import Reference
from tests.kit.signing import key_of, policy_for

PEM = key_of("alice").public_pem


def rule_for(policy: Policy, text: str) -> str | None:
    origin = Origin(kind="registry", reference=Reference.parse(text), location=text)
    scope = policy.rule_for(origin)
    return scope.name if scope else None


def scoped(*names: str) -> Policy:
    rule = {"keys": [{"name": "alice", "pem": PEM}]}
    return Policy.from_dict({"version": 1, "scopes": dict.fromkeys(names, rule)})


@pytest.mark.parametrize(
    ("scope", "reference", "covered"),
    [
        ("ghcr.io", "ghcr.io/x/y:1", True),
        ("ghcr.io/x", "ghcr.io/x/y:1", True),
        ("ghcr.io/x/y", "ghcr.io/x/y:1", True),
        ("ghcr.io/x/y", "ghcr.io/x/y/z:1", True),
        ("ghcr.io/x", "ghcr.io/xevil:1", False),
        ("ghcr.io/x", "ghcr.io/xevil/y:1", False),
        ("ghcr.io/x/y", "ghcr.io/x:1", False),
        ("ghcr.io", "ghcr.io.evil.com/x:1", False),
        ("ghcr.io", "evil-ghcr.io/x:1", False),
        ("ghcr.io", "ghcr.io:444/x:1", False),
        ("ghcr.io", "ghcr.io:443/x:1", True),
        ("ghcr.io/x", "ghcr.io:00443/x:1", True),
        ("GHCR.io:443/x", "ghcr.io/x:1", True),
        ("ghcr.io", "GHCR.io/x:1", True),
        ("docker.io", "registry-1.docker.io:443/busybox:1", True),
        ("docker.io/library", "INDEX.docker.io/busybox:1", True),
        ("registry-1.docker.io", "docker.io/busybox:1", True),
        ("[2001:db8::1]", "[2001:DB8:0::1]:443/x:1", True),
        ("*.corp.com", "a.corp.com/x:1", True),
        ("*.corp.com", "a.b.corp.com/x:1", True),
        ("*.corp.com", "a.corp.com:5000/x:1", True),
        ("*.corp.com", "corp.com/x:1", False),
        ("*.corp.com", "evilcorp.com/x:1", False),
        ("localhost:5000", "localhost:5000/x:1", True),
        ("localhost:5000", "localhost:5001/x:1", False),
        ("docker.io/library", "docker.io/busybox:1", True),
        ("index.docker.io/library", "docker.io/busybox:1", True),
        ("ghcr.io/x", "opensnoop:1", False),
    ],
)
def test_what_a_scope_covers(scope: str, reference: str, covered: bool) -> None:
    assert (rule_for(scoped(scope), reference) is not None) is covered


def test_the_most_specific_scope_wins_alone() -> None:
    policy = scoped("*.io", "*.ghcr.io", "a.ghcr.io", "a.ghcr.io/x", "a.ghcr.io/x/y")
    assert rule_for(policy, "a.ghcr.io/x/y:1") == "a.ghcr.io/x/y"
    assert rule_for(policy, "a.ghcr.io/x/z:1") == "a.ghcr.io/x"
    assert rule_for(policy, "a.ghcr.io/z:1") == "a.ghcr.io"
    assert rule_for(policy, "b.ghcr.io/x:1") == "*.ghcr.io"
    assert rule_for(policy, "b.io/x:1") == "*.io"
    assert rule_for(policy, "b.com/x:1") is None


@pytest.mark.parametrize(
    ("scope", "kind", "location", "covered"),
    [
        ("file:", "file", "/any/where.tar", True),
        ("file:", "stdin", "-", False),
        ("file:/srv/pkg", "file", "/srv/pkg/x.tar", True),
        ("file:/srv/pkg", "file", "/srv/pkgevil/x.tar", False),
        ("file:/srv/pkg", "file", "/srv/pkg/../../tmp/x.tar", False),
        ("file:/", "file", "/tmp/x.tar", True),
        ("https://h.io/rel", "https", "https://h.io/rel/x.tar", True),
        ("https://h.io/rel", "https", "https://H.IO/rel/x.tar?token=1#frag", True),
        ("https://h.io/rel", "https", "https://h.io/release/x.tar", False),
        ("https://h.io/rel", "https", "https://h.io/rel/../x.tar", False),
        ("https://h.io/rel", "https", "https://h.io/rel/%2e%2e/x.tar", False),
        ("https://h.io/rel", "https", "https://h.io/?/rel/x.tar", False),
        ("https://h.io/rel", "https", "https://h.io@evil.io/rel/x.tar", False),
        ("https://h.io/rel", "https", "http://h.io/rel/x.tar", False),
        ("https://h.io", "https", "https://h.io/rel/x.tar", True),
        ("https://h.io", "https", "https://h.io:444/rel/x.tar", False),
        ("h.io", "https", "https://h.io/rel/x.tar", False),
        ("stdin:", "stdin", "-", True),
        ("stdin:", "file", "/dev/stdin", False),
        ("file:", "source", "/home/u/x.bpf.c", False),
    ],
)
def test_what_a_transport_covers(
    scope: str, kind: OriginKind, location: str, covered: bool
) -> None:
    origin = Origin(kind=kind, reference=None, location=location)
    assert (scoped(scope).rule_for(origin) is not None) is covered


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "x/y", "*", "*.", "*ghcr.io", "ghcr.*", "ghcr.io/*", "ghcr.io/x*", "ghcr.io/"),
        *("ghcr.io/x/", "ghcr.io//x", "ghcr.io/X", "ghcr.io/x:1", "ghcr.io/x@sha256:0", "/x"),
        *("file:x", "file:/x/../y", "file://x", "https://", "https://h.io//x", "https://h.io/../x"),
        *("https://h.io/a b", "https://h.io/a?b", "http://h.io", "stdin:x", "*.a.io/x", " ghcr.io"),
    ],
)
def test_no_scope(text: str) -> None:
    with pytest.raises(SpecError):
        canonical_scope(text)


def base() -> dict[str, Any]:
    key = {
        "name": "alice",
        "pem": PEM,
        "not_before": datetime(2026, 1, 1, tzinfo=UTC),
        "not_after": datetime(2027, 1, 1, tzinfo=UTC),
    }
    rule = {
        "keys": [key, {"host": True}],
        "signed_as": "docker.io/x",
        "unnamed": True,
        "level": "warn",
        "max_age": "90d",
    }
    return {"version": 1, "user_rules": False, "scopes": {"ghcr.io/x": rule}}


def rule(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["scopes"]["ghcr.io/x"]
    return found


FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no version": lambda d: d.pop("version"),
    "version 2": lambda d: d.update(version=2),
    "version is text": lambda d: d.update(version="1"),
    "version is true": lambda d: d.update(version=True),
    "unknown top level": lambda d: d.update(default="accept"),
    "user_rules is text": lambda d: d.update(user_rules="false"),
    "scopes is a list": lambda d: d.update(scopes=[]),
    "a rule is a list": lambda d: d["scopes"].update({"ghcr.io/x": []}),
    "a bad scope": lambda d: d["scopes"].update({"ghcr.io/*": rule(d)}),
    "one scope in two spellings": lambda d: d["scopes"].update({"GHCR.io/x": rule(d)}),
    "unknown in rule": lambda d: rule(d).update(treshold=2),
    "threshold is for later": lambda d: rule(d).update(threshold=2),
    "no keys": lambda d: rule(d).pop("keys"),
    "empty keys": lambda d: rule(d).update(keys=[]),
    "keys is one key": lambda d: rule(d).update(keys=rule(d)["keys"][0]),
    "a key is text": lambda d: rule(d).update(keys=[PEM]),
    "65 keys": lambda d: rule(d).update(keys=[{"host": True}] * 65),
    "the same key twice": lambda d: rule(d)["keys"].append({"name": "b", "pem": PEM}),
    "the same name twice": lambda d: rule(d)["keys"].append(
        {"name": "alice", "pem": key_of("bob").public_pem}
    ),
    "a key without a name": lambda d: rule(d)["keys"][0].pop("name"),
    "a key with an empty name": lambda d: rule(d)["keys"][0].update(name=""),
    "a key with an escape in its name": lambda d: rule(d)["keys"][0].update(name="\x1b[2J"),
    "a key without pem": lambda d: rule(d)["keys"][0].pop("pem"),
    "a key by path": lambda d: rule(d)["keys"][0].update(path="/etc/x.pub"),
    "pem is a path": lambda d: rule(d)["keys"][0].update(pem="/etc/x.pub"),
    "two pem blocks": lambda d: rule(d)["keys"][0].update(pem=PEM + PEM),
    "text before the pem": lambda d: rule(d)["keys"][0].update(pem="x" + PEM),
    "a private key": lambda d: rule(d)["keys"][0].update(pem=PEM.replace("PUBLIC", "PRIVATE")),
    "a certificate": lambda d: rule(d)["keys"][0].update(
        pem=PEM.replace("PUBLIC KEY", "CERTIFICATE")
    ),
    "pem is not base64": lambda d: rule(d)["keys"][0].update(pem=PEM.replace("M", "=", 1)),
    "pem and host": lambda d: rule(d)["keys"][0].update(host=True),
    "host is false": lambda d: rule(d)["keys"][1].update(host=False),
    "a time without zone": lambda d: rule(d)["keys"][0].update(not_after=datetime(2027, 1, 1)),
    "a time as text": lambda d: rule(d)["keys"][0].update(not_after="2027-01-01T00:00:00Z"),
    "a window that is closed": lambda d: rule(d)["keys"][0].update(
        not_after=datetime(2026, 1, 1, tzinfo=UTC)
    ),
    "level deny": lambda d: rule(d).update(level="deny"),
    "level is true": lambda d: rule(d).update(level=True),
    "unnamed is text": lambda d: rule(d).update(unnamed="yes"),
    "max_age is a number": lambda d: rule(d).update(max_age=90),
    "max_age without unit": lambda d: rule(d).update(max_age="90"),
    "max_age of nothing": lambda d: rule(d).update(max_age="0d"),
    "signed_as with a tag": lambda d: rule(d).update(signed_as="ghcr.io/x:1"),
    "signed_as is a transport": lambda d: rule(d).update(signed_as="file:"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_refuses_the_file(fault: str) -> None:
    data = base()
    Policy.from_dict(data)
    FAULTS[fault](data)
    with pytest.raises(SpecError):
        Policy.from_dict(data)


def test_everything_that_a_rule_can_say() -> None:
    policy = Policy.from_dict(base(), source="/etc/bpfpack/policy.toml")
    scope = policy.scopes["ghcr.io/x"]
    assert not policy.user_rules
    assert (scope.host, scope.unnamed, scope.level) == (True, True, "warn")
    assert (scope.signed_as, scope.max_age) == ("docker.io/x", timedelta(days=90))
    assert [key.name for key in scope.keys] == ["alice"]
    assert scope.keys[0].fingerprint == key_of("alice").fingerprint
    assert str(scope) == "ghcr.io/x in /etc/bpfpack/policy.toml"


def test_the_error_says_where() -> None:
    data = base()
    rule(data)["keys"][0]["extra"] = 1
    with pytest.raises(SpecError) as caught:
        Policy.from_dict(data)
    assert str(caught.value) == "unknown field in 'scopes.ghcr.io/x.keys[0].extra'"


class TestSystemAndUser:
    def test_the_system_adds_to_the_user_and_wins_on_the_same_scope(self) -> None:
        user = policy_for("ghcr.io/x", "alice")
        system = Policy(
            scopes={
                **policy_for("ghcr.io/x", "bob").scopes,
                **policy_for("quay.io", "carol").scopes,
            }
        )
        both = user.below(system)
        assert {n: s.keys[0].name for n, s in both.scopes.items()} == {
            "ghcr.io/x": "bob",
            "quay.io": "carol",
        }

    def test_the_system_may_forbid_user_rules(self) -> None:
        user = policy_for("ghcr.io/x", "alice")
        assert user.below(Policy(user_rules=False)).scopes == {}

    def test_a_broken_one_denies_for_both(self) -> None:
        good = policy_for("ghcr.io/x", "alice")
        for both in (Policy.deny_all("why").below(good), good.below(Policy.deny_all("why"))):
            assert (both.problem, both.scopes) == ("why", {})


def test_signed_as_replaces_the_covered_prefix() -> None:
    prefix = policy_for("m.corp/oss", "alice", signed_as="ghcr.io").scopes["m.corp/oss"]
    name = Reference.parse("m.corp/oss/x/y:1")
    assert prefix.expected_names(name) == ("m.corp/oss/x/y", "ghcr.io/x/y")
    any_host = policy_for("*.corp.io", "alice", signed_as="ghcr.io").scopes["*.corp.io"]
    assert any_host.expected_names(Reference.parse("m.corp.io/x/y:1"))[1] == "ghcr.io/x/y"


def test_durations() -> None:
    assert parse_age("2w") == timedelta(weeks=2)
    assert parse_age("12h") == timedelta(hours=12)


def test_a_key_keeps_its_value() -> None:
    key = Key(name="alice", pem=f"\n{PEM}\n")
    assert public_der(key.pem) == public_der(PEM)
    assert str(key).startswith("alice (SHA256:")
    assert PEM not in repr(key)


BUILDER = {"uid": 1000, "user": "alice", "pem": PEM}


class TestLocalBuilds:
    """Whose builds root takes for its own: ``trust-local-builds``."""

    def policy(self, *entries: object) -> Policy:
        return Policy.from_dict({"version": 1, "trust-local-builds": list(entries)})

    def test_users_by_number(self) -> None:
        found = self.policy(BUILDER).local_builders[1000]
        assert str(found) == "alice (uid 1000)"
        assert found.fingerprint == key_of("alice").fingerprint

    @pytest.mark.parametrize(
        "entries",
        [
            (1000,),
            (BUILDER, BUILDER | {"user": "bob"}),
            (BUILDER | {"uid": 0},),
            (BUILDER | {"uid": -1},),
            (BUILDER | {"uid": 2**32 - 1},),
            (BUILDER | {"uid": True},),
            (BUILDER | {"user": "a b"},),
            (BUILDER | {"user": "a\x1b[2J"},),
            (BUILDER | {"pem": "none"},),
            (BUILDER | {"scope": "ghcr.io"},),
            ({"uid": 1000, "user": "alice"},),
        ],
    )
    def test_anything_else_is_refused(self, entries: tuple[object, ...]) -> None:
        with pytest.raises(SpecError):
            self.policy(*entries)

    def test_only_the_system_says_so(self) -> None:
        system = self.policy(BUILDER | {"uid": 1001})
        assert set(self.policy(BUILDER).below(system).local_builders) == {1001}
