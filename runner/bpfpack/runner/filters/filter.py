"""A filter of one output: asked in Python, or compiled for the engine."""

from collections.abc import Mapping, Sequence
from typing import Final

from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.formatter import EventOutput, free_name, kind_name
from bpfpack.runner.events.selector import Selector
from bpfpack.runner.filters.bytecode import Assembly, overflow_of
from bpfpack.runner.filters.checking import Kind, predicates
from bpfpack.runner.filters.evaluate import Question, question
from bpfpack.runner.filters.names import values
from bpfpack.runner.filters.predicates import Constant, Predicate
from bpfpack.runner.filters.unique import Distinct, value_parts
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.value import replace


class Filter:
    """Which records of an output are shown: `Predicate` of each of its types, of records of no
    known type last, and what must not have been seen before."""

    def __init__(
        self, output: EventOutput, predicates: Sequence[Predicate], unique: Distinct | None
    ) -> None:
        self._select: Final = Selector(
            [(t.layout, t.when) for t in output.types], output.discriminator
        )
        self._output, self._predicates, self._unique = output, predicates, unique
        self._questions: Sequence[Question] = [question(p) for p in predicates]
        self._image: memoryview | None = None

    def after(self, before: "Filter | None") -> "Filter":
        """Return what asks for ``before`` first."""
        return Filter(self._output, before._predicates, self._unique) if before else self

    def keeps(self, record: memoryview) -> bool:
        """Say whether a record is shown, and remember that it is."""
        found = self._select(record, 0, len(record))
        index = -1 if found is None else found
        if not self._questions[index](record):
            return False
        return self._unique is None or self._unique.is_first(index, record)

    def kept(self, batch: Batch) -> Batch:
        """Return the records of a batch that are shown."""
        memory = batch.memory
        records = [(at, n) for at, n in batch.records if self.keeps(memory[at : at + n])]
        return replace(batch, records=records)

    def image(self) -> bytes:
        """The same for the engine; see ``runner/engine/filter.h``."""
        return Assembly().assemble(self._predicates, self._unique)

    def runs_in(self, image: memoryview) -> None:
        """Take note that the engine does it, in that memory."""
        self._image = image

    @property
    def overflow(self) -> int:
        """Records that were shown though they may not be the first of their combination."""
        if self._image is not None:
            return overflow_of(self._image)
        return 0 if self._unique is None else self._unique.overflow


def make_filters(
    text: str | None, unique: str | None, outputs: Sequence[EventOutput]
) -> Mapping[str, Filter]:
    """Return the filter of each output, by name, for ``--filter`` and ``--unique``.

    A field that one output has and another has not makes its tests false for the other.
    Raises UsageError.
    """
    kinds = [kind for output in outputs for kind in _kinds(output)]
    nothing: Predicate = Constant(holds=True)
    found: list[Predicate] = [nothing] * len(kinds)
    if text is not None:
        nothing, found = predicates(text, kinds)
    names = None if unique is None else values(unique, outputs)
    each = iter(found)
    return {
        output.name: Filter(
            output, [*(next(each) for _ in output.types), nothing], _distinct(names, output)
        )
        for output in outputs
    }


def _distinct(names: Sequence[str] | None, output: EventOutput) -> Distinct | None:
    if names is None:
        return None
    try:
        parts = [value_parts(t.layout, names) for t in output.types]
    except SpecError as e:
        raise UsageError(f"--unique: {e}") from e
    return Distinct([*parts, [None] * len(names)])


def _kinds(output: EventOutput) -> list[Kind]:
    layouts = [t.layout for t in output.types]
    if len(layouts) == 1:
        return [Kind(layouts[0], {})]
    name = free_name(output, "type")
    return [Kind(layout, {name: kind_name(layout.type)}) for layout in layouts]
