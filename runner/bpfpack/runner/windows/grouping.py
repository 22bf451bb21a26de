"""Where keys and numbers stand in the records of an output, and what a key looks like.

A key is made of bytes as they lie in a record: a word of bits for the values that are missing, and
of the record's type where that is a key; then the values, one after the other.  Of a text it has
the bytes before the first NUL and zeroes behind them, of a bit-field its own bits and no other.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from bpfpack.runner.events.formatter import EventOutput, free_name
from bpfpack.runner.filters.leaves import find, leaf, whole
from bpfpack.runner.filters.names import near, visible
from bpfpack.runner.filters.predicates import Leaf
from bpfpack.runner.windows.asking import Aggregate, Asked
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.record import Field, RecordLayout
from bpfpack.spec.safetext import printable
from bpfpack.spec.value import replace, valuetype

_WORD: Final = 8
#: Bytes of a number that is added up.
_WIDEST: Final = 8
#: Powers of two that sketches of floats have pages for: smaller and larger ones are counted.
_REAL_POWERS: Final = (-64, 128)
_ALL_POWERS: Final = (0, 64)
#: How a field is told from another of the same name in another type.
_TOLD: Final = ("size", "base", "signed", "format", "bits", "shift", "unit", "clock", "order")


@valuetype
class Source:
    """Where a key's value stands in a record of one type."""

    offset: int
    size: int
    needs: int
    text: bool
    own: int

    def read(self, record: memoryview) -> bytes | None:
        """Its bytes in a key, None when it is missing."""
        if len(record) < self.needs:
            return None
        raw = bytes(record[self.offset : self.offset + self.size])
        if self.text:
            return raw.partition(b"\0")[0]
        if self.size > 2 * _WORD:
            return raw
        return (int.from_bytes(raw, "little") & self.own).to_bytes(self.size, "little")


@valuetype
class Key:
    """One value of a key: a field whose offset is that in the key, and where it comes from in each
    type; None in a type that has none."""

    field: Field
    sources: tuple[Source | None, ...]


@valuetype
class Measure:
    """One field that is added up, as each type has it, where it stands alone."""

    name: str
    field: Field
    fields: tuple[Field | None, ...]
    needs: tuple[int, ...]
    sketched: bool

    @property
    def first(self) -> int:
        """The power of two of a sketch's first page."""
        return self._powers[0]

    @property
    def powers(self) -> int:
        """The pages of a sketch for numbers of one sign."""
        return self._powers[1] if self.sketched else 0

    @property
    def pages(self) -> int:
        """The pages that a sketch may have: numbers that are never negative need half as many."""
        return self.powers * (2 if self.real or self.field.signed else 1)

    @property
    def _powers(self) -> tuple[int, int]:
        return _REAL_POWERS if self.real else _ALL_POWERS

    @property
    def real(self) -> bool:
        """Whether its numbers are floats."""
        return self.field.base == "float"


@valuetype
class Grouping:
    """What a window does with the records of one output; ``kind`` is the place in ``by`` of the
    name that stands for a record's type, or None."""

    output: EventOutput
    asked: Asked
    keys: tuple[Key, ...]
    measures: tuple[Measure, ...]
    key_size: int
    kind: int | None

    @property
    def layout(self) -> RecordLayout:
        """A key as a record."""
        return RecordLayout(
            type="",
            size=self.key_size,
            byte_order=self.output.types[0].layout.byte_order,
            fields=tuple(key.field for key in self.keys),
            flexible=False,
        )

    def head(self, index: int) -> int:
        """The first word of the keys of a type, or of records of none, the last."""
        missing = sum(
            1 << place for place, key in enumerate(self.keys) if key.sources[index] is None
        )
        return missing | (index + 1 << 32 if self.kind is not None else 0)


def make_groupings(asked: Asked, outputs: Sequence[EventOutput]) -> list[Grouping]:
    """Return what is done with the records of each output; raises UsageError.

    A field that one output or type has and another has not is missing from the other's.
    """
    for option, name in _names(asked):
        known = any(find(t.layout, name) for o in outputs for t in o.types)
        if not known and (option != "--by" or all(_kind_name(o) != name for o in outputs)):
            raise _unknown(option, name, outputs)
    return [_grouping(asked, output) for output in outputs]


def _names(asked: Asked) -> Iterator[tuple[str, str]]:
    yield from (("--by", name) for name in asked.by)
    yield from (("--show", one.field) for one in asked.show if one.field)


def _unknown(option: str, name: str, outputs: Sequence[EventOutput]) -> UsageError:
    known = [o for o in map(_kind_name, outputs) if o] if option == "--by" else []
    known = list(dict.fromkeys([*known, *(f.name for f in visible(outputs))]))
    return UsageError(f"{option}: no field {printable(name, 80)!r}").with_hint(near(name, known))


def _kind_name(output: EventOutput) -> str | None:
    """What tells the type of a record, where there are several."""
    return free_name(output, "type") if len(output.types) > 1 else None


def _grouping(asked: Asked, output: EventOutput) -> Grouping:
    keys, at, kind = list[Key](), _WORD, None
    for place, name in enumerate(asked.by):
        if name == _kind_name(output):
            kind = place
            continue
        try:
            key, size = _key(output, name, at)
        except SpecError as e:
            raise UsageError(f"--by: {printable(name, 80)} {e.reason}") from e
        keys.append(key)
        at += _padded(size)
    if at > LIMITS.window_key:
        raise UsageError(f"--by: the values have more than {LIMITS.window_key} bytes")
    found: dict[str, Measure] = {}
    for one in asked.show:
        if one.field:
            measure = _measure(output, one)
            before = found.get(one.field, measure)
            sketched = measure.sketched or before.sketched
            found[one.field] = replace(measure, sketched=sketched)
    return Grouping(
        output=output,
        asked=asked,
        keys=tuple(keys),
        measures=tuple(found.values()),
        key_size=at,
        kind=kind,
    )


def _key(output: EventOutput, name: str, at: int) -> tuple[Key, int]:
    """The key of a name for offset ``at``, and its size; raises SpecError."""
    shown = _nothing(name)
    sources: list[Source | None] = []
    chosen: Field | None = None
    for one in output.types:
        found = find(one.layout, name)
        if found is None:
            sources.append(None)
            continue
        field, index = found
        if field.dimensions and not index:
            part = whole(field)
            if not part.size:
                raise SpecError("goes on to the end of each record: it is no key")
        else:
            field, part = _single(field, index, one.layout)
        chosen = _same(chosen, field)
        text = field.base == "string" and not field.dimensions
        size = min(part.size or LIMITS.window_text, LIMITS.window_text) if text else part.size
        if size > LIMITS.window_key:
            raise SpecError(f"has more than {LIMITS.window_key} bytes")
        own = (1 << field.bits) - 1 << field.shift if field.bits else (1 << 8 * size) - 1
        if one.layout.byte_order == "big" and field.bits:
            own = int.from_bytes(own.to_bytes(size, "little"), "big")
        sources.append(Source(offset=part.offset, size=size, needs=part.needs, text=text, own=own))
        shown = replace(field, offset=at, size=size if text else field.size)
    sources.append(None)
    sizes = [source.size for source in sources if source is not None]
    return Key(field=shown, sources=tuple(sources)), max(sizes, default=_WORD)


def _nothing(name: str) -> Field:
    """A field that no record has."""
    return Field(
        path=(name,), type="", offset=0, size=8, base="uint", signed=False, format="dec", title=name
    )


def _single(field: Field, index: Sequence[int], layout: RecordLayout) -> tuple[Field, Leaf]:
    """One value as a field of its own, and where it stands."""
    part = leaf(field, index, layout.byte_order)
    name = field.name + "".join(f"[{n}]" for n in index)
    if not index:
        return field, part
    path = (*field.path[:-1], field.path[-1] + "".join(f"[{n}]" for n in index))
    title = field.title if field.title != field.name else name
    return replace(field, path=path, offset=part.offset, dimensions=(), title=title), part


def _same(chosen: Field | None, field: Field) -> Field:
    """Raise SpecError unless types of one output mean the same by a name."""
    if chosen is not None and (
        any(getattr(chosen, a) != getattr(field, a) for a in _TOLD)
        or chosen.dimensions != field.dimensions
    ):
        raise SpecError("is another kind of value in another type of this output")
    return field


def _measure(output: EventOutput, asked: Aggregate) -> Measure:
    """The field of one aggregate; raises UsageError."""
    fields: list[Field | None] = []
    needs: list[int] = []
    chosen: Field | None = None
    for one in output.types:
        found = find(one.layout, asked.field)
        if found is None:
            fields.append(None)
            needs.append(0)
            continue
        try:
            field, part = _single(*found, one.layout)
            _check_number(field)
            chosen = _same(chosen, field)
        except SpecError as e:
            raise UsageError(f"--show: {printable(asked.field, 80)} {e.reason}") from e
        fields.append(field)
        needs.append(part.needs)
    return Measure(
        name=asked.field,
        field=chosen or _nothing(asked.field),
        fields=(*fields, None),
        needs=(*needs, 0),
        sketched=asked.share is not None,
    )


def _check_number(field: Field) -> None:
    if field.base in ("string", "bytes") or field.format in ("ipv4", "ipv6"):
        raise SpecError("is no number")
    if field.bits > 8 * _WIDEST or (field.size > _WIDEST and not field.bits):
        raise SpecError("has more than 64 bits: such numbers are not added up")


def _padded(size: int) -> int:
    return -(-size // _WORD) * _WORD
