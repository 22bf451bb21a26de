"""A session from open to clean, with privileges and without."""

import ast
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bpfpack.runner import capabilities
from bpfpack.runner.session import Session
from bpfpack.spec.errors import KernelError, MissingCapability, Unsupported
from tests.kit.kernelobjects import EVENTS, compile_text, descriptors, held, opened
from tests.kit.objects import tool

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
ALL_KINDS = """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } events SEC(".maps");
const volatile u32 me; u64 sequence;
static int emit(u32 tag)
{
    struct event *e;
    if (caller() != me) return 0;
    e = bpf_ringbuf_reserve(&events, sizeof *e, 0);
    if (!e) return 0;
    e->sequence = __sync_fetch_and_add(&sequence, 1); e->pid = me; e->tag = tag;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
SEC("tp/syscalls/sys_enter_getpgid") int by_tracepoint(void *ctx) { return emit(1); }
SEC("raw_tp/sys_enter") int by_raw_tp(void *ctx) { return emit(2); }
SEC("tp_btf/sys_enter") int by_tp_btf(u64 *ctx) { return emit(3); }
"""
ME = {"me": struct.pack("=I", os.getpid())}


def _tags(session: Session) -> set[int]:
    batch = session.sources["events"].drain(10_000)
    records = batch.records if batch else ()
    return (
        {struct.unpack_from("=QII", batch.memory, at)[2] for at, _ in records} if batch else set()
    )


def test_every_kind_attaches_and_its_events_arrive() -> None:
    with opened(ALL_KINDS, outputs=(EVENTS,), values=ME) as session:
        os.getpgid(0)
        assert _tags(session) == set()
        session.attach()
        os.getpgid(0)
        assert _tags(session) == {1, 2, 3}


def test_what_was_caught_before_detaching_stays_readable() -> None:
    with opened(ALL_KINDS, outputs=(EVENTS,), values=ME) as session:
        session.attach()
        os.getpgid(0)
        session.detach()
        assert _tags(session) == {1, 2, 3}
        os.getpgid(0)
        assert _tags(session) == set()


@pytest.mark.parametrize("clang", ["clang-14", "clang-16", "clang-19"])
def test_every_compiler_s_object_runs(clang: str) -> None:
    with opened(compile_text(ALL_KINDS, clang), outputs=(EVENTS,), values=ME) as session:
        session.attach()
        os.getpgid(0)
        assert _tags(session) == {1, 2, 3}


def test_fifty_cycles_leave_no_descriptor() -> None:
    def cycle() -> None:
        with opened(ALL_KINDS, outputs=(EVENTS,), values=ME) as session:
            session.attach()
            os.getpgid(0)
            assert _tags(session) == {1, 2, 3}

    cycle()
    before = descriptors()
    for _ in range(50):
        cycle()
    assert descriptors() == before
    assert held() == set()


@pytest.mark.parametrize(
    "broken",
    [
        'SEC("raw_tp/sys_enter") int broken(u64 *ctx) { return *(u32 *)ctx[0]; }',
        "u32 unused;",
    ],
    ids=["load", "outputs"],
)
def test_failures_leave_no_descriptor(broken: str) -> None:
    output = (
        EVENTS
        if "raw_tp" in broken
        else type(EVENTS)(name="x", map="array", kind="events", types=EVENTS.types)
    )
    source = (
        ALL_KINDS
        + broken
        + """
    struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1);
             __type(key, u32); __type(value, u32); } array SEC(".maps");
    """
    )
    before = descriptors()
    for _ in range(5):
        with pytest.raises(KernelError):
            opened(source, outputs=(EVENTS, output) if output is not EVENTS else (EVENTS,))
    assert descriptors() == before


def test_a_session_can_be_closed_twice() -> None:
    session = opened(ALL_KINDS, outputs=(EVENTS,))
    session.attach()
    session.close()
    session.close()
    with pytest.raises(ValueError, match="closed"):
        session.map("events").lookup(b"")


def test_starting_imports_nothing_heavy() -> None:
    code = "import sys, bpfpack.runner.session; print(sorted(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    loaded = set(ast.literal_eval(shown))
    heavy = {
        "logging",
        "typer",
        "rich",
        "requests",
        "oras",
        "cryptography",
        "subprocess",
        "asyncio",
    }
    assert not loaded & heavy


UNPRIVILEGED = """
import sys
from pathlib import Path
from bpfpack.spec.errors import BpfpackError
from tests.kit.kernelobjects import EVENTS, opened
try:
    with opened(Path(sys.argv[1]).read_bytes(), outputs=(EVENTS,)) as session:
        session.attach()
        print("attached")
except BpfpackError as e:
    print(type(e).__name__, getattr(e, "capabilities", ()), e, e.hint)
"""


MUCH_MEMORY = """
import resource, sys
from pathlib import Path
from bpfpack.runner.buffers import PerfBufferSource
from bpfpack.spec.errors import BpfpackError
from tests.kit.kernelobjects import opened
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
try:
    with opened(Path(sys.argv[1]).read_bytes()) as session:
        PerfBufferSource(session.map("events"), pages=4096).close()
        print("opened")
except BpfpackError as e:
    print(type(e).__name__, getattr(e, "capabilities", ()), e, e.hint)
"""


FEW_DESCRIPTORS = """
import os, resource
from bpfpack.runner.session import Session
from bpfpack.spec.errors import KernelError
from tests.kernel.test_session import ALL_KINDS
from tests.kit.kernelobjects import EVENTS, prepared
artifact, plan = prepared(ALL_KINDS, outputs=(EVENTS,))
with Session.open(artifact, plan) as session:  # what is imported late is there from now on
    session.attach()
used, refused = len(os.listdir("/proc/self/fd")) - 1, 0
for free in range(40):
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, 4096))
    try:
        with Session.open(artifact, plan) as session:
            session.attach()
        break
    except KernelError as e:
        refused += 1
        assert (type(e), e.errno) == (KernelError, 24), (free, e)
        assert "ulimit -n" in e.hint, e.hint
print(refused > 5 and free < 39)
"""


def test_few_descriptors_are_the_fault_of_no_program() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FEW_DESCRIPTORS],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


# A mount namespace that has no tracefs; `unshare` has made it private first.
WITHOUT_TRACEFS = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'umount -a -t tracefs,debugfs; exec "$@"',
    "sh",
)


def _as_nobody(
    tmp_path: Path, given: str, object_: bytes, *before: str, script: str = UNPRIVILEGED
) -> str:
    """Run a session as uid 65534 with no capabilities but the given ones."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    path = tmp_path / "object.o"
    path.write_bytes(object_)
    names = f"-all{given}"
    done = subprocess.run(
        [
            *(*before, tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"),
            *(f"--inh-caps={names}", f"--ambient-caps={names}", f"--bounding-set={names}"),
            *(sys.executable, "-c", script, path),
        ],
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        ("", "CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH"),
        (",+bpf", "CAP_PERFMON, CAP_DAC_READ_SEARCH"),
        (",+bpf,+perfmon", "CAP_DAC_READ_SEARCH"),
        (",+bpf,+dac_read_search", "CAP_PERFMON"),
    ],
)
def test_without_root_the_missing_capabilities_are_named(
    tmp_path: Path, given: str, lacking: str
) -> None:
    told = _as_nobody(tmp_path, given, compile_text(ALL_KINDS))
    assert told.startswith("MissingCapability")
    assert f"run test: needs {lacking} " in told


def test_root_is_not_needed_where_the_capabilities_are(tmp_path: Path) -> None:
    raw_only = ALL_KINDS.replace('SEC("tp/syscalls/sys_enter_getpgid")', 'SEC("raw_tp/sys_exit")')
    assert _as_nobody(tmp_path, ",+bpf,+perfmon", compile_text(raw_only)) == "attached\n"


def test_a_perf_buffer_beyond_the_limit_of_locked_memory_is_explained(tmp_path: Path) -> None:
    source = """
    struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4);
             __uint(value_size, 4); } events SEC(".maps");
    SEC("raw_tp/sys_enter") int program(void *ctx) { return 0; }
    """
    told = _as_nobody(tmp_path, ",+bpf,+perfmon", compile_text(source), script=MUCH_MEMORY)
    assert told.startswith("MissingCapability ('CAP_IPC_LOCK',) perf buffer events")
    assert "ulimit -l" in told


def test_without_tracefs_and_the_right_to_mount_it_the_command_is_named(tmp_path: Path) -> None:
    told = _as_nobody(
        tmp_path, ",+bpf,+perfmon,+dac_read_search", compile_text(ALL_KINDS), *WITHOUT_TRACEFS
    )
    assert told.startswith("Unsupported () tracefs: is not mounted, and mounting needs")
    assert "mount -t tracefs tracefs /sys/kernel/tracing" in told


SOURCE_GIVEN = """
import sys
from bpfpack.spec.errors import BpfpackError
from tests.kit.kernelobjects import opened
try:
    with opened(sys.argv[1]) as session:
        session.attach()
        print("attached")
except BpfpackError as e:
    print(type(e).__name__, e, e.hint)
"""


def _within(*around: str, source: str) -> str:
    """What happens to a program where ``around`` has changed the world."""
    done = subprocess.run(
        [*around, sys.executable, "-c", SOURCE_GIVEN, source],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def _hiding(place: str) -> tuple[str, ...]:
    return ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {place} && exec "$@"', "sh")


PROGRAM = 'SEC("%s") int program(void *ctx) { return 0; }'
CO_RE = """
struct task_struct { int pid; } __attribute__((preserve_access_index));
SEC("raw_tp/sched_switch") int program(u64 *ctx)
{ int pid; return bpf_core_read(&pid, 4, &((struct task_struct *)ctx[1])->pid); }
"""


def test_where_sys_is_hidden_that_is_what_is_said() -> None:
    hidden = _hiding("/sys")
    assert _within(*hidden, source=PROGRAM % "raw_tp/sys_enter") == "attached\n"
    for source in (PROGRAM % "tp_btf/sys_enter", "#include <bpf/bpf_core_read.h>\n" + CO_RE):
        told = _within(*hidden, source=source)
        assert "the kernel's BTF, /sys/kernel/btf/vmlinux, cannot be read" in told
        assert "is sysfs mounted" in told
    told = _within(*hidden, source=PROGRAM % "tp/sched/sched_switch")
    assert told.startswith("Unsupported tracefs: ")
    assert "mount -t sysfs" in told


def test_proc_is_not_needed() -> None:
    assert _within(*_hiding("/proc"), source=PROGRAM % "tp/sched/sched_switch") == "attached\n"


def test_capabilities_of_a_user_namespace_are_told_not_to_count() -> None:
    told = _within("unshare", "-U", "-r", source=PROGRAM % "raw_tp/sys_enter")
    assert told.startswith("MissingCapability load test: needs CAP_BPF, CAP_PERFMON ")
    assert "user namespace do not count" in told


MOUNTING = """
from bpfpack.runner.mounts import ensure_tracefs, find_tracefs
assert find_tracefs() is None
place = ensure_tracefs()
assert (place / "events/sched/sched_switch/id").exists()
assert find_tracefs() == ensure_tracefs() == place
"""


def test_tracefs_is_mounted_for_the_process_alone() -> None:
    """Even where mounts are shared: the shell around it must not see the mount."""
    script = 'mount --make-rshared / && "$@" && ! grep -w tracefs /proc/self/mountinfo'
    subprocess.run(
        [*WITHOUT_TRACEFS, "sh", "-c", script, "sh", sys.executable, "-c", MOUNTING],
        check=True,
        timeout=60,
    )


def test_an_error_says_which_capabilities_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "held", lambda: frozenset({"CAP_BPF"}))
    with pytest.raises(MissingCapability, match="run x: needs CAP_PERFMON") as e:
        capabilities.require(("CAP_BPF", "CAP_PERFMON"), "run x")
    assert e.value.hint and "root" in e.value.hint


def test_dropped_capabilities_are_gone_for_good_and_maps_stay_readable() -> None:
    code = """
import os
from bpfpack.runner import capabilities
from tests.kit.kernelobjects import opened
with opened('u32 seen; SEC("raw_tp/sys_enter") int p(void *c){ seen = 7; return 0; }') as session:
    session.attach()
    capabilities.drop()
    status = open("/proc/thread-self/status").read()
    assert "CapEff:\\t0000000000000000" in status and "CapPrm:\\t0000000000000000" in status
    assert session.map(".bss").lookup(bytes(4)) == bytes([7, 0, 0, 0])
    session.detach()
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, env={"PYTHONPATH": str(ROOT)}
    )


def test_a_kernel_without_the_tracepoint_refuses_before_loading() -> None:
    before = held()
    with pytest.raises(Unsupported):
        opened('SEC("tp/no/such") int p(void *c) { return 0; }')
    assert held() == before
