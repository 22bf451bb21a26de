"""Sizes, times and durations, as people read and write them."""

import re
from datetime import datetime, timedelta
from typing import Final

from bpfpack.spec.errors import SpecError, UsageError

_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_BYTES: Final = r"([0-9]{1,12})(?:([kmgKMG])(?:i?[bB])?|[bB])?"
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h|d)?")


def size(count: int) -> str:
    """Bytes as docker shows them: decimal units, three digits.

    >>> size(999), size(12345), size(3_000_000_000)
    ('999B', '12.3kB', '3GB')
    """
    value, units = float(count), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000 and (larger := next(units, None)):
        value, unit = value / 1000, larger
    return f"{value:.3g}{unit}"


def counted(count: int, what: str) -> str:
    """A number with its noun.

    >>> counted(1, "program"), counted(3, "program")
    ('1 program', '3 programs')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"


def age(then: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that fits.

    >>> from datetime import timedelta
    >>> age(datetime(2026, 1, 1), datetime(2026, 1, 1) + timedelta(minutes=90))
    '1 hour ago'
    """
    seconds = max((now - then).total_seconds(), 0)
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if (count := int(seconds // length)) >= 1:
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


def seconds(text: str, option: str) -> float:
    """Parse ``10s``, ``2m``, ``500ms`` or plain seconds; raises UsageError.

    >>> seconds("500ms", "--timeout")
    0.5
    """
    match = _DURATION.fullmatch(text)
    if not match or float(match[1]) <= 0:
        raise UsageError(f"{option}: not a duration: {text[:40]!r}").with_hint(
            "write 10s, 2m, 1h or 500ms"
        )
    return float(match[1]) * _SECONDS[match[2] or "s"]


def lifetime(text: str, option: str) -> timedelta:
    """Parse how long a signature counts, as a policy's ``max_age`` is written.

    Raises UsageError.
    """
    from bpfpack.spec.policy import parse_age

    try:
        return parse_age(text)
    except SpecError as e:
        raise UsageError(f"{option} {text[:40]!r}: {e.reason}") from e


def byte_count(text: str, option: str) -> int:
    """Parse ``16M``, ``64k``, ``1GiB`` or plain bytes, in powers of 1024; raises UsageError.

    >>> byte_count("16M", "--buffer-size")
    16777216
    """
    match = re.fullmatch(_BYTES, text)  # compiled where it is asked for: not in every run
    if not match or not int(match[1]):
        raise UsageError(f"{option}: not a size: {text[:40]!r}").with_hint("write 64k, 16M or 1G")
    return int(match[1]) << 10 * "kmg".find(match[2].lower()) + 10 if match[2] else int(match[1])


def count(text: str, option: str) -> int:
    """Parse a positive whole number; raises UsageError."""
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) == 0:
        raise UsageError(f"{option}: not a positive whole number: {text[:40]!r}")
    return int(text)
