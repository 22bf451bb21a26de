"""What narrows the output down: ``--filter``, ``--fields``, ``--unique``, ``--sort``, ``--limit``.

All is checked before anything is loaded.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from bpfpack.cli.run_options import RunRequest
from bpfpack.cli.units import count
from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.formatter import EventOutput
from bpfpack.runner.events.tables import MapOutput, View
from bpfpack.runner.filters.filter import Filter, make_filters
from bpfpack.runner.filters.names import matching, split, unknown
from bpfpack.runner.filters.selection import select_fields
from bpfpack.runner.filters.tablerows import keeps_rows, rows_output
from bpfpack.spec.errors import UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from bpfpack.runner.engine.host import Program

#: Forms that show structs as such.
_NESTED: Final = ("json", "json-array", "yaml")
#: ``filter`` in ``struct bp_program`` of ``runner/engine/table.h``, and ``size`` in what it is.
_FILTER_AT: Final = 68
_ADDRESS: Final = struct.Struct("<I")


@valuetype
class Narrowing:
    """Outputs of events as they are shown, which of their records are, and tables, by name."""

    outputs: Mapping[str, EventOutput]
    filters: Mapping[str, Filter]
    views: Mapping[str, View]

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


def narrow(
    request: RunRequest, events: Sequence[tuple[EventOutput, str]], tables: Sequence[MapOutput]
) -> Narrowing:
    """Return what the options make of outputs of events, each with its form, and of tables.

    Raises UsageError.
    """
    _check_kinds(request, events, tables)
    rows = [rows_output(table) for table in tables]
    shown = [output for output, _ in events]
    text, unique = request.value("filter"), request.value("unique")
    filters = {} if text is None else dict(make_filters(text, None, [*shown, *rows]))
    if unique is not None:
        distinct = make_filters(None, unique, shown)
        filters |= {name: one.after(filters.get(name)) for name, one in distinct.items()}
    chosen, columns = _chosen(request, events, rows)
    return Narrowing(
        outputs={one.name: one for one in chosen},
        filters={one.name: filters[one.name] for one in shown if one.name in filters},
        views={
            one.name: View(
                keeps=keeps_rows(filters[one.name], one) if one.name in filters else None,
                order=order,
                limit=_limit(request),
                columns=columns.get(one.name),
            )
            for one, order in zip(rows, _orders(request, rows), strict=True)
        },
    )


def _check_kinds(
    request: RunRequest, events: Sequence[tuple[EventOutput, str]], tables: Sequence[MapOutput]
) -> None:
    """Raise UsageError for what has nothing to do."""
    if request.flag("sort") and not tables and not request.flag("every"):
        raise UsageError("--sort: none of what is shown is a table that is read again").with_hint(
            "events are shown as they come: what is to come is not known\n"
            "`| sort` orders them once all are there"
        )
    if request.flag("unique") and not events:
        raise UsageError("--unique: no events are shown")
    for name in ("filter", "fields", "limit"):
        if request.flag(name) and not events and not tables:
            raise UsageError(f"--{name}: neither events nor tables are shown")
    if request.flag("fields") and any(shape == "raw" for _, shape in events):
        raise UsageError("--fields: raw output is whole records")


def _chosen(
    request: RunRequest, events: Sequence[tuple[EventOutput, str]], rows: Sequence[EventOutput]
) -> tuple[Sequence[EventOutput], Mapping[str, tuple[str, ...]]]:
    """Outputs of events with the fields that are shown, and the columns of tables."""
    outputs, text = [output for output, _ in events], request.value("fields")
    if text is None:
        return outputs, {}
    nested = any(shape in _NESTED for _, shape in events)
    found = select_fields(text, [*outputs, *rows], nested=nested)
    tables = found[len(outputs) :]
    return found[: len(outputs)], {
        one.name: tuple(f.name for f in one.types[0].layout.fields if not f.hidden)
        for one in tables
    }


def _orders(request: RunRequest, rows: Sequence[EventOutput]) -> list[tuple[tuple[str, bool], ...]]:
    """What ``--sort`` asks for: the columns of each table, and whether the largest come first."""
    # With windows it is their rows that are sorted: see `bpfpack.cli.windowing`.
    text = None if request.flag("every") else request.value("sort")
    asked = [] if text is None else split(text, "--sort")
    found: list[list[tuple[str, bool]]] = [[] for _ in rows]
    for name in asked:
        bare = name.removeprefix("-")
        places = [[f.name for f in matching(one.types[0].layout, bare)] for one in rows]
        if not any(places):
            raise unknown(bare, rows, "--sort")
        for order, names in zip(found, places, strict=True):
            order += [(each, name != bare) for each in names]
    return [tuple(order) for order in found]


def _limit(request: RunRequest) -> int | None:
    limit = request.value("limit")
    return None if limit is None else count(limit, "--limit")
