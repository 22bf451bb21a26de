"""Predicates asked in Python: the reference that the engine's answers are held against."""

from collections.abc import Callable
from typing import TypeAlias

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
    compares,
)

#: Takes a record.
Question: TypeAlias = Callable[[memoryview], bool]


def question(asked: Predicate) -> Question:
    """Return the predicate as a function of a record of any length."""
    match asked:
        case Constant():
            return lambda record: asked.holds
        case Not():
            part = question(asked.part)
            return lambda record: not part(record)
        case Every():
            parts = [question(p) for p in asked.parts]
            return lambda record: all(p(record) for p in parts)
        case Some():
            parts = [question(p) for p in asked.parts]
            return lambda record: any(p(record) for p in parts)
        case Present():
            return lambda record: len(record) >= asked.leaf.needs
        case InRanges():
            return _in_ranges(asked)
        case HasBits():
            return lambda record: _has(asked.leaf, asked.mask, record)
        case Text():
            return _text(asked.leaf, lambda t: compares(asked.how, t, asked.operand), asked.holds)
        case Matches():
            return _text(asked.leaf, asked.pattern.matches, asked.holds)


def _in_ranges(asked: InRanges) -> Question:
    def ask(record: memoryview) -> bool:
        number = asked.leaf.number(record)
        if number is None:
            return False
        return any(low <= number <= high for low, high in asked.ranges) == asked.inside

    return ask


def _has(leaf: Leaf, mask: int, record: memoryview) -> bool:
    number = leaf.number(record)
    return isinstance(number, int) and number & mask == mask


def _text(leaf: Leaf, test: Callable[[bytes], bool], wanted: bool) -> Question:
    def ask(record: memoryview) -> bool:
        text = leaf.text(record)
        return text is not None and test(text) == wanted

    return ask
