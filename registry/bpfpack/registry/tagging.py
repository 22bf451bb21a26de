"""Changes what a tag names without taking away what another writer puts there meanwhile.

Signatures and referrers lie in tags that many write: `.sig`, and the referrers tag of a
registry without that API.  A write is made on condition (RFC 9110, 13.1: If-Match, and
If-None-Match for the first of them), and what was written is read again.  Few registries
heed a condition; with those that do not, the second reading waits until whoever had read
before our write has written, so that each of two sees what the other left out.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, TypeAlias, runtime_checkable

from bpfpack.spec.errors import ContentError, NotFound, SpecError, TransportError
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.value import valuetype

_ATTEMPTS: Final = 10
_PRECONDITION_FAILED: Final = 412
# Seconds; and how many times what our own reading and writing took.
_SETTLED: Final = 0.2
_SLOWER: Final = 2.0

Content: TypeAlias = Manifest | Index
#: Given what the tag names, returns what it shall name, None when it is right as it is.
#: Pushes what its result needs, and raises for what is not to be replaced.
Change: TypeAlias = Callable[[Content | None], Content | None]


@valuetype
class Held:
    """What a tag names, and the entity tag by which to replace it.

    ``content`` is None for nothing, and for what cannot be read and so is nobody's.
    """

    content: Content | None = None
    mark: str | None = None


class Place(Protocol):
    """A repository that is read and written."""

    def resolve(self, name: str, /) -> Content: ...
    def put(self, manifest: Content, tag: str | None = None) -> None: ...


@runtime_checkable
class Conditional(Protocol):
    """A repository whose tags can be replaced on condition."""

    def held(self, tag: str) -> Held:
        """Return what a tag names; raises Denied, TransportError when it cannot look."""
        ...

    def replace(self, content: Content, tag: str, before: Held) -> bool:
        """Name ``content`` if the tag still is as ``before``; say whether it heeds conditions.

        Raises TransportError with status 412 when the tag is not.
        """
        ...

    def wait(self, seconds: float) -> None:
        """Let other writers write."""
        ...


def change(place: Place, tag: str, wanted: Change) -> None:
    """Apply ``wanted`` until the tag is found to be as it would leave it.

    Raises TransportError when others never let it be, and what ``place`` and ``wanted``
    raise.
    """
    before: Held | None = None
    for _ in range(_ATTEMPTS):
        began = time.monotonic()
        held = _held(place, tag)
        content = wanted(held.content)
        if content is None:
            return
        if held == before:
            # Refused although nothing changed: it is no condition that this registry knows.
            place.put(content, tag)
            before = None
            continue
        before = _replace(place, content, tag, held, began)
    if wanted(_held(place, tag).content) is not None:
        raise TransportError(f"others keep replacing {tag}")


def _held(place: Place, tag: str) -> Held:
    if isinstance(place, Conditional):
        return place.held(tag)
    with suppress(NotFound, ContentError, SpecError):
        return Held(content=place.resolve(tag))
    return Held()


def _replace(place: Place, content: Content, tag: str, held: Held, began: float) -> Held | None:
    """Write once; returns ``held`` when the registry would not have it replaced."""
    if not isinstance(place, Conditional):
        place.put(content, tag)
        return None
    try:
        heeded = place.replace(content, tag, held)
    except TransportError as e:
        if e.status != _PRECONDITION_FAILED:
            raise
        return held
    if not heeded:
        place.wait(max(_SETTLED, _SLOWER * (time.monotonic() - began)))
    return None
