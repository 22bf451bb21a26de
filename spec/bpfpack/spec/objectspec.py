"""What a BPF object holds: programs, maps, variables, licence, types.

The same bytes give the same `ObjectSpec` on every system; what depends on the kernel is
decided later, by `plan`.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from bpfpack.spec.btf import Btf, DataSec, Func, SectionVar, Var
from bpfpack.spec.btfext import Line, LineInfo
from bpfpack.spec.code import FunctionSpec, ProgramSpec, read_code
from bpfpack.spec.elf import (
    SHF_EXECINSTR,
    SHN_UNDEF,
    SHT_NOBITS,
    STB_WEAK,
    STT_NOTYPE,
    STT_OBJECT,
    ByteOrder,
    Elf,
    Section,
)
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.fields import inside
from bpfpack.spec.layout import size_of
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.mapspec import MapSpec, read_map, struct_ops_map
from bpfpack.spec.value import field, valuetype

_DATA: Final = (".rodata", ".data", ".bss")
# With "?" they are not loaded by themselves, as programs are.
_STRUCT_OPS: Final = (".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link")
# enum btf_func_linkage, and the same for variables.
_EXTERN: Final = 2
# Where a second section of the name would leave open which one a loader takes.
_UNIQUE: Final = frozenset(
    (".text", ".BTF", ".BTF.ext", ".maps", "license", "version", *_STRUCT_OPS)
)


@valuetype
class DataSection:
    """A section of globals, which the loader makes a map of; ``data`` is empty for ``.bss``."""

    name: str
    size: int
    data: bytes = field(repr=False)
    const: bool


@valuetype
class Variable:
    """A global; ``offset`` and ``size`` in bytes, ``initial`` its bytes as compiled.

    ``const`` is what cannot change once loaded.  Decl tags are those of ``var_id``.
    """

    name: str
    section: str
    offset: int
    size: int
    var_id: int
    type_id: int
    initial: bytes
    const: bool


@valuetype
class Extern:
    """What the loader finds in the kernel (``.kconfig``, ``.ksyms``); a weak one may be absent."""

    name: str
    section: str
    type_id: int
    weak: bool
    function: bool


@valuetype
class ObjectSpec:
    """One BPF object.  Without BTF it has no maps, variables and externs."""

    byte_order: ByteOrder
    license: str | None
    kernel_version: int | None
    programs: tuple[ProgramSpec, ...]
    functions: tuple[FunctionSpec, ...]
    maps: tuple[MapSpec, ...]
    variables: tuple[Variable, ...]
    externs: tuple[Extern, ...]
    data_sections: tuple[DataSection, ...]
    btf: Btf | None = field(repr=False, compare=False)
    btf_ext: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> "ObjectSpec":
        """Read an object; raises SpecError."""
        elf = Elf.parse(data)
        _check_names(elf)
        sections, btf = _data_sections(elf), _types(elf)
        datasecs = {} if btf is None else _datasecs(btf)
        code, ext = read_code(elf), elf.section(".BTF.ext")
        externs = () if btf is None else _externs(elf, btf, datasecs)
        _check_kfuncs(code.programs, externs)
        return cls(
            byte_order=elf.byte_order,
            license=_license(elf),
            kernel_version=_kernel_version(elf),
            programs=code.programs,
            functions=code.functions,
            maps=() if btf is None else _maps(btf, datasecs),
            variables=() if btf is None else _variables(elf, btf, datasecs, sections),
            externs=externs,
            data_sections=tuple(
                DataSection(name=name, size=s.size, data=s.data, const=name.startswith(".rodata"))
                for name, s in sections.items()
            ),
            btf=btf,
            btf_ext=b"" if ext is None else ext.data,
        )

    def types(self, need: str) -> Btf:
        """Return the BTF, or raise SpecError that says what needs it."""
        if self.btf is None:
            raise _no_types(need)
        return self.btf

    def line_of(self, section: str, offset: int) -> Line | None:
        """Return the source line of an instruction, where the object says so."""
        if self.btf is None or not self.btf_ext:
            return None
        return LineInfo.parse(self.btf_ext, self.btf, self.byte_order).line_of(section, offset)


def _types(elf: Elf) -> Btf | None:
    section = elf.section(".BTF")
    if section is None:
        if elf.section(".maps") is not None:
            raise _no_types("a map")
        return None
    btf = Btf.parse(section.data, elf.byte_order)
    btf.validate()
    return btf


def _no_types(need: str) -> SpecError:
    return SpecError(f"object has no BTF, which {need} needs").with_hint("compile with `clang -g`")


def _check_names(elf: Elf) -> None:
    """Refuse a second section of a name where a loader could take either."""
    seen: set[str] = set()
    for section in elf.sections[1:]:
        name = section.name
        if name in seen and (name in _UNIQUE or _is_data(name)):
            raise SpecError("second section of this name", path=(name,))
        seen.add(name)
    if "maps" in seen:
        raise SpecError("maps as before libbpf 1.0, without types", path=("maps",)).with_hint(
            'define them in SEC(".maps")'
        )


def _is_data(name: str) -> bool:
    return any(name == base or name.startswith(f"{base}.") for base in _DATA)


def _license(elf: Elf) -> str | None:
    section = elf.section("license")
    if section is None:
        return None
    try:
        return section.data.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError as e:
        raise SpecError("not UTF-8", path=("license",)) from e


def _kernel_version(elf: Elf) -> int | None:
    section = elf.section("version")
    if section is None:
        return None
    if len(section.data) != 4:
        raise SpecError("not 4 bytes", path=("version",))
    return int.from_bytes(section.data, elf.byte_order)


def _data_sections(elf: Elf) -> dict[str, Section]:
    found = {s.name: s for s in elf.sections if _is_data(s.name) and not s.flags & SHF_EXECINSTR}
    # A .bss takes no room in the file, whatever size it claims.
    if sum(s.size for s in found.values()) > LIMITS.object:
        raise LimitExceeded(f"globals take more than {LIMITS.object} bytes")
    return found


def _datasecs(btf: Btf) -> dict[str, DataSec]:
    found: dict[str, DataSec] = {}
    for type_id in btf.ids(DataSec):
        datasec = btf[type_id]
        if isinstance(datasec, DataSec) and found.setdefault(datasec.name, datasec) != datasec:
            raise SpecError("two lists of globals of one section", path=(datasec.name,))
    return found


def _globals(
    btf: Btf, datasecs: dict[str, DataSec], section: str
) -> Iterator[tuple[SectionVar, Var]]:
    """Yield what BTF lists for a section."""
    listed = datasecs.get(section)
    for entry in () if listed is None else listed.variables:
        found = btf[entry.type_id]
        if not isinstance(found, Var):
            raise SpecError("not a variable", path=(section, f"type {entry.type_id}"))
        yield entry, found


def _maps(btf: Btf, datasecs: dict[str, DataSec]) -> tuple[MapSpec, ...]:
    found: dict[str, MapSpec] = {}

    def add(spec: MapSpec) -> None:
        if spec.name in found:
            raise SpecError("two maps of this name")
        if len(found) >= LIMITS.maps:
            raise LimitExceeded(f"more than {LIMITS.maps} maps")
        found[spec.name] = spec

    for entry, var in _globals(btf, datasecs, ".maps"):
        with inside(".maps"), inside(var.name):
            if var.linkage == _EXTERN:
                raise SpecError("map of another object")
            add(read_map(btf, var.name, entry.type_id, var.type_id))
    for section in _STRUCT_OPS:
        for entry, var in _globals(btf, datasecs, section):
            with inside(section), inside(var.name):
                add(struct_ops_map(btf, var.name, entry.type_id, var.type_id))
    return tuple(found.values())


def _variables(
    elf: Elf, btf: Btf, datasecs: dict[str, DataSec], sections: dict[str, Section]
) -> tuple[Variable, ...]:
    places: dict[tuple[int, str], list[int]] = {}
    for symbol in elf.symbols:
        if symbol.type in (STT_NOTYPE, STT_OBJECT):
            places.setdefault((symbol.section, symbol.name), []).append(symbol.value)
    found: list[Variable] = []
    for name, section in sections.items():
        here: list[Variable] = []
        for entry, var in _globals(btf, datasecs, name):
            with inside(name), inside(var.name):
                offset = _offset(entry, places.get((section.number, var.name), []))
                if len(found) + len(here) >= LIMITS.variables:
                    raise LimitExceeded(f"more than {LIMITS.variables} variables")
                here.append(_variable(btf, section, entry, var, offset))
        here.sort(key=lambda v: v.offset)
        for before, after in pairwise(here):
            if after.offset < before.offset + before.size:
                raise SpecError(f"overlaps {before.name!r}", path=(name, after.name))
        found += here
    return tuple(found)


def _offset(entry: SectionVar, places: list[int]) -> int:
    """Return where a variable lies: BTF says 0 until a linker has seen it, symbols know."""
    if not places or entry.offset in places:
        return entry.offset
    if len(places) > 1:
        raise SpecError("several symbols of this name")
    return places[0]


def _variable(btf: Btf, section: Section, entry: SectionVar, var: Var, offset: int) -> Variable:
    size = entry.size
    if offset + size > section.size:
        raise SpecError("reaches past its section")
    if size < size_of(btf, var.type_id):
        raise SpecError(f"{size} bytes are less than its type takes")
    stored = section.type != SHT_NOBITS
    return Variable(
        name=var.name,
        section=section.name,
        offset=offset,
        size=size,
        var_id=entry.type_id,
        type_id=var.type_id,
        initial=section.data[offset : offset + size] if stored else bytes(size),
        const=section.name.startswith(".rodata"),
    )


def _externs(elf: Elf, btf: Btf, datasecs: dict[str, DataSec]) -> tuple[Extern, ...]:
    weak = {s.name for s in elf.symbols if s.section == SHN_UNDEF and s.bind == STB_WEAK}
    found: list[Extern] = []
    for section in (".kconfig", ".ksyms"):
        listed = datasecs.get(section)
        if listed is not None and len(listed.variables) > LIMITS.variables:
            raise LimitExceeded(f"more than {LIMITS.variables} externs", path=(section,))
        for entry in () if listed is None else listed.variables:
            extern = btf[entry.type_id]
            if not isinstance(extern, Var | Func):
                raise SpecError("not an extern", path=(section, f"type {entry.type_id}"))
            found.append(
                Extern(
                    name=extern.name,
                    section=section,
                    type_id=extern.type_id,
                    weak=extern.name in weak,
                    function=isinstance(extern, Func),
                )
            )
    return tuple(found)


def _check_kfuncs(programs: tuple[ProgramSpec, ...], externs: tuple[Extern, ...]) -> None:
    """Refuse a call to what is neither in the object nor asked of the kernel."""
    known = {e.name for e in externs if e.function}
    for program in programs:
        if missing := sorted(program.kfuncs - known):
            raise SpecError(f"calls undefined {missing[0]!r}", path=(program.name,)).with_hint(
                "link the file that defines it, or declare it __ksym"
            )
