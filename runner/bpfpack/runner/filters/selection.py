"""``--fields``: which columns are shown, and in which order."""

from collections.abc import Sequence
from typing import Final

from bpfpack.runner.events.formatter import EventOutput
from bpfpack.runner.filters.names import matching, split, unknown
from bpfpack.spec.errors import UsageError
from bpfpack.spec.record import Field, RecordLayout
from bpfpack.spec.value import replace

_OPTION: Final = "--fields"


def select_fields(text: str, outputs: Sequence[EventOutput], *, nested: bool) -> list[EventOutput]:
    """Return the outputs with the fields of a list alone, in its order; raises UsageError.

    Names that begin with ``-`` are left out; where all do, the rest stays in its own order.
    A name of a struct means all of its members.  ``nested`` keeps the members of a struct
    together, as forms that show structs need it.
    """
    asked = split(text, _OPTION)
    for name in asked:
        bare = name.removeprefix("-")
        if not any(matching(t.layout, bare) for o in outputs for t in o.types):
            raise unknown(bare, outputs, _OPTION)
    found = [
        replace(
            output,
            types=tuple(
                replace(t, layout=_selected(t.layout, asked, nested=nested)) for t in output.types
            ),
            order=_order(output, asked),
        )
        for output in outputs
    ]
    if not any(not f.hidden for o in found for t in o.types for f in t.layout.fields):
        raise UsageError(f"{_OPTION}: nothing is left to show")
    return found


def _order(output: EventOutput, asked: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns of all types, as they were asked for."""
    return tuple(
        dict.fromkeys(
            field.name for name in asked for t in output.types for field in matching(t.layout, name)
        )
    )


def _selected(layout: RecordLayout, asked: Sequence[str], *, nested: bool) -> RecordLayout:
    """A type whose other fields are hidden: what tells types apart may be one of them."""
    wanted = [name for name in asked if not name.startswith("-")]
    chosen = [f for name in wanted for f in matching(layout, name)]
    if not wanted:
        chosen = [f for f in layout.fields if not f.hidden]
    removed = {f.path for name in asked if name.startswith("-") for f in matching(layout, name[1:])}
    shown = {f.path: f for f in chosen if f.path not in removed}
    order = _together(list(shown.values())) if nested else list(shown.values())
    rest = [replace(f, hidden=True) for f in layout.fields if f.path not in shown]
    return replace(layout, fields=(*(replace(f, hidden=False) for f in order), *rest))


def _together(fields: Sequence[Field], depth: int = 0) -> list[Field]:
    """The same fields, those of one struct where the first of them stands; elements in order."""
    groups: dict[str, list[Field]] = {}
    for field in fields:
        groups.setdefault(field.path[depth].partition("[")[0], []).append(field)
    found = []
    for group in groups.values():
        elements: dict[str, list[Field]] = {}
        for field in group:
            elements.setdefault(field.path[depth], []).append(field)
        for name in sorted(elements, key=_subscript):
            inside = elements[name]
            found += _together(inside, depth + 1) if len(inside[0].path) > depth + 1 else inside
    return found


def _subscript(part: str) -> list[int]:
    return [int(n) for n in part.partition("[")[2].rstrip("]").split("][") if n]
