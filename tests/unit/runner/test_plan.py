"""`plan` against recorded kernels: no kernel is asked."""

import json
import sys
from dataclasses import dataclass, field

import pytest

from bpfpack.runner.attach.attachments import Attachment, Interface, XdpAttachment
from bpfpack.runner.kernel import Answer
from bpfpack.runner.plan import Plan, plan
from bpfpack.spec.code import ProgramSpec
from bpfpack.spec.config import Config, EventType, Output, Program, Requirements
from bpfpack.spec.errors import Unsupported, UsageError
from bpfpack.spec.mapspec import MAP_TYPES, MapSpec
from bpfpack.spec.objectspec import ObjectSpec, Variable
from bpfpack.spec.sections import ProgramKind, parse_section
from bpfpack.spec.targets import Target, XdpTarget
from bpfpack.spec.value import replace


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedKernel:
    """Says yes to what it lists, no to the rest, unknown without a list."""

    machine: str = "x86_64"
    page_size: int = 4096
    btf: Answer = Answer.YES
    tracepoints: tuple[str, ...] | None = ("syscalls/sys_enter_openat", "sched/sched_switch")
    raw: tuple[str, ...] | None = ("sys_enter", "sched_switch")
    types: tuple[str, ...] = ("task_struct",)
    functions: tuple[str, ...] = ("vfs_read",)
    interfaces: tuple[str, ...] = ("lo", "eth0")
    types_taken: Answer = Answer.UNKNOWN
    options: dict[str, str] = field(default_factory=lambda: {"CONFIG_KPROBES": "n"})

    def has_btf(self) -> Answer:
        return self.btf

    def has_type(self, name: str) -> Answer:
        return Answer.of(name in self.types)

    def has_function(self, name: str) -> Answer:
        return Answer.of(name in self.functions)

    def has_tracepoint(self, category: str, name: str) -> Answer:
        if self.tracepoints is None:
            return Answer.UNKNOWN
        return Answer.of(f"{category}/{name}" in self.tracepoints)

    def has_raw_tracepoint(self, name: str) -> Answer:
        return Answer.UNKNOWN if self.raw is None else Answer.of(name in self.raw)

    def probe(self, program_type: int) -> Answer:
        return self.types_taken

    def option(self, name: str) -> str | None:
        return self.options.get(name)

    def find(self, kind: ProgramKind, target: Target) -> Attachment:
        """Interfaces are there as `interfaces` says; of other targets nothing is asked here."""
        assert isinstance(target, XdpTarget)
        if target.interface not in self.interfaces:
            raise UsageError(f"there is no interface {target.interface!r}")
        interface = Interface(
            name=target.interface, index=self.interfaces.index(target.interface) + 1
        )
        return XdpAttachment(interface=interface, mode=target.mode)

    def near(self, name: str) -> tuple[str, ...]:
        return tuple(t for t in self.tracepoints or () if t[-3:] == name[-3:])


class _Blind(RecordedKernel):
    """A kernel whose types cannot be read."""

    def has_type(self, name: str) -> Answer:
        return Answer.UNKNOWN


def _spec(
    *sections: str, maps: tuple[MapSpec, ...] = (), variables: tuple[Variable, ...] = ()
) -> ObjectSpec:
    """An object with programs p0, p1... in the given sections."""
    return ObjectSpec(
        byte_order=sys.byteorder,
        license="GPL",
        kernel_version=None,
        programs=tuple(
            ProgramSpec(
                name=f"p{i}",
                section=section,
                kind=parse_section(section),
                offset=0,
                size=16,
                instructions=2,
                helpers=frozenset(),
                kfuncs=frozenset(),
            )
            for i, section in enumerate(sections)
        ),
        functions=(),
        maps=maps,
        variables=variables,
        externs=(),
        data_sections=(),
        btf=None,
        btf_ext=b"",
    )


def _config(*programs: Program, **more: object) -> Config:
    return replace(Config(name="tool", programs=programs), **more)


def _fates(made: Plan) -> dict[str, str | None]:
    return {p.name: p.skipped for p in made.programs}


OPENAT = "tp/syscalls/sys_enter_openat"
GLOBAL = Variable(
    name="wanted",
    section=".rodata",
    offset=4,
    size=4,
    var_id=1,
    type_id=1,
    initial=bytes(4),
    const=True,
)


def _ring(size: int) -> MapSpec:
    return MapSpec(
        name="ring",
        var_id=1,
        type=MAP_TYPES.index("ringbuf"),
        type_name="ringbuf",
        max_entries=size,
    )


def test_what_fits_is_loaded() -> None:
    made = plan(
        _spec(OPENAT, "raw_tp/sys_enter", "tp_btf/sched_switch"), _config(), RecordedKernel()
    )
    assert _fates(made) == {"p0": None, "p1": None, "p2": None}
    assert [p.name for p in made.loaded] == ["p0", "p1", "p2"]


def test_an_unknown_tracepoint_is_named_with_its_neighbours() -> None:
    with pytest.raises(
        Unsupported, match=r"tracepoint syscalls/sys_enter_opennat.*\(program p0\)"
    ) as e:
        plan(_spec("tp/syscalls/sys_enter_opennat"), _config(), RecordedKernel())
    assert e.value.feature == "tracepoint syscalls/sys_enter_opennat"
    assert e.value.hint == "spelled alike: syscalls/sys_enter_openat"


@pytest.mark.parametrize("section", ["raw_tp/sched_swich", "tp_btf/sched_swich"])
def test_an_unknown_raw_tracepoint_is_named_without_category(section: str) -> None:
    kernel = RecordedKernel(tracepoints=("sched/sched_switch", "x/sched_ich"))
    with pytest.raises(Unsupported, match="no such tracepoint") as e:
        plan(_spec(section), _config(), kernel)
    assert e.value.hint == "spelled alike: sched_ich"


def test_what_the_kernel_cannot_say_is_tried() -> None:
    kernel = RecordedKernel(tracepoints=None, raw=None, btf=Answer.UNKNOWN)
    made = plan(_spec("tp/a/b", "raw_tp/c", "tp_btf/d"), _config(), kernel)
    assert set(_fates(made).values()) == {None}
    assert [line for line in made.lines() if line.startswith("program ")] == [
        "program p0 (tp/a/b): not known: tracefs cannot be read here",
        "program p1 (raw_tp/c): not known: the kernel's BTF cannot be read here",
        "program p2 (tp_btf/d): not known: the kernel's BTF cannot be read here",
    ]
    assert [p.get("doubt") is None for p in made.to_dict()["programs"]] == [False] * 3


def test_a_tracepoint_of_a_module_is_not_known() -> None:
    made = plan(_spec("raw_tp/c"), _config(), RecordedKernel(raw=None))
    assert made.programs[0].doubt and "module" in made.programs[0].doubt


def test_an_object_without_programs_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"^tool: its object has no program"):
        plan(_spec(), _config(), RecordedKernel())


@pytest.mark.parametrize(
    ("kind", "size"), [("ringbuf", 0), ("hash", 0), ("array", 0), ("ringbuf", 2**31 + 1)]
)
def test_a_map_that_no_kernel_makes_is_refused(kind: str, size: int) -> None:
    found = replace(_ring(size), type=MAP_TYPES.index(kind), type_name=kind)
    with pytest.raises(Unsupported, match=r"^map ring: no kernel makes a"):
        plan(_spec(OPENAT, maps=(found,)), _config(), RecordedKernel())


def test_a_size_that_is_left_to_libbpf_is_not_ours_to_refuse() -> None:
    for kind in ("perf_event_array", "task_storage"):
        found = replace(_ring(0), type=MAP_TYPES.index(kind), type_name=kind)
        assert plan(_spec(OPENAT, maps=(found,)), _config(), RecordedKernel()).map_sizes == {}


def test_tp_btf_needs_btf() -> None:
    with pytest.raises(Unsupported, match="CONFIG_DEBUG_INFO_BTF is not set"):
        plan(_spec("tp_btf/sys_enter"), _config(), RecordedKernel(btf=Answer.NO))


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("fentry/vfs_read", "fentry"),
        ("lsm/file_open", "lsm"),
        ("sk_msg", "sk_msg"),
        ("xdp/devmap", "xdp/devmap"),
        ("netkit/peer", "netkit/peer"),
        ("uprobe.multi/x:y", "uprobe"),
        ("iter/bpf_map_elem", "iter bpf_map_elem"),
    ],
)
def test_other_kinds_are_not_supported_yet(section: str, kind: str) -> None:
    with pytest.raises(Unsupported, match="not supported yet by bpfpack") as e:
        plan(_spec(section), _config(), RecordedKernel())
    assert e.value.feature == kind


def test_what_an_iterator_prints_is_an_output() -> None:
    kernel = RecordedKernel(types=("bpf_iter__task",))
    output = Output(name="p0", map="m", kind="table")
    made = plan(_spec("iter/task"), _config(), kernel)
    assert [(o.name, o.map, o.kind) for o in made.outputs] == [("p0", "p0", "text")]
    made = plan(_spec("iter/task"), _config(outputs=(output,)), kernel)
    assert [o.name for o in made.outputs] == ["p0", "p0.text"]
    assert list(made.lines())[-2:] == [
        "output p0.text: text of program p0",
        "needs CAP_BPF, CAP_PERFMON",
    ]
    with pytest.raises(Unsupported, match="no such iterator"):
        plan(_spec("iter/task"), _config(), RecordedKernel())
    with pytest.raises(Unsupported, match="names no iterator"):
        plan(_spec("iter"), _config(), kernel)
    (unsure,) = plan(_spec("iter/task"), _config(), _Blind()).programs
    assert unsure.doubt is not None


def test_kprobes_are_said_to_be_missing_from_the_kernel_too() -> None:
    with pytest.raises(Unsupported, match="CONFIG_KPROBES is not set"):
        plan(_spec("kprobe/vfs_read"), _config(), RecordedKernel())
    with pytest.raises(Unsupported, match=r"^kprobe: not supported yet by bpfpack \("):
        plan(_spec("kprobe/vfs_read"), _config(), RecordedKernel(options={}))


def test_a_kernel_without_tracing_programs_is_named() -> None:
    for kernel, told in (
        (RecordedKernel(options={"CONFIG_BPF_EVENTS": "n"}), "CONFIG_BPF_EVENTS is not set"),
        (RecordedKernel(options={}, types_taken=Answer.NO), "takes no programs of that type"),
    ):
        with pytest.raises(Unsupported, match=told):
            plan(_spec(OPENAT), _config(), kernel)
    known = RecordedKernel(options={"CONFIG_BPF_EVENTS": "y"}, types_taken=Answer.NO)
    assert plan(_spec(OPENAT), _config(), known).loaded


def test_a_target_is_needed() -> None:
    with pytest.raises(Unsupported, match="names no tracepoint"):
        plan(_spec("tp"), _config(), RecordedKernel())


def test_an_optional_program_is_skipped_with_its_reason() -> None:
    config = _config(Program(name="p1", section="fentry/vfs_read", optional=True))
    made = plan(_spec(OPENAT, "fentry/vfs_read"), config, RecordedKernel())
    assert _fates(made) == {"p0": None, "p1": "fentry: not supported yet by bpfpack"}


def test_nothing_left_to_run_is_an_error() -> None:
    config = _config(Program(name="p0", section="xdp", optional=True))
    with pytest.raises(Unsupported, match=r"no program can run: xdp") as caught:
        plan(_spec("xdp"), config, RecordedKernel())
    assert "--attach p0=" in (caught.value.hint or "")


def test_the_first_alternative_that_fits_is_used() -> None:
    sections = ("fentry/vfs_read", "tp_btf/sched_switch", "raw_tp/sched_switch")
    config = _config(
        *(Program(name=f"p{i}", section=s, alternative="a") for i, s in enumerate(sections))
    )
    made = plan(_spec(*sections), config, RecordedKernel())
    assert _fates(made) == {
        "p0": "fentry: not supported yet by bpfpack",
        "p1": None,
        "p2": "p1 of the same alternative is used",
    }


def test_the_order_of_alternatives_is_the_config_s() -> None:
    config = _config(
        Program(name="p1", section=OPENAT, alternative="a"),
        Program(name="p0", section="raw_tp/sys_enter", alternative="a"),
    )
    made = plan(_spec("raw_tp/sys_enter", OPENAT), config, RecordedKernel())
    assert [p.name for p in made.loaded] == ["p1"]


def test_no_alternative_that_fits_is_an_error_that_says_why_of_each() -> None:
    config = _config(
        Program(name="p0", section="xdp", alternative="a"),
        Program(name="p1", section="tp/no/such", alternative="a"),
    )
    with pytest.raises(Unsupported, match=r"alternative a: .*p0: xdp.*p1: tracepoint no/such"):
        plan(_spec("xdp", "tp/no/such"), config, RecordedKernel())


def test_a_question_mark_means_not_by_itself() -> None:
    made = plan(_spec(OPENAT, "?raw_tp/sys_enter"), _config(), RecordedKernel())
    assert _fates(made) == {"p0": None, "p1": "marked '?' by its author"}


def test_an_alternative_may_choose_what_is_marked() -> None:
    config = _config(
        Program(name="p0", section="xdp", alternative="a"),
        Program(name="p1", section="?raw_tp/sys_enter", alternative="a"),
    )
    made = plan(_spec("xdp", "?raw_tp/sys_enter"), config, RecordedKernel())
    assert [p.name for p in made.loaded] == ["p1"]


def test_globals_are_written_where_the_object_has_them() -> None:
    made = plan(
        _spec(OPENAT, variables=(GLOBAL,)),
        _config(),
        RecordedKernel(),
        values={"wanted": b"\1\0\0\0"},
    )
    (write,) = made.globals
    assert (write.section, write.offset, write.data) == (".rodata", 4, b"\1\0\0\0")


@pytest.mark.parametrize(
    ("name", "data", "told"), [("wanted", b"\1", "4 bytes"), ("other", b"", "no global")]
)
def test_a_global_that_does_not_fit_is_refused(name: str, data: bytes, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        plan(_spec(OPENAT, variables=(GLOBAL,)), _config(), RecordedKernel(), values={name: data})


def test_two_globals_of_one_name_are_refused() -> None:
    twice = (GLOBAL, replace(GLOBAL, section=".data"))
    with pytest.raises(UsageError, match="2 globals"):
        plan(
            _spec(OPENAT, variables=twice), _config(), RecordedKernel(), values={"wanted": bytes(4)}
        )


@pytest.mark.parametrize(
    ("asked", "page", "planned"), [(1, 4096, 4096), (5000, 4096, 8192), (4096, 65536, 65536)]
)
def test_rings_are_rounded_to_what_the_kernel_takes(asked: int, page: int, planned: int) -> None:
    made = plan(
        _spec(OPENAT, maps=(_ring(12345),)),
        _config(),
        RecordedKernel(page_size=page),
        map_sizes={"ring": asked},
    )
    assert made.map_sizes == {"ring": planned}


def test_a_ring_that_is_right_stays_as_it_is() -> None:
    assert plan(_spec(OPENAT, maps=(_ring(8192),)), _config(), RecordedKernel()).map_sizes == {}


@pytest.mark.parametrize(("name", "size"), [("other", 1), ("ring", 0), ("ring", 2**31 + 1)])
def test_a_map_size_that_cannot_be_is_refused(name: str, size: int) -> None:
    with pytest.raises(UsageError):
        plan(
            _spec(OPENAT, maps=(_ring(4096),)), _config(), RecordedKernel(), map_sizes={name: size}
        )


def test_reading_tracefs_needs_a_capability_more() -> None:
    assert plan(_spec("raw_tp/sys_enter"), _config(), RecordedKernel()).capabilities == (
        "CAP_BPF",
        "CAP_PERFMON",
    )
    assert "CAP_DAC_READ_SEARCH" in plan(_spec(OPENAT), _config(), RecordedKernel()).capabilities


def test_another_byte_order_or_architecture_is_refused() -> None:
    other = replace(_spec(OPENAT), byte_order="big" if sys.byteorder == "little" else "little")
    with pytest.raises(Unsupported, match="byte order"):
        plan(other, _config(), RecordedKernel())
    config = _config(requirements=Requirements(architectures=("arm64",)))
    with pytest.raises(Unsupported, match="made for arm64, and this is amd64"):
        plan(_spec(OPENAT), config, RecordedKernel())
    plan(_spec(OPENAT), config, RecordedKernel(machine="aarch64"))


def test_required_features_are_asked_for() -> None:
    good = ("btf", "type:task_struct", "function:vfs_read", "config:CONFIG_UNKNOWN")
    plan(_spec(OPENAT), _config(requirements=Requirements(features=good)), RecordedKernel())
    for bad in ("type:no", "function:no", "config:CONFIG_KPROBES", "teleport"):
        config = _config(requirements=Requirements(features=(bad,)))
        with pytest.raises(Unsupported) as e:
            plan(_spec(OPENAT), config, RecordedKernel())
        assert e.value.feature == bad


def test_a_plan_can_be_shown() -> None:
    config = _config(
        Program(name="p1", section="sk_msg", optional=True),
        Program(name="p2", section="xdp", option="iface"),
        outputs=(
            Output(name="events", map="ring", kind="events", types=(EventType(type="event"),)),
        ),
    )
    made = plan(
        _spec(OPENAT, "sk_msg", "xdp", maps=(_ring(1),), variables=(GLOBAL,)),
        config,
        RecordedKernel(),
        values={"wanted": b"\7\0\0\0"},
        targets={"iface": ("eth0:generic",)},
    )
    assert list(made.lines()) == [
        "package tool",
        "program p0 (tp/syscalls/sys_enter_openat): load",
        "program p1 (sk_msg): skip: sk_msg: not supported yet by bpfpack",
        "program p2 (xdp): load; attach to eth0 (index 2), generic mode",
        "map ring: max_entries 4096",
        "global wanted = 0x07000000",
        "output events: events from map ring",
        "needs CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN",
    ]
    assert json.loads(json.dumps(made.to_dict())) == {
        "package": "tool",
        "programs": [
            {"name": "p0", "section": "tp/syscalls/sys_enter_openat"},
            {"name": "p1", "section": "sk_msg", "skipped": "sk_msg: not supported yet by bpfpack"},
            {"name": "p2", "section": "xdp", "attach": ["eth0 (index 2), generic mode"]},
        ],
        "mapSizes": {"ring": 4096},
        "perfPages": {},
        "globals": {"wanted": "07000000"},
        "outputs": [{"name": "events", "map": "ring", "kind": "events"}],
        "capabilities": ["CAP_BPF", "CAP_PERFMON", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN"],
    }
