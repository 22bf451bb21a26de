"""From the kernel's clocks to wall time."""

import time
from typing import Final, Protocol

_CLOCKS: Final = {
    "mono": time.CLOCK_MONOTONIC,
    "boot": time.CLOCK_BOOTTIME,
    "tai": time.CLOCK_TAI,
}
#: Nanoseconds after which offsets are sampled again: steps and slews of wall time show.
_FRESH: Final = 1_000_000_000


class WallClock(Protocol):
    """What is added to a clock's nanoseconds to give those since 1970 (UTC)."""

    def offset(self, clock: str) -> int:
        """The offset of ``mono``, ``boot``, ``tai`` or ``real``, in nanoseconds."""
        ...

    def refresh(self) -> None:
        """Sample again when the last sample is old; called once for each batch."""
        ...


class SystemClock:
    """The clocks of this system, compared at most once a second."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {"real": 0}
        self._sampled = 0
        self._sample()

    def offset(self, clock: str) -> int:
        """See `WallClock`."""
        return self._offsets[clock]

    def refresh(self) -> None:
        """See `WallClock`."""
        if time.monotonic_ns() - self._sampled >= _FRESH:
            self._sample()

    def _sample(self) -> None:
        for name, number in _CLOCKS.items():
            # Read the clock before and after: the middle is when wall time was read.
            before = time.clock_gettime_ns(number)
            wall = time.time_ns()
            after = time.clock_gettime_ns(number)
            self._offsets[name] = wall - (before + after) // 2
        self._sampled = time.monotonic_ns()
