"""Predicates as instructions for the engine (``runner/engine/filter.h``).

Each instruction is a test with three places to go on at: when it holds, when it does not, and
when the value is missing.  Places lie ahead, so that every record's walk ends; ``and``, ``or``
and ``not`` need no instruction of their own.
"""

import secrets
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from bpfpack.runner.filters.predicates import (
    Constant,
    Every,
    HasBits,
    InRanges,
    Leaf,
    Matches,
    Not,
    Predicate,
    Present,
    Some,
    Text,
)
from bpfpack.runner.filters.unique import Distinct

#: Places that are none: the record is kept, or not (``BP_KEEP``, ``BP_DROP``).
_KEEP: Final = 0xFFFF
_DROP: Final = 0xFFFE
_WHOLE_KEEP: Final = 0xFFFF_FFFF
_WHOLE_DROP: Final = 0xFFFF_FFFE

# enum bp_question
_IN_RANGE: Final = 0
_IN_WIDE_RANGE: Final = 1
_IN_REAL_RANGE: Final = 2
_HAS_BITS: Final = 3
_PRESENT: Final = 4
_EQUALS: Final = 5
_STARTS: Final = 6
_ENDS: Final = 7
_CONTAINS: Final = 8
_GLOB: Final = 9
_TEXTS: Final = {"==": _EQUALS, "startswith": _STARTS, "endswith": _ENDS, "contains": _CONTAINS}

# enum bp_load
_GENERAL: Final = 0
_SIGNED: Final = 1
_SWAPPED: Final = 2
_UNTIL_NUL: Final = 4

_HEAD: Final = struct.Struct("<IIII")
_UNIQUE: Final = struct.Struct("<QQQIIII")
_PARTS: Final = struct.Struct("<II")
_SLOT: Final = 16
_TEST: Final = struct.Struct("<BBBBHHHHIIIIIQQ")
_U64: Final = (1 << 64) - 1


class _Instruction(NamedTuple):
    """``struct bp_test``; ``data`` counts from the first operand."""

    question: int
    load: int
    shift: int
    bits: int
    yes: int
    no: int
    missing: int
    flags: int
    offset: int
    size: int
    needs: int
    data: int
    length: int
    first: int
    span: int


#: Instructions, or the place that says the same without any.
_Entry: TypeAlias = "Sequence[_Instruction] | int"


class Assembly:
    """Collects the code of all types and the operands that they share.

    The image: its size, the number of types, the place of ``--unique``; the place of each type's
    first instruction (of records of no known type last), instructions, operands.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._shared: dict[bytes, int] = {}

    def assemble(self, predicates: Sequence[Predicate], unique: Distinct | None = None) -> bytes:
        """Return the image; every place in it counts from its beginning."""
        entries = [_Code(self).of(p) for p in predicates]
        at = _aligned(_HEAD.size + 4 * len(entries))
        places, code = [], list[_Instruction]()
        for entry in entries:
            if isinstance(entry, int):
                places.append(entry)
            else:
                places.append(at + len(code) * _TEST.size)
                code += entry
        operands = at + len(code) * _TEST.size
        end = operands + len(self._data)
        more = b"" if unique is None else _remembering(unique, end)
        head = _HEAD.pack(end + len(more), len(entries) - 1, end if more else 0, 0)
        head += struct.pack(f"<{len(places)}I", *places)
        body = b"".join(_TEST.pack(*one._replace(data=one.data + operands)) for one in code)
        return head.ljust(at, b"\0") + body + bytes(self._data) + more

    def operand(self, data: bytes) -> int:
        """Return where an operand stands among the operands, 8-byte aligned."""
        if data not in self._shared:
            self._shared[data] = len(self._data)
            self._data += data.ljust(_aligned(len(data)), b"\0")
        return self._shared[data]


def overflow_of(image: memoryview) -> int:
    """How many records of an image in use were shown though they may repeat."""
    place = _HEAD.unpack_from(image)[2]
    return int(_UNIQUE.unpack_from(image, place)[2]) if place else 0


def _remembering(unique: Distinct, at: int) -> bytes:
    """A ``struct bp_unique`` for that place, what it reads, and its empty slots."""
    parts = at + _UNIQUE.size + _PARTS.size * len(unique.parts)
    rows, code = b"", b""
    for leaves in unique.parts:
        rows += _PARTS.pack(parts + len(code), len(leaves))
        code += b"".join(_TEST.pack(*_part(leaf)) for leaf in leaves)
    slots = 1 << (2 * unique.most).bit_length()
    key = secrets.randbits(64), secrets.randbits(64)
    place = _aligned(parts + len(code))
    head = _UNIQUE.pack(*key, 0, 0, unique.most, slots - 1, place)
    return (head + rows + code).ljust(place - at, b"\0") + bytes(slots * _SLOT)


def _part(leaf: Leaf | None) -> _Instruction:
    """What is read of one value; None is one that no record of the type has."""
    if leaf is None:
        leaf = Leaf(kind="bytes", offset=0, size=0, needs=_WHOLE_KEEP)
    number = leaf.kind in ("number", "float")
    return _Instruction(
        question=_IN_RANGE if number else _EQUALS,
        load=_GENERAL,
        shift=leaf.shift,
        bits=leaf.bits,
        yes=0,
        no=0,
        missing=0,
        flags=_flags(leaf),
        offset=leaf.offset,
        size=leaf.size,
        needs=leaf.needs,
        data=0,
        length=0,
        first=0,
        span=0,
    )


def _aligned(size: int) -> int:
    return -(-size // 8) * 8


class _Code:
    """The code of one type, made from its end to its beginning."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._reversed: list[_Instruction] = []

    def of(self, predicate: Predicate) -> _Entry:
        """The code of a predicate."""
        begin = self._emit(predicate, _KEEP, _DROP)
        if begin in (_KEEP, _DROP):
            return _WHOLE_KEEP if begin == _KEEP else _WHOLE_DROP
        last = len(self._reversed) - 1

        def turned(place: int) -> int:
            return place if place >= _DROP else last - place

        return [
            one._replace(yes=turned(one.yes), no=turned(one.no), missing=turned(one.missing))
            for one in reversed(self._reversed)
        ]

    def _emit(self, node: Predicate, then: int, otherwise: int) -> int:
        """Add a node, and return where it begins."""
        match node:
            case Constant():
                return then if node.holds else otherwise
            case Not():
                return self._emit(node.part, otherwise, then)
            case Every():
                for part in reversed(node.parts):
                    then = self._emit(part, then, otherwise)
                return then
            case Some():
                for part in reversed(node.parts):
                    otherwise = self._emit(part, then, otherwise)
                return otherwise
            case InRanges():
                return self._ranges(node, then, otherwise)
            case _:
                return self._test(node, then, otherwise)

    def _ranges(self, node: InRanges, then: int, otherwise: int) -> int:
        missing = otherwise
        inside, outside = (then, otherwise) if node.inside else (otherwise, then)
        if not node.ranges:
            # No number is in none of none, but one that is missing is neither.
            return self._add(node.leaf, _PRESENT, (outside, missing, missing))
        following = outside
        for low, high in reversed(node.ranges):
            question, first, span, data = self._operands(node.leaf, low, high)
            following = self._add(
                node.leaf, question, (inside, following, missing), data, first=first, span=span
            )
        return following

    def _operands(
        self, leaf: Leaf, low: int | float, high: int | float
    ) -> tuple[int, int, int, bytes]:
        """The question, two words and the operand of a range: low end and how far it goes."""
        if leaf.kind == "float":
            first, last = struct.unpack("<QQ", struct.pack("<dd", low, high))
            return _IN_REAL_RANGE, first, last, b""
        low, high = int(low), int(high)
        if (leaf.bits or 8 * leaf.size) <= 64:
            return _IN_RANGE, low & _U64, high - low, b""
        wide = (low & (1 << 128) - 1).to_bytes(16, "little") + (high - low).to_bytes(16, "little")
        return _IN_WIDE_RANGE, 0, 0, wide

    def _test(self, node: HasBits | Text | Matches | Present, then: int, otherwise: int) -> int:
        match node:
            case HasBits():
                return self._add(
                    node.leaf, _HAS_BITS, (then, otherwise, otherwise), first=node.mask
                )
            case Text():
                return self._add(
                    node.leaf,
                    _TEXTS[node.how],
                    self._ways(node.holds, then, otherwise),
                    _searched(node.operand) if node.how == "contains" else node.operand,
                    length=len(node.operand),
                )
            case Matches():
                glob = node.pattern
                words = (glob.stays, glob.continues, glob.last, *glob.takes)
                data = struct.pack(f"<{len(words)}Q", *words)
                return self._add(node.leaf, _GLOB, self._ways(node.holds, then, otherwise), data)
            case Present():
                return self._add(node.leaf, _PRESENT, (then, otherwise, otherwise))

    @staticmethod
    def _ways(holds: bool, then: int, otherwise: int) -> tuple[int, int, int]:
        return (then, otherwise, otherwise) if holds else (otherwise, then, otherwise)

    def _add(
        self,
        leaf: Leaf,
        question: int,
        ways: tuple[int, int, int],
        data: bytes = b"",
        *,
        length: int = 0,
        first: int = 0,
        span: int = 0,
    ) -> int:
        if ways[0] == ways[1] == ways[2]:
            return ways[0]
        yes, no, missing = ways
        self._reversed.append(
            _Instruction(
                question=question,
                load=_load(leaf),
                shift=leaf.shift,
                bits=leaf.bits,
                yes=yes,
                no=no,
                missing=missing,
                flags=_flags(leaf),
                offset=leaf.offset,
                size=leaf.size,
                needs=leaf.needs,
                data=self._assembly.operand(data),
                length=length,
                first=first,
                span=span,
            )
        )
        return len(self._reversed) - 1


def _flags(leaf: Leaf) -> int:
    return (
        _SIGNED * leaf.signed
        | _SWAPPED * (leaf.order == "big")
        | _UNTIL_NUL * (leaf.kind == "text")
    )


def _load(leaf: Leaf) -> int:
    """How a number is read: 1 + 4 * log2(size) + flags for whole ones of 1 to 8 bytes."""
    if leaf.bits or leaf.size not in (1, 2, 4, 8) or leaf.kind in ("text", "bytes"):
        return _GENERAL
    return 1 + 4 * (leaf.size.bit_length() - 1) + (_flags(leaf) & (_SIGNED | _SWAPPED))


def _searched(operand: bytes) -> bytes:
    """A text to be found, and how much of it stays found when its next byte is another
    (Knuth, Morris, Pratt, 1977): u16 for each byte, first, then the bytes."""
    stays, length = [0] * len(operand), 0
    for at in range(1, len(operand)):
        while length and operand[at] != operand[length]:
            length = stays[length - 1]
        length += operand[at] == operand[length]
        stays[at] = length
    return struct.pack(f"<{len(stays)}H", *stays) + operand
