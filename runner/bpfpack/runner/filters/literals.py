"""What a word means to the field that it is compared with.

Every function raises `Misfit` for a word that does not fit; it says what would.
"""

import ipaddress
import math
import re
import struct
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction
from typing import Final, TypeAlias

from bpfpack.runner.filters.grammar import Span, Word
from bpfpack.runner.filters.labels import account, labels
from bpfpack.runner.filters.predicates import Leaf, Number
from bpfpack.spec.errors import SpecError
from bpfpack.spec.record import Field
from bpfpack.spec.safetext import printable

Range: TypeAlias = tuple[Number, Number]

_WHOLE: Final = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]{1,32}|[0-9]{1,40})")
_DECIMAL: Final = re.compile(r"([+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?)([a-zA-Z]*)")
_REAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}[:-]?)*[0-9a-fA-F]{2}|")
_NANOSECONDS: Final[Mapping[str, int]] = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_SIZE: Final = re.compile(r"([kmgtKMGT])(?:i?[bB])?|[bB]")
#: IPv4 addresses as IPv6 shows them, ::ffff:0.0.0.0 (RFC 4291, section 2.5.5.2).
_MAPPED: Final = 0xFFFF << 32
#: Labels that an error lists.
_LISTED: Final = 12


class Misfit(SpecError):
    """A comparison that its field cannot take; ``span`` is where, None for the operator."""

    def __init__(
        self, reason: str, *, path: tuple[str, ...] = (), span: Span | None = None
    ) -> None:
        super().__init__(reason, path=path)
        self.span = span


def points(field: Field, leaf: Leaf, word: Word) -> Sequence[Range]:
    """Return what ``==`` means: the ranges of numbers that are shown as this word."""
    if field.format in ("ipv4", "ipv6"):
        return [_network(field, word)]
    if leaf.kind == "float":
        real = _real(leaf, word)
        return [(real, real)]
    if is_flag(field):
        return _truth(leaf, word)
    found = [n for n in named(field, word) if leaf.least <= n <= leaf.most]
    if found:
        return [(n, n) for n in found]
    exact = _amount(field, leaf, word)
    if exact.denominator != 1:
        raise _misfit(field, leaf, word, f"is no whole number of {field.unit or 'bytes'}")
    return [(int(exact), int(exact))]


def bound(field: Field, leaf: Leaf, word: Word) -> Fraction | float:
    """Return what ``<`` and its kin compare with."""
    if field.format in ("ipv4", "ipv6"):
        low, high = _network(field, word)
        if low != high:
            raise _misfit(field, leaf, word, "is a network: compare with in")
        return Fraction(low)
    return _real(leaf, word) if leaf.kind == "float" else _amount(field, leaf, word)


def mask(field: Field, leaf: Leaf, words: Sequence[Word]) -> int:
    """Return the bits that words joined by "|" stand for."""
    everything = (1 << (leaf.bits or 8 * leaf.size)) - 1
    found = 0
    for word in words:
        labelled = named(field, word)
        number = labelled[0] if labelled else _whole(field, leaf, word)
        bits = number & everything
        if (number and not bits) or not (labelled or -bits <= number <= everything):
            raise _misfit(field, leaf, word, "has bits that it has no room for")
        found |= bits
    return found


def is_flag(field: Field) -> bool:
    """Whether a field is shown as true or false."""
    return field.base == "bool" and field.format == "dec"


def raw_bytes(field: Field, leaf: Leaf, word: Word) -> bytes:
    """Return the bytes of hexadecimal digits, with colons or dashes between bytes or without."""
    if not _HEX.fullmatch(word.text):
        raise _misfit(field, leaf, word, "is not bytes as hexadecimal digits")
    return bytes.fromhex(re.sub("[:-]", "", word.text))


def named(field: Field, word: Word) -> Sequence[int]:
    """Return the numbers of a label, none when the word is no label of the field."""
    if field.format in ("user", "group"):
        number = account(field, word.text)
        return [] if number is None else [number]
    # As C has it: what is shown as ENOENT is -ENOENT in a signed field.
    is_negative = field.format == "errno" and field.signed and word.text.startswith("-")
    return labels(field).get(word.text[1:] if is_negative else word.text, ())


def _amount(field: Field, leaf: Leaf, word: Word) -> Fraction:
    """A number in the unit that the field is kept in, within what it can hold."""
    if field.format == "timestamp":
        raise Misfit("a time of day cannot be compared, only whether it exists", span=word.span)
    scaled = _scaled(field, leaf, word)
    found = Fraction(_whole(field, leaf, word)) if scaled is None else scaled
    if not leaf.least <= found <= leaf.most:
        raise _misfit(
            field, leaf, word, "is more than it can hold" if found > 0 else "is too small"
        )
    return found


def _scaled(field: Field, leaf: Leaf, word: Word) -> Fraction | None:
    """A duration or size with its unit, None for a plain number."""
    match = _DECIMAL.fullmatch(word.text)
    if match is None or not match[2]:
        return None
    if field.format == "duration" and match[2] in _NANOSECONDS:
        return Fraction(match[1]) * _NANOSECONDS[match[2]] / _NANOSECONDS[field.unit or "ns"]
    if field.format in ("bytes", "dec") and (size := _SIZE.fullmatch(match[2])):
        return Fraction(match[1]) * (
            1 << 10 * ("kmgt".find((size[1] or "").lower()) + 1 if size[1] else 0)
        )
    return None


def _whole(field: Field, leaf: Leaf, word: Word) -> int:
    if not _WHOLE.fullmatch(word.text):
        known = labels(field)
        near = get_close_matches(word.text[:80], known, n=1)
        if near:
            raise Misfit(f"{field.name} is never {_cut(word)}", span=word.span).with_hint(
                f"did you mean {near[0]}?"
            )
        raise _misfit(field, leaf, word, "does not fit")
    return int(word.text, 16 if "x" in word.text.lower() else 10)


def _real(leaf: Leaf, word: Word) -> float:
    """A real number, as near as the field can hold it."""
    if not _REAL.fullmatch(word.text):
        raise Misfit(f"{_cut(word)} is no number, such as 0.5 or 1e-3", span=word.span)
    real = float(word.text)
    try:
        # What a float of 4 bytes holds for 0.1 is what 0.1 means to it.
        real = float(struct.unpack("f", struct.pack("f", real))[0]) if leaf.size == 4 else real
    except OverflowError:
        real = math.inf
    if math.isinf(real):
        raise Misfit(f"{_cut(word)} is more than it can hold", span=word.span)
    return real


def _truth(leaf: Leaf, word: Word) -> Sequence[Range]:
    match word.text:
        case "false" | "0":
            return [(0, 0)]
        case "true" | "1":
            return [(1, leaf.most)]
    raise Misfit(f"{_cut(word)} is neither true nor false", span=word.span)


def _network(field: Field, word: Word) -> Range:
    """The first and last address of a network, or an address twice."""
    if "%" not in word.text:
        try:
            found = ipaddress.ip_network(word.text, strict=False)
        except ValueError:
            pass
        else:
            low, high = int(found.network_address), int(found.broadcast_address)
            wide = field.format == "ipv6"
            if found.version == 4:
                # As a socket of both kinds sees it.
                more = _MAPPED if wide else 0
                return low | more, high | more
            if wide:
                return low, high
    fits = "an IPv4 address or network, such as 10.0.0.0/8"
    if field.format == "ipv6":
        fits = "an address or network, such as fe80::/10 or 10.0.0.0/8"
    raise Misfit(f"{_cut(word)} is not {fits}", span=word.span)


def _misfit(field: Field, leaf: Leaf, word: Word, why: str) -> Misfit:
    return Misfit(f"{_cut(word)} {why}", span=word.span).with_hint(
        f"{field.name} is {_fitting(field, leaf)}"
    )


def _fitting(field: Field, leaf: Leaf) -> str:
    """What would fit."""
    number = f"a whole number from {leaf.least} to {leaf.most}"
    match field.format:
        case "duration":
            return f"a duration, such as 10ms, or a number of {field.unit or 'ns'}"
        case "bytes":
            return f"a size, such as 4KiB or 1M, or {number}"
        case "user" | "group":
            return f"{number}, or the name of a {field.format} of this host"
        case "ipv4" | "ipv6":
            return "an address; of a network, in 10.0.0.0/8"
    if leaf.kind == "bytes":
        return "bytes, such as '00:1b:21:3c:9d:f8' or 001b213c9df8"
    known = sorted(labels(field), key=lambda label: labels(field)[label][0])
    if not known:
        return number
    more = ", ..." if len(known) > _LISTED else ""
    listed = ", ".join(printable(label, 40) for label in known[:_LISTED])
    return f"{listed}{more}, or {number}"


def _cut(word: Word) -> str:
    return printable(word.text, 40)
