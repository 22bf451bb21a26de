"""Attacks on the whole way, by the commands: what is refused, and what the refusal says.

Nothing here needs the kernel: a refusal comes before it, and what is accepted is only planned.
"""

import json
import shutil
import subprocess
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from bpfpack.registry.client.remote import RegistryClient
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.trust import keys
from bpfpack.registry.trust.attach import attach
from bpfpack.registry.trust.sign import sign
from bpfpack.spec import mediatypes
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Manifest
from bpfpack.spec.reference import Reference
from tests.kit import bell
from tests.kit.attacking import accepted, blob, copied, flip, get, publish, put, refused, url_of
from tests.kit.bell import ME
from tests.kit.cli import PASSWORD, Host
from tests.kit.hostile import Listener, Reply, listener, manifest_reply
from tests.kit.packages import artifact, fill
from tests.kit.servers import RunningRegistry


class TestTampering:
    """One bit on the registry's disk."""

    @pytest.mark.parametrize("part", ["manifest", "config", "object"])
    def test_of_the_package(
        self, author: Host, host: Host, registry: RunningRegistry, name: str, part: str
    ) -> None:
        digest = publish(author, "1", f"{name}:1")
        shown = author.run("inspect", "-o", "json", f"{name}:1").json
        digests = {
            "manifest": digest,
            "config": json.loads(get(url_of(name, digest)))["config"]["digest"],
            "object": shown["layers"][0]["digest"],
        }
        flip(blob(registry, digests[part]))
        refused(host, f"{name}:1")
        assert host.run("list", "-q").stdout == ""

    def test_of_every_signature(
        self, author: Host, host: Host, registry: RunningRegistry, name: str
    ) -> None:
        digest = publish(author, "1", f"{name}:1")
        mine = {
            digest,
            *(layer["digest"] for layer in json.loads(get(url_of(name, digest)))["layers"]),
        }
        signature = json.loads(get(url_of(name, f"{digest.replace(':', '-')}.sig")))
        for layer in signature["layers"]:
            assert layer["digest"] not in mine
            flip(blob(registry, layer["digest"]))
        accepted(host, f"{name}:1")  # the bundle is whole
        for path in registry.data.rglob("*"):
            if path.is_file() and b"dsseEnvelope" in path.read_bytes():
                flip(path)
        other = Host(root=host.root.parent / "another")
        shutil.copytree(host.root / "config", other.root / "config")
        assert "no usable signature" in refused(other, f"{name}:1")

    def test_of_the_store(self, author: Host, host: Host, name: str) -> None:
        """The bytes that are loaded are hashed at every run."""
        publish(author, "1", f"{name}:1")
        accepted(host, f"{name}:1")
        digest = author.run("inspect", "-o", "json", f"{name}:1").json["layers"][0]["digest"]
        (path,) = (host.root / "data").rglob(digest.partition(":")[2])
        path.chmod(0o600)
        flip(path)
        assert "`bpfpack pull` fetches it again" in refused(host, "--no-pull", f"{name}:1")

    def test_of_an_archive(self, author: Host, host: Host, name: str, tmp_path: Path) -> None:
        publish(author, "1", f"{name}:1")
        archive = tmp_path / "bell.tar"
        author.run("save", "-q", "-f", archive, f"{name}:1")
        accepted(host, "--as", f"{name}:1", archive)
        with tarfile.open(archive) as tar:
            largest = max(tar, key=lambda member: member.size)  # the object
        data = bytearray(archive.read_bytes())
        data[largest.offset_data + largest.size // 2] ^= 1
        archive.write_bytes(data)
        told = refused(host, "--as", f"{name}:1", archive)
        assert "get the archive again" in told and "bpfpack pull" not in told


class TestSignatures:
    """Good signatures, of something else."""

    def test_none(self, author: Host, host: Host, name: str) -> None:
        author.run("tag", "bell:1", f"{name}:1")
        author.run("push", "-q", "--no-sign", f"{name}:1")
        assert "is not signed, and the rule" in refused(host, f"{name}:1")

    def test_by_another_key(self, author: Host, mallory: Host, host: Host, name: str) -> None:
        author.run("tag", "bell:1", f"{name}:1")
        author.run("push", "-q", "--no-sign", f"{name}:1")
        mallory.run("sign", "-y", f"{name}:1", env={"BPFPACK_PASSWORD": PASSWORD})
        told = refused(host, f"{name}:1")
        fingerprint = _fingerprint(mallory)
        assert fingerprint[:16] in told
        assert f"bpfpack trust add {name.removesuffix('/bell')} --key" in told

    def test_of_another_repository(self, author: Host, host: Host, name: str) -> None:
        digest = publish(author, "1", f"{name}:1")
        other = name.replace("/bell", "/other")
        author.run("tag", f"{name}:1", f"{other}:1")
        author.run("push", "-q", "--no-sign", f"{other}:1")
        put(
            url_of(other, f"{digest.replace(':', '-')}.sig"),
            copied(name, other, f"{digest.replace(':', '-')}.sig"),
        )
        assert f"{name}:1" in refused(host, f"{other}:1")

    def test_of_another_digest(self, author: Host, host: Host, name: str) -> None:
        good = publish(author, "1", f"{name}:1")
        author.run("tag", "bell:2", f"{name}:2")
        author.run("push", "-q", "--no-sign", f"{name}:2")
        bad = author.run("list", "-q", "bell:2").stdout.strip()
        put(url_of(name, "1"), get(url_of(name, bad)))  # the tag moves to other bytes
        signature = get(url_of(name, f"{good.replace(':', '-')}.sig"))
        put(url_of(name, f"{bad.replace(':', '-')}.sig"), signature)
        refused(host, f"{name}:1")

    def test_expired(self, author: Host, host: Host, name: str) -> None:
        author.run("tag", "bell:1", f"{name}:1")
        place = DiskStore(author.root / "data" / "store").repository(name)
        content = place.resolve("1")
        key = keys.unlock((author.root / "config" / "identity.key").read_bytes(), PASSWORD.encode())
        long_ago = datetime.now(UTC) - timedelta(days=30)
        signed = sign(
            content.descriptor,
            Reference.parse(f"{name}:1"),
            key,
            now=long_ago,
            lifetime=timedelta(days=1),
        )
        attach(place, signed)
        author.run("push", "-q", "--no-sign", f"{name}:1")
        assert "expired" in refused(host, f"{name}:1")


def _fingerprint(who: Host) -> str:
    from bpfpack.spec.policy import fingerprint

    return fingerprint((who.root / "config" / "identity.pub").read_text())


class TestLeftovers:
    """What other repositories left in the store beside the very same content."""

    def test_junk_beside_another_name_hides_no_signature(
        self, author: Host, host: Host, registry: RunningRegistry, name: str
    ) -> None:
        digest = publish(author, "1", f"{name}:1")
        evil = f"{registry.host}/evil/x"
        author.run("tag", "bell:1", f"{evil}:1")
        author.run("push", "-q", "--no-sign", f"{evil}:1")
        subject = get(url_of(evil, digest))
        with RegistryClient(lookup=lambda _registry, _repository: None) as client:
            place = client.repository(registry.host, "evil/x")
            for i in range(LIMITS.signature_candidates):
                about = Descriptor.of(subject, mediatypes.MANIFEST)
                fill(place, artifact(b"junk %d" % i, subject=about))
        host.run("pull", "-q", f"{evil}:1")
        accepted(host, f"{name}:1")
        accepted(host, "--no-pull", f"{name}:1")
        assert "is not signed" not in refused(host, f"{evil}:1")

    def test_a_push_tells_nothing_of_other_names(
        self, author: Host, registry: RunningRegistry, name: str
    ) -> None:
        digest = publish(author, "1", f"{name}:1")
        public = f"{registry.host}/public/x"
        author.run("tag", f"{name}:1", f"{public}:1")
        author.push("-q", f"{public}:1")
        signature = json.loads(get(url_of(public, f"{digest.replace(':', '-')}.sig")))
        base = url_of(public, "").removesuffix("/manifests/")
        (layer,) = signature["layers"]
        told = requests.get(f"{base}/blobs/{layer['digest']}", timeout=30).text
        assert public in told and name not in told

    def test_a_mirror_serves_what_was_signed_elsewhere(
        self, author: Host, host: Host, registry: RunningRegistry, name: str, tmp_path: Path
    ) -> None:
        """Whoever mirrors it has no key; the rule there says under which name it was signed."""
        publish(author, "1", f"{name}:1")
        mirror = f"{registry.host}/mirror/{name.rpartition('/')[2]}"
        carrier = Host(root=tmp_path / "carrier")
        carrier.run("pull", "-q", f"{name}:1")
        carrier.run("tag", f"{name}:1", f"{mirror}:1")
        carrier.run("push", "-q", f"{mirror}:1")
        host.run("rmi", f"{name}:1", code=None)
        key = author.root / "config" / "identity.pub"
        scope = f"{registry.host}/mirror"
        host.run("trust", "add", scope, "--key", key, "--signed-as", name.rpartition("/")[0])
        accepted(host, f"{mirror}:1")

    def test_what_we_signed_before_is_signed_under_its_new_name(
        self, author: Host, host: Host, registry: RunningRegistry, name: str, tmp_path: Path
    ) -> None:
        """On another machine of ours, which built nothing."""
        publish(author, "1", f"{name}:1")
        other = Host(root=tmp_path / "other")
        shutil.copytree(author.root / "config", other.root / "config")
        second = f"{name.rpartition('/')[0]}/second:1"
        other.run("pull", "-q", f"{name}:1")
        other.run("tag", f"{name}:1", second)
        other.push("-q", second)
        accepted(host, second)

    def test_signed_under_another_name_goes_where_that_is_pushed(
        self, author: Host, host: Host, name: str
    ) -> None:
        author.run("sign", "bell:1", "--as", f"{name}:1", env={"BPFPACK_PASSWORD": PASSWORD})
        author.run("tag", "bell:1", f"{name}:1")
        author.run("push", "-q", "--no-sign", f"{name}:1")
        accepted(host, f"{name}:1")


class TestRollback:
    def test_a_tag_goes_back(self, author: Host, host: Host, name: str) -> None:
        publish(author, "1", f"{name}:1")
        old = get(url_of(name, "1"))
        publish(author, "2", f"{name}:1")
        accepted(host, f"{name}:1")
        put(url_of(name, "1"), old)
        told = refused(host, "--pull=always", f"{name}:1")
        assert "--allow-downgrade" in told
        accepted(host, "--allow-downgrade", "--pull=always", f"{name}:1")

    def test_a_tag_goes_back_under_a_host_that_only_pulls(
        self, author: Host, host: Host, name: str
    ) -> None:
        """What `pull` accepted counts as accepted; nothing ran in between."""
        publish(author, "1", f"{name}:1")
        old = get(url_of(name, "1"))
        newest = publish(author, "2", f"{name}:1")
        host.run("pull", "-q", f"{name}:1")
        put(url_of(name, "1"), old)
        told = host.run("pull", f"{name}:1", code=6).stderr
        assert "--allow-downgrade" in told
        assert host.run("list", "-q", f"{name}:1").stdout.strip() == newest
        refused(host, "--pull=always", f"{name}:1")
        host.run("pull", "-q", "--allow-downgrade", f"{name}:1")
        assert host.run("list", "-q", f"{name}:1").stdout.strip() != newest

    def test_the_highest_release_goes_away(self, author: Host, host: Host, name: str) -> None:
        publish(author, "1", f"{name}:1")
        publish(author, "2", f"{name}:2")
        accepted(host, name)
        requests.delete(url_of(name, "2"), timeout=30).raise_for_status()
        host.run("rmi", f"{name}:2")
        assert "--allow-downgrade" in refused(host, name)
        accepted(host, f"{name}:1")  # asked for by name

    @pytest.mark.parametrize("held", [True, False], ids=["here", "only-there"])
    def test_no_command_takes_what_run_refuses(
        self, author: Host, host: Host, name: str, held: bool
    ) -> None:
        """The registry hides 1.1, and the store has it no more; 1.0 is what is left."""
        publish(author, "1", f"{name}:1.0")
        publish(author, "2", f"{name}:1.1")
        accepted(host, name)
        if held:
            host.run("pull", "-q", f"{name}:1.0")
        requests.delete(url_of(name, "1.1"), timeout=30).raise_for_status()
        host.run("rmi", f"{name}:1.1")
        before = host.run("list", "-q").stdout
        told = f"{name}: 1.0 is the newest to be had, but this host has accepted 1.1"
        for argv, code in (
            (("verify", name), 6),
            (("trust", "test", name), 0),  # which only explains
            (("pull", "-q", name), 6),
            (("run", name, ME), 126),
        ):
            done = host.run(*argv, code=code)
            assert told in done.stderr + done.stdout
            assert "--allow-downgrade" in done.stderr + done.stdout
        assert f"may not run here: {told}" in host.run("inspect", name).stdout
        assert host.run("list", "-q").stdout == before
        host.run("verify", f"{name}:1.0")  # asked for by name
        host.run("pull", "-q", "--allow-downgrade", name)
        accepted(host, "--allow-downgrade", name)

    def test_a_single_number_goes_away(self, author: Host, host: Host, name: str) -> None:
        """``2`` is no version beside ``1.0``, and still above it."""
        publish(author, "2", f"{name}:2")
        accepted(host, name)
        publish(author, "1", f"{name}:1.0")
        requests.delete(url_of(name, "2"), timeout=30).raise_for_status()
        host.run("rmi", f"{name}:2")
        assert "--allow-downgrade" in refused(host, name)
        accepted(host, "--allow-downgrade", name)

    def test_an_older_branch_does_not_hold_latest_back(
        self, author: Host, host: Host, name: str
    ) -> None:
        publish(author, "2", f"{name}:2.0")
        publish(author, "2", f"{name}:latest")
        accepted(host, f"{name}:2.0")
        accepted(host, name)
        publish(author, "1", f"{name}:1.9.1")  # a backport, signed later
        accepted(host, f"{name}:1.9.1")
        accepted(host, name)

    def test_an_old_latest_comes_back(self, author: Host, host: Host, name: str) -> None:
        """The registry kept it, and its good signature; this host has run what came after."""
        publish(author, "1", f"{name}:latest")
        publish(author, "2", f"{name}:2.0")
        accepted(host, f"{name}:2.0")
        told = refused(host, "--pull=always", name)
        assert "accepted before for 2.0" in told and "--allow-downgrade" in told
        assert "accepted before for 2.0" in host.run("pull", name, code=6).stderr
        accepted(host, f"{name}:latest")  # asked for by name
        assert "--allow-downgrade" in refused(host, "--no-pull", name)
        accepted(host, "--allow-downgrade", name)

    def test_a_tag_that_moves_between_judgement_and_load(
        self, author: Host, host: Host, tmp_path: Path
    ) -> None:
        """Good for whoever asks first, something else ever after: what was judged is what runs."""
        with listener() as lying:
            name = f"{lying.host}/x/bell"
            author.run("tag", "bell:1", f"{name}:1")
            author.run("sign", f"{name}:1", env={"BPFPACK_PASSWORD": PASSWORD})
            good = _serve(lying, author, f"{name}:1")
            evil = _serve(lying, author, "bell:2")
            lying.on(
                "GET",
                "/v2/x/bell/manifests/1",
                [manifest_reply(m.raw, m.descriptor.media_type) for m in (good, evil)],
            )
            key = author.root / "config" / "identity.pub"
            host.run("trust", "add", f"{lying.host}/x", "--key", key)
            accepted(host, f"{name}:1")
            assert host.run("list", "-q").stdout.strip() == str(good.descriptor.digest)
            assert evil.descriptor.digest != good.descriptor.digest


def _serve(lying: Listener, author: Host, reference: str) -> Manifest:
    """Offer a package of the author's store, with its signature's tag."""
    store = DiskStore(author.root / "data" / "store")
    ref = Reference.parse(reference)
    place = store.repository(ref.name)
    found = place.resolve(ref.tag or "")
    assert isinstance(found, Manifest)
    manifests = {str(found.descriptor.digest): found}
    tag = f"{str(found.descriptor.digest).replace(':', '-')}.sig"
    if not ref.is_bare:
        signature = place.resolve(tag)
        assert isinstance(signature, Manifest)
        manifests |= {tag: signature, str(signature.descriptor.digest): signature}
    for name, manifest in manifests.items():
        answer = manifest_reply(manifest.raw, manifest.descriptor.media_type)
        for method in ("GET", "HEAD"):
            lying.on(method, f"/v2/x/bell/manifests/{name}", answer)
        for layer in (manifest.config, *manifest.layers):
            with place.fetch(layer) as stream:
                data = stream.read(layer.size)
            assert Digest.sha256(data) == layer.digest
            for method in ("GET", "HEAD"):
                lying.on(method, f"/v2/x/bell/blobs/{layer.digest}", Reply(body=data))
    return found


class TestArchives:
    """What an archive says of itself."""

    def test_a_name_by_digest_that_holds_other_content(
        self, author: Host, host: Host, name: str, tmp_path: Path
    ) -> None:
        """An old signed release must not run under the digest of the new one."""
        old, new = publish(author, "1", f"{name}:1"), publish(author, "2", f"{name}:2")
        author.run("save", "-q", "-f", tmp_path / "a.tar", f"{name}@{old}")
        (tmp_path / "layout").mkdir()
        archive, layout = tmp_path / "a.tar", tmp_path / "layout"
        subprocess.run(["tar", "-xf", archive, "-C", layout], check=True)
        index = layout / "index.json"
        index.write_text(index.read_text().replace(f"{name}@{old}", f"{name}@{new}"))
        subprocess.run(["tar", "-cf", archive, "-C", layout, "."], check=True)
        failed = host.run("load", "-q", "-f", tmp_path / "a.tar", code=None)
        assert failed.code != 0 and "is the name of" in failed.stderr
        assert host.run("list", "-q").stdout == ""
        # And one that is in the store already, as an older bpfpack took it.
        host.run("pull", "-q", f"{name}@{old}")
        record = host.root / "data" / "store" / "refs" / name.replace("/", "%") / old
        accepted(host, f"{name}@{old}")
        raw = record.read_text().replace(f"{name}@{old}", f"{name}@{new}")
        record.with_name(new).write_text(raw)
        record.with_name(new).chmod(0o600)
        done = host.run("run", "--dry-run", f"{name}@{new}", ME, code=None)
        assert done.code != 0 and "cannot name" in done.stderr

    def test_a_second_name_for_a_bare_digest(
        self, author: Host, host: Host, name: str, tmp_path: Path
    ) -> None:
        """A name that sorts first must not choose the rule."""
        digest = publish(author, "1", f"{name}:1")
        accepted(host, f"{name}:1")
        accepted(host, digest)
        author.run("tag", f"{name}:1", "0.example/x:1")
        author.run("save", "-q", "-f", tmp_path / "a.tar", "0.example/x:1")
        host.run("load", "-q", "-f", tmp_path / "a.tar")
        done = host.run("run", "--dry-run", digest, ME, code=125)
        assert f"0.example/x@{digest}, {name}@{digest}" in done.stderr
        accepted(host, f"{name}@{digest}")
        refused(host, f"0.example/x@{digest}")


class TestBuiltHere:
    def test_it_runs_where_no_rule_covers_it(self, author: Host) -> None:
        accepted(author, "bell:1")

    def test_a_rule_that_covers_it_must_list_the_host(self, author: Host, tmp_path: Path) -> None:
        builder = Host(root=tmp_path / "builder")
        name = "registry.test/x/bell:1"
        builder.run("build", "-q", "-t", name, author.root / "bell")
        accepted(builder, name)
        key = author.root / "config" / "identity.pub"
        builder.run("trust", "add", "registry.test/x", "--key", key)
        refused(builder, name)
        builder.run("trust", "add", "registry.test/x", "--host")
        accepted(builder, name)

    def test_a_copied_store_claims_nothing(self, author: Host, tmp_path: Path) -> None:
        other = Host(root=tmp_path / "other")
        shutil.copytree(author.root / "data", other.root / "data")
        assert "bell:1" in refused(other, "bell:1")

    def test_nor_does_an_archive(self, author: Host, tmp_path: Path) -> None:
        """Not even on the host that built what is in it: names are for display."""
        other = Host(root=tmp_path / "other")
        author.run("save", "-q", "-f", tmp_path / "bell.tar", "bell:1")
        other.run("load", "-q", "-f", tmp_path / "bell.tar")
        refused(other, "bell:1")
        refused(other, tmp_path / "bell.tar")

    def test_push_does_not_endorse_what_was_pulled(
        self, author: Host, mallory: Host, registry: RunningRegistry, tmp_path: Path
    ) -> None:
        evil, corp = f"{registry.host}/evil/x:1", f"{registry.host}/corp/x:1"
        (tmp_path / "evil").mkdir()
        mallory.run("build", "-q", "-t", evil, bell.write(tmp_path / "evil"))
        mallory.push("-q", evil)
        author.run("pull", "-q", evil)
        author.run("tag", evil, corp)
        assert "--sign" in author.push(corp).stderr
        host = Host(root=tmp_path / "host")
        key = author.root / "config" / "identity.pub"
        host.run("trust", "add", f"{registry.host}/corp", "--key", key)
        refused(host, corp)
        assert "comes from elsewhere" in author.push("--sign", corp).stderr
        accepted(host, corp)


class TestOptingOut:
    def test_it_warns_and_is_recorded(self, author: Host, host: Host, name: str) -> None:
        author.run("tag", "bell:1", f"{name}:1")
        author.run("push", "-q", "--no-sign", f"{name}:1")
        host.run("trust", "rm", name.rpartition("/")[0])
        done = accepted(host, "-q", "--insecure-skip-verify", f"{name}:1")
        assert "RUNNING UNVERIFIED CODE IN THE KERNEL" in done.stderr
        (record,) = (host.root / "state" / "skipped").iterdir()
        told = json.loads(record.read_text())
        assert told["digest"] == author.run("list", "-q", "bell:1").stdout.strip()
        assert name in told["origin"]

    def test_never_other_bytes(
        self, author: Host, host: Host, registry: RunningRegistry, name: str
    ) -> None:
        digest = publish(author, "1", f"{name}:1")
        shown = json.loads(get(url_of(name, digest)))
        flip(blob(registry, shown["layers"][0]["digest"]))
        refused(host, "--insecure-skip-verify", f"{name}:1")
