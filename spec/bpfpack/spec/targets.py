"""The grammar of attach targets: what `run --attach` and a package's own defaults may say.

Pure: nothing here knows whether there is such an interface, file or event (SPEC.md, annex C).
"""

import re
from typing import Final, Literal, TypeAlias, get_args

from bpfpack.spec.errors import SpecError
from bpfpack.spec.fields import inside
from bpfpack.spec.sections import ProgramKind
from bpfpack.spec.value import replace, valuetype

Family = Literal["xdp", "tc", "socket", "cgroup", "perf_event", "uprobe", "usdt"]
Mode = Literal["native", "generic"]
Direction = Literal["ingress", "egress"]
_MODES: Final = get_args(Mode)
_DIRECTIONS: Final = get_args(Direction)

#: How a target of each family is written, for people.
SHAPES: Final[dict[Family, str]] = {
    "xdp": "INTERFACE[:native|:generic]",
    "tc": "INTERFACE[:ingress|:egress]",
    "socket": "INTERFACE",
    "cgroup": "CGROUP",
    "perf_event": "EVENT[:PERIOD|:FREQUENCYhz]",
    "uprobe": "FILE:FUNCTION[+OFFSET][,pid=PID]",
    "usdt": "FILE:PROVIDER:NAME[,pid=PID]",
}
#: Families whose targets only who runs the package can choose.
CHOSEN_AT_RUN: Final[tuple[Family, ...]] = ("xdp", "tc", "socket", "cgroup")

_FAMILIES: Final[dict[str, Family]] = {
    "xdp": "xdp",
    "tcx/ingress": "tc",
    "tcx/egress": "tc",
    "tc": "tc",
    "classifier": "tc",
    "socket": "socket",
    "sockops": "cgroup",
    "perf_event": "perf_event",
    "uprobe": "uprobe",
    "uretprobe": "uprobe",
    "usdt": "usdt",
}
# net/core/dev.c, dev_valid_name: IFNAMSIZ, and neither "/" nor ":" nor white space.
_INTERFACE: Final = re.compile(r"(?!\.{1,2}\Z)[^/:\s]{1,15}")
_RATE: Final = re.compile(r"([1-9][0-9]{0,18})(hz)?", re.IGNORECASE)
_EVENT: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,9}")
_OFFSET: Final = re.compile(
    r"(.+)\+(0x[0-9a-f]{1,16}|0|[1-9][0-9]{0,18})", re.IGNORECASE | re.DOTALL
)
_LONGEST: Final = 4096


@valuetype
class XdpTarget:
    """An interface; without ``mode`` the kernel chooses, native where the driver can."""

    interface: str
    mode: Mode | None = None


@valuetype
class TcTarget:
    """One direction of an interface."""

    interface: str
    direction: Direction


@valuetype
class SocketTarget:
    """An interface whose packets a socket of ours receives."""

    interface: str


@valuetype
class CgroupTarget:
    """A cgroup, by its path or its name below the root; ``direction`` of `cgroup/skb` only."""

    path: str
    direction: Direction | None = None


@valuetype
class EventTarget:
    """A clock or counter on every CPU: each ``period`` events, or ``frequency`` times a second."""

    event: str
    period: int | None = None
    frequency: int | None = None


@valuetype
class CodeTarget:
    """A function of a file, ``offset`` bytes into it, in one process or in all.

    ``file`` is a path, or the name of a library or program; as ``pid`` sees it if there is one.
    """

    file: str
    function: str
    offset: int = 0
    pid: int | None = None


@valuetype
class MarkerTarget:
    """A user-level statically defined tracepoint (USDT) of a file."""

    file: str
    provider: str
    name: str
    pid: int | None = None


Target: TypeAlias = (
    XdpTarget | TcTarget | SocketTarget | CgroupTarget | EventTarget | CodeTarget | MarkerTarget
)


def family(kind: ProgramKind) -> Family | None:
    """Return which targets programs of that kind take; None when their section says it all."""
    if kind.multi:
        return None
    if kind.type.startswith(("cgroup/", "cgroup_skb/")):
        return "cgroup"
    return _FAMILIES.get(kind.type)


def parse_target(kind: ProgramKind, text: str, base: Target | None = None) -> Target:
    """Read a target for programs of that kind; what it leaves out is that of ``base``.

    Raises SpecError.

    >>> from bpfpack.spec.sections import parse_section
    >>> parse_target(parse_section("xdp"), "eth0:generic")
    XdpTarget(interface='eth0', mode='generic')
    >>> base = parse_target(parse_section("uretprobe"), "/bin/bash:readline")
    >>> parse_target(parse_section("uretprobe"), "/opt/bash", base).function
    'readline'
    """
    of = family(kind)
    if of is None:
        raise SpecError(f"{kind.type} programs take no target")
    if not text.isprintable() or not 0 < len(text) <= _LONGEST:
        raise SpecError("not a line of printable text")
    found: Target | None
    match of:
        case "xdp":
            found = _xdp(text)
        case "tc":
            found = _tc(kind, text)
        case "socket":
            found = SocketTarget(interface=text) if _INTERFACE.fullmatch(text) else None
        case "cgroup":
            found = _cgroup(kind, text)
        case "perf_event":
            found = _event(text, base if isinstance(base, EventTarget) else None)
        case "uprobe":
            found = _code(text, base if isinstance(base, CodeTarget) else None)
        case "usdt":
            found = _marker(text, base if isinstance(base, MarkerTarget) else None)
    if found is None:
        raise SpecError(f"not of the form {shape(kind)}")
    return found


def section_target(kind: ProgramKind) -> Target | None:
    """Return the target that the section itself names; raises SpecError for a malformed one."""
    if kind.target is None or family(kind) not in ("uprobe", "usdt"):
        return None
    return parse_target(kind, kind.target)


def check_targets(kind: ProgramKind, attach: tuple[str, ...], option: str | None) -> None:
    """Return when a package may say this of where a program is attached; raises SpecError."""
    of = family(kind)
    if of is None:
        raise SpecError(
            f"{kind.type} programs take no target", path=("attach" if attach else "option",)
        )
    if attach and of in CHOSEN_AT_RUN:
        raise SpecError(
            "only who runs a package can say which interface or cgroup", path=("attach",)
        )
    if option == "help":
        raise SpecError("--help is taken", path=("option",))
    base = section_target(kind)
    for i, text in enumerate(attach):
        with inside(f"attach[{i}]"):
            parse_target(kind, text, base)


def shape(kind: ProgramKind) -> str:
    """How a target for programs of that kind is written, for people."""
    of = family(kind)
    if of is None:
        return ""
    if of == "tc":
        return "INTERFACE" if _direction(kind) else "INTERFACE:ingress|INTERFACE:egress"
    return SHAPES[of] + (":ingress|:egress" if kind.type == "cgroup/skb" else "")


def _xdp(text: str) -> XdpTarget | None:
    interface, colon, mode = text.partition(":")
    if not _INTERFACE.fullmatch(interface) or (colon and mode not in _MODES):
        return None
    return XdpTarget(interface=interface, mode=mode or None)  # type: ignore[arg-type]  # checked


def _direction(kind: ProgramKind) -> Direction | None:
    """The direction that a section fixes."""
    if kind.type.endswith("/ingress"):
        return "ingress"
    return "egress" if kind.type.endswith("/egress") else None


def _tc(kind: ProgramKind, text: str) -> TcTarget | None:
    interface, _, said = text.partition(":")
    fixed = _direction(kind)
    direction = said or fixed
    if not _INTERFACE.fullmatch(interface) or direction not in _DIRECTIONS:
        return None
    if fixed not in (None, direction):
        raise SpecError(f"its section says {fixed}")
    return TcTarget(interface=interface, direction=direction)  # type: ignore[arg-type]  # checked


def _cgroup(kind: ProgramKind, text: str) -> CgroupTarget | None:
    if kind.type != "cgroup/skb":
        return CgroupTarget(path=text)
    path, _, direction = text.rpartition(":")
    if not path or direction not in _DIRECTIONS:
        return None
    return CgroupTarget(path=path, direction=direction)  # type: ignore[arg-type]  # checked


def _event(text: str, base: EventTarget | None) -> EventTarget | None:
    event, colon, rate = text.partition(":")
    if base is not None and _RATE.fullmatch(text):
        event, colon, rate = base.event, ":", text
    if not _EVENT.fullmatch(event):
        return None
    if not colon:
        return replace(base, event=event) if base else EventTarget(event=event)
    told = _RATE.fullmatch(rate)
    if told is None:
        return None
    number = int(told[1])
    if number >= 1 << 63:
        return None
    if told[2]:
        return EventTarget(event=event, frequency=number)
    return EventTarget(event=event, period=number)


def _process(text: str, base: int | None) -> tuple[str, int | None]:
    before, said, number = text.rpartition(",pid=")
    if not said:
        return text, base
    if not _NUMBER.fullmatch(number):
        raise SpecError("pid is not a process")
    return before, int(number)


def _code(text: str, base: CodeTarget | None) -> CodeTarget | None:
    text, pid = _process(text, base.pid if base else None)
    file, colon, function = text.partition(":")
    offset = base.offset if base else 0
    if function:
        told = _OFFSET.fullmatch(function)
        function, offset = (told[1], int(told[2], 0)) if told else (function, 0)
    file = file or (base.file if base else "")
    function = function or (base.function if base else "")
    if not file or not function or text.endswith(":") or (colon and offset >= 1 << 63):
        return None
    return CodeTarget(file=file, function=function, offset=offset, pid=pid)


def _marker(text: str, base: MarkerTarget | None) -> MarkerTarget | None:
    text, pid = _process(text, base.pid if base else None)
    parts = text.rsplit(":", 2)
    if len(parts) == 3 and parts[1] and parts[2] and (parts[0] or base):
        file = parts[0] or (base.file if base else "")
        return MarkerTarget(file=file, provider=parts[1], name=parts[2], pid=pid)
    if base is not None and len(parts) == 1 and text:
        return replace(base, file=text, pid=pid)
    return None
