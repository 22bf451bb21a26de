"""From batches to bytes: the boundary that every event engine implements.

This is the plain implementation, and the reference for any faster one.  `values` says
what each kind of field becomes.

*json*: one object a line, UTF-8; *json-array*: the same as the elements of one array.  Members
keep their names and nesting; hidden ones are left out.  ``output`` comes first when there is more
than one output (``_output`` where an event has a member of that name), then, of an output with
several types, ``type``, the name of its struct.  What could disturb a terminal is written as
``\\uNNNN``.  *yaml*: a document for each event.
*csv*: RFC 4180 (but a line ends with a newline alone) with a header of dotted names; values
as in JSON, a list as its JSON text, null as nothing.  *tsv*: the same with tabs, and without any
quotes, since text has no tabs.  *table*: aligned columns.  Where there are columns, several types
share one header: ``type``, then the columns of the first type, those that the second has
besides, and so on; what a type has not is left empty.  None of these contains control characters:
those in text become ``\\xNN``.  *raw*: the bytes of the records, one after the other, nothing
between.

A record of no known type is one line too: ``{"unknown":"<hex>"}`` in JSON, "?" and the
digits in a table; CSV and TSV have no column for it and leave all cells empty.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, get_args

from bpfpack.runner.events.batch import Batch
from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.runner.events.jsonlines import JsonRow, dump
from bpfpack.runner.events.rows import Column, Rows
from bpfpack.runner.events.selector import Selector
from bpfpack.runner.events.table import Columns
from bpfpack.runner.events.yamllines import YamlRow, yaml_unknown
from bpfpack.spec.record import RecordLayout
from bpfpack.spec.safetext import fit, json_string, printable
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from bpfpack.runner.events.terminal import Screen

OutputFormat = Literal[
    "table", "json", "json-array", "csv", "tsv", "yaml", "raw",
    "folded", "flamegraph.svg", "arrow", "parquet",
]  # fmt: skip
OUTPUT_FORMATS: Final[tuple[str, ...]] = get_args(OutputFormat)
#: What stands behind the last element of a JSON array.
ARRAY_END: Final = b"]\n"
#: Characters at most that stand for one that is not safe to show.
_ESCAPED: Final = 10
#: Bytes of a record of no known type that a table shows.
_GLIMPSE: Final = 64


class Formatter(Protocol):
    """Turns the batches of one output into bytes."""

    def header(self) -> bytes | None:
        """What stands before the first event, and again after another output's events."""
        ...

    def format(self, batch: Batch) -> bytes:
        """The output for a batch, whole lines; never raises for the contents of a record."""
        ...


@valuetype
class RecordType:
    """One type that an output carries; ``when`` is its value of the discriminator."""

    layout: RecordLayout
    when: int | None = None


@valuetype
class EventOutput:
    """What a formatter knows of its output.

    ``discriminator`` is the dotted name of the member that tells several types apart;
    without one their sizes do.  ``alone`` is False when there are other outputs.  ``order`` are
    names of columns that several types are put together in, where that is not their own.
    """

    name: str
    types: tuple[RecordType, ...]
    discriminator: str | None = None
    alone: bool = True
    order: tuple[str, ...] = ()


def make_formatter(
    shape: OutputFormat,
    output: EventOutput,
    *,
    terminal: "Screen | None" = None,
    clock: WallClock | None = None,
) -> Formatter:
    """Return the reference formatter; ``terminal`` is where table lines are cut."""
    if shape == "raw":
        return RawFormatter()
    known = Known(output, clock or SystemClock())
    match shape:
        case "json":
            return JsonFormatter(known)
        case "json-array":
            return ArrayFormatter(known)
        case "yaml":
            return YamlFormatter(known)
        case "csv" | "tsv":
            return CellsFormatter(known, SEPARATED[shape])
        case _:
            return TableFormatter(known, terminal)


class Known:
    """An output compiled: the rows of each type, and which record is of which."""

    def __init__(self, output: EventOutput, clock: WallClock) -> None:
        self.output, self.clock = output, clock
        self.rows = [Rows(t.layout, clock) for t in output.types]
        # Of one type there is nothing to tell.
        self.kinds = [kind_name(t.layout.type) for t in output.types] if len(self.rows) > 1 else []
        self.select = Selector([(t.layout, t.when) for t in output.types], output.discriminator)

    def free(self, name: str) -> str:
        """See `free_name`."""
        return free_name(self.output, name)

    def members(self, index: int | None) -> list[tuple[str, str]]:
        """What is told besides the members of a type (None: of no known one): name and value."""
        found = []
        if not self.output.alone:
            found.append((self.free("output"), self.output.name))
        if self.kinds and index is not None:
            found.append((self.free("type"), self.kinds[index]))
        return found

    def united(self) -> tuple[list[Column], list[list[int]]]:
        """The columns of all types, each name once, and the places of each type's own."""
        found: dict[str, Column] = {}
        for column in (c for rows in self.rows for c in rows.columns):
            before = found.setdefault(column.field.name, column)
            found[column.field.name] = before._replace(width=max(before.width, column.width))
        found = {name: found.pop(name) for name in self.output.order if name in found} | found
        order = {name: place for place, name in enumerate(found)}
        places = [[order[c.field.name] for c in rows.columns] for rows in self.rows]
        return list(found.values()), places


def free_name(output: EventOutput, name: str) -> str:
    """A name for something about an event that none of the members shown has."""
    fields = (f for t in output.types for f in t.layout.fields if not f.hidden)
    taken = {field.path[0].partition("[")[0] for field in fields}
    while name in taken:
        name = f"_{name}"
    return name


def kind_name(spelling: str) -> str:
    """The name of a type without the keyword of C before it.

    >>> kind_name("struct opened"), kind_name("opened_t")
    ('opened', 'opened_t')
    """
    return spelling.removeprefix("struct ").removeprefix("union ")


def json_members(known: Known, index: int | None) -> str:
    """What `Known.members` tells, as the first members of an object."""
    return ",".join(f"{json_string(k)}:{json_string(v)}" for k, v in known.members(index))


class JsonFormatter:
    """JSON lines."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._first = json_members(known, None)
        self._rows = [
            JsonRow(rows.columns, json_members(known, i)) for i, rows in enumerate(known.rows)
        ]

    def header(self) -> bytes | None:
        """None: every line stands alone."""
        return None

    def format(self, batch: Batch) -> bytes:
        """See `Formatter`."""
        return "".join(f"{one}\n" for one in self.objects(batch)).encode()

    def objects(self, batch: Batch) -> Iterator[str]:
        """Each record as an object."""
        known, memory = self._known, batch.memory
        known.clock.refresh()
        for offset, length in batch.records:
            index = known.select(memory, offset, length)
            if index is None:
                yield self._unknown(memory[offset : offset + length])
            else:
                yield self._rows[index](known.rows[index].read(memory, offset, length))

    def _unknown(self, record: memoryview) -> str:
        first = f"{self._first}," if self._first else ""
        return f'{{{first}"unknown":"{record.hex()}"}}'


class ArrayFormatter(JsonFormatter):
    """One JSON array, an element a line; whoever ends the output writes `ARRAY_END`."""

    _any = False

    def header(self) -> bytes | None:
        """The bracket that opens it."""
        return b"[\n"

    def format(self, batch: Batch) -> bytes:
        """See `Formatter`."""
        lines = []
        for one in self.objects(batch):
            lines.append(f",{one}\n" if self._any else f"{one}\n")
            self._any = True
        return "".join(lines).encode()


class YamlFormatter:
    """A document for each record."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._rows = [YamlRow(rows.columns, known.members(i)) for i, rows in enumerate(known.rows)]

    def header(self) -> bytes | None:
        """None: every document stands alone."""
        return None

    def format(self, batch: Batch) -> bytes:
        """See `Formatter`."""
        known, memory, documents = self._known, batch.memory, []
        known.clock.refresh()
        for offset, length in batch.records:
            index = known.select(memory, offset, length)
            if index is None:
                before, after = yaml_unknown(known.members(None))
                documents.append(before + memory[offset : offset + length].hex() + after)
            else:
                row = known.rows[index].read(memory, offset, length)
                documents.append(self._rows[index](row))
        return "".join(documents).encode()


class Separated(NamedTuple):
    """A form of cells with something between: how text is kept apart from that."""

    between: str
    quoted: Callable[[str], str]


class CellsFormatter:
    """Values separated by commas or tabs; the columns of several types are put together."""

    def __init__(self, known: Known, form: Separated) -> None:
        self._known, self._form = known, form
        columns, self._places = known.united()
        self._names = [column.field.name for column in columns]
        self._first = [known.free("type")] if known.kinds else []

    def header(self) -> bytes | None:
        """The line of dotted names."""
        return self._line(self._text(name) for name in (*self._first, *self._names)).encode()

    def format(self, batch: Batch) -> bytes:
        """See `Formatter`."""
        known, memory, lines = self._known, batch.memory, []
        known.clock.refresh()
        for offset, length in batch.records:
            cells = [""] * len(self._names)
            index = known.select(memory, offset, length)
            first = [""] * len(self._first)
            if index is not None:
                first = [self._text(kind) for kind in known.kinds[index : index + 1]]
                rows = known.rows[index]
                raws = rows.read(memory, offset, length)
                for place, column, raw in zip(self._places[index], rows.columns, raws, strict=True):
                    cells[place] = cell_text(column, raw, self._form.quoted)
            lines.append(self._line((*first, *cells)))
        return "".join(lines).encode()

    def _line(self, cells: Iterable[str]) -> str:
        return self._form.between.join(cells) + "\n"

    def _text(self, text: str) -> str:
        return self._form.quoted(printable(text))


def csv_cell(column: Column, raw: Any) -> str:
    """One cell of a CSV line; nothing for a missing value."""
    return cell_text(column, raw, csv_quoted)


def cell_text(column: Column, raw: Any, quoted: Callable[[str], str]) -> str:
    """One cell; nothing for a missing value."""
    if raw is None:
        return ""
    value = raw if column.value is None else column.value(raw)
    if isinstance(value, str):
        # All of it: only what is for people is cut.
        return quoted(printable(value, _ESCAPED * len(value)))
    return "" if value is None else quoted(dump(value))


def csv_quoted(text: str) -> str:
    """Quote printable text where RFC 4180 asks for it.

    >>> csv_quoted("a,b"), csv_quoted("a b")
    ('"a,b"', 'a b')
    """
    if "," in text or '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return text


#: Printable text has no tabs.
SEPARATED: Final = {"csv": Separated(",", csv_quoted), "tsv": Separated("\t", str)}


class TableFormatter:
    """Aligned columns, those of several types put together."""

    def __init__(self, known: Known, terminal: "Screen | None") -> None:
        self._known, self._terminal = known, terminal
        columns, self._places = known.united()
        self._size = len(columns)
        self._kinds = [printable(kind) for kind in known.kinds]
        self._columns = Columns(columns, terminal, kinds=self._kinds)

    def resume(self, widths: Sequence[int]) -> None:
        """Go on with columns as wide as another formatter of this output has made them."""
        self._columns.widths = list(widths)

    def header(self) -> bytes | None:
        """The titles, after the output's name when there are others."""
        name = "" if self._known.output.alone else printable(self._known.output.name) + ":\n"
        return f"{name}{self._columns.header()}\n".encode()

    def format(self, batch: Batch) -> bytes:
        """See `Formatter`."""
        known, memory, lines = self._known, batch.memory, list[str]()
        known.clock.refresh()
        for offset, length in batch.records:
            index = known.select(memory, offset, length)
            if index is None:
                lines.append(self._unknown(memory[offset : offset + length]))
                continue
            rows = known.rows[index]
            texts = cells(rows.columns, rows.read(memory, offset, length))
            lines.append(self._columns.line(self._placed(index, texts) if self._kinds else texts))
        lines.append("")
        return "\n".join(lines).encode()

    def _placed(self, index: int, texts: list[str]) -> list[str]:
        line = [""] * self._size
        for place, text in zip(self._places[index], texts, strict=True):
            line[place] = text
        return [self._kinds[index], *line]

    def _unknown(self, record: memoryview) -> str:
        more = "…" if len(record) > _GLIMPSE else ""
        text = f"? {record[:_GLIMPSE].hex()}{more}"
        return text if self._terminal is None else fit(text, self._terminal.columns)


def cells(columns: Sequence[Column], raws: Sequence[Any]) -> list[str]:
    """The texts of a row; nothing for a missing value."""
    return [
        "" if raw is None else column.text(raw) for column, raw in zip(columns, raws, strict=True)
    ]


class RawFormatter:
    """The bytes as they came."""

    def header(self) -> bytes | None:
        """None."""
        return None

    def format(self, batch: Batch) -> bytes:
        """See `Formatter`."""
        return b"".join(batch.memory[offset : offset + length] for offset, length in batch.records)
