"""The code of a BPF object: its programs, its functions, and what they call.

Calls are followed as libbpf follows them when it links a program, so that ``helpers`` and
``kfuncs`` of a program are all that the kernel will be asked for.  What cannot be followed
is refused, never guessed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from bpfpack.spec.elf import (
    SHF_EXECINSTR,
    SHN_UNDEF,
    SHT_PROGBITS,
    STB_LOCAL,
    STT_FUNC,
    Elf,
    Section,
    Symbol,
)
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.sections import ProgramKind, parse_section

INSTRUCTION: Final = 8
_CALL: Final = 0x85
_LOAD_IMMEDIATE: Final = 0x18
# The source register of a call says what its immediate is.
_CALL_HELPER: Final = 0
_CALL_FUNCTION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """A function of ``.text``, which programs call; ``offset`` and ``size`` in bytes."""

    name: str
    offset: int
    size: int
    exported: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSpec:
    """A program; ``offset`` and ``size`` in bytes of its section.

    ``instructions`` counts its own; ``helpers`` (their numbers) and ``kfuncs`` are those of
    all functions that it can reach.
    """

    name: str
    section: str
    kind: ProgramKind
    offset: int
    size: int
    instructions: int
    helpers: frozenset[int]
    kfuncs: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """All code of an object, in the order of the file."""

    programs: tuple[ProgramSpec, ...]
    functions: tuple[FunctionSpec, ...]


class _Body(NamedTuple):
    """One function, in whichever section, with what it calls itself."""

    section: Section
    symbol: Symbol
    helpers: set[int]
    kfuncs: set[str]
    calls: set[tuple[int, int]]


def read_code(elf: Elf) -> Code:
    """Return the programs and functions of an object; raises SpecError."""
    sections = [s for s in elf.sections if s.type == SHT_PROGBITS and s.flags & SHF_EXECINSTR]
    bodies: dict[tuple[int, int], _Body] = {}
    for section in sections:
        bodies.update(_bodies(elf, section))
    if len(bodies) > LIMITS.functions:
        raise LimitExceeded(f"more than {LIMITS.functions} functions")
    for section in sections:
        _collect_calls(elf, section, bodies, {s.number for s in sections})
    return Code(
        programs=_programs(bodies),
        functions=tuple(
            FunctionSpec(
                name=b.symbol.name,
                offset=b.symbol.value,
                size=b.symbol.size,
                exported=b.symbol.bind != STB_LOCAL,
            )
            for b in bodies.values()
            if b.section.name == ".text"
        ),
    )


def _bodies(elf: Elf, section: Section) -> Iterator[tuple[tuple[int, int], _Body]]:
    """Yield the functions of a section by where they start; they do not overlap."""
    end = 0
    found = [s for s in elf.symbols if s.section == section.number and s.type == STT_FUNC]
    for symbol in sorted(found, key=lambda s: s.value):
        path = (section.name, symbol.name)
        if symbol.value % INSTRUCTION or symbol.size % INSTRUCTION or not symbol.size:
            raise SpecError("not whole instructions", path=path)
        if symbol.value < end:
            raise SpecError("overlaps another function", path=path)
        end = symbol.value + symbol.size
        if end > section.size:
            raise SpecError("reaches past its section", path=path)
        if symbol.size // INSTRUCTION > LIMITS.program_instructions:
            raise LimitExceeded(f"more than {LIMITS.program_instructions} instructions", path=path)
        if symbol.bind == STB_LOCAL and section.name != ".text":
            raise SpecError("a program must not be static", path=path)
        yield (section.number, symbol.value), _Body(section, symbol, set(), set(), set())


def _collect_calls(
    elf: Elf, section: Section, bodies: dict[tuple[int, int], _Body], code: set[int]
) -> None:
    """Enter each call of a section into the function that makes it."""
    relocated = {r.offset: elf.symbols[r.symbol] for r in elf.relocations(section)}
    scanner = _Scanner(elf, section, relocated, code)
    for body in (b for b in bodies.values() if b.section is section):
        scanner.scan(body)


class _Scanner:
    """Reads the instructions of one section."""

    def __init__(
        self, elf: Elf, section: Section, relocated: dict[int, Symbol], code: set[int]
    ) -> None:
        self._little = elf.byte_order == "little"
        self._immediate = struct.Struct("<i" if self._little else ">i")
        self._section, self._relocated, self._code = section, relocated, code
        self._opcodes = section.data[::INSTRUCTION]

    def scan(self, body: _Body) -> None:
        start, end = body.symbol.value, body.symbol.value + body.symbol.size
        at, last = start // INSTRUCTION, end // INSTRUCTION
        while (at := self._opcodes.find(_CALL, at, last)) >= 0:
            self._call(body, at * INSTRUCTION)
            at += 1
        at = start // INSTRUCTION
        while (at := self._opcodes.find(_LOAD_IMMEDIATE, at, last)) >= 0:
            self._load(body, at * INSTRUCTION)
            at += 1

    def _call(self, body: _Body, at: int) -> None:
        (immediate,) = self._immediate.unpack_from(self._section.data, at + 4)
        registers = self._section.data[at + 1]
        source = registers >> 4 if self._little else registers & 15
        symbol = self._relocated.get(at)
        if symbol is not None and symbol.section == SHN_UNDEF:
            body.kfuncs.add(symbol.name)
        elif source == _CALL_HELPER and symbol is None:
            body.helpers.add(immediate)
        elif source == _CALL_FUNCTION and symbol is not None:
            body.calls.add((symbol.section, symbol.value + (immediate + 1) * INSTRUCTION))
        elif source == _CALL_FUNCTION and self._section.name == ".text":
            body.calls.add((self._section.number, at + (immediate + 1) * INSTRUCTION))
        else:
            raise SpecError("call that cannot be followed", path=_place(body, at))

    def _load(self, body: _Body, at: int) -> None:
        """Take the address of a function, which a callback gets, as a call."""
        symbol = self._relocated.get(at)
        if symbol is not None and symbol.section in self._code:
            (immediate,) = self._immediate.unpack_from(self._section.data, at + 4)
            body.calls.add((symbol.section, symbol.value + immediate))


def _programs(bodies: dict[tuple[int, int], _Body]) -> tuple[ProgramSpec, ...]:
    found: dict[str, ProgramSpec] = {}
    steps = 0
    for start, body in bodies.items():
        name = body.symbol.name
        if body.section.name == ".text":
            continue
        if not name or name in found:
            raise SpecError("two programs of one name, or none", path=(body.section.name, name))
        reached = _reached(bodies, start)
        steps += len(reached) + sum(len(b.calls) for b in reached)
        if steps > LIMITS.calls:
            raise LimitExceeded(f"more than {LIMITS.calls} calls to follow")
        found[name] = ProgramSpec(
            name=name,
            section=body.section.name,
            kind=parse_section(body.section.name),
            offset=body.symbol.value,
            size=body.symbol.size,
            instructions=body.symbol.size // INSTRUCTION,
            helpers=frozenset[int]().union(*(b.helpers for b in reached)),
            kfuncs=frozenset[str]().union(*(b.kfuncs for b in reached)),
        )
    if len(found) > LIMITS.programs:
        raise LimitExceeded(f"more than {LIMITS.programs} programs")
    return tuple(found.values())


def _reached(bodies: dict[tuple[int, int], _Body], start: tuple[int, int]) -> list[_Body]:
    """Return the function at ``start`` and all that it can call."""
    seen, waiting = {start}, [start]
    reached: list[_Body] = []
    while waiting:
        body = bodies[waiting.pop()]
        reached.append(body)
        for target in body.calls - seen:
            if target not in bodies:
                raise SpecError("call to where no function is", path=_place(body, target[1]))
            seen.add(target)
            waiting.append(target)
    return reached


def _place(body: _Body, at: int) -> tuple[str, ...]:
    return (body.section.name, body.symbol.name, f"+{at:#x}")
