"""Python values as bytes of a layout: what `decoding` gives, and what people type.

Numbers are taken wherever the layout has a number, labels where it has labels, text for text
and addresses, `bytes` for either.  A timestamp is the raw number of its clock: wall time says
too little to go back.  Padding and hidden members are zero.
"""

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, Final

from bpfpack.runner.events import names
from bpfpack.runner.events.jsonlines import Tree, tree_of
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import UsageError
from bpfpack.spec.record import Field, RecordLayout

_ADDRESSES: Final = ("ipv4", "ipv6")
_NAMES: Final[Mapping[str, Callable[[int], str | None]]] = {
    "signal": names.signal_name,
    "syscall": names.syscall_name,
}
#: No architecture has as many system calls, or signals.
_MOST_NAMED: Final = 1024


class ValueEncoder:
    """One layout; ``what`` it is of stands in errors."""

    def __init__(self, layout: RecordLayout, plain_name: str, what: str) -> None:
        self._fields = [f for f in layout.fields if not f.hidden]
        self._tree = tree_of(self._fields)
        self._plain = [f.path for f in self._fields] == [(plain_name,)]
        self._size, self._order, self._what = layout.size, layout.byte_order, what

    def __call__(self, value: Any) -> bytes:
        """The bytes of a value, which may be bytes already; raises UsageError."""
        if isinstance(value, bytes | bytearray | memoryview) and not self._takes_bytes:
            if len(value) != self._size:
                raise UsageError(f"{self._what}: {len(value)} bytes, and it has {self._size}")
            return bytes(value)
        data = bytearray(self._size)
        leaves = [(0, value)] if self._plain else list(self._leaves(self._tree, value, ""))
        for index, leaf in leaves:
            field = self._fields[index]
            try:
                self._put(data, field, leaf)
            except (ValueError, TypeError, OverflowError, struct.error) as e:
                name = "" if self._plain else f".{field.name}"
                raise UsageError(f"{self._what}{name}: {_glimpse(leaf)}: {e}") from e
        return bytes(data)

    @property
    def _takes_bytes(self) -> bool:
        """Whether bytes may be less than all of it."""
        return self._plain and self._fields[0].base == "string"

    def _leaves(self, tree: Tree, value: Any, path: str) -> Iterator[tuple[int, Any]]:
        members: dict[str | int, Any]
        if all(isinstance(step, int) for step in tree):
            if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != len(tree):
                raise UsageError(f"{self._what}{path}: a list of {len(tree)} is wanted")
            members = dict(zip(tree, value, strict=True))
        else:
            if not isinstance(value, Mapping):
                raise UsageError(f"{self._what}{path}: a dict is wanted, not {_glimpse(value)}")
            members = {name: value[str(name)] for name in tree if str(name) in value}
            missing = [str(name) for name in tree if name not in members]
            unknown = [str(name) for name in value if name not in members]
            if missing or unknown:
                told = f"lacks {', '.join(missing)}" if missing else f"has no {unknown[0][:80]}"
                raise UsageError(f"{self._what}{path}: {told}")
        for name, inside in tree.items():
            if isinstance(inside, int):
                yield inside, members[name]
            else:
                yield from self._leaves(inside, members[name], f"{path}.{name}")

    def _put(self, data: bytearray, field: Field, value: Any) -> None:
        if field.flexible:
            raise ValueError("a flexible array cannot be written")
        elements = _flat(value, field.dimensions) if field.dimensions else [value]
        for i, element in enumerate(elements):
            at = field.offset + i * field.size
            part = memoryview(data)[at : at + field.size]
            if field.bits:
                number = _number(field, element) & ((1 << field.bits) - 1)
                held = int.from_bytes(part, self._order) | number << field.shift
                part[:] = held.to_bytes(field.size, self._order)
            else:
                part[:] = _element(field, element, self._order)


def _flat(value: Any, dimensions: Sequence[int]) -> list[Any]:
    """The elements of nested lists of exactly these lengths."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError("a list is wanted")
    if len(value) != dimensions[0]:
        raise ValueError(f"{len(value)} elements where there are {dimensions[0]}")
    if len(dimensions) == 1:
        return list(value)
    found = [leaf for one in value for leaf in _flat(one, dimensions[1:])]
    if len(found) != prod(dimensions):
        raise ValueError("not as many elements as there are")
    return found


def _element(field: Field, value: Any, order: ByteOrder) -> bytes:
    match field.base:
        case "string":
            return _text(value, field.size)
        case "float":
            code = ("<" if order == "little" else ">") + ("f" if field.size == 4 else "d")
            return struct.pack(code, math.nan if value is None else value)
    if field.format in _ADDRESSES:
        return _address(field, value, order)
    if field.base == "bytes":
        raw = bytes.fromhex(value) if isinstance(value, str) else bytes(memoryview(value))
        if len(raw) != field.size:
            raise ValueError(f"{len(raw)} bytes where there are {field.size}")
        return raw
    if field.format == "port" and field.order != "host":
        order = "big"
    number = _number(field, value)
    return number.to_bytes(field.size, order, signed=field.signed or number < 0)


def _text(value: Any, size: int) -> bytes:
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
    if len(raw) > size:
        raise ValueError(f"{len(raw)} bytes where there are {size}")
    return raw.ljust(size, b"\0")


def _address(field: Field, value: Any, order: ByteOrder) -> bytes:
    import socket  # 2 ms for those who write addresses

    if isinstance(value, str):
        family = socket.AF_INET if field.format == "ipv4" else socket.AF_INET6
        try:
            raw = socket.inet_pton(family, value)
        except OSError as e:
            raise ValueError(f"no {field.format} address") from e
        return raw[::-1] if field.order == "host" and order == "little" else raw
    if isinstance(value, int):
        return value.to_bytes(field.size, order)
    return bytes(memoryview(value))


def _number(field: Field, value: Any) -> int:
    """The number of a value, which may be a label, flags, or digits."""
    bits = field.bits or 8 * field.size
    if isinstance(value, str):
        number = _named(field, value)
    elif isinstance(value, Sequence) and field.format == "flags":
        number = 0
        for one in value:
            number |= _named(field, one) if isinstance(one, str) else int(one)
    elif isinstance(value, bool) or not isinstance(value, int):
        if not (isinstance(value, bool) and field.base == "bool"):
            raise TypeError("a number is wanted")
        number = int(value)
    else:
        number = value
    low = -(1 << bits - 1) if field.signed else 0
    high = (1 << bits - 1) - 1 if field.signed else (1 << bits) - 1
    if not low <= number <= high and not (field.format in ("flags", "hex") and number >> bits == 0):
        raise ValueError(f"not between {low} and {high}")
    return number if number <= high else number - (1 << bits)


def _named(field: Field, text: str) -> int:
    for number, label in field.labels.items():
        if label == text:
            return number
    if field.format == "timestamp":
        raise ValueError(f"the raw number of the clock {field.clock or 'mono'} is wanted")
    if field.format in _NAMES:
        for number in range(_MOST_NAMED):
            if _NAMES[field.format](number) == text:
                return number
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError("neither a label nor a number") from None


def _glimpse(value: Any) -> str:
    return repr(value)[:80]
