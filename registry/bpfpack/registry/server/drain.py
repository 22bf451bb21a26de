"""An orderly end: requests under way are finished, within bounds, and none is begun.

aiohttp by itself drops what arrives of a body once it is told to stop.
"""

import asyncio
import contextlib
from collections.abc import Iterator


class Drain:
    """Counts the requests under way."""

    def __init__(self) -> None:
        self._count, self._idle = 0, asyncio.Event()
        self._idle.set()
        self.ending = False

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Count one request for the length of the block."""
        self._count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()

    async def wait(self, seconds: float) -> None:
        """Wait for the requests under way, for so long at most; connections end with them."""
        self.ending = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
