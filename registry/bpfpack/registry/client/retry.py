"""When to ask again, and how long to wait before."""

import email.utils
import re
from typing import Final

from bpfpack.registry.client.wire import Head, Trouble

STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
# oras-go waits 250 ms, doubled each time, give or take a tenth.
_BASE: Final = 0.25
_LONGEST: Final = 30.0
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


def worth(outcome: Head | Trouble, *, idempotent: bool) -> bool:
    """Say whether the same request may succeed a little later, and may be sent twice."""
    match outcome:
        case Head(status=status):
            return idempotent and status in STATUSES
        case Trouble.CONNECT:
            return True  # nothing has been sent
        case Trouble.TIMEOUT | Trouble.BROKEN:
            return idempotent
        case _:
            return False


def backoff(attempt: int, chance: float) -> float:
    """Return the seconds to wait after ``attempt`` (from 1); ``chance`` lies in [0, 1).

    >>> backoff(3, 0.5)
    1.0
    """
    return min(_BASE * 2.0 ** (attempt - 1), _LONGEST) * (0.9 + 0.2 * chance)


def retry_after(text: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3).

    ``now`` is in seconds since the epoch.  None for no header, and for nonsense.

    >>> retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 50.0)
    10.0
    """
    if text is None:
        return None
    if match := _SECONDS.fullmatch(text.strip()):
        return float(match[0])
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (ValueError, OverflowError):
        return None
