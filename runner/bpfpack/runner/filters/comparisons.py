"""From a field, an operator and words to a predicate."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Final, Literal, cast

from bpfpack.runner.filters.glob import Glob, glob, plain
from bpfpack.runner.filters.grammar import Compare, Word
from bpfpack.runner.filters.labels import labels
from bpfpack.runner.filters.literals import Misfit, Range, bound, is_flag, mask, points, raw_bytes
from bpfpack.runner.filters.predicates import (
    HasBits,
    InRanges,
    Leaf,
    Matches,
    Predicate,
    Text,
    compares,
    every,
    some,
)
from bpfpack.spec.errors import SpecError
from bpfpack.spec.record import Field

_ORDERED: Final = ("<", "<=", ">", ">=")
_TEXTUAL: Final = ("startswith", "endswith", "contains", "~", "!~")
#: Operators that ask for the opposite.
_OPPOSITE: Final = ("!=", "not in", "!~")
_How = Literal["==", "startswith", "endswith", "contains"]


def compare(field: Field, leaf: Leaf, asked: Compare) -> Predicate:
    """Return the predicate of a comparison; raises Misfit."""
    operator = asked.operator
    if operator == "has":
        return _has(field, leaf, asked.values[0])
    if field.format != "flags":
        _single(asked)
    if leaf.kind in ("text", "bytes"):
        return _text(field, leaf, asked)
    if operator in _TEXTUAL:
        return _labelled(field, leaf, asked)
    if operator in _ORDERED:
        return _ordered(field, leaf, operator, asked.values[0][0])
    ranges: list[Range] = []
    for words in asked.values:
        is_set = field.format == "flags"
        ranges += _flags(field, leaf, words) if is_set else points(field, leaf, words[0])
    return InRanges(leaf=leaf, ranges=_merged(ranges, leaf), inside=asked.operator not in _OPPOSITE)


def truth(field: Field, leaf: Leaf) -> Predicate:
    """Return the predicate of a field that stands alone; raises Misfit unless it is a bool."""
    if not is_flag(field):
        raise Misfit(f"{field.name} is neither true nor false by itself").with_hint(
            f"compare it, or ask whether it is there: exists({field.name})"
        )
    return InRanges(leaf=leaf, ranges=((1, leaf.most),))


def text_test(operator: str, word: Word) -> Callable[[bytes], bool]:
    """Return what a textual operator asks of a text that is known now; raises Misfit."""
    if operator not in ("~", "!~"):
        return lambda text: compares(operator, text, word.data)
    return _pattern(word).matches


def _single(asked: Compare) -> None:
    """Raise Misfit where several words are joined that are no flags."""
    for words in asked.values:
        if len(words) > 1:
            raise Misfit("| joins flags", span=words[1].span).with_hint(
                "either of two values: in (A, B)"
            )


def _pattern(word: Word) -> Glob:
    try:
        return glob(word.data)
    except SpecError as e:
        raise Misfit(e.reason, span=word.span) from e


def _has(field: Field, leaf: Leaf, words: Sequence[Word]) -> Predicate:
    if leaf.kind != "number" or is_flag(field) or field.format in ("ipv4", "ipv6") or leaf.size > 8:
        raise Misfit(f"{field.name} has no flags")
    bits = mask(field, leaf, words)
    if not bits:
        raise Misfit(
            f"{words[0].text[:40]} is 0, which no bit stands for", span=words[0].span
        ).with_hint(f"{field.name} == 0")
    return HasBits(leaf=leaf, mask=bits)


def _flags(field: Field, leaf: Leaf, words: Sequence[Word]) -> Sequence[Range]:
    number = mask(field, leaf, words)
    if number > leaf.most:
        number -= leaf.most - leaf.least + 1
    return [(number, number)]


def _text(field: Field, leaf: Leaf, asked: Compare) -> Predicate:
    operator, holds = asked.operator, asked.operator not in _OPPOSITE
    if operator in _ORDERED or (leaf.kind == "bytes" and operator in ("~", "!~")):
        raise Misfit(f"{field.name} cannot be compared with {operator}").with_hint(
            "bytes: ==, !=, in, startswith, endswith, contains"
            if leaf.kind == "bytes"
            else "text: ==, !=, in, ~, startswith, endswith, contains"
        )
    found = [_one_text(field, leaf, operator, words[0], holds) for words in asked.values]
    return some(found) if holds else every(found)


def _one_text(field: Field, leaf: Leaf, operator: str, word: Word, holds: bool) -> Predicate:
    how, operand = operator if operator in _TEXTUAL else "==", word.data
    if operator in ("~", "!~"):
        simple = plain(operand)
        if simple is None:
            return Matches(leaf=leaf, pattern=_pattern(word), holds=holds)
        how, operand = simple
    elif leaf.kind == "bytes":
        operand = raw_bytes(field, leaf, word)
    if leaf.kind == "text" and b"\0" in operand:
        raise Misfit("a text ends before its first \\x00", span=word.span)
    if leaf.size and len(operand) > leaf.size:
        raise Misfit(
            f"{field.name} has at most {leaf.size} bytes, and this is {len(operand)}",
            span=word.span,
        )
    return Text(leaf=leaf, how=cast("_How", how), operand=operand, holds=holds)


def _labelled(field: Field, leaf: Leaf, asked: Compare) -> Predicate:
    """A text asked of what a number is shown as: known for each of its labels."""
    known, word = labels(field), asked.values[0][0]
    if not known or field.format == "flags":
        raise Misfit(f"{field.name} is no text: it cannot be compared with {asked.operator}")
    test = text_test(asked.operator, word)
    numbers = [n for label, each in known.items() if test(label.encode()) for n in each]
    found = [(n, n) for n in numbers if leaf.least <= n <= leaf.most]
    if not found:
        raise Misfit(f"{field.name} is never shown as such a word", span=word.span)
    return InRanges(leaf=leaf, ranges=_merged(found, leaf), inside=asked.operator not in _OPPOSITE)


def _ordered(field: Field, leaf: Leaf, operator: str, word: Word) -> Predicate:
    if is_flag(field):
        raise Misfit(f"{field.name} is true or false: it cannot be compared with {operator}")
    limit = bound(field, leaf, word)
    if isinstance(limit, Fraction):
        ranges = _whole_side(leaf, operator, limit)
    else:
        ranges = _real_side(operator, limit)
    return InRanges(leaf=leaf, ranges=ranges)


def _whole_side(leaf: Leaf, operator: str, limit: Fraction) -> tuple[Range, ...]:
    match operator:
        case "<":
            found = leaf.least, math.ceil(limit) - 1
        case "<=":
            found = leaf.least, math.floor(limit)
        case ">":
            found = math.floor(limit) + 1, leaf.most
        case _:
            found = math.ceil(limit), leaf.most
    return (found,) if found[0] <= found[1] else ()


def _real_side(operator: str, limit: float) -> tuple[Range, ...]:
    match operator:
        case "<":
            return ((-math.inf, math.nextafter(limit, -math.inf)),)
        case "<=":
            return ((-math.inf, limit),)
        case ">":
            return ((math.nextafter(limit, math.inf), math.inf),)
    return ((limit, math.inf),)


def _merged(ranges: Sequence[Range], leaf: Leaf) -> tuple[Range, ...]:
    """The ranges in order, those that overlap or touch as one."""
    found: list[Range] = []
    for low, high in sorted(ranges):
        if found and leaf.kind == "number" and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], high)
        elif not found or found[-1] != (low, high):
            found.append((low, high))
    return tuple(found)
