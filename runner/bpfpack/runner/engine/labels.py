"""Names of numbers, as the engine looks them up."""

import errno
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from bpfpack.runner.engine.image import FLAGS, LABEL, LABELS, NUMBER, TEXT, Image, wide
from bpfpack.runner.events import names
from bpfpack.runner.events.values import Flags
from bpfpack.spec.record import Field

#: A dense table may have so many places for each name.
_SPARSE: Final = 4
#: And so many more.
_SMALL: Final = 64
_SIGN: Final = 1 << 127


class Named(NamedTuple):
    """A table, and the longest text that it gives."""

    at: int
    longest: int


def width_of(field: Field) -> int:
    """The bits of a field's number."""
    return field.bits or 8 * field.size


def can_be(field: Field, number: int) -> bool:
    """Say whether a field can have that value."""
    bits = width_of(field)
    if field.signed:
        return -(1 << (bits - 1)) <= number < 1 << (bits - 1)
    return 0 <= number < 1 << bits


def put_labels(image: Image, texts: Mapping[int, str]) -> Named:
    """Put names by number, dense where there are few gaps."""
    encoded = {number: text.encode() for number, text in texts.items()}
    longest = max(map(len, encoded.values()), default=0)
    if encoded:
        first, last = min(encoded), max(encoded)
        count = last - first + 1
        if (
            count <= _SPARSE * len(encoded) + _SMALL
            and first >= -_SIGN >> 64
            and last < _SIGN >> 64
        ):
            dense = [
                image.text(encoded[n]) if n in encoded else (0, 0) for n in range(first, last + 1)
            ]
            at = image.table(TEXT, dense).at
            return Named(image.table(LABELS, [(first, count, 1, at, 0)]).at, longest)
    rows = [(*wide(n), *image.text(encoded[n])) for n in sorted(encoded, key=_signed)]
    at = image.table(LABEL, rows).at
    return Named(image.table(LABELS, [(0, len(rows), 0, 0, at)]).at, longest)


def _signed(number: int) -> int:
    """The number that its 128 bits are in two's complement."""
    return (number + _SIGN) % (1 << 128) - _SIGN


def put_flags(image: Image, field: Field, shape: Callable[[str], str], *, json: bool) -> Named:
    """Put the names of a field's flags: a list in JSON, otherwise joined by bars."""
    flags = Flags(field)
    marks = ("[", ",", "]", '"', '"') if json else ("", "|", "", "", "")
    opened, between, closed, rest, rest_end = (image.text(mark) for mark in marks)
    none = image.text(",".join(map(shape, flags.zero)))
    shown = sorted(flags.masks)
    texts = [image.text(shape(label)) for _, label in shown]
    rows = [(*wide(mask), *text) for (mask, _), text in zip(shown, texts, strict=True)]
    masks = image.table(LABEL, rows)
    places = {pair: i for i, pair in enumerate(shown)}
    order = image.table(NUMBER, [(places[pair],) for pair in flags.masks])
    found = image.table(
        FLAGS,
        [
            (
                *(*none, *opened, *between, *closed, *rest, *rest_end),
                *(masks.length, masks.at, order.at, 0),
            )
        ],
    )
    # At most 128 of them are found in one number, and the digits of a rest.
    longest = sorted((text.size + 1 for text in texts), reverse=True)[:128]
    return Named(found.at, max(none.size, sum(longest)) + 48)


def error_names() -> dict[int, str]:
    """Names of the errors, by the number above zero."""
    return {n: name for n in errno.errorcode if (name := names.error_name(n)) is not None}


def number_names(kind: str) -> dict[int, str]:
    """Names of all signals, system calls, users or groups of this host."""
    match kind:
        case "signal":
            found = {n: names.signal_name(n) for n in range(1, 65)}
        case "syscall":
            found = dict(enumerate(names.syscall_names()))
        case "user":
            found = dict(names.users())
        case _:
            found = dict(names.groups())
    return {n: name for n, name in found.items() if name is not None}
