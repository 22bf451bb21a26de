"""Case 21 and lists of tags: endless, padded, broken off, or no tags at all."""

import pytest

from bpfpack.registry.client import remote
from bpfpack.registry.client.remote import RemoteRepository
from bpfpack.spec.errors import (
    LimitExceeded,
    NotFound,
    SpecError,
    TransportError,
)
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import replace
from tests.kit.hostile import (
    NOT_FOUND,
    Listener,
    Reply,
    Seen,
    json_reply,
)


def test_tags_of_a_registry_that_pages_by_last_alone(
    registry: Listener, repository: RemoteRepository
) -> None:
    everything = [f"t{n:05}" for n in range(2500)]

    def serve(seen: Seen) -> Reply:
        after = seen.target.partition("last=")[2]
        return json_reply({"tags": [t for t in everything if t > after][:1000]})

    registry.on("GET", "/v2/x/tags/list", serve)
    assert repository.tags() == tuple(everything)


def test_tags_of_a_registry_that_ignores_every_parameter(
    registry: Listener, repository: RemoteRepository
) -> None:
    everything = [f"t{n:05}" for n in range(1500)]
    registry.on("GET", "/v2/x/tags/list", json_reply({"tags": everything}))
    assert repository.tags() == tuple(everything)
    assert len(registry.seen) == 2


def test_tags_without_end(registry: Listener, repository: RemoteRepository) -> None:
    link = '</v2/x/tags/list?again>; rel="next"'
    registry.on("GET", "/v2/x/tags/list", json_reply({"tags": ["1", "2"]}, Link=link))
    assert repository.tags() == ("1", "2")
    assert len(registry.seen) == 2


class EndlessTags:
    """Every page has new tags of the longest kind, and a next page."""

    def __init__(self, new: int, filler: int = 0) -> None:
        self.new, self.filler, self.pages = new, filler, 0

    def __call__(self, _seen: Seen) -> Reply:
        self.pages += 1
        tags = [f"{self.pages}-{n}".ljust(128, "x") for n in range(self.new)]
        link = f'<?page={self.pages}>; rel="next"'
        return json_reply({"tags": tags + ["y" * 128] * self.filler}, Link=link)


def test_more_tags_than_anybody_could_read(
    registry: Listener, repository: RemoteRepository
) -> None:
    """A thousand pages of 4 MiB would be gigabytes in memory."""
    endless = EndlessTags(25_000)
    registry.on("GET", "/v2/x/tags/list", endless)
    with pytest.raises(LimitExceeded, match="100000 tags"):
        repository.tags()
    assert endless.pages == 5


def test_more_pages_of_tags_than_anybody_could_want(
    registry: Listener, repository: RemoteRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error, not a list that looks complete."""
    monkeypatch.setattr(remote, "LIMITS", replace(LIMITS, listing_pages=10))
    registry.on("GET", "/v2/x/tags/list", EndlessTags(1))
    with pytest.raises(LimitExceeded, match="pages"):
        repository.tags()


def test_pages_of_tags_that_say_next_to_nothing(
    registry: Listener, repository: RemoteRepository
) -> None:
    endless = EndlessTags(1, 30_000)
    registry.on("GET", "/v2/x/tags/list", endless)
    with pytest.raises(LimitExceeded, match="bytes"):
        repository.tags()
    assert endless.pages < 10


def test_tags_that_break_off(registry: Listener, repository: RemoteRepository) -> None:
    first = json_reply({"tags": ["1"]}, Link='<?last=1>; rel="next"')
    registry.on("GET", "/v2/x/tags/list", [first, NOT_FOUND])
    with pytest.raises(TransportError, match="breaks off") as caught:
        repository.tags()
    assert not isinstance(caught.value, NotFound)


@pytest.mark.parametrize("tags", [["../x"], ["a\x1b[2J"], [7], "1", {"1": 1}, ["x" * 129]])
def test_tags_that_are_none(registry: Listener, repository: RemoteRepository, tags: object) -> None:
    registry.on("GET", "/v2/x/tags/list", json_reply({"tags": tags}))
    with pytest.raises(SpecError):
        repository.tags()


def test_no_tags_at_all(registry: Listener, repository: RemoteRepository) -> None:
    registry.on("GET", "/v2/x/tags/list", json_reply({"name": "x", "tags": None}))
    assert repository.tags() == ()


@pytest.mark.parametrize("status", [400, 405])
def test_case_21_a_tag_that_cannot_be_deleted_does_not_take_its_manifest_along(
    registry: Listener, repository: RemoteRepository, status: int
) -> None:
    registry.on("DELETE", "/v2/x/manifests/1", Reply(status=status))
    with pytest.raises(TransportError) as caught:
        repository.delete_tag("1")
    assert "whole manifests" in str(caught.value.hint)
    assert [s.target for s in registry.seen] == ["/v2/x/manifests/1"]
