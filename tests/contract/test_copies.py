"""`copy` from registry to registry: all of it arrives, unchanged, and its name last of all."""

import contextlib
import hashlib
import io
import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from bpfpack.registry.client.remote import RegistryClient, RemoteRepository
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.transfer import Copied, copy
from bpfpack.spec import mediatypes
from bpfpack.spec.bounded import Readable, read_exactly
from bpfpack.spec.content import ReferrersUnsupported, Source
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import NotFound, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, build_index, parse
from bpfpack.spec.package import Package, children
from bpfpack.spec.signature import fallback_tag, legacy_tag
from bpfpack.spec.value import replace
from tests.kit.cli import Host
from tests.kit.hostile import Reply, Seen, listener
from tests.kit.packages import (
    LINUX_AMD64,
    LINUX_S390X,
    artifact,
    fill,
    index_of,
    package,
    signature_image,
)
from tests.kit.servers import RunningRegistry, bpfpack_registry, docker_registry
from tests.kit.signing import sign_into

_NUMBERS = itertools.count()
ONE, TWO = package(), package("other", object_=bytes(range(256)) * 8192)
BOTH = index_of({LINUX_AMD64: ONE.manifest, LINUX_S390X: TWO.manifest})
SBOM = artifact(b"spdx", artifact_type="application/spdx+json", subject=ONE.manifest.descriptor)
CHILD = artifact(b"about", artifact_type="a/b")


def digest_of(content: Package) -> Digest:
    return content.manifest.descriptor.digest


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with bpfpack_registry(tmp_path_factory.mktemp("ours")) as running:
        yield running


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with bpfpack_registry(tmp_path_factory.mktemp("second")) as running:
        yield running


@pytest.fixture(scope="module")
def debians(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with docker_registry(tmp_path_factory.mktemp("debians")) as running:
        yield running


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient(Settings(attempts=2), lookup=lambda *_: None) as found:
        yield found


def _about(index: Index, subject: Manifest) -> Index:
    """An index about something: a referrer with children of its own."""
    data = {
        **json.loads(index.raw),
        "artifactType": "a/set",
        "subject": replace(subject.descriptor, annotations={}).to_dict(),
    }
    found = parse(json.dumps(data).encode(), media_type=mediatypes.INDEX)
    assert isinstance(found, Index)
    return found


SET = _about(build_index((CHILD.manifest.descriptor,)), TWO.manifest)


def filled(place: RemoteRepository) -> RemoteRepository:
    """An index of two platforms, signed itself and in part, described, and that signed."""
    for content in (ONE, TWO):
        fill(place, content)
    place.put(BOTH, "1.0")
    for signed in (BOTH.descriptor, ONE.manifest.descriptor):
        sign_into(place, replace(signed, annotations={}))
    fill(place, SBOM)
    fill(place, signature_image((b"of the sbom", "c2ln")), legacy_tag(digest_of(SBOM)))
    fill(place, CHILD)
    place.put(SET)
    return place


def check_whole(origin: RemoteRepository, place: RemoteRepository, tag: str) -> None:
    """All that `filled` made is there, byte for byte."""
    assert place.resolve(tag).raw == BOTH.raw
    assert place.resolve(SET.descriptor.digest).raw == SET.raw
    for content in (ONE, TWO, SBOM, CHILD):
        found = place.resolve(digest_of(content))
        assert isinstance(found, Manifest)
        assert found.raw == content.manifest.raw
        for want in children(found):
            with place.fetch(want) as stream:
                assert read_exactly(stream, want, LIMITS.layer) == content.blobs[want.digest]
    for subject in (BOTH.descriptor.digest, digest_of(ONE), digest_of(SBOM)):
        assert place.resolve(legacy_tag(subject)) == origin.resolve(legacy_tag(subject))
    for subject in (BOTH.descriptor.digest, digest_of(ONE), digest_of(TWO)):
        assert listed(place, subject) == listed(origin, subject) != set()


def listed(place: RemoteRepository, subject: Digest) -> set[Digest]:
    """What refers to something, by whichever way the registry has."""
    try:
        return {entry.digest for entry in place.referrers(subject)}
    except ReferrersUnsupported:
        tagged = place.resolve(fallback_tag(subject))
        assert isinstance(tagged, Index)
        return {entry.digest for entry in tagged.manifests}


def carried(origin: Source, place: RemoteRepository, **more: Any) -> Copied:
    return copy(origin, place, "1.0", "1.0", verb="copy", whole=True, **more)


def fresh(client: RegistryClient, registry: RunningRegistry, **more: Any) -> RemoteRepository:
    return client.repository(registry.host, f"x/tiny{next(_NUMBERS)}", **more)


def test_between_two_of_ours(
    client: RegistryClient, ours: RunningRegistry, second: RunningRegistry
) -> None:
    origin, place = filled(fresh(client, ours)), fresh(client, second)
    copied = carried(origin, place)
    assert copied.problems == ()
    assert copied.signatures == 7
    check_whole(origin, place, "1.0")
    assert place.tags() == ("1.0",)
    assert carried(origin, place).blobs == 0, "what is there is not sent again"


@pytest.mark.registry
class TestDebians:
    """A registry without the referrers API on either side."""

    def test_to_it(
        self, client: RegistryClient, ours: RunningRegistry, debians: RunningRegistry
    ) -> None:
        origin, place = filled(fresh(client, ours)), fresh(client, debians)
        assert carried(origin, place).problems == ()
        check_whole(origin, place, "1.0")

    def test_from_it(
        self, client: RegistryClient, ours: RunningRegistry, debians: RunningRegistry
    ) -> None:
        origin, place = filled(fresh(client, debians)), fresh(client, ours)
        assert carried(origin, place).problems == ()
        check_whole(origin, place, "1.0")

    def test_within_it_blobs_are_linked(
        self, client: RegistryClient, debians: RunningRegistry
    ) -> None:
        within(client, debians)


def test_within_ours_blobs_are_linked(client: RegistryClient, ours: RunningRegistry) -> None:
    within(client, ours)


def within(client: RegistryClient, registry: RunningRegistry) -> None:
    """From one repository of a registry to another: no blob of the package is read."""
    origin = filled(fresh(client, registry))
    name = str(origin).removeprefix(f"{registry.host}/")
    place = fresh(client, registry, mount_from=name)
    unread = Unread(origin)
    assert carried(unread, place).problems == ()
    assert unread.opened
    check_whole(origin, place, "1.0")


class Unread(Source):
    """A repository whose blobs nobody may read."""

    def __init__(self, inner: RemoteRepository) -> None:
        self._inner, self.opened = inner, 0

    def resolve(self, name: str | Digest) -> Manifest | Index:
        return self._inner.resolve(name)

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        return self._inner.referrers(subject)

    def tags(self) -> tuple[str, ...]:
        return self._inner.tags()

    def fetch(self, want: Descriptor) -> AbstractContextManager[Readable]:
        self.opened += 1
        return Broken("read")


class Broken(io.BytesIO):
    """A stream that breaks off: says why."""

    def __init__(self, why: str, data: bytes = b"") -> None:
        super().__init__(data)
        self._why = why

    def read(self, size: int | None = -1, /) -> bytes:
        if not (data := super().read(size)):
            raise TransportError(self._why)
        return data

    def seekable(self) -> bool:
        return False


class Partly(Unread):
    """A repository that breaks off whenever it is asked for ``lost``."""

    def __init__(self, inner: RemoteRepository, lost: set[Digest | str]) -> None:
        super().__init__(inner)
        self._lost = lost

    def fetch(self, want: Descriptor) -> AbstractContextManager[Readable]:
        if want.digest in self._lost:
            return Broken("it breaks off", b"part")
        return self._inner.fetch(want)

    def resolve(self, name: str | Digest) -> Manifest | Index:
        if name in self._lost:
            raise TransportError("it breaks off")
        return self._inner.resolve(name)


@pytest.mark.parametrize(
    "lost",
    [
        TWO.manifest.layers[0].digest,
        digest_of(TWO),
        legacy_tag(digest_of(ONE)),
        digest_of(SBOM),
        SBOM.manifest.layers[0].digest,
        legacy_tag(digest_of(SBOM)),
    ],
    ids=["blob", "child", "signature", "sbom", "blob of the sbom", "signature of the sbom"],
)
def test_what_breaks_off_gets_no_name(
    client: RegistryClient, ours: RunningRegistry, lost: Digest | str
) -> None:
    origin, place = filled(fresh(client, ours)), fresh(client, ours)
    with pytest.raises(TransportError, match="breaks off"):
        carried(Partly(origin, {lost}), place)
    with pytest.raises(NotFound):
        place.resolve("1.0")
    assert carried(origin, place).problems == (), "the next time it is whole"
    check_whole(origin, place, "1.0")


def test_what_another_algorithm_names(
    client: RegistryClient, ours: RunningRegistry, second: RunningRegistry
) -> None:
    """A child that its index lists by sha512, and the index itself asked for so."""
    origin, place = fresh(client, ours), fresh(client, second)
    fill(origin, ONE)
    named = Digest("sha512", hashlib.sha512(ONE.manifest.raw).hexdigest())
    child = replace(ONE.manifest.descriptor, annotations={}, digest=named)
    index = build_index((child,))
    whole = Digest("sha512", hashlib.sha512(index.raw).hexdigest())
    origin.put_as(ONE.manifest, named)
    origin.put_as(index, whole)
    copied = copy(origin, place, whole, "1.0", whole=True)
    assert copied.problems == ()
    for name, content in ((named, ONE.manifest), (whole, index), ("1.0", index)):
        assert place.resolve(name).raw == content.raw


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 501])
def test_a_registry_that_links_nothing_is_sent_the_blob(
    client: RegistryClient, ours: RunningRegistry, status: int
) -> None:
    """Or one that does not let us read there."""
    origin = fresh(client, ours)
    fill(origin, ONE, "1.0")
    with listener() as target:

        def opened(seen: Seen) -> Reply:
            if "mount=" in seen.target:
                return Reply(status=status)
            return Reply(status=202, headers={"Location": "/v2/y/blobs/uploads/1"})

        target.on("POST", "/v2/y/blobs/uploads/", opened)
        target.on("PUT", "/v2/y/blobs/uploads/1", Reply(status=201))
        target.on("PUT", "/v2/y/manifests/1.0", Reply(status=201))
        place = client.repository(target.host, "y", mount_from="x")
        copy(origin, place, "1.0", "1.0", signatures=False)
        sent = {seen.sha256 for seen in target.requests("PUT", "/uploads/")}
    assert sent == {want.digest.encoded for want in children(ONE.manifest)}


def test_an_older_copy_keeps_its_name_until_the_new_one_is_whole(
    client: RegistryClient, ours: RunningRegistry
) -> None:
    origin, place = filled(fresh(client, ours)), fresh(client, ours)
    fill(place, TWO, "1.0")
    with pytest.raises(TransportError):
        carried(Partly(origin, {digest_of(SBOM)}), place)
    assert place.resolve("1.0") == TWO.manifest
    carried(origin, place)
    assert place.resolve("1.0") == BOTH


def test_signatures_at_the_target_stay(client: RegistryClient, ours: RunningRegistry) -> None:
    origin, place = filled(fresh(client, ours)), fresh(client, ours)
    fill(place, ONE)
    subject = replace(ONE.manifest.descriptor, annotations={})
    sign_into(place, subject, "bob")
    before = place.resolve(legacy_tag(subject.digest))
    carried(origin, place)
    after = place.resolve(legacy_tag(subject.digest))
    assert isinstance(before, Manifest)
    assert isinstance(after, Manifest)
    assert {layer.digest for layer in before.layers} <= {layer.digest for layer in after.layers}
    assert len(after.layers) == 2


def test_no_more_than_so_many_blobs_at_once(client: RegistryClient, ours: RunningRegistry) -> None:
    """And none is held in memory: it is passed on in small pieces."""
    origin, place = filled(fresh(client, ours)), fresh(client, ours)
    counting = Counting(origin)
    carried(counting, place, concurrency=2)
    assert 1 <= counting.most <= 2
    assert counting.largest < 1 << 20


class Counting(Unread):
    """Counts the blobs that are open together, and the most that is read at once."""

    def __init__(self, inner: RemoteRepository) -> None:
        super().__init__(inner)
        self.now = self.most = self.largest = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def fetch(self, want: Descriptor) -> Iterator[Readable]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            with self._inner.fetch(want) as stream:
                yield Measured(stream, self)
        finally:
            with self._lock:
                self.now -= 1


class Measured:
    def __init__(self, stream: Readable, told: Counting) -> None:
        self._stream, self._told = stream, told

    def read(self, size: int, /) -> bytes:
        self._told.largest = max(self._told.largest, size)
        return self._stream.read(size)


def test_an_upload_that_fails_is_fed_again_from_the_source(
    client: RegistryClient, ours: RunningRegistry
) -> None:
    """What comes from a registry cannot be rewound, so it is asked for once more."""
    origin = fresh(client, ours)
    fill(origin, TWO, "1.0")
    layer = TWO.manifest.layers[0]
    with listener() as target:
        taken: list[Seen] = []

        def put(seen: Seen) -> Reply:
            first = seen.size == layer.size and not any(s.size == layer.size for s in taken)
            taken.append(seen)
            return Reply(status=503 if first else 201)

        here = {"Location": "/v2/y/blobs/uploads/1"}
        target.on("POST", "/v2/y/blobs/uploads/", Reply(status=202, headers=here))
        target.on("PUT", "/v2/y/blobs/uploads/1", put)
        target.on("PUT", "/v2/y/manifests/1.0", Reply(status=201))
        told = Told()
        place = client.repository(target.host, "y")
        copy(origin, place, "1.0", "1.0", progress=told, signatures=False, concurrency=1)
    whole = [seen.sha256 for seen in taken if seen.size == layer.size]
    assert whole == [layer.digest.encoded] * 2
    assert told.counts[layer.digest] == layer.size, "what went twice is told once"


class Told:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.counts: Counter[Digest] = Counter()

    def start(self, want: Descriptor, verb: str) -> None:
        """See `Progress`."""

    def advance(self, want: Descriptor, size: int) -> None:
        self.counts[want.digest] += size

    def finish(self, want: Descriptor) -> None:
        """See `Progress`."""


class TestCommand:
    """`bpfpack copy`, as a process."""

    @pytest.fixture
    def host(self, tmp_path: Path) -> Host:
        return Host(root=tmp_path)

    def test_the_tag_goes_along(
        self, host: Host, client: RegistryClient, ours: RunningRegistry, second: RunningRegistry
    ) -> None:
        origin, place = filled(fresh(client, ours)), fresh(client, second)
        told = host.run("copy", f"{origin}:1.0", str(place))
        assert told.stdout == f"{place}:1.0  {BOTH.descriptor.digest}\n"
        assert "copy    " in told.stderr
        check_whole(origin, place, "1.0")
        assert not (host.root / "data").exists(), "the local store has no part in it"

    def test_another_tag_in_the_same_repository(
        self, host: Host, client: RegistryClient, ours: RunningRegistry
    ) -> None:
        origin = filled(fresh(client, ours))
        host.run("copy", "-q", f"{origin}:1.0", f"{origin}:stable")
        assert origin.tags() == ("1.0", "stable")

    def test_by_digest_alone(
        self, host: Host, client: RegistryClient, ours: RunningRegistry, second: RunningRegistry
    ) -> None:
        origin, place = filled(fresh(client, ours)), fresh(client, second)
        named = f"@{BOTH.descriptor.digest}"
        assert host.run("copy", "-q", f"{origin}{named}", str(place)).stdout == f"{place}{named}\n"
        assert place.resolve(BOTH.descriptor.digest) == BOTH
        assert place.tags() == ()

    def test_every_tag(
        self, host: Host, client: RegistryClient, ours: RunningRegistry, second: RunningRegistry
    ) -> None:
        origin, place = filled(fresh(client, ours)), fresh(client, second)
        fill(origin, ONE, "0.9")
        host.run("copy", "-q", "--all-tags", str(origin), str(place))
        assert place.tags() == ("0.9", "1.0")
        check_whole(origin, place, "1.0")

    def test_every_tag_is_tried(
        self, host: Host, client: RegistryClient, ours: RunningRegistry, second: RunningRegistry
    ) -> None:
        """One that fails, the first even, hides none of the others."""
        origin, place = filled(fresh(client, ours)), fresh(client, second)
        for tag in ("0.1", "0.2", "2.0"):
            fill(origin, ONE if tag == "2.0" else TWO, tag)
        blob = TWO.manifest.layers[0].digest.encoded
        for path in ours.data.rglob(f"*{blob}*"):
            if path.is_file():
                path.write_bytes(b"damaged")
        done = host.run("copy", "-q", "--all-tags", str(origin), str(place), code=None)
        assert done.code != 0
        assert place.tags() == ("2.0",)
        assert done.stdout == f"{place}:2.0  {digest_of(ONE)}\n"
        for tag in ("0.1", "0.2", "1.0"):
            assert f"{place}:{tag}: " in done.stderr
        assert "3 tags were not copied: 0.1, 0.2, 1.0" in done.stderr

    @pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
    def test_a_name_that_is_for_signatures(
        self, host: Host, client: RegistryClient, ours: RunningRegistry, suffix: str
    ) -> None:
        origin, place = filled(fresh(client, ours)), fresh(client, ours)
        tag = fallback_tag(digest_of(ONE)) + suffix
        for words in ((f"{origin}:1.0", f"{place}:{tag}"), (f"{origin}:{tag}", str(place))):
            done = host.run("copy", *words, code=2)
            assert "is the tag of what signs or describes a digest" in done.stderr
        with pytest.raises(NotFound):
            place.resolve(tag)

    def test_without_a_tag_the_highest_release(
        self, host: Host, client: RegistryClient, ours: RunningRegistry
    ) -> None:
        origin, place = filled(fresh(client, ours)), fresh(client, ours)
        assert "took 1.0" in host.run("copy", str(origin), str(place)).stderr
        assert place.tags() == ("1.0",)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("{}:1.0", "{}@sha256:" + "0" * 64), "keeps its digest"),
            (("-a", "{}:1.0", "{}"), "without a tag"),
            (("-a", "{}", "{}:1.0"), "without a tag"),
        ],
    )
    def test_what_makes_no_sense(
        self, host: Host, ours: RunningRegistry, words: tuple[str, ...], said: str
    ) -> None:
        argv = [word.replace("{}", f"{ours.host}/x/y") for word in words]
        assert said in host.run("copy", *argv, code=2).stderr

    def test_a_name_without_a_registry(self, host: Host, ours: RunningRegistry) -> None:
        for words in ((f"{ours.host}/x/y:1", "tiny:1"), ("tiny:1", f"{ours.host}/x/y:1")):
            assert "names no registry" in host.run("copy", *words, code=3).stderr

    def test_what_is_not_there(self, host: Host, ours: RunningRegistry) -> None:
        host.run("copy", f"{ours.host}/x/none:1", f"{ours.host}/x/copy", code=4)
        host.run("copy", "-a", f"{ours.host}/x/none", f"{ours.host}/x/copy", code=4)
