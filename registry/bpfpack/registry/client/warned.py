"""Warning headers (distribution spec 1.1, "Warnings"): reported once, never acted on."""

import re
from collections.abc import Iterable
from typing import Final

from bpfpack.spec.safetext import printable

# The only form that the specification allows.
_WARNING: Final = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")
# "The total of all warning-values in a response MUST NOT exceed 4096 bytes."
_LONGEST: Final = 4096
_MOST: Final = 64


class Warnings:
    """What registries had to say, each thing once, in order."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def add(self, headers: Iterable[str]) -> None:
        """Take the Warning headers of one response."""
        for match in _WARNING.finditer(", ".join(headers)[:_LONGEST]):
            if len(self._texts) < _MOST:
                self._texts[printable(_ESCAPE.sub(r"\1", match[1]), 1000)] = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Return them, safe to show."""
        return tuple(self._texts)
