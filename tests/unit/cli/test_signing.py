"""Signing and judging by the commands: indexes, other names, keys from elsewhere, the document."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
from jsonschema import Draft202012Validator

from bpfpack.cli.platform import host_platform
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.store.memory import MemoryStore
from bpfpack.registry.transfer import copy
from bpfpack.spec.descriptor import Platform
from bpfpack.spec.manifest import Index, build_index
from bpfpack.spec.value import replace
from tests.kit.bell import ME
from tests.kit.cli import PASSWORD, REPO, Host
from tests.kit.servers import RunningRegistry, bpfpack_registry
from tests.kit.signing import make_package

SECRET = {"BPFPACK_PASSWORD": PASSWORD}
ELSEWHERE = Platform(os="linux", architecture="riscv64")


@pytest.fixture
def mine(host: Host, tmp_path: Path) -> Host:
    """A user with a key who built the bell."""
    shutil.copytree(host.root, tmp_path / "mine")
    made = Host(root=tmp_path / "mine")
    made.keygen()
    return made


@pytest.fixture
def theirs(mine: Host, tmp_path: Path) -> Host:
    """A host with nothing, which can have the key."""
    return Host(root=tmp_path / "theirs")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    with bpfpack_registry(tmp_path / "registry") as running:
        yield running


def public(who: Host) -> Path:
    return who.root / "config" / "identity.pub"


def store_of(who: Host) -> DiskStore:
    return DiskStore(who.root / "data" / "store")


def add_index(who: Host, name: str, tag: str = "multi", *, whole: bool = True) -> Index:
    """Store an index of the bell for this machine and something for another."""
    store, other = store_of(who), make_package("other")
    place = store.repository(name)
    bell = store.repository("bell").resolve("1")
    place.put(bell)
    if whole:
        copy(MemoryStore.of(other), place, other.manifest.descriptor.digest, None)
    index = build_index(
        (
            replace(bell.descriptor, platform=host_platform()),
            replace(other.manifest.descriptor, platform=ELSEWHERE),
        )
    )
    place.put(index, tag)
    return index


class TestIndexes:
    def test_each_package_is_signed_with_its_index(
        self, mine: Host, theirs: Host, registry: RunningRegistry
    ) -> None:
        name = f"{registry.host}/x/bell"
        index = add_index(mine, name)
        told = mine.run("sign", f"{name}:multi", env=SECRET).stdout.splitlines()
        digests = [index.descriptor.digest, *(child.digest for child in index.manifests)]
        assert sorted(told) == sorted(f"signed {name}:multi ({digest})" for digest in digests)
        mine.run("push", "-q", f"{name}:multi")
        for digest in digests:
            theirs.run("verify", "--key", public(mine), f"{name}@{digest}")

    def test_your_own_key_is_no_stranger(
        self, mine: Host, theirs: Host, registry: RunningRegistry
    ) -> None:
        name = f"{registry.host}/x/bell:1"
        mine.run("tag", "bell:1", name)
        mine.run("push", "-q", name, env=SECRET)
        assert "unknown key" in theirs.run("verify", name, code=6).stderr
        public(theirs).parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(public(mine), public(theirs))
        for told in (
            theirs.run("verify", name, code=6).stderr,
            theirs.run("run", "--dry-run", name, ME, code=126).stderr,
            theirs.run("trust", "test", name).stdout,
        ):
            assert f"by your own key ({public(theirs)}), which no rule trusts here" in told
            assert f"bpfpack trust add {registry.host}/x --key {public(theirs)}" in told
            assert "unknown key" not in told

    def test_not_recursive_signs_the_index_alone(
        self, mine: Host, theirs: Host, registry: RunningRegistry
    ) -> None:
        name = f"{registry.host}/x/bell"
        index = add_index(mine, name)
        mine.run("sign", "--no-recursive", f"{name}:multi", env=SECRET)
        mine.run("push", "-q", "--no-sign", f"{name}:multi")
        theirs.run("trust", "add", name, "--key", public(mine))
        theirs.run("run", "--dry-run", f"{name}:multi", ME)  # the index vouches for it
        for child in index.manifests:
            theirs.run("verify", f"{name}@{child.digest}", code=6)

    def test_push_signs_each_too(self, mine: Host, theirs: Host, registry: RunningRegistry) -> None:
        name = f"{registry.host}/x/bell"
        index = add_index(mine, name)
        mine.push("-q", "--sign", f"{name}:multi")
        for child in index.manifests:
            theirs.run("verify", "--key", public(mine), f"{name}@{child.digest}")

    def test_a_child_that_is_not_here_is_told_of(self, mine: Host) -> None:
        name = "registry.example/x/bell"
        add_index(mine, name, whole=False)
        done = mine.run("sign", f"{name}:multi", env=SECRET)
        assert "1 packages of the index are not here" in done.stderr
        assert len(done.stdout.splitlines()) == 2

    def test_a_child_for_this_machine_suffices_to_verify_as_to_run(
        self, mine: Host, theirs: Host, registry: RunningRegistry
    ) -> None:
        name = f"{registry.host}/x/bell"
        index = add_index(mine, name)
        bell = next(c for c in index.manifests if c.platform == host_platform())
        mine.run("tag", "bell:1", f"{name}:multi-of-one")
        mine.run("push", "-q", "--no-sign", f"{name}:multi")
        theirs.run("trust", "add", name, "--key", public(mine))
        theirs.run("verify", f"{name}:multi", code=6)
        mine.run("sign", f"{name}:multi@{bell.digest}", env=SECRET)
        mine.run("push", "-q", "--no-sign", f"{name}:multi")
        theirs.run("verify", f"{name}:multi")
        theirs.run("run", "--dry-run", f"{name}:multi", ME)


class TestUnderAnotherName:
    NAME = "registry.example/x/bell:1"

    def test_it_gets_that_name_and_prune_keeps_the_signature(self, mine: Host) -> None:
        mine.run("sign", "--as", self.NAME, "bell:1", env=SECRET)
        digest = mine.run("list", "-q", "bell:1").stdout.strip()
        assert digest == mine.run("list", "-q", self.NAME).stdout.strip()
        _age(mine.root / "data" / "store")
        mine.run("prune")
        mine.run("verify", "--key", public(mine), self.NAME)

    def test_a_name_of_other_content_is_not_taken(self, mine: Host) -> None:
        add_index(mine, "registry.example/x/bell", "1")
        told = mine.run("sign", "--as", self.NAME, "bell:1", env=SECRET, code=2).stderr
        assert f"bpfpack tag bell:1 {self.NAME}" in told
        assert mine.run("list", "-q", self.NAME).stdout != mine.run("list", "-q", "bell:1").stdout


def _age(store: Path) -> None:
    """Make everything older than the grace period of prune."""
    old = time.time() - 2 * 3600
    for path in store.rglob("*"):
        os.utime(path, (old, old))


class TestKeysFromElsewhere:
    def pem(self, curve: ec.EllipticCurve) -> str:
        key = ec.generate_private_key(curve)
        return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode()

    def test_imported_from_the_environment(self, theirs: Host) -> None:
        env = SECRET | {"OLD_KEY": self.pem(ec.SECP256R1())}
        done = theirs.run("keygen", "--import", "env://OLD_KEY", env=env)
        assert "cosign" not in done.stderr
        assert theirs.run("pubkey").stdout == public(theirs).read_text()
        missing = theirs.run("keygen", "--import", "env://NO_SUCH", env=SECRET, code=4)
        assert "the environment has no NO_SUCH" in missing.stderr

    def test_one_that_cosign_must_be_told_of_is_warned_of(
        self, theirs: Host, tmp_path: Path
    ) -> None:
        env = SECRET | {"OLD_KEY": self.pem(ec.SECP384R1())}
        assert "P-384" in theirs.run("keygen", "--import", "env://OLD_KEY", env=env).stderr
        added = theirs.run("trust", "add", "ghcr.io/x", "--key", public(theirs))
        assert "P-384" in added.stderr
        policy = tmp_path / "policy.json"
        policy.write_text(
            '{"default":[{"type":"reject"}],"transports":{"docker":{"ghcr.io/y":[{"type":'
            f'"sigstoreSigned","keyPath":"{public(theirs)}"}}]}}}}}}'
        )
        assert "P-384" in theirs.run("trust", "import", policy).stderr


_SCHEMA = json.loads((REPO / "docs" / "schema" / "judgement.schema.json").read_bytes())


def as_documented(document: object) -> bool:
    """Say whether a judgement has the documented shape."""
    Draft202012Validator.check_schema(_SCHEMA)
    return bool(Draft202012Validator(_SCHEMA).is_valid(document))


class TestDocument:
    """`verify -o json` is what its schema says, whatever the outcome."""

    def test_its_shape(self, mine: Host, theirs: Host, registry: RunningRegistry) -> None:
        name = f"{registry.host}/x/bell:1"
        mine.run("tag", "bell:1", name)
        mine.push("-q", name)
        mine.run("sign", "-y", "--as", f"{registry.host}/x/bell:2", name, env=SECRET)
        mine.run("push", "-q", "--no-sign", name)
        theirs.run("trust", "add", f"{registry.host}/x", "--key", public(mine), "--name", "me")
        good = theirs.run("verify", "-o", "json", name).json
        assert as_documented(good)
        digest = mine.run("list", "-q", name).stdout.strip()
        assert (good["accepted"], good["digest"], good["reference"]) == (True, digest, name)
        assert good["policy"] == {
            "scope": f"{registry.host}/x",
            "source": str(theirs.root / "config" / "policy.toml"),
            "level": "enforce",
        }
        (signer,) = good["signers"]
        assert (signer["name"], signer["reference"], signer["digest"]) == ("me", name, digest)
        verdicts = {(c["form"], c["claims"]["reference"]): c["good"] for c in good["candidates"]}
        assert verdicts == {
            (form, f"{registry.host}/x/bell:{tag}"): tag == "1"
            for form in ("bundle", "legacy")
            for tag in ("1", "2")
        }

    @pytest.mark.parametrize("trusted", [True, False])
    def test_of_a_refusal(
        self, mine: Host, theirs: Host, registry: RunningRegistry, trusted: bool
    ) -> None:
        name = f"{registry.host}/x/bell:1"
        mine.run("tag", "bell:1", name)
        mine.push("-q", name)
        if trusted:
            theirs.keygen()
            theirs.run("trust", "add", f"{registry.host}/x", "--key", public(theirs))
        bad = theirs.run("verify", "-o", "json", name, code=6).json
        assert as_documented(bad)
        assert (bad["accepted"], bad["signers"]) == (False, [])
        assert (bad["policy"] is not None) == trusted
        assert bad["reason"] and bad["hint"]
        assert all(not c["good"] and c["reason"] and c["claims"] is None for c in bad["candidates"])
        assert as_documented(theirs.run("trust", "test", "-o", "json", name).json)

    def test_the_schema_refuses_what_lacks_a_member(self) -> None:
        assert not as_documented({"schemaVersion": 1, "reference": "x"})
