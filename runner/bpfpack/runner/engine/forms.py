"""The forms of output: what stands around the values of each type, and in what manner they are.

All that is fixed text comes from the reference formatter's own parts, so that it is the same.
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from bpfpack.runner.engine.operations import Manner, Style
from bpfpack.runner.events.formatter import (
    SEPARATED,
    Known,
    OutputFormat,
    Separated,
    csv_quoted,
    json_members,
)
from bpfpack.runner.events.jsonlines import json_pieces
from bpfpack.runner.events.table import Columns
from bpfpack.runner.events.yamllines import yaml_pieces, yaml_string, yaml_unknown
from bpfpack.spec.errors import SpecError
from bpfpack.spec.safetext import json_string, printable
from bpfpack.spec.value import field, valuetype

#: What the engine makes: outputs, and records as they stand in a ring buffer.
EngineForm: TypeAlias = OutputFormat | Literal["framed"]
#: ``enum bp_form``.
LINES, TABLE, RAW, COLUMNS, FRAMED = range(5)

_IN_JSON: Final = Manner(style=Style.JSON, label=json_string, missing="null")
_IN_YAML: Final = Manner(style=Style.YAML, label=yaml_string, missing="null")
_IN_TSV: Final = Manner(style=Style.PLAIN, label=printable, nested=_IN_JSON)
_IN_CSV: Final = Manner(
    style=Style.PLAIN,
    label=lambda label: csv_quoted(printable(label)),
    nested=_IN_JSON,
    requote=True,
)
_IN_TABLE: Final = Manner(style=Style.SHOWN, label=printable)


@valuetype
class Cell:
    """What prints the visible field of that ``index``, or none, after some text."""

    before: str = ""
    index: int | None = None
    column: int = 0
    right: bool = False


@valuetype
class Form:
    """One form of one output.

    ``types`` are the cells of each type, ``unknown`` what stands around the digits of a record of
    no known type, or alone where these are not shown; ``separator`` stands between records.
    """

    code: int
    manner: Manner
    types: Sequence[Sequence[Cell]] = ()
    unknown: Sequence[str] = ()
    separator: str = ""
    widths: Sequence[int] = field(default_factory=tuple)


def form_of(shape: EngineForm, known: Known) -> Form:
    """Return the form; raises SpecError for one that is not for events."""
    match shape:
        case "json":
            return _json(known, "")
        case "json-array":
            return _json(known, ",")
        case "yaml":
            return _yaml(known)
        case "csv":
            return _cells(known, _IN_CSV, SEPARATED[shape])
        case "tsv":
            return _cells(known, _IN_TSV, SEPARATED[shape])
        case "table":
            return _table(known)
        case "raw":
            return Form(code=RAW, manner=_IN_JSON)
        case "arrow" | "parquet":
            return Form(code=COLUMNS, manner=_IN_JSON)
        case "framed":
            return Form(code=FRAMED, manner=_IN_JSON)
    raise SpecError(f"{shape} is not for events")


def _pieced(pieces: Sequence[str]) -> list[Cell]:
    cells = [Cell(before=before, index=index) for index, before in enumerate(pieces[:-1])]
    return [*cells, Cell(before=pieces[-1])]


def _json(known: Known, separator: str) -> Form:
    types = []
    for index, rows in enumerate(known.rows):
        first = json_members(known, index)
        *pieces, last = json_pieces([c.field for c in rows.columns], first)
        types.append(_pieced([*pieces, last + "\n"]))
    tag = json_members(known, None)
    return Form(
        code=LINES,
        manner=_IN_JSON,
        types=types,
        unknown=("{" + (f"{tag}," if tag else "") + '"unknown":"', '"}\n'),
        separator=separator,
    )


def _yaml(known: Known) -> Form:
    types = [
        _pieced(yaml_pieces([c.field for c in rows.columns], known.members(index)))
        for index, rows in enumerate(known.rows)
    ]
    unknown = yaml_unknown(known.members(None))
    return Form(code=LINES, manner=_IN_YAML, types=types, unknown=unknown)


def _cells(known: Known, manner: Manner, form: Separated) -> Form:
    between, quoted = form
    columns, places = known.united()
    types = []
    for number, own in enumerate(places):
        index_of = {place: index for index, place in enumerate(own)}
        text = quoted(printable(known.kinds[number])) if known.kinds else ""
        cells = []
        for place in range(len(columns)):
            if place or known.kinds:
                text += between
            if place in index_of:
                cells.append(Cell(before=text, index=index_of[place]))
                text = ""
        types.append([*cells, Cell(before=text + "\n")])
    empty = between * (len(columns) - (0 if known.kinds else 1)) + "\n"
    return Form(code=LINES, manner=manner, types=types, unknown=(empty,))


def _table(known: Known) -> Form:
    columns, places = known.united()
    kinds = [printable(kind) for kind in known.kinds]
    shift = bool(kinds)
    types = []
    for number, own in enumerate(places):
        index_of = {place: index for index, place in enumerate(own)}
        cells = [Cell(before=kinds[number])] if kinds else []
        cells += [
            Cell(index=index_of.get(place), column=place + shift, right=column.right)
            for place, column in enumerate(columns)
        ]
        types.append(cells)
    widths = Columns(columns, None, kinds=kinds).widths
    return Form(code=TABLE, manner=_IN_TABLE, types=types, unknown=("? ", ""), widths=widths)
