"""Maps of a session with keys and values as Python knows them."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from bpfpack.runner.api.decoding import ValueDecoder
from bpfpack.runner.api.encoding import ValueEncoder
from bpfpack.runner.events.clock import WallClock
from bpfpack.runner.maps import Map
from bpfpack.spec.errors import UsageError
from bpfpack.spec.record import RecordLayout


class Codec:
    """Both ways between bytes and values; without a layout, bytes as they are."""

    def __init__(
        self, layout: RecordLayout | None, clock: WallClock, plain_name: str, what: str
    ) -> None:
        self.layout: Final = layout
        self.decode: Callable[[bytes], Any] = bytes
        self.encode: Callable[[Any], bytes] = bytes
        if layout is not None:
            self.decode = ValueDecoder(layout, clock, plain_name)
            self.encode = ValueEncoder(layout, plain_name, what)


class TypedMap:
    """A map in the kernel, used like a dict; ValueError once its session is closed.

    A key or value that is a struct is a dict of its members, a number or text is itself, as in
    JSON; without BTF they are `bytes`.  The value of a **per-CPU** map is a list with one value
    for each possible CPU.  Everything raises KernelError for what the kernel refuses, and
    UsageError for what is no key or value of this map.
    """

    def __init__(self, raw: Map, key: Codec, value: Codec) -> None:
        #: The same map in bytes.
        self.raw: Final = raw
        self._key, self._value = key, value

    @property
    def name(self) -> str:
        """As the package calls it."""
        return self.raw.name

    @property
    def per_cpu(self) -> bool:
        """Whether each CPU has a value of its own."""
        return self.raw.per_cpu

    @property
    def max_entries(self) -> int:
        """Room for so many."""
        return self.raw.max_entries

    @property
    def key_layout(self) -> RecordLayout | None:
        """What a key is made of, None without BTF."""
        return self._key.layout

    @property
    def value_layout(self) -> RecordLayout | None:
        """What a value is made of, None without BTF."""
        return self._value.layout

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of a key, ``default`` where there is none."""
        found = self.raw.lookup(self._key.encode(key))
        return default if found is None else self._decoded(found)

    def __getitem__(self, key: Any) -> Any:
        found = self.raw.lookup(self._key.encode(key))
        if found is None:
            raise KeyError(key)
        return self._decoded(found)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.raw.update(self._key.encode(key), self._encoded(value))

    def __delitem__(self, key: Any) -> None:
        if not self.raw.delete(self._key.encode(key)):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return self.raw.lookup(self._key.encode(key)) is not None

    def __iter__(self) -> Iterator[Any]:
        """The keys; see `items`."""
        return (key for key, _ in self.items())

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Every element once, as `bpfpack.runner.maps.Map.items` reads them."""
        for chunk in self.chunks():
            yield from chunk

    def take(self) -> Iterator[tuple[Any, Any]]:
        """Every element, removed as it is read; see `bpfpack.runner.maps.Map.take`."""
        return (self._pair(key, value) for key, value in self.raw.take())

    def chunks(self) -> Iterator[list[tuple[Any, Any]]]:
        """What `items` gives, as many at a time as the kernel gave in one call."""
        key_size, total = self.raw.key_size, self.raw.stride * self.raw.cpus
        for chunk in self.raw.chunks():
            keys, values = bytes(chunk.keys), bytes(chunk.values)
            yield [
                self._pair(
                    keys[i * key_size : (i + 1) * key_size], values[i * total : (i + 1) * total]
                )
                for i in range(chunk.elements)
            ]

    def _pair(self, key: bytes, value: bytes) -> tuple[Any, Any]:
        return self._key.decode(key), self._decoded(value)

    def _decoded(self, value: bytes) -> Any:
        if not self.raw.per_cpu:
            return self._value.decode(value)
        return [self._value.decode(slot) for slot in self.raw.slots(value)]

    def _encoded(self, value: Any) -> bytes:
        if not self.raw.per_cpu:
            return self._value.encode(value)
        if not isinstance(value, list | tuple) or len(value) != self.raw.cpus:
            raise UsageError(f"{self.name}: a list of {self.raw.cpus} values, one for each CPU")
        return b"".join(self._value.encode(one).ljust(self.raw.stride, b"\0") for one in value)

    def __repr__(self) -> str:
        return f"<TypedMap {self.name}>"
