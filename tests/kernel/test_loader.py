"""Loading: our section grammar, globals, map sizes, refusals explained."""

import errno
import struct

import pytest

from bpfpack.runner._native.objects import NativeObject, VerifierLog
from bpfpack.runner.kernel import LiveKernel
from bpfpack.runner.loader import OpenObject
from bpfpack.runner.plan import PlannedProgram
from bpfpack.runner.session import Session
from bpfpack.spec.config import Program
from bpfpack.spec.errors import KernelError, ProgramRejected, Unsupported
from bpfpack.spec.sections import ATTACH_TYPES, parse_section
from bpfpack.spec.value import replace
from tests.kit.kernelobjects import compile_text, held, opened, prepared

pytestmark = pytest.mark.kernel

NOTHING = "{ return 0; }"
RAW = f'SEC("raw_tp/sys_enter") int good(void *ctx) {NOTHING}\n'
# Names that one libbpf or another does not know, or fills with its own meaning.
FOREIGN = (
    "tc/ingress",
    "tcx/egress",
    "uprobe.multi/x:y",
    "kprobe.session/vfs_read",
    "netfilter",
    "sk_skb/verdict",
    "struct_ops/x",
    "usdt/x:y:z",
    "fentry/no_such_function",
)


@pytest.mark.parametrize("section", FOREIGN)
def test_a_section_that_libbpf_may_not_know_does_no_harm(section: str) -> None:
    source = RAW + f'SEC("{section}") int foreign(void *ctx) {NOTHING}'
    optional = (Program(name="foreign", section=section, optional=True),)
    with opened(source, programs=optional) as session:
        session.attach()
        assert [link.program for link in session.links] == ["good"]


def test_libbpf_s_own_table_decides_nothing() -> None:
    """A section that libbpf takes for a kprobe loads as what our grammar would say."""
    data = compile_text('SEC("kprobe/vfs_read") int program(void *ctx) { return 0; }')
    kind = parse_section("raw_tp/sys_enter")
    with NativeObject.open("x", data) as object_, VerifierLog() as log:
        (program,) = object_.programs()
        program.set_kind(kind.prog_type, kind.attach_type or 0, 0)
        object_.load(log)
        program.attach_raw_tracepoint("sys_enter").close()


def test_globals_are_written_before_anything_runs() -> None:
    source = """
    const volatile u32 first = 1; const volatile u64 second = 2; u32 third = 3; u64 fourth;
    u64 seen;
    SEC("raw_tp/sys_enter") int program(void *ctx)
    { seen = first * 1000 + second * 100 + third * 10 + fourth; return 0; }
    """
    values = {
        "first": struct.pack("=I", 5),
        "second": struct.pack("=Q", 6),
        "third": struct.pack("=I", 7),
        "fourth": struct.pack("=Q", 8),
    }
    with opened(source, values=values) as session:
        session.attach()
        zeroed = session.map(".bss").lookup(bytes(4))
    assert zeroed is not None
    assert 5678 in struct.unpack(f"={len(zeroed) // 8}Q", zeroed)


def test_maps_get_the_size_that_was_planned() -> None:
    source = (
        """
    struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
             __type(key, u32); __type(value, u32); } table SEC(".maps");
    """
        + RAW
    )
    with opened(source, map_sizes={"ring": 100_000, "table": 99}) as session:
        assert session.map("ring").max_entries == 131_072
        assert session.map("table").max_entries == 99


def test_maps_of_globals_are_named_after_the_package() -> None:
    source = 'u32 g = 1; SEC("raw_tp/sys_enter") int p(void *c){ return g; }'
    with opened(source) as session:
        assert session.map(".data").name == "test.data"


def test_a_map_that_asks_for_a_pin_gets_none() -> None:
    source = (
        """
    struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __uint(pinning, 1);
             __type(key, u32); __type(value, u32); } pinned SEC(".maps");
    """
        + RAW
    )
    with opened(source) as session:
        assert session.map("pinned").lookup(bytes(4)) == bytes(4)


def test_a_refusal_by_the_verifier_brings_its_log(capfd: pytest.CaptureFixture[str]) -> None:
    source = 'SEC("raw_tp/sys_enter") int broken(u64 *ctx) { return *(u32 *)ctx[0]; }'
    with pytest.raises(ProgramRejected) as e:
        opened(RAW + source)
    assert e.value.program == "broken"
    assert "invalid mem access 'scalar'" in e.value.log
    assert "lines omitted" in str(e.value)
    assert "invalid mem access" in str(e.value)
    assert capfd.readouterr() == ("", "")


def test_a_field_that_this_kernel_lacks_is_in_the_log() -> None:
    source = """
    struct task_struct { int no_such_field; } __attribute__((preserve_access_index));
    SEC("tp_btf/sched_switch") int broken(u64 *ctx)
    { return ((struct task_struct *)ctx[1])->no_such_field; }
    """
    with pytest.raises(ProgramRejected) as e:
        opened(source)
    assert "no_such_field" in e.value.log


def test_a_map_that_cannot_be_made_is_named() -> None:
    source = (
        """
    struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1);
             __uint(key_size, 0); __uint(value_size, 4); } wrong SEC(".maps");
    """
        + RAW
    )
    with pytest.raises(KernelError, match=r"map wrong: cannot be created: Invalid argument"):
        opened(source)


def test_an_unknown_tracepoint_is_named_with_its_neighbours() -> None:
    source = f'SEC("tp/syscalls/sys_enter_opennat") int program(void *ctx) {NOTHING}'
    with pytest.raises(Unsupported, match=r"tracepoint syscalls/sys_enter_opennat: .*program") as e:
        prepared(source)
    assert e.value.hint and "syscalls/sys_enter_openat" in e.value.hint


@pytest.mark.parametrize("kind", ["raw_tp", "tp_btf"])
def test_an_unknown_raw_tracepoint_is_named_with_its_neighbours(kind: str) -> None:
    source = f'SEC("{kind}/sched_swich") int program(void *ctx) {NOTHING}'
    with pytest.raises(Unsupported, match=f"{kind} sched_swich: this kernel has no such") as e:
        prepared(source)
    assert e.value.hint and "sched_switch" in e.value.hint


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("tp/sched/sched_switch", "tp/sched/sched_swich"),
        ("raw_tp/sched_switch", "raw_tp/sched_swich"),
        ("tp_btf/sched_switch", "tp_btf/sched_swich"),
    ],
)
def test_what_a_plan_could_not_foresee_is_explained_all_the_same(good: str, bad: str) -> None:
    """The plan of another kernel says that the target is there."""
    artifact, made = prepared(f'SEC("{good}") int program(void *ctx) {NOTHING}')
    (program,) = made.programs
    wrong = PlannedProgram(name=program.name, section=bad, kind=parse_section(bad))
    made = replace(made, programs=(wrong,))
    with (
        pytest.raises(Unsupported, match=r"sched_swich: this kernel has no such.*program"),
        Session.open(artifact, made) as session,
    ):
        session.attach()


def test_a_kind_that_we_do_not_attach_yet_is_named() -> None:
    source = f'SEC("fentry/vfs_read") int program(u64 *ctx) {NOTHING}'
    with pytest.raises(Unsupported, match=r"^fentry: not supported yet by bpfpack"):
        prepared(source)


def test_a_refusal_by_policy_is_explained() -> None:
    """Kernels that refuse function tracing answer EPERM without a log; others take it."""
    artifact, made = prepared(f'SEC("tp_btf/sched_switch") int program(u64 *ctx) {NOTHING}')
    tracing = replace(
        parse_section("tp_btf/vfs_read"), attach_type=ATTACH_TYPES.index("trace_fentry")
    )
    planned = replace(made.programs[0], kind=tracing)
    asked = replace(made, programs=(planned,))
    try:
        Session.open(artifact, asked).close()
    except Unsupported as e:
        assert e.errno == errno.EPERM
        assert "policy refuses" in str(e)
        assert "(program program)" in str(e)


def test_an_open_object_is_spent_by_load() -> None:
    artifact, made = prepared(RAW)
    found = OpenObject.open(artifact, made, LiveKernel())
    loaded = found.load()
    with pytest.raises(ValueError, match="spent"):
        found.load()
    found.close()
    (link,) = loaded.attach(made.programs[0])
    assert "link" in {kind for kind, _ in held()}
    link.close()
    assert "link" not in {kind for kind, _ in held()}
    loaded.close()
