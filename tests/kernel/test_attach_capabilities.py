"""The capabilities that a plan names are those that the kernel wants: all of them, no more."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from bpfpack.runner.mounts import ensure_tracefs
from tests.kit.cgroups import cgroup
from tests.kit.kernelobjects import compile_text, prepared
from tests.kit.network import network
from tests.kit.objects import tool

pytestmark = pytest.mark.kernel

ROOT: Final = Path(__file__).parents[2]
#: One line for each set of capabilities.  It asks the kernel alone: `Session` would refuse
#: first what lacks a capability of the plan.
AS_NOBODY: Final = """
import os, sys
from bpfpack.runner import capabilities
from bpfpack.runner.kernel import LiveKernel
from bpfpack.runner.loader import OpenObject
from bpfpack.spec.errors import KernelError
from tests.kit.kernelobjects import prepared
object_, (sets, *attach) = sys.stdin.buffer.read(), sys.argv[1:]
def attempt():
    artifact, made = prepared(object_, attach=attach)
    try:
        loaded = OpenObject.open(artifact, made, LiveKernel()).load()
        links = [link for program in made.loaded for link in loaded.attach(program)]
        return " ".join(("attached", *made.capabilities))
    except KernelError as e:
        return type(e).__name__
for names in sets.split(";"):
    if (pid := os.fork()) == 0:
        capabilities.drop(keep=[f"CAP_{name}" for name in names.split(",") if name])
        print(attempt(), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""
KINDS: Final = {
    "raw_tp/sys_enter": ("", ("BPF", "PERFMON")),
    "tp/sched/sched_switch": ("", ("BPF", "PERFMON", "DAC_READ_SEARCH")),
    "iter/task": ("", ("BPF", "PERFMON")),
    "perf_event": ("cpu-clock", ("BPF", "PERFMON")),
    "xdp": ("lo", ("BPF", "NET_ADMIN")),
    "tcx/ingress": ("lo", ("BPF", "NET_ADMIN")),
    "socket": ("lo", ("BPF", "NET_RAW")),
    "cgroup_skb/egress": ("GROUP", ("BPF", "NET_ADMIN")),
    "cgroup/connect4": ("GROUP", ("BPF", "NET_ADMIN")),
    "cgroup/sock_create": ("GROUP", ("BPF", "NET_ADMIN")),
    "cgroup/sysctl": ("GROUP", ("BPF", "NET_ADMIN")),
    "cgroup/setsockopt": ("GROUP", ("BPF", "NET_ADMIN")),
    "cgroup/dev": ("GROUP", ("BPF", "NET_ADMIN")),
    "sockops": ("GROUP", ("BPF", "NET_ADMIN")),
}


@pytest.fixture(autouse=True)
def loopback() -> Iterator[None]:
    ensure_tracefs()  # where it is missing only root can mount it
    with network():
        yield


@pytest.fixture
def group() -> Iterator[Path]:
    with cgroup("test") as path:
        yield path


def _as_nobody(object_: bytes, sets: Sequence[Sequence[str]], attach: Sequence[str]) -> list[str]:
    """What comes of a program with each set of capabilities."""
    all_names = sorted({name for names in sets for name in names})
    given = ",".join(("-all", *(f"+{name.lower()}" for name in all_names)))
    done = subprocess.run(
        [
            *(tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"),
            *(f"--inh-caps={given}", f"--ambient-caps={given}", f"--bounding-set={given}"),
            *(sys.executable, "-c", AS_NOBODY, ";".join(map(",".join, sets)), *attach),
        ],
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
        cwd="/",
        input=object_,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == b""
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("section", KINDS)
def test_each_kind_needs_what_its_plan_says_and_no_less(group: Path, section: str) -> None:
    target, names = KINDS[section]
    attach = [target.replace("GROUP", str(group))] if target else []
    result = 1 if target == "GROUP" else 0
    object_ = compile_text(f'SEC("{section}") int program(void *ctx) {{ return {result}; }}')
    less = [[other for other in names if other != name] for name in names]
    enough, *lacking = _as_nobody(object_, [names, *less], attach)
    assert enough == " ".join(("attached", *(f"CAP_{name}" for name in names)))
    assert len(lacking) == len(names)
    assert set(lacking) <= {"MissingCapability", "Unsupported"}


def test_user_code_takes_more_since_its_events_are_everybody_s() -> None:
    object_ = compile_text('SEC("uprobe") int program(void *ctx) { return 0; }')
    assert _as_nobody(object_, [["SYS_ADMIN"], ["BPF", "PERFMON"]], ["bash:main"]) == [
        "attached CAP_BPF CAP_PERFMON CAP_SYS_ADMIN",
        "MissingCapability",
    ]


def test_helpers_of_tracing_take_a_capability_more() -> None:
    object_ = compile_text('SEC("xdp") int program(void *ctx) { bpf_printk("x"); return 2; }')
    sets = [["BPF", "PERFMON", "NET_ADMIN"], ["BPF", "NET_ADMIN"]]
    assert _as_nobody(object_, sets, ["lo"]) == [
        "attached CAP_BPF CAP_PERFMON CAP_NET_ADMIN",
        "ProgramRejected",
    ]


def test_another_process_s_files_take_the_right_to_look_into_it() -> None:
    source = 'SEC("uprobe") int program(void *ctx) { return 0; }'
    _, made = prepared(source, attach=(f"libc:getppid,pid={os.getpid()}",))
    assert "CAP_SYS_PTRACE" in made.capabilities
