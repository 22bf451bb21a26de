"""The code of a BPF object: its programs, its functions, and what they call.

Calls are followed as libbpf follows them when it links a program, so that ``helpers`` and
``kfuncs`` of a program are all that the kernel will be asked for.  What cannot be followed
is refused, never guessed.
"""

import struct
from collections.abc import Container
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
from bpfpack.spec.fields import inside
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.sections import ProgramKind, parse_section
from bpfpack.spec.value import valuetype

INSTRUCTION: Final = 8
_CALL: Final = 0x85
_LOAD_IMMEDIATE: Final = 0x18
# The source register of a call says what its immediate is.
_CALL_HELPER: Final = 0
_CALL_FUNCTION: Final = 1


@valuetype
class FunctionSpec:
    """A function of ``.text``, which programs call; ``offset`` and ``size`` in bytes."""

    name: str
    offset: int
    size: int
    exported: bool


@valuetype
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


@valuetype
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
    code = {s.number: s for s in elf.sections if s.type == SHT_PROGBITS and s.flags & SHF_EXECINSTR}
    bodies = _bodies(elf, code)
    scanner: _Scanner | None = None
    for body in bodies.values():
        if scanner is None or scanner.section is not body.section:
            scanner = _Scanner(elf, body.section, code.keys())
        scanner.scan(body)
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


def _bodies(elf: Elf, code: dict[int, Section]) -> dict[tuple[int, int], _Body]:
    """Return the functions by section and start, in the order of the file."""
    found = [s for s in elf.symbols if s.type == STT_FUNC and s.section in code]
    if len(found) > LIMITS.functions:
        raise LimitExceeded(f"more than {LIMITS.functions} functions")
    bodies: dict[tuple[int, int], _Body] = {}
    before = (0, 0)
    for symbol in sorted(found, key=lambda s: (s.section, s.value)):
        section, start = code[symbol.section], (symbol.section, symbol.value)
        with inside(section.name), inside(symbol.name):
            if start < before:
                raise SpecError("overlaps another function")
            _check_function(section, symbol)
        before = (symbol.section, symbol.value + symbol.size)
        bodies[start] = _Body(section, symbol, set(), set(), set())
    return bodies


def _check_function(section: Section, symbol: Symbol) -> None:
    if symbol.value % INSTRUCTION or symbol.size % INSTRUCTION or not symbol.size:
        raise SpecError("not whole instructions")
    if symbol.value + symbol.size > section.size:
        raise SpecError("reaches past its section")
    if symbol.size // INSTRUCTION > LIMITS.program_instructions:
        raise LimitExceeded(f"more than {LIMITS.program_instructions} instructions")
    if symbol.bind == STB_LOCAL and section.name != ".text":
        raise SpecError("a program must not be static")


class _Scanner:
    """Reads the instructions of one section."""

    def __init__(self, elf: Elf, section: Section, code: Container[int]) -> None:
        self.section, self._code = section, code
        self._little = elf.byte_order == "little"
        self._immediate = struct.Struct("<i" if self._little else ">i")
        self._relocated = {r.offset: elf.symbols[r.symbol] for r in elf.relocations(section)}
        self._opcodes = section.data[::INSTRUCTION]
        if self._opcodes.count(_CALL) > LIMITS.calls:
            raise LimitExceeded(f"more than {LIMITS.calls} calls", path=(section.name,))

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
        (immediate,) = self._immediate.unpack_from(self.section.data, at + 4)
        registers = self.section.data[at + 1]
        source = registers >> 4 if self._little else registers & 15
        symbol = self._relocated.get(at)
        if symbol is not None and symbol.section == SHN_UNDEF:
            body.kfuncs.add(symbol.name)
        elif source == _CALL_HELPER and symbol is None:
            body.helpers.add(immediate)
        elif source == _CALL_FUNCTION and symbol is not None:
            body.calls.add((symbol.section, symbol.value + (immediate + 1) * INSTRUCTION))
        elif source == _CALL_FUNCTION and self.section.name == ".text":
            body.calls.add((self.section.number, at + (immediate + 1) * INSTRUCTION))
        else:
            raise SpecError("call that cannot be followed", path=_place(body, at))

    def _load(self, body: _Body, at: int) -> None:
        """Take the address of a function, which a callback gets, as a call."""
        symbol = self._relocated.get(at)
        if symbol is not None and symbol.section in self._code:
            (immediate,) = self._immediate.unpack_from(self.section.data, at + 4)
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
