"""Typed access to parsed JSON or TOML, with errors that say where.

Each function takes the mapping and the key, and raises SpecError whose path starts
with that key.  ``optional_*`` return None when the key is absent.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from bpfpack.spec.errors import LimitExceeded, SpecError

T = TypeVar("T")

UNKNOWN: Final = "unknown field"
NO_STRING: Final = "not a string"


@contextmanager
def inside(key: str) -> Iterator[None]:
    """Give every SpecError raised in the block one more path component."""
    try:
        yield
    except SpecError as e:
        raise e.inside(key) from e


def required(data: Mapping[str, Any], key: str) -> Any:
    """Return ``data[key]``, which must be there."""
    if key not in data:
        raise SpecError("missing", path=(key,))
    return data[key]


def string(data: Mapping[str, Any], key: str) -> str:
    """Return a string that must be there."""
    return _typed(required(data, key), key, str, "a string")


def optional_string(data: Mapping[str, Any], key: str) -> str | None:
    """Return a string, or None."""
    return None if key not in data else string(data, key)


def integer(data: Mapping[str, Any], key: str, *, low: int = 0, high: int = 2**63 - 1) -> int:
    """Return an integer in ``[low, high]`` that must be there."""
    value = required(data, key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise SpecError("not an integer", path=(key,))
    if not low <= value <= high:
        raise SpecError(f"not between {low} and {high}", path=(key,))
    return value


def optional_integer(
    data: Mapping[str, Any], key: str, *, low: int = 0, high: int = 2**63 - 1
) -> int | None:
    """Return an integer in ``[low, high]``, or None."""
    return None if key not in data else integer(data, key, low=low, high=high)


def boolean(data: Mapping[str, Any], key: str, *, default: bool = False) -> bool:
    """Return a boolean, ``default`` when absent."""
    return _typed(data.get(key, default), key, bool, "a boolean")


def mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an object, empty when absent."""
    return _typed(data.get(key, {}), key, dict, "an object")


def nested(data: Mapping[str, Any], key: str, parse: Callable[[Mapping[str, Any]], T]) -> T:
    """Return an object parsed by ``parse``, an empty one when absent."""
    found = mapping(data, key)
    with inside(key):
        return parse(found)


def string_map(
    data: Mapping[str, Any], key: str, *, most: int, longest: int | None = None
) -> Mapping[str, str]:
    """Return an object whose values are all strings, empty when absent.

    Raises LimitExceeded past ``most`` entries and ``longest`` characters in a value.
    """
    found = mapping(data, key)
    if len(found) > most:
        raise LimitExceeded(f"more than {most} entries", path=(key,))
    for name in found:
        with inside(key):
            if len(string(found, name)) > (longest or math.inf):
                raise LimitExceeded(f"more than {longest} characters", path=(name,))
    return found


def strings(data: Mapping[str, Any], key: str, *, most: int) -> tuple[str, ...]:
    """Return a list of strings, empty when absent."""
    return tuple(items(data, key, most=most, parse=lambda v: _typed(v, "", str, "a string")))


def items(
    data: Mapping[str, Any], key: str, *, most: int, parse: Callable[[Any], T]
) -> tuple[T, ...]:
    """Return a list parsed item by item, empty when absent."""
    value = _typed(data.get(key, []), key, list, "a list")
    if len(value) > most:
        raise LimitExceeded(f"more than {most} items", path=(key,))
    found = []
    for i, item in enumerate(value):
        with inside(f"{key}[{i}]"):
            found.append(parse(item))
    return tuple(found)


def objects(
    data: Mapping[str, Any], key: str, *, most: int, parse: Callable[[Mapping[str, Any]], T]
) -> tuple[T, ...]:
    """Return a list of objects, each parsed by ``parse``; empty when absent."""
    return items(data, key, most=most, parse=lambda v: parse(_typed(v, "", dict, "an object")))


def text(data: Mapping[str, Any], key: str, *, most: int) -> str | None:
    """Return a string of at most ``most`` characters, or None."""
    found = optional_string(data, key)
    if found is not None and len(found) > most:
        raise LimitExceeded(f"more than {most} characters", path=(key,))
    return found


def required_text(data: Mapping[str, Any], key: str, *, most: int) -> str:
    """Return a string of at most ``most`` characters that must be there."""
    return known(text(data, key, most=most), key)


def choice(data: Mapping[str, Any], key: str, among: tuple[str, ...]) -> str | None:
    """Return one of ``among``, or None."""
    found = optional_string(data, key)
    if found is not None and found not in among:
        raise SpecError(f"not one of {', '.join(among)}", path=(key,))
    return found


def matching(data: Mapping[str, Any], key: str, shape: re.Pattern[str], what: str) -> str | None:
    """Return a string that has a shape, which people call ``what``; or None."""
    found = optional_string(data, key)
    if found is not None and not shape.fullmatch(found):
        raise SpecError(f"not {what}", path=(key,))
    return found


def known(found: T | None, key: str) -> T:
    """Return what was found; raises SpecError for None."""
    if found is None:
        raise SpecError("missing", path=(key,))
    return found


def present(**members: Any) -> dict[str, Any]:
    """Return the members that are not None, for a JSON form that leaves absent ones out."""
    return {key: found for key, found in members.items() if found is not None}


def only(data: Mapping[str, Any], *known: str) -> None:
    """Raise when ``data`` has a key that is not ``known``; its hint is the nearest that is."""
    if extra := sorted(set(data) - set(known)):
        from difflib import get_close_matches

        error = SpecError(UNKNOWN, path=(extra[0],))
        near = get_close_matches(extra[0][:80], known, n=1)
        raise error.with_hint(f"did you mean {near[0]}?") if near else error


def _typed(value: Any, key: str, kind: type[T], name: str) -> T:
    if not isinstance(value, kind):
        raise SpecError(f"not {name}", path=(key,) if key else ())
    return value
