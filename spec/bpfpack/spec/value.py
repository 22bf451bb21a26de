"""Plain values: what `dataclasses` is for, at a tenth of what it costs to define one.

``bpfpack run`` defines some eighty value types before it does anything.  `dataclasses`
compiles six methods for each and imports `inspect`, 40 ms of a start that has 70; here the
methods are shared, and nothing is compiled.  Type checkers see a dataclass (PEP 681).

A value is frozen, keyword-only and slotted unless told otherwise, equal to another of its
own class with equal members, and hashable when frozen.  ``__post_init__`` is called.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final, TypeVar, dataclass_transform, overload

T = TypeVar("T")

_MISSING: Final = object()
_NAMES: Final = "__value_names__"


class _Field:
    """What `field` says of a member."""

    __slots__ = ("compare", "default", "factory", "repr")

    def __init__(
        self, default: Any, factory: Any = _MISSING, *, shown: bool = True, compare: bool = True
    ) -> None:
        self.default, self.factory = default, factory
        self.repr, self.compare = shown, compare


def field(
    *,
    default: Any = _MISSING,
    default_factory: Any = _MISSING,
    repr: bool = True,
    compare: bool = True,
) -> Any:
    """Say more of a member than its type: a default made anew each time, what it is part of."""
    return _Field(default, default_factory, shown=repr, compare=compare)


@overload
def valuetype(cls: type[T], /) -> type[T]: ...
@overload
def valuetype(
    *, frozen: bool = True, kw_only: bool = True, order: bool = False, slots: bool = True
) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def valuetype(
    cls: type[Any] | None = None,
    /,
    *,
    frozen: bool = True,
    kw_only: bool = True,
    order: bool = False,
    slots: bool = True,
) -> Any:
    """Make a class whose annotations are its members.

    ``order`` compares members in their order; ``slots`` False leaves room for cached
    properties.

    >>> @valuetype
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(x=1)
    Point(x=1, y=0)
    >>> Point(x=1) == Point(x=1, y=0), Point(x=1) == (1, 0)
    (True, False)
    """

    def made(found: type[Any]) -> type[Any]:
        return _make(found, frozen=frozen, kw_only=kw_only, order=order, slots=slots)

    return made if cls is None else made(cls)


def replace(of: T, **changes: Any) -> T:
    """Return the same value with other members.

    >>> @valuetype
    ... class Point:
    ...     x: int
    ...     y: int
    >>> replace(Point(x=1, y=2), y=3)
    Point(x=1, y=3)
    """
    return type(of)(**{name: getattr(of, name) for name in names(type(of))} | changes)


def names(cls: type[Any]) -> tuple[str, ...]:
    """Return the members of a value class, in their order."""
    found: tuple[str, ...] = getattr(cls, _NAMES)
    return found


def _make(cls: type[Any], *, frozen: bool, kw_only: bool, order: bool, slots: bool) -> type[Any]:
    body = dict(cls.__dict__)
    members = _members(cls, body)
    body |= {
        _NAMES: tuple(members),
        "__value_compared__": tuple(name for name, said in members.items() if said.compare),
        "__value_fields__": members,
        "__value_positional__": () if kw_only else tuple(members),
        "__match_args__": () if kw_only else tuple(members),
        "__init__": _init,
        "__eq__": _equal,
        "__hash__": _hash if frozen else None,
    }
    body.setdefault("__repr__", _represent)
    body.setdefault("__reduce__", _reduce)
    if frozen:
        body |= {"__setattr__": _refuse, "__delattr__": _refuse}
    if order:
        body |= {"__lt__": _less, "__le__": _less_or_equal}
    if slots:
        body["__slots__"] = tuple(members)
    for name in ("__dict__", "__weakref__"):
        body.pop(name, None)
    # The class's own metaclass, so that a value can implement a Protocol.
    metaclass: Any = type(cls)
    made: type[Any] = metaclass(cls.__name__, cls.__bases__, body)
    return made


def _members(cls: type[Any], body: dict[str, Any]) -> dict[str, _Field]:
    """Take the members and their defaults out of a class body."""
    found = {}
    for name, type_ in cls.__annotations__.items():
        if getattr(type_, "__origin__", type_) is ClassVar:
            continue
        said = body.pop(name, _MISSING)
        found[name] = said if isinstance(said, _Field) else _Field(said)
    return found


def _init(self: Any, *args: Any, **given: Any) -> None:
    cls = type(self)
    put = object.__setattr__
    if args:
        positional = cls.__value_positional__
        if len(args) > len(positional):
            raise TypeError(f"{cls.__name__} takes {len(positional)} positional arguments")
        for name, found in zip(positional, args, strict=False):
            if name in given:
                raise TypeError(f"{cls.__name__} got {name!r} twice")
            given[name] = found
    for name, field_ in cls.__value_fields__.items():
        if name in given:
            put(self, name, given.pop(name))
        elif field_.default is not _MISSING:
            put(self, name, field_.default)
        elif field_.factory is not _MISSING:
            put(self, name, field_.factory())
        else:
            raise TypeError(f"{cls.__name__} needs {name!r}")
    if given:
        raise TypeError(f"{cls.__name__} has no {', '.join(map(repr, given))}")
    if (after := getattr(cls, "__post_init__", None)) is not None:
        after(self)


def _compared(self: Any) -> Iterator[Any]:
    return (getattr(self, name) for name in type(self).__value_compared__)


def _equal(self: Any, other: object) -> Any:
    if type(self) is not type(other):
        return NotImplemented
    return all(a == b for a, b in zip(_compared(self), _compared(other), strict=True))


def _hash(self: Any) -> int:
    return hash(tuple(_compared(self)))


def _less(self: Any, other: object) -> Any:
    if type(self) is not type(other):
        return NotImplemented
    return tuple(_compared(self)) < tuple(_compared(other))


def _less_or_equal(self: Any, other: object) -> Any:
    if type(self) is not type(other):
        return NotImplemented
    return tuple(_compared(self)) <= tuple(_compared(other))


def _represent(self: Any) -> str:
    shown = (
        f"{name}={getattr(self, name)!r}"
        for name, field_ in type(self).__value_fields__.items()
        if field_.repr
    )
    return f"{type(self).__name__}({', '.join(shown)})"


def _reduce(self: Any) -> tuple[Any, ...]:
    """Copies and pickles are made as the original was, checks included."""
    return _rebuild, (type(self), {name: getattr(self, name) for name in names(type(self))})


def _rebuild(cls: type[Any], members: dict[str, Any]) -> Any:
    return cls(**members)


def _refuse(self: Any, name: str, *_value: object) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: {name!r} stays as it is")
