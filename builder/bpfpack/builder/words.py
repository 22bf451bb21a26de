"""What an author can say, whichever door it comes in by: tags in the object, or TOML.

Both give the same mappings of plain values, `Said`, in which TOML wins word by word.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from bpfpack.spec.btf import Btf, Enum, Enum64, Int
from bpfpack.spec.errors import SpecError
from bpfpack.spec.layout import resolve
from bpfpack.spec.value import field, valuetype

Words: TypeAlias = dict[str, Any]

PACKAGE: Final = ("name", "version", "description", "license", "authors", "homepage", "source")
PARAM: Final = ("option", "short", "help", "unit", "role", "choices", "hidden")
FIELD: Final = ("title", "format", "unit", "clock", "order", "labels", "hidden")
PROGRAM: Final = ("optional", "alternative", "attach", "option")
#: Whose stacks they are, and where.
STACKS: Final = ("traces", "kernel", "user", "process")
OUTPUT: Final = (
    *("map", "type", "types", "by", "histogram", "step", "table", "stacks", *STACKS),
    *("unit", "slots", "interval", "sort", "hidden"),
)
#: Words that stand alone in a tag.
FLAGS: Final = ("hidden", "optional")
#: Words whose text is "VALUE=NAME, ...".
LABELS: Final = ("labels",)
#: Words whose text is "NAME=VALUE, ...".
CHOICES: Final = ("choices",)

_INTEGER: Final = re.compile(r"-?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})")


@valuetype
class Said:
    """Words by what they are said of; ``fields`` by type and then by dotted member."""

    package: Words = field(default_factory=dict)
    params: Mapping[str, Words] = field(default_factory=dict)
    programs: Mapping[str, Words] = field(default_factory=dict)
    outputs: Mapping[str, Words] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, Words]] = field(default_factory=dict)


def over(low: Mapping[str, Words], high: Mapping[str, Words]) -> dict[str, Words]:
    """Return all of ``low`` with what ``high`` says in its place, word by word.

    >>> over({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}, "b": {}})
    {'a': {'x': 1, 'y': 3}, 'b': {}}
    """
    names = dict.fromkeys([*low, *high])
    return {name: {**low.get(name, {}), **high.get(name, {})} for name in names}


def as_held(btf: Btf, type_id: int, number: int) -> int:
    """Return a number as a value of a type reads.

    Lengths of arrays and, before version 15, enums come from clang as unsigned.
    """
    _, kind = resolve(btf, type_id)
    is_signed = isinstance(kind, Int | Enum) and kind.signed
    return number - 2**32 if is_signed and 2**31 <= number < 2**32 else number


class Numbers:
    """Reads integers that may be written as enumerators of the object."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._named: dict[str, int] | None = None

    def read(self, text: str) -> int:
        """Return the value; raises SpecError for a name that no enum in BTF has."""
        if _INTEGER.fullmatch(text):
            return int(text, 16 if "x" in text.lower() else 10)
        if self._named is None:
            self._named = dict(self._enumerators())
        if text not in self._named:
            raise SpecError(
                f"{text!r} is neither a number nor an enumerator in the object's BTF"
            ).with_hint("keep its enum with BPFPACK_ENUM(enum ...)")
        return self._named[text]

    def pairs(self, text: str) -> list[tuple[str, str]]:
        """Split "a=b, c=d"; raises SpecError."""
        found = []
        for part in text.split(","):
            left, equals, right = part.partition("=")
            if not equals or not left.strip() or not right.strip():
                raise SpecError(f"{part.strip()!r} is not of the form a=b")
            found.append((left.strip(), right.strip()))
        return found

    def labels(self, text: str) -> dict[str, str]:
        """Read "0=read, 1=write", or "enum kind", as the config spells it."""
        if enum := re.fullmatch(r"enum\s+(\w+)", text):
            return self._labels_of(enum[1])
        return {str(self.read(value)): label for value, label in self.pairs(text)}

    def choices(self, text: str) -> dict[str, int]:
        """Read "read=0, write=1" as the config spells it."""
        return {name: self.read(value) for name, value in self.pairs(text)}

    def _labels_of(self, enum: str) -> dict[str, str]:
        for kind in (Enum, Enum64):
            type_id = self._btf.find(kind, enum)
            if type_id is not None and isinstance(found := self._btf[type_id], Enum | Enum64):
                return {str(e.value): e.name for e in reversed(found.values)}
        raise SpecError(f"no enum {enum!r} in the object's BTF").with_hint(
            f"keep it with BPFPACK_ENUM(enum {enum})"
        )

    def _enumerators(self) -> list[tuple[str, int]]:
        found = []
        for kind in (Enum, Enum64):
            for type_id in self._btf.ids(kind):
                if isinstance(enum := self._btf[type_id], Enum | Enum64):
                    found += [(e.name, e.value) for e in enum.values]
        return found
