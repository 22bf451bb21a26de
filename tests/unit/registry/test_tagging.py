"""Changing a tag that others write too, at places that heed conditions, half or not at all."""

from collections.abc import Callable

import pytest

from bpfpack.registry.tagging import Content, Held, change
from bpfpack.spec.errors import Denied, NotFound, TransportError
from bpfpack.spec.manifest import Index, build_index


def index(*words: str) -> Index:
    return build_index((), annotations=dict.fromkeys(words, "x"))


def words(content: Content | None) -> set[str]:
    return set(content.annotations) if content else set()


def adding(word: str) -> Callable[[Content | None], Content | None]:
    """What every writer wants: its own word beside those that are there."""

    def wanted(held: Content | None) -> Content | None:
        return None if word in words(held) else index(*words(held), word)

    return wanted


class Tags:
    """One tag in memory; ``others`` is called before each write, as other writers come."""

    def __init__(self, heeds: bool, others: Callable[["Tags"], None] | None = None) -> None:
        self.now: Index | None = None
        self.heeds, self.others = heeds, others
        self.writes, self.waited = list[str](), list[float]()

    def held(self, tag: str) -> Held:
        if self.now is None:
            return Held()
        return Held(content=self.now, mark=str(self.now.descriptor.digest))

    def resolve(self, name: str, /) -> Content:
        if self.now is None:
            raise NotFound("nothing")
        return self.now

    def put(self, manifest: Content, tag: str | None = None) -> None:
        assert isinstance(manifest, Index)
        self.writes.append("put")
        self.now = manifest

    def replace(self, content: Content, tag: str, before: Held) -> bool:
        if self.others:
            self.others(self)
        self.writes.append("replace")
        if self.heeds and before != self.held(tag):
            raise TransportError("others were first", status=412)
        assert isinstance(content, Index)
        self.now = content
        return self.heeds

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)


def once(act: Callable[[Tags], None]) -> Callable[[Tags], None]:
    left = [act]

    def do(tags: Tags) -> None:
        if left:
            left.pop()(tags)

    return do


@pytest.mark.parametrize("heeds", [True, False])
def test_alone(heeds: bool) -> None:
    tags = Tags(heeds)
    change(tags, "t", adding("a"))
    change(tags, "t", adding("b"))
    change(tags, "t", adding("b"))
    assert words(tags.now) == {"a", "b"}
    assert tags.writes == ["replace"] * 2
    assert len(tags.waited) == (0 if heeds else 2), "who heeds need not be waited for"


@pytest.mark.parametrize("before", [None, index("old")], ids=["a new tag", "an old tag"])
def test_another_comes_between_reading_and_writing(before: Index | None) -> None:
    def other(tags: Tags) -> None:
        tags.now = index(*words(tags.now), "theirs")

    tags = Tags(True, once(other))
    tags.now = before
    change(tags, "t", adding("ours"))
    assert words(tags.now) == words(before) | {"theirs", "ours"}


def test_another_overwrites_while_we_wait() -> None:
    """Where nobody heeds conditions: what is missing at the second reading is added again."""

    class Overwritten(Tags):
        def wait(self, seconds: float) -> None:
            super().wait(seconds)
            if len(self.waited) == 1:
                self.now = index("theirs")

    tags = Overwritten(False)
    change(tags, "t", adding("ours"))
    assert words(tags.now) == {"theirs", "ours"}


def test_a_place_that_refuses_although_nothing_changed() -> None:
    """Its entity tags are not what it compares: it is written to without a condition."""

    class Refusing(Tags):
        def replace(self, content: Content, tag: str, before: Held) -> bool:
            self.writes.append("replace")
            raise TransportError("no", status=412)

    tags = Refusing(True)
    tags.now = index("old")
    change(tags, "t", adding("ours"))
    assert words(tags.now) == {"old", "ours"}
    assert tags.writes == ["replace", "put"]


@pytest.mark.parametrize("heeds", [True, False])
def test_others_that_never_let_it_be(heeds: bool) -> None:
    class Busy(Tags):
        def held(self, tag: str) -> Held:
            self.now = index(f"theirs{len(self.writes)}{len(self.waited)}")
            return super().held(tag)

    tags = Busy(heeds)
    with pytest.raises(TransportError, match="others keep replacing t"):
        change(tags, "t", adding("ours"))
    assert len(tags.writes) <= 10


@pytest.mark.parametrize(
    "error", [Denied("no", status=403), TransportError("no", status=500), TransportError("no")]
)
def test_another_failure_is_not_tried_again(error: TransportError) -> None:
    def fail(_tags: Tags) -> None:
        raise error

    tags = Tags(True, fail)
    with pytest.raises(TransportError) as caught:
        change(tags, "t", adding("ours"))
    assert caught.value is error
    assert tags.writes == []


def test_a_place_without_conditions_is_read_again() -> None:
    class Plain:
        def __init__(self) -> None:
            self.inner = Tags(False)
            self.lost = [True]

        def resolve(self, name: str, /) -> Content:
            return self.inner.resolve(name)

        def put(self, manifest: Content, tag: str | None = None) -> None:
            self.inner.put(manifest, tag)
            if self.lost:
                self.lost.pop()
                self.inner.now = index("theirs")

    plain = Plain()
    change(plain, "t", adding("ours"))
    assert words(plain.inner.now) == {"theirs", "ours"}
