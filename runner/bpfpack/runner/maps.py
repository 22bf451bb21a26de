"""Maps of a loaded object: elements, walks that survive deletion, values per CPU."""

from collections.abc import Iterator
from typing import Final

from bpfpack.runner._native import maps as native
from bpfpack.runner._native.btf import possible_cpus
from bpfpack.runner._native.objects import NativeMap
from bpfpack.spec.errors import UsageError

# include/uapi/linux/bpf.h, ``enum bpf_map_type``.
PERF_EVENT_ARRAY: Final = 4
RINGBUF: Final = 27
_PER_CPU: Final = frozenset({5, 6, 10, 21})
_BATCH_BYTES: Final = 256 * 1024


class Map:
    """A map in the kernel; usable as long as its session is open, ValueError afterwards.

    Keys and values are bytes of exactly the map's sizes; the value of a per-CPU map is one
    value after the other, `slots` takes them apart.
    """

    def __init__(self, native_map: NativeMap) -> None:
        self._native = native_map
        self.name: Final = native_map.name
        self.type, self.key_size, self.value_size, self.max_entries = native_map.shape
        self.per_cpu: Final = self.type in _PER_CPU

    @property
    def fd(self) -> int:
        """The descriptor, owned by the session."""
        return self._native.fd

    @property
    def _stride(self) -> int:
        # The kernel rounds each CPU's value up to 8 bytes (bpf_map_value_size).
        return (self.value_size + 7) & ~7

    @property
    def _total(self) -> int:
        return self._stride * possible_cpus() if self.per_cpu else self.value_size

    def slots(self, value: bytes) -> list[bytes]:
        """One value for each possible CPU; the value alone where the map has no CPUs."""
        if not self.per_cpu:
            return [value]
        return [value[i : i + self.value_size] for i in range(0, len(value), self._stride)]

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

        In batches where the kernel has them, otherwise key by key.  An element that is
        added or deleted meanwhile may or may not be there; the walk ends all the same.
        """
        chunk = max(1, min(self.max_entries, _BATCH_BYTES // (self.key_size + self._total)))
        reader = native.BatchReader(self.fd, self.key_size, self._total, chunk)
        seen: set[bytes] = set()
        try:
            while not reader.done:
                for key, value in reader.read():
                    if key not in seen:
                        seen.add(key)
                        yield key, value
        except native.BatchUnsupported:
            yield from self._walk(seen)

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
