"""What will be loaded on this kernel, decided before anything is.

`plan` is pure: it asks a `Kernel`, which tests answer from a record, and changes nothing.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bpfpack.runner.capabilities import least
from bpfpack.runner.kernel import Answer, Kernel
from bpfpack.runner.privileges import needed
from bpfpack.runner.support import NAMED, Fault, why_not
from bpfpack.spec.code import ProgramSpec
from bpfpack.spec.config import Config, Output, Program
from bpfpack.spec.errors import Unsupported, UsageError
from bpfpack.spec.mapspec import MAP_TYPES, MapSpec
from bpfpack.spec.objectspec import ObjectSpec, Variable
from bpfpack.spec.sections import ProgramKind
from bpfpack.spec.value import field, valuetype

if TYPE_CHECKING:
    from bpfpack.runner.attach.attachments import Attachment

_RINGS: Final = (MAP_TYPES.index("ringbuf"), MAP_TYPES.index("user_ringbuf"))
# uname(2) says x86_64 where images say amd64.
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_MOST_ENTRIES: Final = 2**31
# The ``map_alloc_check`` or ``map_alloc`` of each (kernel/bpf) refuses ``max_entries`` 0.
_NEVER_EMPTY: Final = (
    *("hash", "array", "prog_array", "percpu_hash", "percpu_array", "stack_trace"),
    *("cgroup_array", "lru_hash", "lru_percpu_hash", "lpm_trie", "array_of_maps"),
    *("hash_of_maps", "queue", "stack", "ringbuf", "bloom_filter", "user_ringbuf"),
)


@valuetype
class PlannedProgram:
    """A program and what becomes of it.

    ``skipped`` says why it is not loaded, ``doubt`` why it may turn out that it cannot be.
    ``attachments`` are what it is attached to, unless its section says that;
    ``capabilities`` what loading and attaching it needs.
    """

    name: str
    section: str
    kind: ProgramKind
    attachments: "tuple[Attachment, ...]" = ()
    capabilities: tuple[str, ...] = ()
    skipped: str | None = None
    doubt: str | None = None

    @property
    def fate(self) -> str:
        """What becomes of it, for people."""
        if self.skipped is not None:
            return f"skip: {self.skipped}"
        if self.doubt is not None:
            return f"not known: {self.doubt}"
        return "; ".join(("load", *(f"attach to {a}" for a in self.attachments)))


@valuetype
class GlobalWrite:
    """Bytes to put at ``offset`` of a section of globals before it is loaded."""

    variable: str
    section: str
    offset: int
    data: bytes


@valuetype
class Plan:
    """All decisions for one run; ``map_sizes`` only holds what differs from the object.

    ``perf_pages`` are pages for each processor of perf buffers that someone gave a size.
    ``capabilities`` are what loading and attaching need, by the names of capabilities(7).
    """

    package: str
    programs: tuple[PlannedProgram, ...]
    map_sizes: Mapping[str, int] = field(default_factory=dict)
    perf_pages: Mapping[str, int] = field(default_factory=dict)
    globals: tuple[GlobalWrite, ...] = ()
    outputs: tuple[Output, ...] = ()
    capabilities: tuple[str, ...] = ()

    @property
    def loaded(self) -> tuple[PlannedProgram, ...]:
        """The programs that are loaded and attached."""
        return tuple(p for p in self.programs if p.skipped is None)

    @property
    def outlives(self) -> bool:
        """Whether something would stay attached after the end of its owner: it takes a journal."""
        attachments = [a for p in self.loaded for a in p.attachments]
        if not attachments:
            return False
        from bpfpack.runner.attach.attachments import TcAttachment

        return any(isinstance(a, TcAttachment) and not a.link for a in attachments)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON, for `run --dry-run -o json`."""
        return {
            "package": self.package,
            "programs": [_program_dict(p) for p in self.programs],
            "mapSizes": dict(self.map_sizes),
            "perfPages": dict(self.perf_pages),
            "globals": {w.variable: w.data.hex() for w in self.globals},
            "outputs": [
                {"name": o.name, "program" if o.kind == "text" else "map": o.map, "kind": o.kind}
                for o in self.outputs
            ],
            "capabilities": list(self.capabilities),
        }

    def lines(self) -> Iterator[str]:
        """The plan as text, for `run --dry-run`."""
        yield f"package {self.package}"
        for p in self.programs:
            yield f"program {p.name} ({p.section}): {p.fate}"
        for name, size in sorted(self.map_sizes.items()):
            yield f"map {name}: max_entries {size}"
        for name, pages in sorted(self.perf_pages.items()):
            yield f"map {name}: {pages} pages for each processor"
        for write in self.globals:
            yield f"global {write.variable} = 0x{write.data.hex()}"
        for output in self.outputs:
            where = "of program" if output.kind == "text" else "from map"
            yield f"output {output.name}: {output.kind} {where} {output.map}"
        yield f"needs {', '.join(self.capabilities) or 'no capability'}"


def plan(
    spec: ObjectSpec,
    config: Config,
    kernel: Kernel,
    *,
    values: Mapping[str, bytes] | None = None,
    map_sizes: Mapping[str, int] | None = None,
    perf_pages: Mapping[str, int] | None = None,
    attach: Sequence[str] = (),
    targets: Mapping[str, Sequence[str]] | None = None,
    trace_pipe: bool = False,
) -> Plan:
    """Decide what runs here.

    ``values`` are the bytes of globals by their C names, ``map_sizes`` maximums of entries
    (of a ring, bytes, which are rounded up to what the kernel takes), ``attach`` the words of
    ``--attach``, ``targets`` those of the package's own options that name a target;
    ``trace_pipe`` says that what bpf_printk() prints is shown.
    Raises Unsupported, which names the program, what it lacks and what would do,
    UsageError for a global, map or target that is not there or does not fit.
    """
    _check_host(spec, config, kernel)
    programs = _programs(spec, config, kernel, _Requests.of(spec, config, attach, targets or {}))
    if not programs:
        raise Unsupported(config.name, "its object has no program, so nothing can be loaded")
    return Plan(
        package=config.name,
        programs=programs,
        map_sizes=_map_sizes(spec, kernel, map_sizes or {}),
        perf_pages=perf_pages or {},
        globals=tuple(_write(spec, name, data) for name, data in (values or {}).items()),
        outputs=(*config.outputs, *_texts(config, programs)),
        capabilities=least(
            (
                *(name for p in programs if p.skipped is None for name in p.capabilities),
                *(name for o in config.outputs for name in _needed_to_show(o)),
                # An instance of tracefs is made where only root writes.
                *(("CAP_DAC_OVERRIDE",) if trace_pipe else ()),
            )
        ),
    )


def _check_host(spec: ObjectSpec, config: Config, kernel: Kernel) -> None:
    if spec.byte_order != sys.byteorder:
        raise Unsupported("byte order", f"the object is {spec.byte_order}-endian, this host not")
    here = _ARCHITECTURES.get(kernel.machine, kernel.machine)
    wanted = config.requirements.architectures
    if wanted and not {here, kernel.machine} & set(wanted):
        raise Unsupported("architecture", f"made for {', '.join(wanted)}, and this is {here}")
    for feature in config.requirements.features:
        _check_feature(feature, kernel)


def _check_feature(feature: str, kernel: Kernel) -> None:
    """Hold one ``KIND`` or ``KIND:NAME`` of the config's requirements against the kernel."""
    kind, _, name = feature.partition(":")
    if kind == "btf" and not name:
        answer = kernel.has_btf()
    elif kind == "type":
        answer = kernel.has_type(name)
    elif kind == "function":
        answer = kernel.has_function(name)
    elif kind == "config":
        value = kernel.option(name)
        answer = Answer.UNKNOWN if value is None else Answer.of(value != "n")
    else:
        raise Unsupported(feature, "this bpfpack does not know the feature").with_hint(
            "the package was made for a newer bpfpack"
        )
    if answer is Answer.NO:
        raise Unsupported(feature, "this kernel does not have it, and the package requires it")


@valuetype
class _Requests:
    """The targets that the user named: by program, and by option of the package."""

    programs: Mapping[str, Sequence[str]]
    options: Mapping[str, Sequence[str]]

    @classmethod
    def of(
        cls,
        spec: ObjectSpec,
        config: Config,
        attach: Sequence[str],
        options: Mapping[str, Sequence[str]],
    ) -> "_Requests":
        if not attach:
            return cls(programs={}, options=options)
        from bpfpack.runner.attach.requests import hand_out

        return cls(programs=hand_out(spec, config, attach), options=options)

    def find(
        self, program: ProgramSpec, config: Config, option: str | None, kernel: Kernel
    ) -> "tuple[Attachment, ...] | Fault":
        """What a program is attached to, nothing where its section says it."""
        named = self.programs.get(program.name, ())
        if program.kind.type in NAMED and not named:
            return ()
        from bpfpack.runner.attach.requests import ATTACH, attachments

        if option is None or named:
            return attachments(program, config, kernel, named, ATTACH)
        return attachments(program, config, kernel, self.options.get(option, ()), f"--{option}")


def _programs(
    spec: ObjectSpec, config: Config, kernel: Kernel, requests: _Requests
) -> tuple[PlannedProgram, ...]:
    said = {p.name: p for p in config.programs}
    found = {p.name: _fault(p, said.get(p.name), kernel) for p in spec.programs}
    attached: dict[str, tuple[Attachment, ...]] = {}
    for program in spec.programs:
        if found[program.name] is None:
            about = said.get(program.name)
            option = about.option if about else None
            targets = requests.find(program, config, option, kernel)
            if isinstance(targets, tuple):
                attached[program.name] = targets
            else:
                found[program.name] = targets
    doubts = {name: fault.why for name, fault in found.items() if fault and not fault.sure}
    faults = {name: None if name in doubts else fault for name, fault in found.items()}
    winners = _winners(spec, said, faults)
    planned = []
    for program in spec.programs:
        about, fault = said.get(program.name), faults[program.name]
        group = about.alternative if about else None
        reason = None if fault is None else str(fault)
        if group is not None and winners[group] != program.name:
            reason = reason or f"{winners[group]} of the same alternative is used"
        elif fault is not None and not fault.wanted:
            reason = fault.why
        elif fault is not None and not (about and about.optional):
            raise fault.error(program.name)
        planned.append(
            PlannedProgram(
                name=program.name,
                section=program.section,
                kind=program.kind,
                attachments=attached.get(program.name, ()) if reason is None else (),
                capabilities=needed(program, attached.get(program.name, ())),
                skipped=reason,
                doubt=doubts.get(program.name) if reason is None else None,
            )
        )
    if planned and all(p.skipped is not None for p in planned):
        error = Unsupported(config.name, f"no program can run: {planned[0].skipped}")
        hint = next((f.hint for f in faults.values() if f and f.hint), None)
        raise error.with_hint(hint) if hint else error
    return tuple(planned)


def _fault(program: ProgramSpec, about: Program | None, kernel: Kernel) -> Fault | None:
    chosen = about is not None and about.alternative is not None
    if not program.kind.autoload and not chosen:
        return Fault(feature="autoload", why="marked '?' by its author", wanted=False)
    return why_not(program.kind, kernel)


def _winners(
    spec: ObjectSpec, said: Mapping[str, Program], faults: Mapping[str, Fault | None]
) -> dict[str, str]:
    """The program of each alternative that is used: the first that fits, as the author listed."""
    groups: dict[str, list[str]] = {}
    there = {p.name for p in spec.programs}
    for program in said.values():
        if program.alternative is not None and program.name in there:
            groups.setdefault(program.alternative, []).append(program.name)
    winners = {}
    for group, names in groups.items():
        fitting = [name for name in names if faults[name] is None]
        if not fitting:
            told = "; ".join(f"{name}: {faults[name]}" for name in names)
            raise Unsupported(f"alternative {group}", f"none of its programs can run: {told}")
        winners[group] = fitting[0]
    return winners


def _texts(config: Config, programs: tuple[PlannedProgram, ...]) -> Iterator[Output]:
    """What iterators print: outputs of their own, by the names of the programs."""
    taken = {output.name for output in config.outputs}
    for program in programs:
        if program.kind.type == "iter" and program.skipped is None:
            name = program.name if program.name not in taken else f"{program.name}.text"
            yield Output(name=name, map=program.name, kind="text")


def _map_sizes(spec: ObjectSpec, kernel: Kernel, asked: Mapping[str, int]) -> dict[str, int]:
    maps = {m.name: m for m in spec.maps}
    for name, size in asked.items():
        if name not in maps:
            raise UsageError(f"no map is called {name!r}").with_hint(
                f"the maps are {', '.join(sorted(maps)) or 'none'}"
            )
        if not 0 < size <= _MOST_ENTRIES:
            raise UsageError(f"map {name}: {size} is not between 1 and {_MOST_ENTRIES}")
    sizes = {}
    for name, found in maps.items():
        size = _size(found, asked.get(name, found.max_entries), kernel.page_size)
        if not size and found.type_name in _NEVER_EMPTY:
            raise Unsupported(f"map {name}", f"no kernel makes a {found.type_name} of size 0")
        if size > _MOST_ENTRIES and found.type in _RINGS:
            raise Unsupported(f"map {name}", f"no kernel makes a ring of {size} bytes")
        if size != found.max_entries:
            sizes[name] = size
    return sizes


def _size(found: MapSpec, size: int, page: int) -> int:
    """Rings are a power of two and whole pages (kernel/bpf/ringbuf.c, ringbuf_map_alloc)."""
    if found.type not in _RINGS or not size:
        return size
    return max(page, 1 << (size - 1).bit_length())


def _write(spec: ObjectSpec, name: str, data: bytes) -> GlobalWrite:
    variable = find_variable(spec, name)
    if len(data) != variable.size:
        raise UsageError(f"global {name} has {variable.size} bytes, not {len(data)}")
    return GlobalWrite(variable=name, section=variable.section, offset=variable.offset, data=data)


def find_variable(spec: ObjectSpec, name: str) -> Variable:
    """The one global of that name; raises UsageError."""
    found = [v for v in spec.variables if v.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} globals are called {name!r}")
    known = ", ".join(sorted(v.name for v in spec.variables)) or "none"
    raise UsageError(f"no global is called {name!r}").with_hint(f"the globals are {known}")


def _needed_to_show(output: Output) -> tuple[str, ...]:
    """Names of functions: the kernel's are told to CAP_SYSLOG, and who may look into others."""
    of_kernel = ("CAP_SYSLOG",) if output.kernel else ()
    return (*of_kernel, *(("CAP_SYS_PTRACE",) if output.user else ()))


def _program_dict(program: PlannedProgram) -> dict[str, Any]:
    told: dict[str, Any] = {"name": program.name, "section": program.section}
    if program.attachments:
        told["attach"] = [str(attachment) for attachment in program.attachments]
    if program.skipped is not None:
        told["skipped"] = program.skipped
    if program.doubt is not None:
        told["doubt"] = program.doubt
    return told
