"""Attacks of a whole registry on `pull`, `verify` and `copy`.

The package is signed by a key that the host trusts; each test changes one thing about where
it is kept.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from bpfpack.spec import mediatypes
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_index, parse
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import fallback_tag, legacy_tag
from bpfpack.spec.value import replace
from tests.kit.cli import Host
from tests.kit.hostile import Listener, Reply, manifest_reply
from tests.kit.lying import honest
from tests.kit.packages import LINUX_AMD64, LINUX_S390X, artifact, fill, index_of, package
from tests.kit.signing import MemoryRepository, key_of, sign_into

ONE, TWO = package("tiny"), package("other", object_=bytes(200))
SUBJECT = replace(ONE.manifest.descriptor, annotations={})
DIGEST = SUBJECT.digest
ELSEWHERE = {"Location": "https://127.0.0.2:1/page"}


@pytest.fixture
def kept(registry: Listener) -> MemoryRepository:
    """What the registry keeps: the package, signed as ``1``, in both forms."""
    found = MemoryRepository()
    fill(found, ONE, "1")
    reference = Reference.parse(f"{registry.host}/x:1")
    sign_into(found, SUBJECT, "alice", reference, now=datetime.now(UTC) - timedelta(days=1))
    registry.otherwise = honest(found)
    return found


@pytest.fixture
def name(registry: Listener, kept: MemoryRepository) -> str:
    return f"{registry.host}/x:1"


@pytest.fixture
def host(host: Host, registry: Listener) -> Host:
    """A host that trusts the author."""
    host.root.mkdir(parents=True)
    (host.root / "alice.pub").write_text(key_of("alice").public_pem)
    host.run("trust", "add", f"{registry.host}/x", "--key", host.root / "alice.pub")
    return host


def referrers() -> str:
    return f"/v2/x/referrers/{DIGEST}"


def manifests(reference: object) -> str:
    return f"/v2/x/manifests/{reference}"


def junk(number: int, kind: str = mediatypes.SIGSTORE_BUNDLE) -> Manifest:
    return artifact(b"junk %d" % number, artifact_type=kind, subject=SUBJECT).manifest


def without_tag(kept: MemoryRepository) -> None:
    """Leave the bundle alone to sign it."""
    del kept.names[legacy_tag(DIGEST)]


def without_bundle(kept: MemoryRepository) -> None:
    """Leave the ``.sig`` alone to sign it."""
    for entry in kept.referrers(DIGEST):
        del kept.manifests[entry.digest]


def test_untouched_it_is_accepted(host: Host, name: str) -> None:
    host.run("verify", name)
    host.run("pull", "-q", name)


class TestReferrers:
    """One good signature counts, whatever stands before it; a failure to look is no answer."""

    @pytest.mark.parametrize("kind", ["application/vnd.junk", mediatypes.SIGSTORE_BUNDLE])
    def test_65_of_junk_before_the_good_one(
        self, host: Host, registry: Listener, kept: MemoryRepository, name: str, kind: str
    ) -> None:
        without_tag(kept)
        good = kept.referrers(DIGEST)
        for number in range(65):
            fill(kept, artifact(b"junk %d" % number, artifact_type=kind, subject=SUBJECT))
        listed = (*(d for d in kept.referrers(DIGEST) if d not in good), *good)
        registry.on("GET", referrers(), _index_reply(*listed))
        host.run("verify", name)
        if kind == "application/vnd.junk":
            asked = registry.requests("GET", "/manifests/sha256:")
            assert len(asked) < 5, "what is no signature by its type is not fetched"

    def test_256_bundles_and_more_hide_no_tag(
        self, host: Host, registry: Listener, kept: MemoryRepository, name: str
    ) -> None:
        without_bundle(kept)
        for number in range(LIMITS.signature_candidates + 44):
            fill(kept, artifact(b"junk %d" % number, subject=SUBJECT))
        host.run("verify", name)
        fetched = registry.requests("GET", "/manifests/sha256:")
        assert len(fetched) <= LIMITS.signature_candidates + 2

    def test_the_same_entry_over_and_over(
        self, host: Host, registry: Listener, kept: MemoryRepository, name: str
    ) -> None:
        """A list that repeats one entry is that entry, not a thousand."""
        without_tag(kept)
        (good,) = kept.referrers(DIGEST)
        bad = junk(1)
        kept.manifests[bad.descriptor.digest] = bad.raw
        registry.on("GET", referrers(), _index_reply(*[bad.descriptor] * 900, good))
        host.run("verify", name)
        assert len(registry.requests("GET", f"/{bad.descriptor.digest}")) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"artifact_type": None},
            {"artifact_type": "application/vnd.oci.empty.v1+json"},
            {"annotations": {"a": "b"}},
        ],
        ids=["no type", "another type", "annotations"],
    )
    def test_an_entry_that_says_another_type_hides_no_tag(
        self,
        host: Host,
        registry: Listener,
        kept: MemoryRepository,
        name: str,
        change: dict[str, object],
    ) -> None:
        (good,) = kept.referrers(DIGEST)
        registry.on("GET", referrers(), _index_reply(replace(good, **change)))
        host.run("verify", name)

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(status=303, headers=ELSEWHERE),
            Reply(status=404),
            Reply(status=405),
            Reply(status=406),
            Reply(status=501),
            Reply(headers={"Content-Type": "text/html"}, body=b"<html>"),
        ],
        ids=["elsewhere", "404", "405", "406", "501", "a web page"],
    )
    def test_without_the_api_the_tags_count(
        self, host: Host, registry: Listener, kept: MemoryRepository, name: str, reply: Reply
    ) -> None:
        entries = kept.referrers(DIGEST)
        without_tag(kept)
        registry.on("GET", referrers(), reply)
        told = host.run("verify", name, code=6)
        assert "not signed" in told.stderr
        kept.put(build_index(entries), fallback_tag(DIGEST))
        host.run("verify", name)

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(status=303, headers={"Location": "/page"}),
            Reply(status=401),
            Reply(status=403),
            Reply(status=429),
            Reply(status=500),
            Reply(headers={"Content-Type": mediatypes.INDEX}, body=b"{"),
            Reply(headers={"Content-Type": mediatypes.INDEX}, body=ONE.manifest.raw),
        ],
        ids=["303 then 429", "401", "403", "429", "500", "half of JSON", "a manifest"],
    )
    def test_could_not_look_is_not_unsigned(
        self, host: Host, registry: Listener, kept: MemoryRepository, name: str, reply: Reply
    ) -> None:
        """With the tag it is signed; without, nobody can say."""
        limited = Reply(status=429, headers={"Retry-After": "3600"})
        registry.on("GET", "/page", limited)
        registry.on("GET", referrers(), limited if reply.status in (429, 500) else reply)
        host.run("verify", name)
        without_tag(kept)
        told = host.run("verify", name, code=None)
        assert told.code in (5, 6)
        assert "could not look" in told.stderr or "could not be looked" in told.stderr
        assert "not signed" not in told.stderr


def _index_reply(*entries: Descriptor) -> Reply:
    return manifest_reply(build_index(entries).raw, mediatypes.INDEX)


class TestConfusion:
    """One set of bytes is one thing: a manifest or an index, of the type that is said."""

    @pytest.mark.parametrize("inside", [True, False], ids=["said inside", "not said inside"])
    @pytest.mark.parametrize("said", [mediatypes.MANIFEST, mediatypes.INDEX])
    def test_both_layers_and_manifests(
        self, host: Host, registry: Listener, name: str, said: str, inside: bool
    ) -> None:
        """CVE-2021-41190: each of two readers saw another package under one digest."""
        data = json.loads(ONE.manifest.raw) | {"manifests": [TWO.manifest.descriptor.to_dict()]}
        data["mediaType"] = said
        if not inside:
            del data["mediaType"]
        registry.on("GET", manifests("1"), manifest_reply(json.dumps(data).encode(), said))
        host.run("pull", "-q", name, code=3)

    @pytest.mark.parametrize(
        ("inside", "header"),
        [
            (mediatypes.MANIFEST, mediatypes.INDEX),
            (mediatypes.INDEX, mediatypes.MANIFEST),
            (mediatypes.MANIFEST, mediatypes.DOCKER_MANIFEST),
            (mediatypes.MANIFEST, "application/json"),
            (mediatypes.MANIFEST, ""),
            (None, mediatypes.INDEX),
            (None, "text/plain"),
        ],
    )
    def test_the_header_says_something_else(
        self, host: Host, registry: Listener, name: str, inside: str | None, header: str
    ) -> None:
        data = json.loads(ONE.manifest.raw) | {"mediaType": inside}
        if inside is None:
            del data["mediaType"]
        registry.on("GET", manifests("1"), manifest_reply(json.dumps(data).encode(), header))
        host.run("pull", "-q", name, code=3)

    @pytest.mark.parametrize("case", ["mediatype", "Layers", "CONFIG", "schemaversion"])
    def test_keys_that_differ_by_case_alone(
        self, host: Host, registry: Listener, name: str, case: str
    ) -> None:
        """Readers in Go take either; whoever signs one may see the other."""
        data = json.loads(ONE.manifest.raw) | {case: "x"}
        registry.on(
            "GET", manifests("1"), manifest_reply(json.dumps(data).encode(), mediatypes.MANIFEST)
        )
        host.run("pull", "-q", name, code=3)

    @pytest.mark.parametrize(
        "raw",
        [
            ONE.manifest.raw[:-1] + b',"layers":[]}',
            ONE.manifest.raw[:-1] + b',"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
            ONE.manifest.raw[:-1] + b',"a":' + b"9" * 5000 + b"}",
            ONE.manifest.raw[:-1] + b',"a":NaN}',
            ONE.manifest.raw + b"{}",
            b"\xef\xbb\xbf" + ONE.manifest.raw,
        ],
        ids=["twice", "deep", "5,000 digits", "NaN", "two documents", "a mark"],
    )
    def test_json_that_two_readers_read_differently(
        self, host: Host, registry: Listener, name: str, raw: bytes
    ) -> None:
        registry.on("GET", manifests("1"), manifest_reply(raw, mediatypes.MANIFEST))
        told = host.run("pull", "-q", name, code=3)
        assert "Traceback" not in told.stderr


class TestIndexes:
    """What an index lists is what comes, and an index is not without end."""

    @pytest.fixture
    def multi(self, registry: Listener, kept: MemoryRepository) -> Index:
        fill(kept, TWO)
        index = index_of({LINUX_AMD64: ONE.manifest, LINUX_S390X: TWO.manifest})
        kept.put(index, "1")
        sign_into(
            kept,
            index.descriptor,
            "alice",
            Reference.parse(f"{registry.host}/x:1"),
            now=datetime.now(UTC) - timedelta(days=1),
        )
        return index

    @pytest.mark.parametrize("way", ["pull", "copy"])
    @pytest.mark.parametrize(
        "child",
        [
            lambda: TWO.manifest.raw,
            lambda: ONE.manifest.raw + b" ",
            lambda: ONE.manifest.raw[:-1],
            lambda: build_index(()).raw,
        ],
        ids=["another child", "longer", "shorter", "an index"],
    )
    def test_a_child_differs(
        self,
        host: Host,
        registry: Listener,
        name: str,
        multi: Index,
        child: Callable[[], bytes],
        way: str,
    ) -> None:
        raw = child()
        media_type = mediatypes.INDEX if b'"manifests"' in raw else mediatypes.MANIFEST
        registry.on("GET", manifests(DIGEST), manifest_reply(raw, media_type))
        words = ("pull", "-q", "--all-platforms", name)
        told = host.run(*words if way == "pull" else ("copy", "-q", name, f"{name}-b"), code=6)
        assert str(DIGEST) in told.stderr
        assert not registry.requests("PUT")

    @pytest.mark.parametrize("way", ["pull", "copy"])
    @pytest.mark.parametrize("shape", ["deep", "wide", "cycle", "diamond"])
    def test_indexes_without_end(
        self,
        host: Host,
        registry: Listener,
        kept: MemoryRepository,
        name: str,
        shape: str,
        way: str,
    ) -> None:
        raw = _endless(kept, shape)
        for reference in ("1", Digest.sha256(raw)):
            registry.on("GET", manifests(reference), manifest_reply(raw, mediatypes.INDEX))
        host.run("trust", "rm", f"{registry.host}/x")
        before = len(registry.seen)
        words = ("pull", "-q", "--all-platforms", name)
        told = host.run(*words if way == "pull" else ("copy", "-q", name, f"{name}-b"), code=None)
        assert told.code in (3, 6), told.stderr
        assert "Traceback" not in told.stderr
        assert len(registry.seen) - before < 20
        assert not registry.requests("PUT")


def _endless(kept: MemoryRepository, shape: str) -> bytes:
    """Indexes of more levels or children than anybody has, or that lead back to themselves."""
    if shape == "wide":
        data = json.loads(build_index((SUBJECT,)).raw)
        data["manifests"] *= LIMITS.index_children + 1
        return json.dumps(data).encode()
    if shape == "cycle":
        # None can name its own digest, so it names another's, where it is answered again.
        lie = build_index((replace(SUBJECT, media_type=mediatypes.INDEX),))
        kept.manifests[SUBJECT.digest] = lie.raw
        return lie.raw
    found = build_index((SUBJECT,))
    for _ in range(LIMITS.index_depth + 1):
        kept.put(found)
        entry = replace(found.descriptor, annotations={})
        found = build_index((entry,) * (2 if shape == "diamond" else 1))
    return found.raw


class TestForeign:
    """Addresses that a manifest names are nobody's to ask."""

    @pytest.mark.parametrize("way", ["pull", "verify", "copy"])
    @pytest.mark.parametrize(
        "media_type",
        [
            mediatypes.OBJECT,
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ],
    )
    def test_urls_are_never_fetched(
        self,
        host: Host,
        registry: Listener,
        other: Listener,
        kept: MemoryRepository,
        name: str,
        way: str,
        media_type: str,
    ) -> None:
        """CVE-2020-15157: what is asked for there is asked with whatever one has."""
        data = json.loads(ONE.manifest.raw)
        foreign = Descriptor.of(b"foreign", media_type).to_dict()
        data["layers"].append(foreign | {"urls": [f"{other.url}/layer", f"{registry.url}/layer"]})
        raw = json.dumps(data).encode()
        found = parse(raw)
        kept.put(found, "1")
        words = {
            "pull": ("pull", "-q", name),
            "verify": ("verify", name),
            "copy": ("copy", "-q", name, f"{name}-b"),
        }
        host.run("trust", "rm", f"{registry.host}/x")
        host.run(*words[way], code=None)
        assert not other.seen
        assert not registry.requests(part="/layer")


EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\u202egnp\u200b[bold]\rX\x00"


class TestWarnings:
    """What a registry says to the user is shown as words, once, and never acted on."""

    def warned(self, registry: Listener, *texts: str) -> None:
        header = ", ".join(f'299 - "{text}"' for text in texts)
        reply = manifest_reply(ONE.manifest.raw, mediatypes.MANIFEST, Warning=header)
        for reference in ("1", DIGEST):
            registry.on("GET", manifests(reference), reply)

    def test_its_words(self, host: Host, registry: Listener, name: str) -> None:
        self.warned(registry, "moving to a new host", "moving to a new host")
        told = host.run("pull", "-q", name).stderr
        assert told.count("moving to a new host") == 1

    def test_no_escape_reaches_the_terminal(
        self, host: Host, registry: Listener, name: str
    ) -> None:
        header = "".join(c for c in EVIL if c not in "\r\0").encode().decode("latin-1")
        self.warned(registry, f"start{header}end")
        with host.terminal("pull", name) as screen:
            assert screen.end() == 0
        assert "start" in screen.shown
        assert "[bold]" in screen.shown
        line = next(part for part in screen.shown.splitlines() if "start" in part)
        words = line[line.index("start") : line.index("end")]
        assert all(c.isprintable() for c in words), ascii(words)
        assert "\u202e" not in screen.shown

    def test_more_than_4096_bytes_and_other_forms(
        self, host: Host, registry: Listener, name: str
    ) -> None:
        self.warned(registry, *(f"{number:04}" + "x" * 500 for number in range(50)))
        told = host.run("pull", "-q", name).stderr
        assert len(told) < 8192
        assert "0000x" in told
        assert "0020x" not in told
        other = {"Warning": '199 agent "misc", 299 host "named", 299 - unquoted'}
        registry.on(
            "GET", manifests("1"), manifest_reply(ONE.manifest.raw, mediatypes.MANIFEST, **other)
        )
        host.run("pull", "-q", name)
