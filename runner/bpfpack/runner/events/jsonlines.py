"""A row of raw values as JSON text, by a template made once for each type."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from bpfpack.runner.events.rows import Column
from bpfpack.runner.events.values import Value
from bpfpack.spec.errors import SpecError
from bpfpack.spec.record import Field
from bpfpack.spec.safetext import json_string

_SUBSCRIPTED: Final = re.compile(r"(.*?)((?:\[\d+\])+)", re.DOTALL)
#: Members by name, elements by index; a leaf is the index of its column.
Tree: TypeAlias = dict[str | int, "Tree | int"]
#: Where a value goes: text that is safe to show has no control characters.
PLACE: Final = "\0"


def dump(value: Value) -> str:
    """A value as JSON that is safe to show.

    >>> dump([1, True, None, 2.5, "a"])
    '[1,true,null,2.5,"a"]'
    """
    match value:
        case str():
            return json_string(value)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value)
        case list():
            return "[" + ",".join(map(dump, value)) + "]"
    return str(value)


def tree_of(fields: Sequence[Field]) -> Tree:
    """Return how fields stand in each other, with their places.

    Raises SpecError for names that cannot stand in one object.
    """
    tree: Tree = {}
    for index, field in enumerate(fields):
        _plant(tree, field, index)
    if list(_leaves(tree)) != list(range(len(fields))):
        raise SpecError("members of one struct do not stand together")
    return tree


def json_pieces(fields: Sequence[Field], first: str = "") -> list[str]:
    """What stands before, between and after the values of an object.

    ``first`` are members that come before them, as JSON text.  Raises SpecError for names
    that cannot stand in one object.
    """
    members = [m for m in (first, _members(tree_of(fields))) if m]
    return ("{" + ",".join(members) + "}").split(PLACE)


class JsonRow:
    """Turns the raw values of one type's columns into an object; see `json_pieces`."""

    def __init__(self, columns: Sequence[Column], first: str = "") -> None:
        self._values = [c.value for c in columns]
        pieces = json_pieces([c.field for c in columns], first)
        self._template = "%s".join(piece.replace("%", "%%") for piece in pieces)

    def __call__(self, raws: Sequence[Any]) -> str:
        """The object; a missing value is null."""
        return self._template % tuple(
            [
                "null" if raw is None else raw if value is None else dump(value(raw))
                for value, raw in zip(self._values, raws, strict=True)
            ]
        )


def _steps(path: Sequence[str]) -> list[str | int]:
    """Split a path, "a[1]" being a member and a place in its list."""
    steps: list[str | int] = []
    for part in path:
        found = _SUBSCRIPTED.fullmatch(part)
        steps.append(found[1] if found else part)
        if found:
            steps.extend(int(n) for n in found[2][1:-1].split("]["))
    return steps


def _plant(tree: Tree, field: Field, index: int) -> None:
    *way, last = _steps(field.path)
    for step in way:
        inside = tree.setdefault(step, {})
        if isinstance(inside, int):
            raise SpecError("two members of this name", path=field.path)
        tree = inside
    if last in tree:
        raise SpecError("two members of this name", path=field.path)
    tree[last] = index


def _leaves(tree: Tree) -> Iterator[int]:
    for inside in tree.values():
        if isinstance(inside, int):
            yield inside
        else:
            yield from _leaves(inside)


def _members(tree: Tree) -> str:
    return ",".join(f"{_key(name)}:{_template(inside)}" for name, inside in tree.items())


def _template(inside: "Tree | int") -> str:
    if isinstance(inside, int):
        return PLACE
    if all(isinstance(step, int) for step in inside):
        return "[" + ",".join(_template(one) for one in inside.values()) + "]"
    return "{" + _members(inside) + "}"


def _key(name: str | int) -> str:
    return json_string(str(name))
