"""Several signers of one package at once, in real registries: nobody's signature is lost."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from bpfpack.registry.client.remote import RegistryClient, RemoteRepository
from bpfpack.registry.tagging import Held
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.signature import fallback_tag, legacy_tag
from tests.kit.packages import artifact, fill, package
from tests.kit.registryclient import INDEX, Repository, digest_of, error_code
from tests.kit.servers import RunningRegistry, bpfpack_registry, docker_registry
from tests.kit.signing import sign_into

SUBJECT = package().manifest.descriptor
NAMES = ("alice", "bob", "carol")


@pytest.fixture(params=["ours", pytest.param("debian", marks=pytest.mark.registry)])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningRegistry]:
    serve = bpfpack_registry if request.param == "ours" else docker_registry
    with serve(tmp_path) as running:
        yield running


class Meeting(RemoteRepository):
    """Lets nobody write a tag before everybody has read it, the first time."""

    meet: threading.Barrier

    def held(self, tag: str) -> Held:
        found = super().held(tag)
        met = self.__dict__.setdefault("met", set())
        if tag not in met:
            met.add(tag)
            self.meet.wait(60)
        return found


def at_once(registry: RunningRegistry, work: Callable[[RemoteRepository, str], object]) -> None:
    """Have every signer do ``work`` in a repository of their own making."""
    meet = threading.Barrier(len(NAMES))

    def one(name: str) -> None:
        with RegistryClient(lookup=lambda *_: None) as client:
            place = client.repository(registry.host, "x/tiny")
            place.__class__, place.meet = Meeting, meet  # type: ignore[attr-defined]
            work(place, name)

    with ThreadPoolExecutor(len(NAMES)) as pool:
        for done in [pool.submit(one, name) for name in NAMES]:
            done.result()


@pytest.fixture
def place(registry: RunningRegistry) -> Iterator[RemoteRepository]:
    with RegistryClient(lookup=lambda *_: None) as client:
        found = client.repository(registry.host, "x/tiny")
        fill(found, package(), "1.0")
        yield found


def test_of_a_tag_that_is_new(registry: RunningRegistry, place: RemoteRepository) -> None:
    at_once(registry, lambda where, name: sign_into(where, SUBJECT, name))
    held = place.resolve(legacy_tag(SUBJECT.digest))
    assert isinstance(held, Manifest)
    assert len(held.layers) == len(NAMES)


def test_of_a_tag_that_is_there(registry: RunningRegistry, place: RemoteRepository) -> None:
    sign_into(place, SUBJECT, "first")
    at_once(registry, lambda where, name: sign_into(where, SUBJECT, name))
    held = place.resolve(legacy_tag(SUBJECT.digest))
    assert isinstance(held, Manifest)
    assert len(held.layers) == len(NAMES) + 1


@pytest.mark.registry
def test_of_the_referrers_tag(tmp_path: Path) -> None:
    """Where there is no referrers API, all referrers are one tag's."""
    with docker_registry(tmp_path) as registry, RegistryClient(lookup=lambda *_: None) as client:
        place = client.repository(registry.host, "x/tiny")
        fill(place, package(), "1.0")
        bundles = {n: artifact(n.encode(), subject=SUBJECT) for n in NAMES}
        at_once(registry, lambda where, name: fill(where, bundles[name]))
        index = place.resolve(fallback_tag(SUBJECT.digest))
    assert isinstance(index, Index)
    expected = {b.manifest.descriptor.digest for b in bundles.values()}
    assert {entry.digest for entry in index.manifests} == expected


class TestConditions:
    """What our server does with If-Match and If-None-Match on PUT (RFC 9110, 13.1)."""

    @pytest.fixture
    def repo(self, tmp_path: Path) -> Iterator[Repository]:
        with bpfpack_registry(tmp_path) as running:
            yield Repository(running.url, "x")

    def put(self, repo: Repository, data: bytes, where: str = "t", **headers: str) -> int:
        condition = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = repo.call(
            "PUT", f"manifests/{where}", data=data, headers={"Content-Type": INDEX, **condition}
        )
        if reply.status_code == 412:
            assert error_code(reply) == "PRECONDITION_FAILED"
        return reply.status_code

    def named(self, repo: Repository) -> requests.Response:
        return repo.call("GET", "manifests/t")

    def test_only_if_there_is_nothing(self, repo: Repository) -> None:
        first, second = _index(1), _index(2)
        assert self.put(repo, first, If_None_Match="*") == 201
        assert self.put(repo, second, If_None_Match="*") == 412
        assert self.named(repo).content == first
        assert self.put(repo, second, where="u", If_None_Match="*") == 201

    def test_only_what_was_seen(self, repo: Repository) -> None:
        first, second, third = (_index(n) for n in range(3))
        assert self.put(repo, first, If_Match='"sha256:0"') == 412
        assert self.put(repo, first) == 201
        mark = self.named(repo).headers["ETag"]
        assert self.put(repo, second, If_Match=mark) == 201
        assert self.put(repo, third, If_Match=mark) == 412
        assert self.named(repo).content == second
        assert self.put(repo, third, If_Match=f'"other", {self.named(repo).headers["ETag"]}') == 201

    @pytest.mark.parametrize("value", ["", "nonsense", "sha256:0", 'W/"sha256:0"', '"'])
    def test_a_condition_that_cannot_be_read_is_not_met(self, repo: Repository, value: str) -> None:
        assert self.put(repo, _index(1)) == 201
        assert self.put(repo, _index(2), If_Match=value) == 412
        assert self.named(repo).content == _index(1)

    def test_a_weak_mark_is_no_match_for_a_write(self, repo: Repository) -> None:
        assert self.put(repo, _index(1)) == 201
        mark = self.named(repo).headers["ETag"]
        assert self.put(repo, _index(2), If_Match=f"W/{mark}") == 412
        assert self.put(repo, _index(2), If_None_Match=f"W/{mark}") == 412
        assert self.put(repo, _index(2), If_Match="*") == 201

    def test_by_digest(self, repo: Repository) -> None:
        data = _index(1)
        where = f"{digest_of(data)}?tag=t"
        assert self.put(repo, data, where=where, If_None_Match="*") == 201
        assert self.put(repo, data, where=where, If_None_Match="*") == 412

    def test_a_refused_write_leaves_nothing(self, repo: Repository) -> None:
        assert self.put(repo, _index(1)) == 201
        assert self.put(repo, _index(2), If_None_Match="*") == 412
        assert repo.call("GET", f"manifests/{digest_of(_index(2))}").status_code == 404


def _index(number: int) -> bytes:
    return b'{"schemaVersion":2,"mediaType":"%s","manifests":[],"annotations":{"n":"%d"}}' % (
        INDEX.encode(),
        number,
    )
