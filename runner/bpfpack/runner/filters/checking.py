"""From an expression to a predicate for each type of record, or an error that shows the place.

A field that one type has and another has not makes its tests false for the other.  A name
that no type has, and a value that fits the field of none, is an error.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from bpfpack.runner.filters import comparisons, grammar
from bpfpack.runner.filters.leaves import find, leaf, whole
from bpfpack.runner.filters.literals import Misfit
from bpfpack.runner.filters.names import near
from bpfpack.runner.filters.predicates import (
    Constant,
    Predicate,
    Present,
    every,
    opposite,
    some,
)
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.record import Field, RecordLayout
from bpfpack.spec.safetext import printable


class Kind(NamedTuple):
    """A type of record; ``named`` are what its records are called in members that JSON adds,
    such as ``{"type": "opened"}``."""

    layout: RecordLayout
    named: Mapping[str, str]


def predicates(text: str, kinds: Sequence[Kind]) -> tuple[Predicate, list[Predicate]]:
    """Return what an expression asks of a record of no known type, and of each of ``kinds``.

    Raises UsageError.
    """
    tree = grammar.parse(text)
    _Names(text, kinds).check(tree)
    checked = [_Checker(text, kind) for kind in kinds]
    found = [one.predicate(tree) for one in checked]
    for test in _tests(tree):
        misfits = [one.misfits.get(id(test)) for one in checked if id(test) in one.asked]
        if misfits and all(m is not None for m in misfits) and misfits[0] is not None:
            raise misfits[0]
    nothing = Kind(
        RecordLayout(type="", size=0, byte_order="little", fields=(), flexible=False), {}
    )
    return _Checker(text, nothing).predicate(tree), found


def _tests(node: grammar.Node) -> Iterator[grammar.Compare | grammar.Exists | grammar.Truth]:
    match node:
        case grammar.Not():
            yield from _tests(node.part)
        case grammar.Every() | grammar.Some():
            for part in node.parts:
                yield from _tests(part)
        case _:
            yield node


class _Names:
    """Whether every name is one of a field that some type has."""

    def __init__(self, text: str, kinds: Sequence[Kind]) -> None:
        self._text, self._kinds = text, kinds

    def check(self, tree: grammar.Node) -> None:
        """Raise UsageError for the first name that nothing has."""
        for test in _tests(tree):
            name = test.name.text
            if not any(name in k.named or find(k.layout, name) for k in self._kinds):
                raise self._unknown(test.name)

    def _unknown(self, name: grammar.Name) -> UsageError:
        known = list(dict.fromkeys(n for kind in self._kinds for n in _shown(kind)))
        return grammar.refused(
            self._text, name.span, f"no field {printable(name.text, 80)!r}", near(name.text, known)
        )


def _shown(kind: Kind) -> Iterator[str]:
    yield from kind.named
    for field in kind.layout.fields:
        if not field.hidden:
            yield field.name + "[0]" * len(field.dimensions)


class _Checker:
    """Makes the predicate of one type; what does not fit it is kept for whoever asks."""

    def __init__(self, text: str, kind: Kind) -> None:
        self._text, self._kind = text, kind
        self.asked, self.misfits = set[int](), dict[int, UsageError]()

    def predicate(self, node: grammar.Node) -> Predicate:
        """The predicate of a node."""
        match node:
            case grammar.Not():
                return opposite(self.predicate(node.part))
            case grammar.Every():
                return every([self.predicate(part) for part in node.parts])
            case grammar.Some():
                return some([self.predicate(part) for part in node.parts])
            case _:
                return self._test(node)

    def _test(self, test: grammar.Compare | grammar.Exists | grammar.Truth) -> Predicate:
        name = test.name.text
        found = find(self._kind.layout, name)
        if found is None and name not in self._kind.named:
            return Constant(holds=False)
        self.asked.add(id(test))
        try:
            if found is None:
                return _named(test, self._kind.named[name])
            return self._of_field(test, *found)
        except Misfit as e:
            span = e.span or (test.span if isinstance(test, grammar.Compare) else test.name.span)
            self.misfits[id(test)] = grammar.refused(self._text, span, e.reason, e.hint or "")
        except SpecError as e:
            why = f"{printable(name, 80)} {e.reason}"
            self.misfits[id(test)] = grammar.refused(self._text, test.name.span, why)
        return Constant(holds=False)

    def _of_field(
        self,
        test: grammar.Compare | grammar.Exists | grammar.Truth,
        field: Field,
        index: tuple[int, ...],
    ) -> Predicate:
        if isinstance(test, grammar.Exists) and not index:
            return Present(leaf=whole(field))
        value = leaf(field, index, self._kind.layout.byte_order)
        match test:
            case grammar.Exists():
                return Present(leaf=value)
            case grammar.Truth():
                return comparisons.truth(field, value)
            case _:
                return comparisons.compare(field, value, test)


def _named(test: grammar.Compare | grammar.Exists | grammar.Truth, text: str) -> Predicate:
    """A test of a member that JSON adds: what it holds is known."""
    match test:
        case grammar.Exists():
            return Constant(holds=True)
        case grammar.Truth():
            raise Misfit(f"{test.name.text} is neither true nor false by itself")
    operator = test.operator
    if operator in ("<", "<=", ">", ">=", "has"):
        raise Misfit(f"{test.name.text} cannot be compared with {operator}")
    how: Callable[..., Callable[[bytes], bool]] = comparisons.text_test
    base = {"!=": "==", "in": "==", "not in": "=="}.get(operator, operator)
    holds = any(how(base, words[0])(text.encode()) for words in test.values)
    return Constant(holds=holds != (operator in ("!=", "not in", "!~")))
