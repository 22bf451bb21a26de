"""Which program gets which targets: `run --attach`, the package's own options, its defaults.

Pure: what is asked for is read and handed out here, and found on the host by `resolve`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from bpfpack.runner.attach.attachments import Attachment, Place, place_of
from bpfpack.runner.kernel import Kernel
from bpfpack.runner.support import Fault
from bpfpack.spec.code import ProgramSpec
from bpfpack.spec.config import Config
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.sections import ProgramKind
from bpfpack.spec.targets import Target, family, parse_target, section_target, shape

#: The option of `run` that names targets.
ATTACH: Final = "--attach"
_PROGRAM: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def hand_out(spec: ObjectSpec, config: Config, texts: Sequence[str]) -> dict[str, list[str]]:
    """Return for each program what ``--attach`` says of it; raises UsageError.

    ``PROG=TARGET`` is for that program, ``TARGET`` alone for those that need one: all of
    one kind of target, or it must be said which is meant.
    """
    programs = {p.name: p for p in spec.programs}
    found: dict[str, list[str]] = {}
    open_ones: list[str] = []
    for text in texts:
        told = _PROGRAM.fullmatch(text)
        if told is None:
            open_ones.append(text)
        elif told[1] in programs:
            found.setdefault(told[1], []).append(told[2])
        else:
            raise UsageError(f"{ATTACH}: no program is called {told[1][:80]!r}").with_hint(
                f"the programs are {', '.join(sorted(programs))}"
            )
    if open_ones:
        for program in _meant(spec, config, found):
            found[program.name] = open_ones
    return found


def _meant(spec: ObjectSpec, config: Config, found: Mapping[str, list[str]]) -> list[ProgramSpec]:
    """The programs that a target alone is for."""
    takers = [p for p in spec.programs if p.name not in found and family(p.kind)]
    needy = [p for p in takers if not _defaults(p, config)]
    meant = needy or takers
    if not meant:
        raise UsageError(f"{ATTACH}: no program of {config.name} takes a target")
    if len({family(p.kind) for p in meant}) > 1:
        names = ", ".join(f"{p.name} ({p.section})" for p in meant)
        raise UsageError(f"{ATTACH}: which program is meant: {names}?").with_hint(
            f"{ATTACH} {meant[0].name}={shape(meant[0].kind)}"
        )
    return meant


def _defaults(program: ProgramSpec, config: Config) -> tuple[str, ...]:
    """What the package itself says, its section included."""
    if program.kind.target is not None:
        return (program.kind.target,)
    return _said(program, config)


def _said(program: ProgramSpec, config: Config) -> tuple[str, ...]:
    return next((p.attach for p in config.programs if p.name == program.name), ())


def attachments(
    program: ProgramSpec, config: Config, kernel: Kernel, texts: Sequence[str], option: str
) -> tuple[Attachment, ...] | Fault:
    """Find the targets of one program on this host: what ``texts`` say, or else the package.

    What the user asked for twice or is not there raises UsageError, which begins with ``option``;
    what only the package asked for is a fault, which an optional program may have.
    """
    kind = program.kind
    base = _base(program, config)
    if texts:
        found: dict[Place, Attachment] = {}
        for text in texts:
            attachment = _found(kind, text, base, kernel, option)
            before = found.setdefault(place_of(attachment), attachment)
            if before is not attachment:
                raise UsageError(
                    f"{option} {text[:80]!r}: {program.name} is already attached to {before}"
                )
        return tuple(found.values())
    if not base:
        return Fault(
            feature=kind.type,
            why="it has no target to be attached to, and there is no default",
            hint=f"give it one: {option} {_example(program, option)}",
            usage=True,
        )
    try:
        own: dict[Place, Attachment] = {}
        for target in base:
            attachment = kernel.find(kind, target)
            own.setdefault(place_of(attachment), attachment)
        return tuple(own.values())
    except UsageError as e:
        return Fault(feature=kind.type, why=str(e), hint=e.hint)


def _example(program: ProgramSpec, option: str) -> str:
    return f"{program.name}={shape(program.kind)}" if option == ATTACH else shape(program.kind)


def _base(program: ProgramSpec, config: Config) -> tuple[Target, ...]:
    """What the package says: its config, with the section for what that leaves out."""
    section = section_target(program.kind)
    said = _said(program, config)
    if not said:
        return () if section is None else (section,)
    return tuple(parse_target(program.kind, text, section) for text in said)


def _found(
    kind: ProgramKind, text: str, base: tuple[Target, ...], kernel: Kernel, option: str
) -> Attachment:
    try:
        return kernel.find(kind, parse_target(kind, text, base[0] if base else None))
    except SpecError as e:
        raise UsageError(f"{option} {text[:80]!r}: {e.reason}").with_hint(
            f"a target is {shape(kind)}"
        ) from e
    except UsageError as e:
        error = UsageError(f"{option} {text[:80]!r}: {e}")
        raise (error.with_hint(e.hint) if e.hint else error) from e
