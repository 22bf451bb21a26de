"""Values behave as frozen, slotted dataclasses do."""

import copy
import dataclasses
import pickle
from collections.abc import Mapping
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.spec.value import field, names, replace, valuetype


@valuetype
class Point:
    kind: ClassVar[str] = "point"
    x: int
    y: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    secret: str = field(default="s", repr=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("negative")

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    x: int
    y: int = 0


@valuetype(kw_only=False, order=True)
class Pair:
    first: int
    second: str = "b"


@valuetype(frozen=False)
class Counter:
    count: int = 0
    seen: list[int] = field(default_factory=list)


@valuetype
class Cached:
    name: str
    memory: object = field(compare=False, repr=False)


def test_members_defaults_and_repr() -> None:
    point = Point(x=1)
    assert (point.x, point.y, point.tags, point.secret, point.sum) == (1, 0, {}, "s", 1)
    assert repr(point) == "Point(x=1, y=0, tags={})"
    assert names(Point) == ("x", "y", "tags", "secret")
    assert Point.kind == "point"
    assert Point.__doc__ is None
    assert Point.__module__ == __name__


def test_a_factory_makes_a_new_default_each_time() -> None:
    one, other = Counter(), Counter()
    one.seen.append(1)
    assert other.seen == []


def test_post_init_runs() -> None:
    with pytest.raises(ValueError, match="negative"):
        Point(x=-1)
    with pytest.raises(ValueError, match="negative"):
        replace(Point(x=1), x=-1)


@pytest.mark.parametrize(
    ("args", "given"),
    [((), {}), ((1,), {}), ((), {"x": 1, "z": 2}), ((), {"y": 2})],
    ids=["nothing", "positional", "unknown", "missing"],
)
def test_wrong_arguments_are_refused(args: tuple[int, ...], given: dict[str, int]) -> None:
    with pytest.raises(TypeError):
        Point(*args, **given)  # type: ignore[arg-type]  # that is the point


def test_copies_and_pickles_are_made_anew() -> None:
    point = Point(x=1, tags={"a": "b"})
    for made in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert made == point


def test_what_is_not_compared() -> None:
    assert Cached(name="a", memory=[1]) == Cached(name="a", memory={})
    assert hash(Cached(name="a", memory=[1])) == hash(Cached(name="a", memory=2))


def test_positional_arguments_where_allowed() -> None:
    assert Pair(1, "x") == Pair(first=1, second="x")
    with pytest.raises(TypeError, match="twice"):
        Pair(1, first=2)  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError, match="positional"):
        Pair(1, "x", 3)  # type: ignore[call-arg]  # that is the point
    match Pair(1, "x"):
        case Pair(first, second):
            assert (first, second) == (1, "x")


def test_frozen_and_slotted() -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError):
        point.x = 2  # type: ignore[misc]  # that is the point
    with pytest.raises(AttributeError):
        del point.x
    with pytest.raises(AttributeError):
        object.__setattr__(point, "other", 1)
    assert not hasattr(point, "__dict__")
    counter = Counter()
    counter.count += 1
    assert counter.count == 1
    with pytest.raises(TypeError):
        hash(counter)


def test_order_and_equality_stay_within_the_class() -> None:
    assert sorted([Pair(2, "a"), Pair(1, "b"), Pair(1, "a")]) == [
        Pair(1, "a"),
        Pair(1, "b"),
        Pair(2, "a"),
    ]
    assert Pair(1) <= Pair(1) and Pair(1) >= Pair(1) and Pair(2) > Pair(1)
    other: object = (1, "b")
    assert Pair(1) != other
    with pytest.raises(TypeError):
        assert Pair(1) < other  # type: ignore[operator]  # that is the point


@given(st.integers(0), st.integers(), st.integers(0), st.integers())
def test_equality_and_hash_as_a_dataclass_has_them(x: int, y: int, u: int, v: int) -> None:
    assert (Point(x=x, y=y) == Point(x=u, y=v)) == (Model(x=x, y=y) == Model(x=u, y=v))
    assert hash(Pair(x, str(y))) == hash(Pair(x, str(y)))
    assert replace(Point(x=x, y=y), y=v) == Point(x=x, y=v)
