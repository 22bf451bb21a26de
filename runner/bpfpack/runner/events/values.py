"""What one field's raw value means: to a machine, and to people.

JSON and CSV carry the **value**, tables the **text**.

| field            | value                                       | text                          |
|------------------|---------------------------------------------|-------------------------------|
| integer to 64 bit| number                                      | the same                      |
| 128-bit integer  | string of its decimal digits                | the same                      |
| bool             | true, false                                 | the same                      |
| float            | number; NaN and infinities null             | six digits; nan, inf          |
| pointer, hex     | "0x" and lower-case digits, no leading 0    | the same                      |
| string, path     | text to the first NUL, bad UTF-8 as U+FFFD  | the same, bad bytes as `\\xNN` |
| array of bytes   | string of two hex digits a byte             | the same                      |
| enum             | the label; a number without one             | the same                      |
| flags            | list of labels, then the rest as "0x.."     | joined by "|"; 0 for none     |
| ipv4, ipv6       | string, RFC 5952                            | the same                      |
| port             | number                                      | the same                      |
| timestamp        | RFC 3339 in UTC, nanoseconds; null past 9999| local time HH:MM:SS.mmm       |
| duration         | the raw number, in its declared unit        | "1.23ms", "2m05s"             |
| bytes (a count)  | number                                      | "1.50KiB"                     |
| errno            | number                                      | name: see below               |
| signal, syscall  | name; a number without one                  | the same                      |
| user, group      | number                                      | name; a number without one    |
| pid              | number                                      | the same                      |

An array is a list of values; its text joins the elements with ",".

errno: a negative number is named in any field, a positive one only in an unsigned field,
because what a call returns without failing is positive too (a descriptor, a length).
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from bpfpack.runner.events import names
from bpfpack.runner.events.clock import WallClock
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.record import Field
from bpfpack.spec.safetext import printable

Value: TypeAlias = bool | int | float | str | Sequence["Value"] | None

_UNITS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_INT_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_FLOAT_CODES: Final = {4: "f", 8: "d"}
#: 9999-12-31T23:59:59 UTC: RFC 3339 has years of four digits.
_LAST_SECOND: Final = 253_402_300_799
BYTE_ORDERS: Final = {"little": "<", "big": ">"}
_ADDRESSES: Final = ("ipv4", "ipv6")


class Meaning(NamedTuple):
    """How one element is read and shown.

    ``code`` reads it with `struct`; ``load`` makes what that gives the number or bytes that
    ``value`` and ``text`` take.  None for ``load`` or ``value`` is the identity, for ``text``
    the printable value.  ``width`` is what a column usually needs; numbers stand ``right``.
    """

    code: str
    load: Callable[[Any], Any] | None
    value: Callable[[Any], Value] | None
    text: Callable[[Any], str] | None
    width: int
    right: bool


def meaning(field: Field, byte_order: ByteOrder, clock: WallClock) -> Meaning:
    """Return how the elements of a field are read and shown."""
    if field.base == "string":
        return Meaning(f"{field.size}s", None, text_value, _string_text, _text_width(field), False)
    if field.format in _ADDRESSES:
        return _address(field, byte_order)
    if field.base == "bytes":
        return Meaning(f"{field.size}s", None, bytes.hex, None, min(2 * field.size, 32), False)
    code, load = number_reader(field, byte_order)
    value, text, width, right = _showing(field, clock)
    return Meaning(code, load, value, text, width, right)


def _text_width(field: Field) -> int:
    return min(field.size - 1, 32 if field.format == "path" else 16) if field.size else 16


def text_value(raw: bytes) -> str:
    """The text of a char array.

    >>> text_value(b"sh\\0\\xff"), text_value(b"\\xff")
    ('sh', '\\ufffd')
    """
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def _string_text(raw: bytes) -> str:
    return printable(raw.partition(b"\0")[0])


def _address(field: Field, byte_order: ByteOrder) -> Meaning:
    swap = field.order == "host" and byte_order == "little"
    import socket  # 2 ms for those who show addresses

    family, width = (socket.AF_INET, 15) if field.format == "ipv4" else (socket.AF_INET6, 25)

    def value(raw: bytes) -> Value:
        return socket.inet_ntop(family, raw[::-1] if swap else raw)

    return Meaning(f"{field.size}s", None, value, None, width, False)


def number_reader(field: Field, byte_order: ByteOrder) -> tuple[str, Callable[[Any], Any] | None]:
    """Return the struct code of one number, and what makes its result the number (or None)."""
    size, signed = field.size, field.signed
    if field.base == "float":
        return _FLOAT_CODES[size], None
    if field.format == "port" and field.order != "host":
        byte_order = "big"
    elif not field.bits and size in _INT_CODES:
        code = _INT_CODES[size]
        return (code.lower() if signed else code), None

    def load(raw: bytes) -> int:
        number = int.from_bytes(raw, byte_order, signed=signed and not field.bits)
        if not field.bits:
            return number
        number = (number >> field.shift) & ((1 << field.bits) - 1)
        return number - (1 << field.bits) if signed and number >> (field.bits - 1) else number

    return f"{size}s", load


_Showing: TypeAlias = "tuple[Callable[[Any], Value] | None, Callable[[Any], str] | None, int, bool]"


def _showing(field: Field, clock: WallClock) -> _Showing:
    """How a number is shown: value, text, width, right."""
    digits = {1: 4, 2: 6, 4: 8, 8: 12}.get(field.size, 20)
    match field.format:
        case "hex":
            return _hex, None, min(2 + 2 * field.size, 18), True
        case "enum":
            labels = field.labels
            width = max((len(v) for v in labels.values()), default=digits)
            return lambda n: labels.get(n, n), None, min(width, 24), False
        case "flags":
            flags = Flags(field)
            return flags, lambda n: printable("|".join(flags(n)) or "0"), 16, False
        case "timestamp":
            value_of, text_of = _timestamp(field, clock)
            return value_of, text_of, 12, False
        case "duration":
            scale = _UNITS[field.unit or "ns"]
            return None, lambda n: duration_text(n * scale), 8, True
        case "bytes":
            return None, size_text, 9, True
        case "errno":
            signed = field.signed
            return None, lambda n: _errno_text(n, signed=signed), 8, False
        case "signal":
            return lambda n: names.signal_name(n) or n, None, 10, False
        case "syscall":
            return lambda n: names.syscall_name(n) or n, None, 18, False
        case "user":
            return None, lambda n: printable(names.user_name(n) or str(n)), 8, False
        case "group":
            return None, lambda n: printable(names.group_name(n) or str(n)), 8, False
        case "port" | "pid":
            return None, None, 5 if field.format == "port" else 7, True
    return (*_plain(field), digits, field.base != "bool")


def _plain(field: Field) -> tuple[Callable[[Any], Value] | None, Callable[[Any], str] | None]:
    match field.base:
        case "bool":
            return bool, None
        case "float":
            return _finite, lambda n: f"{n:g}"
    return (str if field.size > 8 else None), None


def _finite(number: float) -> Value:
    return number if math.isfinite(number) else None


def _hex(number: int) -> str:
    return f"-{-number:#x}" if number < 0 else f"{number:#x}"


class Flags:
    """The names of a number's bits; called with one, gives a list."""

    def __init__(self, field: Field) -> None:
        self._everything = everything = (1 << (field.bits or 8 * field.size)) - 1
        #: What 0 is called.
        self.zero: Final = [field.labels[0]] if 0 in field.labels else []
        #: The widest masks first, so that O_SYNC is not told as O_DSYNC and a rest.
        self.masks: Final = sorted(
            ((m & everything, label) for m, label in field.labels.items() if m & everything),
            key=lambda pair: (-pair[0].bit_count(), pair[0]),
        )

    def __call__(self, number: int) -> list[str]:
        """The names of the bits, in their order, then the rest in hex."""
        left = number & self._everything
        if not left:
            return self.zero
        found = []
        for mask, label in self.masks:
            if left & mask == mask:
                found.append((mask, label))
                left &= ~mask
        shown = [label for _, label in sorted(found)]
        return [*shown, f"{left:#x}"] if left else shown


def _timestamp(
    field: Field, clock: WallClock
) -> tuple[Callable[[int], Value], Callable[[int], str]]:
    scale, name = _UNITS[field.unit or "ns"], field.clock or "mono"

    def value(number: int) -> Value:
        return utc(number * scale + clock.offset(name))

    def text(number: int) -> str:
        return local(number * scale + clock.offset(name))

    return value, text


def utc(nanoseconds: int) -> str | None:
    """Wall time in RFC 3339; None for what it cannot say.

    >>> utc(1_000_000_007)
    '1970-01-01T00:00:01.000000007Z'
    """
    second, rest = divmod(nanoseconds, 1_000_000_000)
    if not 0 <= second <= _LAST_SECOND:
        return None
    return f"{_utc_second(second)}.{rest:09d}Z"


def local(nanoseconds: int) -> str:
    """Local time of day; "-" for what `utc` cannot say."""
    second, rest = divmod(nanoseconds, 1_000_000_000)
    if not 0 <= second <= _LAST_SECOND:
        return "-"
    return f"{_local_second(second)}.{rest // 1_000_000:03d}"


class _LastSecond(dict[int, str]):
    """The text of the second shown last: events come in order."""

    def __init__(self, clock: Callable[[float], time.struct_time], shape: str) -> None:
        super().__init__()
        self._clock, self._shape = clock, shape

    def __missing__(self, second: int) -> str:
        text = time.strftime(self._shape, self._clock(second))
        self.clear()
        self[second] = text
        return text

    def __call__(self, second: int) -> str:
        return self[second]


_utc_second: Final = _LastSecond(time.gmtime, "%Y-%m-%dT%H:%M:%S")
_local_second: Final = _LastSecond(time.localtime, "%H:%M:%S")


def duration_text(nanoseconds: int) -> str:
    """A duration in three digits or so.

    >>> [duration_text(n) for n in (999, 1_234, 56_789_000, 61_000_000_000, -2_000)]
    ['999ns', '1.23us', '56.8ms', '1m01s', '-2.00us']
    >>> [duration_text(n) for n in (999_999, 999_999_999, 59_999_000_000)]
    ['1.00ms', '1.00s', '1m00s']
    """
    if nanoseconds < 0:
        return "-" + duration_text(-nanoseconds)
    if nanoseconds < 1_000:
        return f"{nanoseconds}ns"
    for unit, size in (("us", 1e3), ("ms", 1e6)):
        if nanoseconds < size * 999.5:  # what would be rounded to 1000 is one of the next
            return _three(nanoseconds / size) + unit
    if nanoseconds < 59_950_000_000:
        return _three(nanoseconds / 1e9) + "s"
    seconds = max(nanoseconds // 1_000_000_000, 60)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02d}h"
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"


def size_text(size: int) -> str:
    """A size in bytes for people.

    >>> [size_text(n) for n in (1023, 1536, 10 * 2**20, 2**40)]
    ['1023B', '1.50KiB', '10.0MiB', '1.00TiB']
    >>> size_text(2**20 - 1)
    '1.00MiB'
    """
    if abs(size) < 1024:
        return f"{size}B"
    scaled = float(size)
    units = iter(("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))
    unit = ""
    while abs(scaled) >= 1023.5 and (larger := next(units, "")):
        unit, scaled = larger, scaled / 1024
    return _three(scaled) + unit


def _three(number: float) -> str:
    size = abs(number)
    return f"{number:.{2 if size < 9.995 else 1 if size < 99.95 else 0}f}"


def _errno_text(number: int, *, signed: bool) -> str:
    if number > 0 and signed:
        return str(number)
    return names.error_name(number) or str(number)
