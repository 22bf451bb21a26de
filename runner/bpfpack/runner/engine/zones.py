"""Local time for the engine: when its distance from UTC changes."""

import time
from collections.abc import Iterator
from typing import Final

#: No place had a time for less than this between two changes.
_STEP: Final = 7 * 86_400
#: How far ahead of now changes are looked for: what runs longer shows the last known time.
_AHEAD: Final = 2 * 366 * 86_400


def zones() -> Iterator[tuple[int, int]]:
    """The seconds since 1970 from which on local time is so many seconds ahead of UTC."""
    if time.tzname == ("UTC", "UTC"):  # it has no changes: at a start even a ms of them counts
        yield 0, 0
        return
    end = int(time.time()) + _AHEAD
    before = _offset(0)
    yield 0, before
    for second in range(_STEP, end, _STEP):
        after = _offset(second)
        if after != before:
            yield _change(second - _STEP, second, after), after
            before = after


def _change(low: int, high: int, after: int) -> int:
    """The first second of ``after``, behind ``low`` and up to ``high``."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle) == after:
            high = middle
        else:
            low = middle
    return high


def _offset(second: int) -> int:
    return time.localtime(second).tm_gmtoff
