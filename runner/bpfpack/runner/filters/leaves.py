"""Where a named value stands in a record: from the fields of a layout to leaves."""

import re
from collections.abc import Sequence
from math import prod
from typing import Final

from bpfpack.runner.filters.predicates import Kind, Leaf
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import SpecError
from bpfpack.spec.record import Field, RecordLayout

#: Bytes that a number is read from at most.
_WIDEST: Final = 16
_ELEMENT: Final = re.compile(r"(.+?)((?:\[[0-9]+\])+)")


def find(layout: RecordLayout, name: str) -> tuple[Field, tuple[int, ...]] | None:
    """Return the field of a name and which of its elements, None when there is none.

    ``octets[2]`` names an element of the field ``octets``, ``peers[1].port`` a field.
    """
    field = layout.field(name)
    if field is not None:
        return field, ()
    match = _ELEMENT.fullmatch(name)
    field = layout.field(match[1]) if match else None
    if match is None or field is None or not field.dimensions:
        return None
    return field, tuple(int(n) for n in match[2][1:-1].split("]["))


def whole(field: Field) -> Leaf:
    """Return all of a field, for asking whether it is there; its kind means nothing."""
    size = field.size * prod(field.dimensions)
    # As `bpfpack.runner.events.rows` reads it: a text may be cut short.
    short = not size or (field.base == "string" and not field.dimensions)
    needs = field.offset + (1 if short else size)
    return Leaf(kind="bytes", offset=field.offset, size=size, needs=needs)


def leaf(field: Field, index: Sequence[int], order: ByteOrder) -> Leaf:
    """Return one value of a field; raises SpecError for an array or what is no number."""
    at = field.offset + _place(field, index) * field.size
    needs = at + field.size if 0 in field.dimensions else whole(field).needs
    kind = _kind(field)
    if kind == "number" and not 0 < field.size <= _WIDEST:
        raise SpecError("is too wide to be compared")
    network = field.format in ("ipv4", "ipv6", "port") and field.order != "host"
    return Leaf(
        kind=kind,
        offset=at,
        size=field.size,
        needs=needs,
        order="big" if network else order,
        signed=field.signed and kind == "number" and field.format not in ("ipv4", "ipv6"),
        shift=field.shift,
        bits=field.bits,
    )


def _place(field: Field, index: Sequence[int]) -> int:
    """The number of an element, counted through all dimensions."""
    if len(index) != len(field.dimensions):
        example = field.name + "[0]" * len(field.dimensions)
        raise SpecError(f"is an array: compare one element, such as {example}")
    place = 0
    for number, length in zip(index, field.dimensions, strict=True):
        if length and number >= length:
            raise SpecError(f"has no element {number}: they are numbered 0 to {length - 1}")
        place = place * length + number
    return place


def _kind(field: Field) -> Kind:
    if field.base == "string":
        return "text"
    if field.base == "float":
        return "float"
    return "bytes" if field.base == "bytes" and field.format == "hex" else "number"
