"""The config: what the author says about an object (SPEC.md, section 5).

Programs, maps, sections, types and sizes come from the object at every run; what is
said of them here must agree with it (`check_config`).  Names, help, display formats,
what is optional and what is an alternative are said here alone.
Unknown fields are refused: a runner never guesses what a newer field would forbid.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, get_args

from bpfpack.spec import fields, strictjson
from bpfpack.spec.displays import MEMBER_PATH, FieldDisplay
from bpfpack.spec.elf import ByteOrder
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import field, valuetype

OutputKind = Literal["events", "histogram", "table", "stacks", "text"]
#: What a config may say; *text* is what an iterator prints, which needs no saying.
OUTPUT_KINDS: Final[tuple[str, ...]] = get_args(OutputKind)[:-1]
Scale = Literal["log2", "linear", "exponential"]
SCALES: Final[tuple[str, ...]] = get_args(Scale)
#: How many slots of an exponential scale each power of two has.
_SUBDIVISIONS: Final = (1, 2, 4, 8, 16, 32, 64)
#: Roles give an option a meaning that `run` itself uses.
TARGET_PID: Final = "target-pid"
ROLES: Final = (TARGET_PID,)

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_OPTION: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_C_NAME: Final = re.compile(r"[A-Za-z_.][A-Za-z0-9_.$]{0,127}")
_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,127}")

Value = bool | int | float | str


@valuetype
class Program:
    """One program of the object; of an ``alternative`` group one member is enough.

    ``attach`` are its targets unless ``run`` is told others, ``option`` is the package's
    own option that tells them.
    """

    name: str
    section: str
    optional: bool = False
    alternative: str | None = None
    attach: tuple[str, ...] = ()
    option: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Program":
        """Parse; raises SpecError."""
        fields.only(data, "name", "section", "optional", "alternative", "attach", "option")
        found = cls(
            name=_c_name(data, "name"),
            section=fields.required_text(data, "section", most=256),
            optional=fields.boolean(data, "optional"),
            alternative=fields.matching(data, "alternative", _OPTION, "a group name"),
            attach=fields.strings(data, "attach", most=LIMITS.targets),
            option=fields.matching(data, "option", _OPTION, "an option name"),
        )
        if found.optional and found.alternative:
            raise SpecError("optional and an alternative at once", path=("alternative",))
        return found

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, absent members left out."""
        return fields.present(
            name=self.name,
            section=self.section,
            optional=self.optional or None,
            alternative=self.alternative,
            attach=list(self.attach) or None,
            option=self.option,
        )


@valuetype
class Map:
    """One map of the object; sizes in bytes."""

    name: str
    type: str
    key_size: int
    value_size: int
    max_entries: int

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Map":
        """Parse; raises SpecError."""
        fields.only(data, "name", "type", "keySize", "valueSize", "maxEntries")
        return cls(
            name=_c_name(data, "name"),
            type=fields.required_text(data, "type", most=64),
            key_size=fields.integer(data, "keySize", high=2**32 - 1),
            value_size=fields.integer(data, "valueSize", high=2**32 - 1),
            max_entries=fields.integer(data, "maxEntries", high=2**32 - 1),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.name,
            "type": self.type,
            "keySize": self.key_size,
            "valueSize": self.value_size,
            "maxEntries": self.max_entries,
        }


@valuetype
class Param:
    """A global that ``run`` sets: ``global`` is its C name, ``option`` its option.

    ``type`` is the C spelling of its type, ``default`` the object's own initial value as
    the option shows it; ``choices`` are names for its values; ``unit`` is for help, and
    makes durations (``10ms``) and sizes (``64k``) acceptable when it is one of theirs.
    """

    variable: str
    option: str
    type: str
    short: str | None = None
    help: str | None = None
    default: Value | None = None
    choices: Mapping[str, int] = field(default_factory=dict)
    unit: str | None = None
    role: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Param":
        """Parse; raises SpecError."""
        fields.only(
            data, "global", "option", "type", "short", "help", "default", "choices", "unit", "role"
        )
        option = fields.matching(
            data, "option", _OPTION, "an option name: a-z, 0-9 and single dashes"
        )
        if option is None:
            raise SpecError("missing", path=("option",))
        short = fields.optional_string(data, "short")
        if short is not None and not re.fullmatch(r"[A-Za-z0-9]", short):
            raise SpecError("not one letter or digit", path=("short",))
        return cls(
            variable=_c_name(data, "global"),
            option=fields.known(option, "option"),
            type=fields.required_text(data, "type", most=128),
            short=short,
            help=fields.text(data, "help", most=1024),
            default=_default(data),
            choices=fields.nested(data, "choices", _choices),
            unit=fields.text(data, "unit", most=32),
            role=fields.choice(data, "role", ROLES),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, absent members left out."""
        return {
            "global": self.variable,
            **fields.present(
                option=self.option,
                type=self.type,
                short=self.short,
                help=self.help,
                default=self.default,
                choices=dict(self.choices) or None,
                unit=self.unit,
                role=self.role,
            ),
        }


@valuetype
class EventType:
    """A type that an output carries; ``when`` is its value of the discriminator."""

    type: str
    when: int | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "EventType":
        """Parse; raises SpecError."""
        fields.only(data, "type", "when")
        return cls(
            type=_c_name(data, "type"),
            when=fields.optional_integer(data, "when", low=-(2**63), high=2**64 - 1),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, absent members left out."""
        return fields.present(type=self.type, when=self.when)


@valuetype
class Output:
    """What one map shows.

    *events*: a ring or perf buffer of ``types``; with several, ``discriminator`` is the
    member that tells them apart.  *histogram*: each key of the map has an array of slots,
    the value itself or its member ``slots``, on a ``scale`` (linear: of ``step``;
    exponential: ``step`` slots for each power of two) in ``unit``.
    *table*: keys and values, read every ``interval_ms``, sorted by ``sort``.
    *stacks*: the members ``kernel`` and ``user`` of each key are numbers of stacks in the map
    ``traces``, the latter of the process ``process``; the value counts them.
    """

    name: str
    map: str
    kind: OutputKind
    types: tuple[EventType, ...] = ()
    discriminator: str | None = None
    scale: Scale | None = None
    step: int | None = None
    unit: str | None = None
    slots: str | None = None
    interval_ms: int | None = None
    sort: str | None = None
    traces: str | None = None
    kernel: str | None = None
    user: str | None = None
    process: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Output":
        """Parse; raises SpecError for an impossible combination too."""
        fields.only(
            data,
            *("name", "map", "kind", "types", "discriminator"),
            *("scale", "step", "unit", "slots", "intervalMs", "sort"),
            *("traces", "kernel", "user", "process"),
        )
        kind = fields.choice(data, "kind", OUTPUT_KINDS)
        scale = fields.choice(data, "scale", SCALES)
        found = cls(
            name=_c_name(data, "name"),
            map=_c_name(data, "map"),
            kind=fields.known(kind, "kind"),  # type: ignore[arg-type]  # one of OUTPUT_KINDS
            types=fields.objects(data, "types", most=64, parse=EventType.from_dict),
            discriminator=fields.matching(data, "discriminator", MEMBER_PATH, "a member"),
            scale=scale,  # type: ignore[arg-type]  # one of SCALES
            step=fields.optional_integer(data, "step", low=1, high=2**32),
            unit=fields.text(data, "unit", most=32),
            slots=fields.matching(data, "slots", MEMBER_PATH, "a member"),
            interval_ms=fields.optional_integer(data, "intervalMs", low=10, high=86_400_000),
            sort=fields.matching(data, "sort", MEMBER_PATH, "a member"),
            traces=_c_name(data, "traces") if "traces" in data else None,
            kernel=fields.matching(data, "kernel", MEMBER_PATH, "a member"),
            user=fields.matching(data, "user", MEMBER_PATH, "a member"),
            process=fields.matching(data, "process", MEMBER_PATH, "a member"),
        )
        found._check()
        return found

    def _check(self) -> None:
        if (self.kind == "events") != bool(self.types):
            raise SpecError("events, and nothing else, name their types", path=("types",))
        if len(self.types) > 1:
            if self.discriminator is None and any(t.when is not None for t in self.types):
                raise SpecError("'when' needs a discriminator", path=("discriminator",))
            if self.discriminator is not None and any(t.when is None for t in self.types):
                raise SpecError("a discriminator needs 'when' on every type", path=("types",))
        whens = [t.when for t in self.types if t.when is not None]
        if len(set(whens)) != len(whens):
            raise SpecError("two types for one value of the discriminator", path=("types",))
        if (self.kind == "histogram") != (self.scale is not None):
            raise SpecError("a histogram, and nothing else, has a scale", path=("scale",))
        if (self.scale in ("linear", "exponential")) != (self.step is not None):
            raise SpecError(
                "a linear or exponential scale, and nothing else, has a step", path=("step",)
            )
        if self.scale == "exponential" and self.step not in _SUBDIVISIONS:
            raise SpecError("not a power of two up to 64", path=("step",))
        for key, value, kinds in (
            ("discriminator", self.discriminator, ("events",)),
            ("slots", self.slots, ("histogram",)),
            ("sort", self.sort, ("table",)),
            ("intervalMs", self.interval_ms, ("histogram", "table", "stacks")),
            ("traces", self.traces, ("stacks",)),
            ("kernel", self.kernel, ("stacks",)),
            ("user", self.user, ("stacks",)),
            ("process", self.process, ("stacks",)),
        ):
            if value is not None and self.kind not in kinds:
                raise SpecError(f"means nothing for {self.kind}", path=(key,))
        if self.kind == "stacks":
            self._check_stacks()

    def _check_stacks(self) -> None:
        if self.traces is None:
            raise SpecError("stacks come from a map of traces", path=("traces",))
        if self.kernel is None and self.user is None:
            raise SpecError("stacks of the kernel, of a process or of both", path=("user",))
        if self.user is not None and self.process is None:
            raise SpecError("whose stack it is takes a process", path=("process",))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, absent members left out."""
        return fields.present(
            name=self.name,
            map=self.map,
            kind=self.kind,
            types=[t.to_dict() for t in self.types] or None,
            discriminator=self.discriminator,
            scale=self.scale,
            step=self.step,
            unit=self.unit,
            slots=self.slots,
            intervalMs=self.interval_ms,
            sort=self.sort,
            traces=self.traces,
            kernel=self.kernel,
            user=self.user,
            process=self.process,
        )


@valuetype
class Requirements:
    """What the host must have; ``architectures`` empty means any of the byte order."""

    byte_order: ByteOrder = "little"
    architectures: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Requirements":
        """Parse; raises SpecError."""
        fields.only(data, "byteOrder", "architectures", "features")
        order = fields.choice(data, "byteOrder", ("little", "big"))
        return cls(
            byte_order=fields.known(order, "byteOrder"),  # type: ignore[arg-type]  # checked above
            architectures=fields.strings(data, "architectures", most=32),
            features=fields.strings(data, "features", most=256),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, absent members left out."""
        return fields.present(
            byteOrder=self.byte_order,
            architectures=list(self.architectures) or None,
            features=list(self.features) or None,
        )


@valuetype
class Config:
    """Everything said about a package; ``fields`` maps a type's name to member displays."""

    name: str
    version: str | None = None
    description: str | None = None
    license: str | None = None
    authors: tuple[str, ...] = ()
    homepage: str | None = None
    source: str | None = None
    programs: tuple[Program, ...] = ()
    maps: tuple[Map, ...] = ()
    params: tuple[Param, ...] = ()
    outputs: tuple[Output, ...] = ()
    fields: Mapping[str, Mapping[str, FieldDisplay]] = field(default_factory=dict)
    requirements: Requirements = field(default_factory=Requirements)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Config":
        """Parse the config blob; raises SpecError."""
        return cls.from_dict(strictjson.loads_object(raw, LIMITS.config))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Config":
        """Parse; raises SpecError, whose hint speaks of newer versions where that is likely."""
        if fields.integer(data, "schemaVersion") != 1:
            raise SpecError("not 1", path=("schemaVersion",)).with_hint(
                "the package was made for a newer bpfpack"
            )
        fields.only(data, *_TOP_LEVEL)
        found = cls(
            name=check_name(fields.string(data, "name")),
            version=fields.matching(data, "version", _VERSION, "a version"),
            description=fields.text(data, "description", most=4096),
            license=fields.text(data, "license", most=256),
            authors=fields.strings(data, "authors", most=64),
            homepage=fields.text(data, "homepage", most=2048),
            source=fields.text(data, "source", most=2048),
            programs=fields.objects(
                data, "programs", most=LIMITS.programs, parse=Program.from_dict
            ),
            maps=fields.objects(data, "maps", most=LIMITS.maps, parse=Map.from_dict),
            params=fields.objects(data, "params", most=LIMITS.params, parse=Param.from_dict),
            outputs=fields.objects(data, "outputs", most=LIMITS.maps, parse=Output.from_dict),
            fields=_displays(data),
            requirements=fields.nested(data, "requirements", Requirements.from_dict),
        )
        found._check_unique()
        return found

    def _check_unique(self) -> None:
        for key, names in (
            ("programs", [p.name for p in self.programs]),
            ("maps", [m.name for m in self.maps]),
            ("params", [p.variable for p in self.params]),
            (
                "params",
                [*{p.option for p in self.programs if p.option}, *(p.option for p in self.params)],
            ),
            ("params", [p.short for p in self.params if p.short]),
            ("params", [p.role for p in self.params if p.role]),
            ("outputs", [o.name for o in self.outputs]),
        ):
            if twice := sorted(n for n, count in Counter(names).items() if count > 1):
                raise SpecError(f"{twice[0]!r} appears twice", path=(key,))
        for i, output in enumerate(self.outputs):
            with fields.inside(f"outputs[{i}]"):
                check_reader(output, self.outputs[:i])

    def to_bytes(self) -> bytes:
        """The config blob: one spelling for one value."""
        return strictjson.dumps(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, absent members left out."""
        return {
            "schemaVersion": 1,
            **fields.present(
                name=self.name,
                version=self.version,
                description=self.description,
                license=self.license,
                authors=list(self.authors) or None,
                homepage=self.homepage,
                source=self.source,
                programs=[p.to_dict() for p in self.programs] or None,
                maps=[m.to_dict() for m in self.maps] or None,
                params=[p.to_dict() for p in self.params] or None,
                outputs=[o.to_dict() for o in self.outputs] or None,
                fields={
                    name: {path: shown.to_dict() for path, shown in sorted(members.items())}
                    for name, members in sorted(self.fields.items())
                }
                or None,
                requirements=self.requirements.to_dict(),
            ),
        }


_TOP_LEVEL: Final = (
    *("schemaVersion", "name", "version", "description", "license", "authors", "homepage"),
    *("source", "programs", "maps", "params", "outputs", "fields", "requirements"),
)


def check_reader(output: Output, others: Iterable[Output]) -> None:
    """Raise SpecError when ``output`` reads a buffer of events that another reads.

    A record is taken from a buffer once: each would get some of them, and the wrong ones.
    """
    for other in others:
        if (output.kind, output.map) == ("events", other.map) and other.kind == "events":
            raise SpecError(
                f"output {other.name!r} reads the events of {output.map!r} already", path=("map",)
            ).with_hint(
                "one output of the map carries several types: "
                f"BPFPACK_OUTPUT({output.map}, by(member), type(struct a, A), type(struct b, B))"
            )


def check_name(text: str) -> str:
    """Return ``text`` when it can name a package; raises SpecError."""
    if not _NAME.fullmatch(text):
        raise SpecError("not a package name: a-z, 0-9, '.', '_' and '-'", path=("name",))
    return text


def _displays(data: Mapping[str, Any]) -> dict[str, dict[str, FieldDisplay]]:
    found: dict[str, dict[str, FieldDisplay]] = {}
    types = fields.mapping(data, "fields")
    if len(types) > LIMITS.maps:
        raise LimitExceeded(f"more than {LIMITS.maps} types", path=("fields",))
    with fields.inside("fields"):
        for name in types:
            members = fields.mapping(types, name)
            if len(members) > LIMITS.fields:
                raise LimitExceeded(f"more than {LIMITS.fields} members", path=(name,))
            with fields.inside(name):
                found[name] = {path: _display(members, path) for path in members}
    return found


def _display(members: Mapping[str, Any], path: str) -> FieldDisplay:
    if not MEMBER_PATH.fullmatch(path):
        raise SpecError("not a member", path=(path[:80],))
    return fields.nested(members, path, FieldDisplay.from_dict)


def _choices(data: Mapping[str, Any]) -> dict[str, int]:
    return {k: fields.integer(data, k, low=-(2**63), high=2**64 - 1) for k in data}


def _default(data: Mapping[str, Any]) -> Value | None:
    value = data.get("default")
    if "default" in data and not isinstance(value, bool | int | float | str):
        raise SpecError("not a plain value", path=("default",))
    return value


def _c_name(data: Mapping[str, Any], key: str) -> str:
    value = fields.string(data, key)
    if not _C_NAME.fullmatch(value):
        raise SpecError("not a C name", path=(key,))
    return value
