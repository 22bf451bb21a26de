"""Maps of a loaded object: elements, walks that survive deletion, values per CPU."""

import errno
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple, Protocol

from bpfpack.runner._native import maps as native
from bpfpack.runner._native.btf import possible_cpus
from bpfpack.runner._native.libbpf import ENOTSUPP, describe
from bpfpack.runner._native.objects import NativeMap
from bpfpack.spec.errors import KernelError, UsageError

# include/uapi/linux/bpf.h, ``enum bpf_map_type``.
PERF_EVENT_ARRAY: Final = 4
RINGBUF: Final = 27
_ARRAYS: Final = frozenset({2, 6})
_PER_CPU: Final = frozenset({5, 6, 10, 21})
#: Types whose batches hold each key once, whatever happens meanwhile: a hash table is read
#: bucket by bucket, each under its lock (kernel/bpf/hashtab.c).  Batches of other types go
#: from key to key, and back to the first from one that is gone.
_BATCHED: Final = frozenset({1, 2, 5, 6, 9, 10})
#: Kernels without batches say EINVAL, map types without them ENOTSUPP (arrays to a removal,
#: per-CPU arrays before 5.13); a walk that met too many deletions says EINTR
#: (kernel/bpf/syscall.c, generic_map_lookup_batch).
_NO_BATCH: Final = frozenset({errno.EINVAL, errno.EINTR, errno.EOPNOTSUPP, ENOTSUPP})
_BATCH_BYTES: Final = 2 * 1024 * 1024


class Chunk(NamedTuple):
    """Elements, keys and values one after the other; only until the next chunk is read."""

    keys: memoryview
    values: memoryview
    elements: int


class Buffers(Protocol):
    """Makes the system calls of a batch; see `bpfpack.runner._native.maps.BatchBuffers`."""

    chunk: int
    keys: memoryview
    values: memoryview

    def grow(self, chunk: int) -> None:
        """Make room for so many elements."""
        ...

    def rewind(self) -> None:
        """Let the next call begin with the first element."""
        ...

    def call(self, fd: int, *, delete: bool) -> tuple[int, int]:
        """Read the next elements; return how many, and an errno or 0."""
        ...


class Map:
    """A map in the kernel; usable as long as its session is open, ValueError afterwards.

    Keys and values are bytes of exactly the map's sizes; the value of a per-CPU map is one
    value after the other, each rounded up to 8 bytes; `slots` takes them apart.
    """

    def __init__(
        self,
        native_map: NativeMap,
        buffers: Callable[[int, int, int], Buffers] = native.BatchBuffers,
    ) -> None:
        self._native, self._make_buffers = native_map, buffers
        self.name: Final = native_map.name
        self.type, self.key_size, self.value_size, self.max_entries = native_map.shape
        self.per_cpu: Final = self.type in _PER_CPU
        # The kernel rounds each CPU's value up to 8 bytes (bpf_map_value_size).
        self.stride: Final = (self.value_size + 7) & ~7 if self.per_cpu else self.value_size
        self._spare: list[Buffers] = []

    @property
    def fd(self) -> int:
        """The descriptor, owned by the session."""
        return self._native.fd

    @property
    def cpus(self) -> int:
        """How many values each key has, ``stride`` bytes from one to the next."""
        return possible_cpus() if self.per_cpu else 1

    @property
    def _total(self) -> int:
        return self.stride * self.cpus

    def slots(self, value: bytes) -> list[bytes]:
        """One value for each possible CPU; the value alone where the map has no CPUs."""
        if not self.per_cpu:
            return [value]
        return [value[i : i + self.value_size] for i in range(0, len(value), self.stride)]

    def lookup(self, key: bytes) -> bytes | None:
        """The value of a key, or None; raises KernelError."""
        return native.lookup(self.fd, self._checked(key, self.key_size), self._total)

    def update(self, key: bytes, value: bytes) -> None:
        """Create or replace an element; raises KernelError."""
        native.update(self.fd, self._checked(key, self.key_size), self._checked(value, self._total))

    def delete(self, key: bytes) -> bool:
        """Remove an element and say whether it was there; raises KernelError."""
        return native.delete(self.fd, self._checked(key, self.key_size))

    def _checked(self, data: bytes, size: int) -> bytes:
        if len(data) != size:
            raise UsageError(f"{self.name}: {len(data)} bytes where the map has {size}")
        return data

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every element, in the kernel's order, each key once.

        An element that is added or deleted meanwhile may or may not be there; the walk ends
        all the same.
        """
        for chunk in self.chunks():
            yield from self._pairs(chunk)

    def take(self) -> Iterator[tuple[bytes, bytes]]:
        """Every element, removed as it is read; an element of an array is set to zero.

        Nothing is lost in between where the kernel does both at once: hash tables in batches
        since 5.6, one by one since 5.14; arrays never.  Samples are not made of this: another
        reader would miss what is taken, and a crash would lose it.
        """
        if self.type in _ARRAYS:
            zero = bytes(self._total)
            for key, value in self.items():
                if value != zero:
                    self.update(key, zero)
                yield key, value
            return
        for chunk in self.chunks(take=True):
            yield from self._pairs(chunk)

    def chunks(self, *, take: bool = False) -> Iterator[Chunk]:
        """What `items` or `take` gives, many elements at a time.

        In batches where the kernel has them, otherwise key by key; raises KernelError.
        """
        read: list[bytes] = []
        if self.type in _BATCHED:
            buffers = self._spare.pop() if self._spare else self._new_buffers()
            try:
                buffers.rewind()
                whole = yield from self._batches(buffers, read, take=take)
            finally:
                self._spare = [buffers]
            if whole:
                return
        seen = {key for keys in read for key in _parts(keys, self.key_size)}
        elements = self._taken(seen) if take else self._walk(seen)
        while pairs := list(islice(elements, self._per_chunk)):
            keys, values = zip(*pairs, strict=True)
            yield Chunk(memoryview(b"".join(keys)), memoryview(b"".join(values)), len(pairs))

    @property
    def _per_chunk(self) -> int:
        return max(1, min(self.max_entries, _BATCH_BYTES // (self.key_size + self._total)))

    def _new_buffers(self) -> Buffers:
        return self._make_buffers(self.key_size, self._total, self._per_chunk)

    def _batches(
        self, buffers: Buffers, read: list[bytes], *, take: bool
    ) -> Generator[Chunk, None, bool]:
        """Read in batches and return whether that was all; ``read`` gets the keys.

        A bucket of a hash table comes whole or not at all: one that is larger than the
        buffers makes them grow.
        """
        while True:
            count, code = buffers.call(self.fd, delete=take)
            if code == errno.ENOSPC and buffers.chunk <= 2 * self.max_entries + 64:
                buffers.grow(2 * buffers.chunk)
                continue
            if code in _NO_BATCH:
                return False
            if code not in (0, errno.ENOENT):
                raise KernelError(code, describe(code), self.name)
            if count:
                keys = buffers.keys[: count * self.key_size]
                read.append(bytes(keys))
                yield Chunk(keys, buffers.values[: count * self._total], count)
            if code:
                return True

    def _pairs(self, chunk: Chunk) -> Iterable[tuple[bytes, bytes]]:
        keys = _parts(chunk.keys, self.key_size)
        return zip(keys, _parts(chunk.values, self._total), strict=True)

    def _walk(self, seen: set[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Go from key to key.

        A deleted key leads back to the first: keys that were seen are passed by, and what
        is bounded is the number of steps, since another may delete for ever.
        """
        key = None
        for _ in range(4 * self.max_entries + 64):
            key = native.next_key(self.fd, key, self.key_size)
            if key is None:
                return
            if key in seen:
                continue
            value = self.lookup(key)
            if value is not None:
                seen.add(key)
                yield key, value

    def _taken(self, seen: set[bytes]) -> Iterator[tuple[bytes, bytes]]:
        # First all keys: from one that is removed there is no way on.
        for key, _ in list(self._walk(seen)):
            value = native.take(self.fd, key, self._total)
            if value is not None:
                yield key, value


def _parts(data: memoryview | bytes, size: int) -> list[bytes]:
    """Equal parts of ``data``, copied."""
    whole = bytes(data)
    return [whole[i : i + size] for i in range(0, len(whole), size)]
