"""The engine's memory: a machine of its own, and what the host puts where in there.

An address is an offset into that memory, which never moves.  Whoever looks into it keeps it
alive: a view that is left over when the engine is closed is never a view of freed memory.
"""

import mmap
from collections.abc import Callable
from typing import Final

from bpfpack.runner._native import window
from bpfpack.runner._native.wasmtime import WasmInstance
from bpfpack.spec.errors import EngineError
from bpfpack.spec.value import valuetype

#: An i32 reaches no further.
_END: Final = 1 << 32


@valuetype
class RingPlace:
    """Where a ring buffer of the kernel lies; ``size`` is that of its data, once."""

    consumer: int
    producer: int
    data: int
    size: int


class Memory:
    """What lies in an instance's memory."""

    def __init__(self, instance: WasmInstance) -> None:
        self._held: WasmInstance | None = instance
        self._base: Final = instance.base
        # What the module itself needs (data, stack) lies in what it asked for.
        self._end = instance.size
        self._rings: list[RingPlace] = []

    @property
    def _instance(self) -> WasmInstance:
        if self._held is None:
            raise ValueError("the event engine is closed")
        return self._held

    @property
    def next(self) -> int:
        """The address that `place` gives next."""
        return self._end

    def place(self, size: int) -> int:
        """The address of ``size`` bytes, zero and page aligned; raises EngineError."""
        at = self._end
        end = at + -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if end > _END:
            raise EngineError("the event engine has no room for that much")
        self._instance.grow(end)
        self._end = end
        return at

    def write(self, data: bytes) -> int:
        """Place a copy of ``data`` and return its address."""
        at = self.place(len(data))
        self.view(at, len(data))[:] = data
        return at

    def view(self, address: int, size: int) -> memoryview:
        """Look at ``size`` bytes; the memory lives at least as long as the view."""
        owner = self._instance
        if not 0 <= address <= address + size <= self._end:
            raise ValueError(f"no {size} bytes at {address}")
        return window.window(self._base + address, size, owner)

    def entry(self, name: str) -> Callable[[int], None]:
        """A function that the module exports, which takes an address; it keeps the memory."""
        return self._instance.entry(name)

    def map_ring(self, fd: int, size: int) -> RingPlace:
        """Put the pages of a BPF_MAP_TYPE_RINGBUF here (kernel/bpf/ringbuf.c).

        The page of the consumer's position may be written; that of the producer's, and the
        data, which stand there twice, may be read.  Raises KernelError, EngineError.
        """
        page = mmap.PAGESIZE
        at = self.place(2 * page + 2 * size)
        place = RingPlace(consumer=at, producer=at + page, data=at + 2 * page, size=size)
        # Before anything is there: what is put half is taken out again as well.
        self._rings.append(place)
        window.put(self._base + at, page, fd, 0, writable=True)
        window.put(self._base + at + page, page + 2 * size, fd, page, writable=False)
        return place

    def close(self) -> None:
        """Take the rings out, and free the memory once nobody looks into it or calls it."""
        while self._rings:
            ring = self._rings.pop()
            span = ring.data + 2 * ring.size - ring.consumer
            window.blank(self._base + ring.consumer, span)
        self._held = None
