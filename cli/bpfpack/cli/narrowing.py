"""What narrows the output down: ``--filter``, ``--fields`` and ``--unique``.

All is checked before anything is loaded.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from bpfpack.cli.run_options import RunRequest
from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.formatter import EventOutput
from bpfpack.runner.filters.filter import Filter, make_filters
from bpfpack.runner.filters.selection import select_fields
from bpfpack.spec.errors import UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from bpfpack.runner.engine.host import Program

#: The options, by their names in a request.
NAMES: Final = ("filter", "fields", "unique")
#: Forms that show structs as such.
_NESTED: Final = ("json", "json-array", "yaml")
#: ``filter`` in ``struct bp_program`` of ``runner/engine/table.h``, and ``size`` in what it is.
_FILTER_AT: Final = 68
_ADDRESS: Final = struct.Struct("<I")


@valuetype
class Narrowing:
    """Outputs of events as they are shown, and which of their records are, both by name."""

    outputs: Mapping[str, EventOutput]
    filters: Mapping[str, Filter]

    def image(self, name: str) -> bytes | None:
        """The filter of an output, for the engine; None where all is shown."""
        return self.filters[name].image() if name in self.filters else None

    def kept(self, name: str) -> Callable[[Batch], Batch] | None:
        """The same for the plain formatter."""
        return self.filters[name].kept if name in self.filters else None

    def loaded(self, name: str, program: "Program") -> None:
        """Tell a filter that the engine has it."""
        if name in self.filters:
            memory = program.engine.memory
            (at,) = _ADDRESS.unpack(memory.view(program.at + _FILTER_AT, _ADDRESS.size))
            (size,) = _ADDRESS.unpack(memory.view(at, _ADDRESS.size))
            self.filters[name].runs_in(memory.view(at, size))

    def warning(self) -> str | None:
        """What there is to say once the run has ended."""
        overflow = sum(one.overflow for one in self.filters.values())
        if not overflow:
            return None
        return (
            f"--unique: {LIMITS.unique_keys:,} combinations were remembered; {overflow:,} events"
            " of others were shown, first ones or not"
        )


def narrow(request: RunRequest, outputs: Sequence[tuple[EventOutput, str]]) -> Narrowing:
    """Return what the options make of the outputs of events, each with its form.

    Raises UsageError.
    """
    events = [output for output, _ in outputs]
    if not events:
        asked = next(name for name in NAMES if request.flag(name))
        raise UsageError(f"--{asked}: no events are shown")
    text, unique = request.value("filter"), request.value("unique")
    filters = {} if text is None and unique is None else make_filters(text, unique, events)
    fields = request.value("fields")
    if fields is not None:
        if any(shape == "raw" for _, shape in outputs):
            raise UsageError("--fields: raw output is whole records")
        nested = any(shape in _NESTED for _, shape in outputs)
        events = select_fields(fields, events, nested=nested)
    return Narrowing(outputs={one.name: one for one in events}, filters=filters)
