"""A map as a dictionary, for tests of what reads maps."""

from collections.abc import Iterator

from bpfpack.runner.maps import Chunk


class DictElements:
    """Values of ``cpus`` parts; read ``chunk`` elements at a time."""

    def __init__(
        self,
        *,
        type: int = 1,
        max_entries: int = 100,
        cpus: int = 1,
        key_size: int = 4,
        value_size: int,
        chunk: int = 2,
    ) -> None:
        self.type, self.max_entries, self.cpus = type, max_entries, cpus
        self.key_size, self.value_size, self._chunk = key_size, value_size, chunk
        self.stride = value_size if cpus == 1 else (value_size + 7) & ~7
        self.data: dict[bytes, bytes] = {}

    def per_cpu(self, *values: bytes) -> bytes:
        """The value of a key, of one value for each CPU."""
        assert len(values) == self.cpus
        return b"".join(value.ljust(self.stride, b"\0") for value in values)

    def chunks(self) -> Iterator[Chunk]:
        """See `bpfpack.runner.events.entries.Elements`."""
        items = list(self.data.items())
        for i in range(0, len(items), self._chunk):
            keys, values = zip(*items[i : i + self._chunk], strict=True)
            yield Chunk(memoryview(b"".join(keys)), memoryview(b"".join(values)), len(keys))
