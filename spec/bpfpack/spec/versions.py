"""Which of several tags is the newest release."""

import re
from collections.abc import Iterable
from typing import Final

# Numbers with dots.  What follows a hyphen is a pre-release (semver 2.0, clause 9), and
# never chosen for anybody who did not ask for it.
_RELEASE: Final = re.compile(r"v?([0-9]{1,32}(?:\.[0-9]{1,32}){0,3})")


def highest_release(tags: Iterable[str]) -> str | None:
    """Return the tag of the highest released version, None when there is none.

    ``1`` and ``1.2`` follow the releases below them, and dates such as ``20260101`` are no
    versions beside real ones: a version with more parts wins over one with fewer whenever
    the tags hold any with two or more.

    >>> highest_release(["v0.9", "1.10.0", "1.9.9", "2.0.0-rc.1", "latest", "1", "20260101"])
    '1.10.0'
    """
    found = [(_parts(tag), tag) for tag in tags if is_release(tag)]
    dotted = [pair for pair in found if len(pair[0]) > 1]
    if not (known := dotted or found):
        return None
    # Padded, so that 1.2 and 1.2.0 are the same version; the longer spelling is the fixed one.
    return max(known, key=lambda pair: (_padded(pair[0]), len(pair[0]), pair[1]))[1]


def is_release(tag: str) -> bool:
    """Say whether a tag or a version is that of a release.

    >>> is_release("v1.2"), is_release("1.2-rc.1"), is_release("latest")
    (True, False, False)
    """
    return _RELEASE.fullmatch(tag) is not None


def above(tag: str, others: Iterable[str]) -> str | None:
    """Return the highest version among ``others`` that is above ``tag``; None for none.

    By the numbers alone, however many each has: after ``2``, ``1.0`` is a step back.

    >>> above("1.0", ["latest", "2", "1.5"]), above("2.0.0", ["2", "1.5"])
    ('2', None)
    """
    if not is_release(tag):
        return None
    limit = _padded(_parts(tag))
    found = [(_padded(_parts(other)), other) for other in others if is_release(other)]
    return max((pair for pair in found if pair[0] > limit), default=(limit, None))[1]


def _parts(tag: str) -> tuple[int, ...]:
    return tuple(int(part) for part in tag.removeprefix("v").split("."))


def _padded(parts: tuple[int, ...]) -> tuple[int, ...]:
    return (*parts, *(0,) * (4 - len(parts)))
