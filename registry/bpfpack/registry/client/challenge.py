"""WWW-Authenticate challenges (RFC 9110, 11.6.1), from one header or several."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from bpfpack.spec.value import valuetype

_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER: Final = re.compile(rf'\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*')
_SCHEME: Final = re.compile(rf"\s*({_WORD})(?=\s|,|$)\s*")
_WORD68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*\s*(?=,|$)")
_ESCAPE: Final = re.compile(r"\\(.)")
# A header is at most 64 KiB for http.client; nobody needs a tenth of that.
_LONGEST: Final = 8192


@valuetype(kw_only=False)
class Challenge:
    """One way in that the server offers; ``scheme`` and parameter names are lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges in order; what cannot be read ends its header.

    >>> parse(['Bearer realm="https://r/t",service="r", Basic realm="x"'])[1].scheme
    'basic'
    """
    return tuple(c for header in headers for c in _one(header[:_LONGEST]))


def _one(text: str) -> Iterable[Challenge]:
    at = 0
    while at < len(text):
        if text[at] in ", \t":
            at += 1
            continue
        if not (match := _SCHEME.match(text, at)):
            return
        parameters, at = _parameters(text, match.end())
        yield Challenge(match[1].lower(), parameters)


def _parameters(text: str, at: int) -> tuple[Mapping[str, str], int]:
    found: dict[str, str] = {}
    if match := _WORD68.match(text, at):
        return found, match.end()
    while match := _PARAMETER.match(text, at):
        value = _ESCAPE.sub(r"\1", match[2]) if match[2] is not None else match[3]
        found.setdefault(match[1].lower(), value)
        at = match.end()
        while at < len(text) and text[at] in ", \t":
            at += 1
    return found, at
