"""JSON from outside: bounded, and with one meaning for every reader.

Refused beyond RFC 8259: keys that repeat, keys that differ only by case (Go readers
fold it), NaN and infinities, integers of more digits than 64 bits need, deep nesting,
text that is not UTF-8, lone surrogates.  (SPEC.md 2.1)
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, NoReturn

from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS

# Possessive, so that no input makes it go back.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEP: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def loads(data: bytes, limit: int) -> Any:
    """Parse ``data``; raises SpecError, and LimitExceeded past ``limit`` bytes."""
    if len(data) > limit:
        raise LimitExceeded(f"{len(data)} bytes of JSON, {limit} allowed")
    _check_depth(data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise SpecError(f"JSON is not UTF-8 at byte {e.start}") from e
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as e:
        raise SpecError(f"not JSON: {e.msg} at line {e.lineno} column {e.colno}") from e
    except RecursionError as e:  # unreachable below json_depth, and no crash if that grows
        raise LimitExceeded("JSON is nested too deeply") from e
    if "\\u" in text:
        _check_surrogates(value)
    return value


def loads_object(data: bytes, limit: int) -> dict[str, Any]:
    """Parse ``data``, which must be one JSON object."""
    value = loads(data, limit)
    if not isinstance(value, dict):
        raise SpecError("not a JSON object")
    return value


def dumps(value: object) -> bytes:
    """Return the one spelling bpfpack writes: compact, UTF-8, keys in the given order."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise SpecError("a JSON key appears twice")
    if len({key.casefold() for key in found}) != len(found):
        raise SpecError("two JSON keys differ only by case")
    return found


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > LIMITS.json_integer_digits:
        raise LimitExceeded(f"an integer of {len(text)} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise SpecError("a number that is not finite")
    return value


def _constant(text: str) -> NoReturn:
    raise SpecError(f"{text} is not JSON")


def _check_depth(data: bytes) -> None:
    """Bound nesting before the recursive parser sees it; brackets in strings do not count."""
    if data.count(b"[") + data.count(b"{") <= LIMITS.json_depth:
        return
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > LIMITS.json_depth:
        raise LimitExceeded(f"JSON nested deeper than {LIMITS.json_depth}")


def _check_surrogates(value: object) -> None:
    match value:
        case str():
            if any("\ud800" <= c <= "\udfff" for c in value):
                raise SpecError("a lone surrogate in a JSON string")
        case Mapping():
            for key, item in value.items():
                _check_surrogates(key)
                _check_surrogates(item)
        case Sequence():
            for item in value:
                _check_surrogates(item)
