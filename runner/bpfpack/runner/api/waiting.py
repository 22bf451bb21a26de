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

    def poll(self) -> tuple[bool, T_co | None]:
        """Take what is there now: whether there was anything, and what of it is shown."""
        ...


def each(reader: Takes[T_co], timeout: float | None) -> Iterator[T_co]:
    """Yield what comes until nothing has come for ``timeout`` seconds; None waits for ever."""
    poll = select.poll()
    poll.register(reader.fd, select.POLLIN)
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        there, found = reader.poll()
        if found is not None:
            yield found
            until = None if timeout is None else time.monotonic() + timeout
        if there:
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
        """Wait for the next; raises what `Takes.poll` raises."""
        while True:
            # In a flood there is always something: others get their turn, and cancellation.
            await asyncio.sleep(0)
            there, found = self._reader.poll()
            if found is not None:
                return found
            if not there:
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
