"""Attacks through an index, and through documents that are two things at once.

Whoever can write a repository can put an index of their own under any tag.
"""

import base64
import json
import sys

import pytest
import requests

from bpfpack.cli.platform import host_platform
from bpfpack.registry.fetch_package import read_artifact
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.store.memory import MemoryStore
from bpfpack.registry.transfer import copy
from bpfpack.registry.trust.collect import collect
from bpfpack.spec import mediatypes
from bpfpack.spec.config import Config, Requirements
from bpfpack.spec.content import Source
from bpfpack.spec.descriptor import Descriptor, Platform
from bpfpack.spec.digest import Digest
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import ContentError, SpecError, TrustError
from bpfpack.spec.manifest import Index, Manifest, build_index
from bpfpack.spec.package import Package, build_package
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import SignaturePlace, legacy_tag
from bpfpack.spec.trust import RemoteArtifact
from bpfpack.spec.value import replace
from tests.kit.attacking import accepted, get, publish, put, refused, sig_tag, url_of
from tests.kit.bell import ME
from tests.kit.cli import PASSWORD, Host
from tests.kit.hostile import Listener, listener, manifest_reply
from tests.kit.signing import (
    MemoryRepository,
    admitted,
    make_package,
    origin_of,
    policy_for,
    repository_with,
    sign_into,
)
from tests.kit.vectors import VECTORS

HERE = host_platform()
MANIFEST = mediatypes.MANIFEST
SECRET = {"BPFPACK_PASSWORD": PASSWORD}
ALICE = policy_for("ghcr.io/x", "alice")


def index_of(*children: Descriptor, platform: Platform = HERE) -> Index:
    return build_index(tuple(replace(child, platform=platform) for child in children))


def look(source: Source, subject: Descriptor) -> tuple[SignaturePlace, ...]:
    return collect(source, subject)


def read(repository: MemoryRepository, name: str = "1.0") -> RemoteArtifact:
    """Read what a tag names, as `run` does."""
    return read_artifact(repository, name, origin_of(), platform=HERE, look=look)


def add(repository: MemoryRepository, package: Package) -> Descriptor:
    """Store a package without a name."""
    repository.blobs.update(package.blobs)
    repository.put(package.manifest)
    return package.manifest.descriptor


class TestIndexWhoseChildDiffers:
    """The index is signed; what the registry gives out for its child is not what it lists."""

    def test_other_bytes_under_the_digest_of_the_child(self) -> None:
        good, evil = make_package(), make_package("evil")
        repository = repository_with(good)
        index = index_of(good.manifest.descriptor)
        repository.put(index, "1.0")
        sign_into(repository, index.descriptor)
        admitted(read(repository), ALICE)
        add(repository, evil)
        repository.manifests[good.manifest.descriptor.digest] = evil.manifest.raw
        with pytest.raises(ContentError):
            read(repository)

    def test_over_http(self, author: Host, host: Host) -> None:
        """The client hashes what a digest brings; the header that says so proves nothing."""
        store = DiskStore(author.root / "data" / "store")
        good, evil = (store.repository("bell").resolve(tag) for tag in ("1", "2"))
        assert isinstance(good, Manifest) and isinstance(evil, Manifest)
        index = index_of(good.descriptor)
        with listener() as lying:
            name = f"{lying.host}/x/bell"
            host.run("trust", "add", name, "--key", author.root / "config" / "identity.pub")
            store.repository(name).put(index, "1")
            author.run("sign", "--no-recursive", f"{name}:1", env=SECRET)
            signature = store.repository(name).resolve(legacy_tag(index.descriptor.digest))
            assert isinstance(signature, Manifest)
            _serve(lying, store, name, index, "1")
            _serve(lying, store, name, signature, legacy_tag(index.descriptor.digest))
            _serve(lying, store, name, good)
            accepted(host, f"{name}:1")
            host.run("rmi", f"{name}:1")
            claimed = str(good.descriptor.digest)
            lie = manifest_reply(evil.raw, evil.media_type, Docker_Content_Digest=claimed)
            lying.on("GET", f"/v2/x/bell/manifests/{claimed}", lie)
            fresh = Host(root=host.root.parent / "fresh")
            (fresh.root / "config").mkdir(parents=True, mode=0o700)
            policy = (host.root / "config" / "policy.toml").read_bytes()
            (fresh.root / "config" / "policy.toml").write_bytes(policy)
            assert f"asked for {claimed}, got {evil.descriptor.digest}" in refused(
                fresh, f"{name}:1"
            )

    def test_a_size_that_differs(self) -> None:
        good = make_package()
        repository = repository_with(good)
        listed = replace(good.manifest.descriptor, size=good.manifest.descriptor.size + 1)
        repository.put(index_of(listed), "1.0")
        with pytest.raises((ContentError, SpecError)):
            read(repository)

    def test_a_media_type_that_differs(self) -> None:
        good = make_package()
        repository = repository_with(good)
        repository.put(
            index_of(replace(good.manifest.descriptor, media_type=mediatypes.INDEX)), "1.0"
        )
        with pytest.raises(SpecError):
            read(repository)


def _serve(
    lying: Listener, store: DiskStore, name: str, content: Manifest | Index, tag: str | None = None
) -> None:
    """Offer content of a store with its blobs."""
    place = store.repository(name)
    answer = manifest_reply(content.raw, content.media_type)
    for reference in (str(content.descriptor.digest), *([tag] if tag else [])):
        for method in ("GET", "HEAD"):
            lying.on(method, f"/v2/x/bell/manifests/{reference}", answer)
    if isinstance(content, Manifest):
        for want in (content.config, *content.layers):
            with place.fetch(want) as stream:
                data = stream.read(want.size + 1)
            reply = manifest_reply(data, "application/octet-stream")
            lying.on("GET", f"/v2/x/bell/blobs/{want.digest}", reply)


class TestUnsignedIndex:
    """An index that nobody signed vouches for nothing; its child stands on its own signature."""

    def test_around_an_unsigned_child(self) -> None:
        repository = repository_with(make_package("evil"))
        child = repository.resolve("1.0").descriptor
        repository.put(index_of(child), "1.0")
        with pytest.raises(TrustError, match="is not signed"):
            admitted(read(repository), ALICE)

    def test_around_a_child_that_is_signed_for_this_name(self) -> None:
        good = make_package()
        repository = repository_with(good)
        sign_into(repository, good.manifest.descriptor)
        repository.put(index_of(good.manifest.descriptor), "1.0")
        admitted(read(repository), ALICE)

    @pytest.mark.parametrize("signed", ["ghcr.io/x/opensnoop:0.9", "ghcr.io/x/execsnoop:1.0"])
    def test_around_a_child_that_is_signed_for_another(self, signed: str) -> None:
        good = make_package()
        repository = repository_with(good)
        sign_into(repository, good.manifest.descriptor, reference=Reference.parse(signed))
        repository.put(index_of(good.manifest.descriptor), "1.0")
        with pytest.raises(TrustError, match=f"was made for {signed}"):
            admitted(read(repository), ALICE)

    def test_beside_a_signed_one_that_lists_the_child(self) -> None:
        """The signature of another index, though it lists the child, is not looked for."""
        good = make_package()
        repository = repository_with(good)
        whole = index_of(good.manifest.descriptor)
        repository.put(whole)
        sign_into(repository, whole.descriptor)
        other = replace(good.manifest.descriptor, annotations={"x": "y"})
        repository.put(index_of(other), "1.0")
        with pytest.raises(TrustError, match="is not signed"):
            admitted(read(repository), ALICE)

    def test_a_child_of_an_older_release(self, author: Host, host: Host, name: str) -> None:
        """Rollback by way of an index."""
        old = publish(author, "1", f"{name}:1")
        publish(author, "2", f"{name}:1")
        accepted(host, f"{name}:1")
        child = Descriptor.of(get(url_of(name, old)), mediatypes.MANIFEST)
        put(url_of(name, "1"), index_of(child).raw, mediatypes.INDEX)
        assert "older than the one" in refused(host, "--pull=always", f"{name}:1")


class TestForAnotherMachine:
    """The package is good and signed; an index offers it to machines that it is not for."""

    def offer(self, author: Host, name: str, package: Package) -> None:
        """Sign and push it, and then an index that lies about its platform."""
        place = DiskStore(author.root / "data" / "store").repository(name)
        copy(MemoryStore.of(package), place, package.manifest.descriptor.digest, "1")
        author.push("-q", "--sign", f"{name}:1")
        index = index_of(package.manifest.descriptor)
        put(url_of(name, "1"), index.raw, mediatypes.INDEX)

    def test_of_the_other_byte_order(self, author: Host, host: Host, name: str) -> None:
        """An object says itself what it is for, whatever lists it."""
        other: ByteOrder = "big" if sys.byteorder == "little" else "little"
        vector = json.loads((VECTORS / f"valid/object/tracer-{other}-endian.json").read_bytes())
        needs = Requirements(byte_order=other)
        config = Config(name="other", requirements=needs)
        object_ = base64.b64decode(vector["base64"])
        self.offer(author, name, build_package(config, object_, file_name="other.o"))
        assert f"{other}-endian, this host not" in host.run("run", f"{name}:1", code=126).stderr

    def test_of_another_architecture(self, author: Host, host: Host, name: str) -> None:
        vector = json.loads(
            (VECTORS / f"valid/object/tracer-{sys.byteorder}-endian.json").read_bytes()
        )
        needs = Requirements(byte_order=sys.byteorder, architectures=("s390x",))
        config = Config(name="other", requirements=needs)
        object_ = base64.b64decode(vector["base64"])
        self.offer(author, name, build_package(config, object_, file_name="other.o"))
        assert "made for s390x" in host.run("run", f"{name}:1", code=126).stderr

    def test_two_children_for_this_machine(self, author: Host, host: Host, name: str) -> None:
        """Which one is meant nobody can say, and the order says nothing."""
        children = [
            Descriptor.of(get(url_of(name, publish(author, version, f"{name}:1"))), MANIFEST)
            for version in ("1", "2")
        ]
        index = index_of(*children)
        put(url_of(name, "1"), index.raw, mediatypes.INDEX)
        pinned = f"{name}:1@{index.descriptor.digest}"
        author.run("sign", "--no-recursive", pinned, env=SECRET)
        host.run("verify", f"{name}:1")
        assert "several packages for linux/" in host.run("run", f"{name}:1", code=125).stderr


class TestTwoThingsAtOnce:
    """CVE-2021-41190: a document that some read as a manifest and others as an index."""

    def test_a_manifest_that_also_is_an_index(self, author: Host, host: Host, name: str) -> None:
        publish(author, "1", f"{name}:1")
        both = json.loads(get(url_of(name, "1"))) | {"manifests": []}
        digest = self.smuggled(author, name, json.dumps(both).encode())
        assert digest not in host.run("list", "-q").stdout
        told = self.run_what_the_registry_says(host, name, json.dumps(both).encode(), MANIFEST)
        assert "manifests" in told

    @pytest.mark.parametrize("claimed", [mediatypes.INDEX, "text/html"])
    def test_a_type_that_the_header_denies(
        self, author: Host, host: Host, name: str, claimed: str
    ) -> None:
        publish(author, "1", f"{name}:1")
        raw = get(url_of(name, "1"))
        assert self.run_what_the_registry_says(host, name, raw, claimed)

    def test_a_list_of_signatures_is_no_package(self, author: Host, host: Host, name: str) -> None:
        digest = publish(author, "1", f"{name}:1")
        put(url_of(name, "2"), get(url_of(name, sig_tag(digest))))
        refused(host, f"{name}:2")

    def test_an_index_inside_the_index_of_a_package(self) -> None:
        good = make_package()
        repository = repository_with(good)
        inner = index_of(good.manifest.descriptor)
        repository.put(inner)
        outer = index_of(inner.descriptor)
        repository.put(outer, "1.0")
        sign_into(repository, outer.descriptor)
        with pytest.raises(SpecError, match="an index inside"):
            read(repository)

    def smuggled(self, author: Host, name: str, raw: bytes) -> str:
        """The registry itself takes no such thing."""
        answer = requests.put(
            url_of(name, "1"), data=raw, headers={"Content-Type": MANIFEST}, timeout=30
        )
        assert answer.status_code == 400
        return str(Digest.sha256(raw))

    def run_what_the_registry_says(self, host: Host, name: str, raw: bytes, kind: str) -> str:
        with listener() as lying:
            lying.on("GET", "/v2/x/bell/manifests/1", manifest_reply(raw, kind))
            lying.on("HEAD", "/v2/x/bell/manifests/1", manifest_reply(raw, kind))
            done = host.run("run", f"{lying.host}/x/bell:1", ME, code=None)
        assert done.code in (125, 126)
        assert "Traceback" not in done.stderr and done.stdout == ""
        return done.stderr


class TestForeignUrls:
    """CVE-2020-15157: a layer that says where else its bytes can be had."""

    def test_nothing_is_fetched_from_there(self, author: Host, host: Host, name: str) -> None:
        publish(author, "1", f"{name}:1")
        with listener("127.0.0.2") as elsewhere:
            manifest = json.loads(get(url_of(name, "1")))
            for layer in (manifest["config"], *manifest["layers"]):
                layer["urls"] = [f"{elsewhere.url}/{layer['digest']}"]
            put(url_of(name, "2"), json.dumps(manifest).encode())
            assert "is not signed" in refused(host, f"{name}:2")
            key = author.root / "config" / "identity.pub"
            author.run("sign", "-y", f"{name}:2", env=SECRET)
            fresh = Host(root=host.root.parent / "fresh")
            done = fresh.run("run", "--dry-run", "--key", key, f"{name}:2", ME, code=None)
            assert "Traceback" not in done.stderr
            assert elsewhere.seen == []
