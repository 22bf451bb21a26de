"""A filter of one output: asked in Python, or compiled for the engine."""

from collections.abc import Mapping, Sequence
from typing import Final

from bpfpack.runner.events.formatter import EventOutput, free_name, kind_name
from bpfpack.runner.events.selector import Selector
from bpfpack.runner.filters.bytecode import Assembly
from bpfpack.runner.filters.checking import Kind, predicates
from bpfpack.runner.filters.evaluate import Question, question
from bpfpack.runner.filters.predicates import Predicate


class Filter:
    """Which records of an output are shown.

    ``nothing`` is asked of records of no known type, ``each`` of those of the output's types.
    """

    def __init__(self, output: EventOutput, nothing: Predicate, each: Sequence[Predicate]) -> None:
        self._select: Final = Selector(
            [(t.layout, t.when) for t in output.types], output.discriminator
        )
        self._predicates = (*each, nothing)
        self._questions: Sequence[Question] = [question(p) for p in self._predicates]

    def keeps(self, memory: memoryview, offset: int, length: int) -> bool:
        """Say whether a record is shown."""
        index = self._select(memory, offset, length)
        asked = self._questions[-1 if index is None else index]
        return asked(memory[offset : offset + length])

    def image(self) -> bytes:
        """The instructions for the engine; see ``runner/engine/filter.h``."""
        return Assembly().assemble(self._predicates)


def make_filters(text: str, outputs: Sequence[EventOutput]) -> Mapping[str, Filter]:
    """Return the filter of each output, by name; raises UsageError.

    A field that one output has and another has not makes its tests false for the other.
    """
    kinds = [kind for output in outputs for kind in _kinds(output)]
    nothing, found = predicates(text, kinds)
    each = iter(found)
    return {
        output.name: Filter(output, nothing, [next(each) for _ in output.types])
        for output in outputs
    }


def _kinds(output: EventOutput) -> list[Kind]:
    layouts = [t.layout for t in output.types]
    if len(layouts) == 1:
        return [Kind(layouts[0], {})]
    name = free_name(output, "type")
    return [Kind(layout, {name: kind_name(layout.type)}) for layout in layouts]
