"""The values of each CPU, in place of their sum: ``run --per-cpu``.

A key of the map becomes one for each CPU on which it has anything, with a last member ``cpu``
(``_cpu`` where it has such a member already), so that tables, histograms, JSON and CSV show and
sort it as any other.
"""

import struct
from collections.abc import Iterator
from typing import Final

from bpfpack.runner._native.btf import possible_cpus
from bpfpack.runner.events.entries import Chunk, Elements
from bpfpack.runner.events.tables import MapOutput
from bpfpack.runner.events.values import BYTE_ORDERS
from bpfpack.spec.record import Field, RecordLayout
from bpfpack.spec.value import replace, valuetype

#: Bytes of the member that is added to a key.
_CPU: Final = 4


def each_cpu(output: MapOutput, elements: Elements) -> tuple[MapOutput, Elements]:
    """Return an output and its map as they are CPU by CPU; as they were without CPUs."""
    if elements.cpus == 1:
        return output, elements
    key = _with_cpu(output.key, elements.key_size)
    return replace(output, key=key), EachCpu(elements, BYTE_ORDERS[key.byte_order])


def as_each_cpu(output: MapOutput, key_size: int) -> MapOutput:
    """The same of a per-CPU map that is not loaded yet, to be checked against."""
    if possible_cpus() == 1:
        return output
    return replace(output, key=_with_cpu(output.key, key_size))


def _with_cpu(key: RecordLayout, size: int) -> RecordLayout:
    taken, name = {f.path[0] for f in key.fields}, "cpu"
    while name in taken:
        name = f"_{name}"
    cpu = Field(
        path=(name,),
        type="__u32",
        offset=size,
        size=_CPU,
        base="uint",
        signed=False,
        format="dec",
        title=name,
    )
    return replace(key, size=size + _CPU, fields=(*key.fields, cpu))


@valuetype
class _Rows:
    keys: memoryview
    values: memoryview
    elements: int


class EachCpu:
    """A per-CPU map as one whose keys say on which CPU; values that are all zero are left out."""

    cpus: Final = 1

    def __init__(self, elements: Elements, order: str) -> None:
        self._elements = elements
        self.type, self.value_size = elements.type, elements.value_size
        self.stride: Final = elements.stride
        self.key_size = elements.key_size + _CPU
        self._numbers = [struct.pack(f"{order}I", cpu) for cpu in range(elements.cpus)]
        self._keys = self._rows = 0

    @property
    def max_entries(self) -> int:
        """How many there can be: those that were read last, when the map was full."""
        if self._keys >= self._elements.max_entries:
            return self._rows
        return self._elements.max_entries * self._elements.cpus

    def chunks(self) -> Iterator[Chunk]:
        """See `Elements`."""
        self._keys = self._rows = 0
        for chunk in self._elements.chunks():
            rows = self._split(chunk)
            self._keys += chunk.elements
            self._rows += rows.elements
            yield rows

    def _split(self, chunk: Chunk) -> _Rows:
        keys, values, size = bytes(chunk.keys), bytes(chunk.values), self._elements.key_size
        zero, found = bytes(self.stride), list[tuple[bytes, bytes]]()
        start = 0
        for i in range(0, len(keys), size):
            for number in self._numbers:
                part = values[start : start + self.stride]
                start += self.stride
                if part != zero:
                    found.append((keys[i : i + size] + number, part))
        return _Rows(
            keys=memoryview(b"".join(key for key, _ in found)),
            values=memoryview(b"".join(part for _, part in found)),
            elements=len(found),
        )
