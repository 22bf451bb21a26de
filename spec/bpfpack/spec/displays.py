"""How members are shown (SPEC.md, section 7)."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from bpfpack.spec import fields
from bpfpack.spec.errors import SpecError
from bpfpack.spec.value import field, valuetype

Format = Literal[
    "dec",
    "hex",
    "ipv4",
    "ipv6",
    "port",
    "timestamp",
    "duration",
    "errno",
    "signal",
    "path",
    "syscall",
    "enum",
    "flags",
    "user",
    "group",
    "bytes",
    "pid",
    "string",
]
FORMATS: Final[tuple[str, ...]] = get_args(Format)
CLOCKS: Final = ("mono", "boot", "tai", "real")
TIME_UNITS: Final = ("ns", "us", "ms", "s")

#: A member, or one of a struct inside: names with dots between.
MEMBER_PATH: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


@valuetype
class FieldDisplay:
    """How one member of an event, key or value is shown; everything may be absent.

    ``unit`` is the unit of the raw number (`TIME_UNITS`) of a timestamp or duration,
    ``clock`` the clock of a timestamp, ``order`` the byte order of an address or port in
    memory (``net`` unless told), ``labels`` the names of an enum's or flag's values.
    """

    title: str | None = None
    format: str | None = None
    hidden: bool = False
    unit: str | None = None
    clock: str | None = None
    order: str | None = None
    labels: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "FieldDisplay":
        """Parse; raises SpecError."""
        fields.only(data, "title", "format", "hidden", "unit", "clock", "order", "labels")
        return cls(
            title=fields.text(data, "title", most=128),
            format=fields.choice(data, "format", FORMATS),
            hidden=fields.boolean(data, "hidden"),
            unit=fields.choice(data, "unit", TIME_UNITS),
            clock=fields.choice(data, "clock", CLOCKS),
            order=fields.choice(data, "order", ("net", "host")),
            labels=_labels(data),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, absent members left out."""
        return fields.present(
            title=self.title,
            format=self.format,
            hidden=self.hidden or None,
            unit=self.unit,
            clock=self.clock,
            order=self.order,
            labels={str(k): v for k, v in sorted(self.labels.items())} or None,
        )


def _labels(data: Mapping[str, Any]) -> dict[int, str]:
    named = fields.string_map(data, "labels", most=4096)
    found: dict[int, str] = {}
    for key, label in named.items():
        if not re.fullmatch(r"0|-?[1-9][0-9]{0,19}", key):
            raise SpecError("not an integer", path=("labels", key[:80]))
        found[int(key)] = label
    return found
