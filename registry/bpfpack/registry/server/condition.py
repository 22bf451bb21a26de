"""Conditions of a write (RFC 9110, 13.1): what a name must stand for before it is replaced."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from bpfpack.spec.digest import Digest
from bpfpack.spec.value import valuetype

_ETAG: Final = re.compile(r'(W/)?"([^"]*)"')


@valuetype
class Condition:
    """``match`` and ``none_match`` are the entity tags named, "*" for any; None asks nothing.

    ``name`` is the tag or digest whose present content is held against them.
    """

    name: Digest | str
    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    def holds(self, now: Digest | None) -> bool:
        """Say whether ``name`` may be replaced while it stands for ``now``."""
        held = frozenset({"*", str(now)}) if now else frozenset[str]()
        if self.match is not None and not self.match & held:
            return False
        return self.none_match is None or not self.none_match & held


def condition_of(name: Digest | str, headers: Mapping[str, Sequence[str]]) -> Condition | None:
    """Return what a request demands by If-Match and If-None-Match, None for nothing.

    A header that names nothing that can be read holds for no content at all: a write that
    was meant to be careful is not done carelessly.
    """
    match = headers.get("If-Match", ())
    none_match = headers.get("If-None-Match", ())
    if not match and not none_match:
        return None
    return Condition(
        name=name,
        # The strong comparison: a weak tag never matches.
        match=_tags(match, weak=False) if match else None,
        none_match=_tags(none_match, weak=True) or frozenset({"*"}) if none_match else None,
    )


def _tags(values: Sequence[str], *, weak: bool) -> frozenset[str]:
    text = ", ".join(values).strip()
    if text == "*":
        return frozenset({"*"})
    return frozenset(tag for mark, tag in _ETAG.findall(text) if weak or not mark)
