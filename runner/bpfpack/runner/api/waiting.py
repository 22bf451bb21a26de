"""Waiting for what comes through a descriptor: in a loop of Python, or in that of asyncio."""

import asyncio
import select
import time
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Takes(Protocol[T_co]):
    """What gives something from time to time; readable at ``fd`` when it may."""

    @property
    def fd(self) -> int:
        """The descriptor to wait on."""
        ...

    def take(self) -> T_co | None:
        """What is there now, None for nothing; something empty is passed over."""
        ...


def each(reader: Takes[T_co], timeout: float | None) -> Iterator[T_co]:
    """Yield what comes until nothing has come for ``timeout`` seconds; None waits for ever."""
    poll = select.poll()
    poll.register(reader.fd, select.POLLIN)
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        found = reader.take()
        if found:
            yield found
            until = None if timeout is None else time.monotonic() + timeout
        if found is not None:
            continue
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            return
        poll.poll(None if left is None else left * 1000)


class AsyncEach(Generic[T_co]):
    """The same for ``async for``: it never ends by itself.

    Nothing of it is left in the event loop when the loop over it is left, or cancelled.
    """

    def __init__(self, reader: Takes[T_co]) -> None:
        self._reader = reader

    def __aiter__(self) -> "AsyncEach[T_co]":
        return self

    async def __anext__(self) -> T_co:
        """Wait for the next; raises what `Takes.take` raises."""
        while True:
            # In a flood there is always something: others get their turn, and cancellation.
            await asyncio.sleep(0)
            found = self._reader.take()
            if found:
                return found
            if found is None:
                await _readable(self._reader.fd)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _wake, woken)
    try:
        await woken
    finally:
        loop.remove_reader(fd)


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)
