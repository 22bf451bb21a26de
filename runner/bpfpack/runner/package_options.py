"""The package's own options: from what is typed after REF to the bytes of globals.

The config says how an option is called and what it means, the object what type its global
has; `package_options` joins the two, `parse_package_options` reads an argument list, `encode`
makes the bytes.  Nothing here reads or prints.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

from bpfpack.spec.agreement import option_type
from bpfpack.spec.btf import Array, Btf, Enum, Enum64, Float, Int
from bpfpack.spec.config import Config, Param, Program, Value
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import ConfigMismatch, SpecError, UsageError
from bpfpack.spec.layout import resolve
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.safetext import printable
from bpfpack.spec.value import field, valuetype

if TYPE_CHECKING:
    from fractions import Fraction

_INTEGER: Final = re.compile(
    r"[+-]?(?:0x[0-9a-f]{1,40}|0o[0-7]{1,50}|0b[01]{1,130}|0|[1-9][0-9]{0,40})", re.IGNORECASE
)
_SCALED: Final = re.compile(r"([+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?)([a-zA-Z]*)")
#: Nanoseconds, and bytes; suffixes are compared without case.
_DURATIONS: Final = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9,
    "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9,
}  # fmt: skip
_SIZES: Final = {
    suffix: 1024**power
    for power, letter in enumerate(("", "k", "m", "g", "t"))
    for suffix in (letter, f"{letter}b", f"{letter}ib")
} | {"bytes": 1, "byte": 1}
_TRUE: Final = ("true", "yes", "on", "1")
_FALSE: Final = ("false", "no", "off", "0")

Kind = Literal["bool", "int", "float", "text"]


@valuetype
class OptionType:
    """What a global can hold; ``size`` in bytes, of a text with its NUL."""

    kind: Kind
    size: int
    signed: bool = False

    @classmethod
    def of(cls, btf: Btf, type_id: int) -> "OptionType":
        """Read the type of a global; raises SpecError for one that no option can set."""
        option_type(btf, type_id)
        _, found = resolve(btf, type_id)
        match found:
            case Array(_, _, count):
                return cls(kind="text", size=count)
            case Float(size=size):
                return cls(kind="float", size=size)
            case Int(size=size) if found.bool:
                return cls(kind="bool", size=size)
            case Int(size=size) | Enum(size=size) | Enum64(size=size):
                return cls(kind="int", size=size, signed=found.signed)
            case _:
                raise SpecError(f"{btf.spelling(type_id)} cannot be an option")

    @property
    def range(self) -> tuple[int, int]:
        """The smallest and the largest integer."""
        bits = 8 * self.size
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if self.signed else (0, (1 << bits) - 1)


@valuetype
class PackageOption:
    """One option of a package and the type of the global behind it."""

    param: Param
    type: OptionType

    @property
    def long(self) -> str:
        """How it is typed."""
        return f"--{self.param.option}"

    @property
    def takes(self) -> str:
        """What kind of value it takes, for people."""
        if self.param.choices:
            return "one of " + ", ".join(printable(c, 64) for c in self.param.choices)
        if self.type.kind == "text":
            return f"text of at most {max(self.type.size - 1, 0)} bytes"
        if self.type.kind == "bool":
            return "true or false"
        unit = self.param.unit
        if unit in _DURATIONS:
            return f"a duration such as 10ms, or a number of {unit}"
        if _size_unit(unit):
            return f"a size such as 64k, or a number of {unit}"
        if self.type.kind == "float":
            return "a number"
        low, high = self.type.range
        return f"an integer from {low} to {high}"


@valuetype
class TargetOption:
    """An option of a package that says where some of its programs are attached."""

    option: str
    programs: tuple[str, ...]
    takes: str
    default: tuple[str, ...] = ()

    @property
    def long(self) -> str:
        """How it is typed."""
        return f"--{self.option}"


@valuetype
class Given:
    """What the arguments set: globals by their C names, targets by option."""

    values: dict[str, Value] = field(default_factory=dict)
    targets: dict[str, list[str]] = field(default_factory=dict)


def target_options(config: Config) -> tuple[TargetOption, ...]:
    """Return the options that name targets, in the order of the programs.

    Raises SpecError for a section that nobody knows, which `check_config` finds as well.
    """
    named: dict[str, list[Program]] = {}
    for program in config.programs:
        if program.option is not None:
            named.setdefault(program.option, []).append(program)
    return tuple(_target_option(option, programs) for option, programs in named.items())


def _target_option(option: str, programs: list[Program]) -> TargetOption:
    from bpfpack.spec.sections import parse_section
    from bpfpack.spec.targets import shape  # few packages have such an option

    kinds = {p.name: parse_section(p.section) for p in programs}
    defaults = [p.attach or (kinds[p.name].target,) for p in programs]
    return TargetOption(
        option=option,
        programs=tuple(p.name for p in programs),
        takes=" or ".join(dict.fromkeys(shape(kind) for kind in kinds.values())),
        default=tuple(dict.fromkeys(text for texts in defaults for text in texts if text)),
    )


def package_options(spec: ObjectSpec, config: Config) -> tuple[PackageOption, ...]:
    """Join the config's params with the object's globals.

    Raises ConfigMismatch for a param whose global is not there or cannot be an option.
    """
    variables = {v.name: v for v in spec.variables}
    found = []
    for i, param in enumerate(config.params):
        path = (f"params[{i}]", "global")
        if param.variable not in variables:
            raise ConfigMismatch(f"{param.variable!r} is not in the object", path=path)
        try:
            kind = OptionType.of(spec.types("an option"), variables[param.variable].type_id)
        except SpecError as e:
            raise ConfigMismatch(e.reason, path=path) from e
        found.append(PackageOption(param=param, type=kind))
    return tuple(found)


def parse_package_options(
    options: Sequence[PackageOption],
    argv: Sequence[str],
    targets: Sequence[TargetOption] = (),
) -> Given | None:
    """Return what ``argv`` sets; None when it asks for help.

    ``--opt VALUE``, ``--opt=VALUE``, ``-o VALUE``, ``-oVALUE``; a bool is ``--x`` or ``--no-x``.
    The last of several wins, but that a target is one more.  Raises UsageError.
    """
    return _Parser(options, targets).parse(argv)


@valuetype(frozen=False, kw_only=False)
class _Parser:
    options: Sequence[PackageOption]
    targets: Sequence[TargetOption]
    given: Given = field(default_factory=Given)
    rest: list[str] = field(default_factory=list)

    def parse(self, argv: Sequence[str]) -> Given | None:
        self.rest = list(argv)
        while self.rest:
            word = self.rest.pop(0)
            if word in ("--help", "-h"):
                return None
            if word == "--":
                break
            if word.startswith("--"):
                self._long(word)
            elif word.startswith("-") and len(word) > 1:
                self._short(word)
            else:
                self.rest.insert(0, word)
                break
        if self.rest:
            raise UsageError(f"the package takes options only, not {self.rest[0][:40]!r}")
        return self.given

    def _long(self, word: str) -> None:
        name, equals, text = word[2:].partition("=")
        for target in self.targets:
            if target.option == name:
                said = text if equals else self._next(word, target.takes)
                self.given.targets.setdefault(name, []).append(said)
                return
        for option in self.options:
            if option.param.option == name:
                self._take(option, word, text if equals else None)
                return
        for option in self.options:
            if option.type.kind == "bool" and f"no-{option.param.option}" == name:
                if equals:
                    raise UsageError(f"--{name} takes no value")
                self.given.values[option.param.variable] = False
                return
        raise self._unknown(f"--{name}")

    def _short(self, word: str) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            option = next((o for o in self.options if o.param.short == letter), None)
            if option is None:
                raise self._unknown(f"-{letter}")
            if option.type.kind == "bool":
                self.given.values[option.param.variable] = True
                continue
            self._take(option, f"-{letter}", letters.removeprefix("=") if letters else None)
            return

    def _take(self, option: PackageOption, word: str, text: str | None) -> None:
        if text is None and option.type.kind == "bool":
            self.given.values[option.param.variable] = True
            return
        if text is None:
            text = self._next(word, option.takes)
        self.given.values[option.param.variable] = parse_value(option, text)

    def _next(self, word: str, takes: str) -> str:
        if not self.rest:
            raise UsageError(f"{word} needs a value: {takes}")
        return self.rest.pop(0)

    def _unknown(self, word: str) -> UsageError:
        known = [spelling for o in self.options for spelling in _spellings(o)]
        known += [target.long for target in self.targets]
        from difflib import get_close_matches

        near = get_close_matches(word[:80], known, n=1)
        return UsageError(f"the package has no option {word[:80]!r}").with_hint(
            f"did you mean {near[0]}?" if near else "--help after the reference lists its options"
        )


def _spellings(option: PackageOption) -> list[str]:
    negated = [f"--no-{option.param.option}"] if option.type.kind == "bool" else []
    short = [f"-{option.param.short}"] if option.param.short else []
    return [option.long, *negated, *short]


def parse_value(option: PackageOption, text: str) -> Value:
    """Return the value that ``text`` gives an option; raises UsageError."""
    value: Value | None
    if option.param.choices:
        value = _choice(option, text)
    elif option.type.kind == "bool":
        value = _boolean(text)
    elif option.type.kind == "text":
        value = text
    else:
        value = _number(option, text)
    if value is None:
        raise UsageError(f"{option.long}: {text[:40]!r} is not {option.takes}")
    try:
        encode(value, option.type, "little")
    except ValueError as e:
        raise UsageError(f"{option.long}: {text[:40]!r} {e}: it takes {option.takes}") from e
    return value


def _choice(option: PackageOption, text: str) -> int | None:
    choices = option.param.choices
    if text in choices:
        return choices[text]
    alike = {value for name, value in choices.items() if name.lower() == text.lower()}
    if len(alike) == 1:
        return alike.pop()
    number = _integer(text)
    bits = 8 * option.type.size
    if number is not None and -(1 << bits - 1) <= number < 0 and not option.type.signed:
        # Compilers before clang 15 do not say that an enum has values below 0.
        number += 1 << bits
    return number if number in choices.values() else None


def _boolean(text: str) -> bool | None:
    word = text.lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _integer(text: str) -> int | None:
    return int(text, 0) if _INTEGER.fullmatch(text) else None


def _number(option: PackageOption, text: str) -> int | float | None:
    number: int | Fraction | None = _integer(text)
    if number is None:
        number = _scaled(text, option.param.unit)
    if option.type.kind == "float":
        return _floating(text) if number is None else float(number)
    if number is None or number.denominator != 1:
        return None
    return int(number)


def _scaled(text: str, unit: str | None) -> "Fraction | None":
    """Read "1.5ms" or "64k" as a number of the option's own unit."""
    match = _SCALED.fullmatch(text)
    if match is None or unit is None:
        return None
    from fractions import Fraction  # 3 ms, for those who type a unit

    suffix, count = match[2].lower(), Fraction(match[1])
    if unit in _DURATIONS and suffix in _DURATIONS:
        return count * Fraction(_DURATIONS[suffix], _DURATIONS[unit])
    if suffix and _size_unit(unit) and suffix in _SIZES:
        return count * Fraction(_SIZES[suffix], _SIZES[unit.lower()])
    return None


def _size_unit(unit: str | None) -> bool:
    return unit is not None and unit.lower() in _SIZES and unit != ""


def _floating(text: str) -> float | None:
    try:
        return float(text) if len(text) <= 64 and "_" not in text else None
    except ValueError:
        return None


def encode(value: Value, kind: OptionType, byte_order: ByteOrder) -> bytes:
    """Return the bytes of a global; raises ValueError, whose text says why, if none are right."""
    match kind.kind, value:
        case "text", str():
            return _encode_text(value, kind.size)
        case "bool", bool():
            return int(value).to_bytes(kind.size, byte_order)
        case "int", int():
            low, high = kind.range
            if not low <= value <= high:
                raise ValueError("is out of range")
            return value.to_bytes(kind.size, byte_order, signed=kind.signed)
        case "float", int() | float():
            order = "<" if byte_order == "little" else ">"
            try:
                return struct.pack(f"{order}{'f' if kind.size == 4 else 'd'}", value)
            except OverflowError as e:
                raise ValueError("is out of range") from e
    raise ValueError(f"is no {kind.kind}")


def _encode_text(text: str, size: int) -> bytes:
    # Arguments that are no UTF-8 come as surrogates (PEP 383), and go out as they came.
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as e:
        raise ValueError("is no text") from e
    if b"\0" in data:
        raise ValueError("contains a NUL")
    if len(data) >= size:
        raise ValueError(f"is {len(data)} bytes long")
    return data.ljust(size, b"\0")


def encode_values(
    options: Sequence[PackageOption], values: Mapping[str, Value], byte_order: ByteOrder
) -> dict[str, bytes]:
    """Return the bytes of every global that ``values`` names; raises UsageError."""
    types = {o.param.variable: o for o in options}
    found = {}
    for variable, value in values.items():
        if variable not in types:
            raise UsageError(f"no option sets {variable[:80]!r}")
        try:
            found[variable] = encode(value, types[variable].type, byte_order)
        except ValueError as e:
            raise UsageError(f"{types[variable].long}: {value!r} {e}") from e
    return found
