"""What the live kernel answers, and what a plan makes of it."""

import gzip
from pathlib import Path

import pytest

from bpfpack.runner.kernel import Answer, LiveKernel
from bpfpack.runner.session import Session
from bpfpack.spec.config import Program
from bpfpack.spec.sections import PROG_TYPES
from tests.kit.kernelobjects import held, opened, prepared

pytestmark = pytest.mark.kernel

YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN


@pytest.fixture(scope="module")
def kernel() -> LiveKernel:
    return LiveKernel()


def test_types_and_functions_are_found_by_name_and_kind(kernel: LiveKernel) -> None:
    assert kernel.has_btf() is YES
    assert kernel.has_type("task_struct") is YES
    assert kernel.has_type("no_such_struct") is NO
    assert kernel.has_function("vfs_read") is YES
    assert kernel.has_function("task_struct") is NO


def test_tracepoints_are_found(kernel: LiveKernel) -> None:
    assert kernel.has_tracepoint("sched", "sched_switch") is YES
    assert kernel.has_tracepoint("sched", "sched_swich") is NO
    assert kernel.has_raw_tracepoint("sched_switch") is YES
    assert kernel.has_raw_tracepoint("sched_swich") in (NO, UNKNOWN)
    assert "sched/sched_switch" in kernel.near("sched/sched_swich")
    assert kernel.near("nothing like any of them") == ()


def test_probes_are_three_valued(kernel: LiveKernel) -> None:
    assert kernel.probe(PROG_TYPES.index("tracepoint")) is YES
    assert kernel.probe(PROG_TYPES.index("tracing")) in (YES, UNKNOWN)
    assert kernel.probe(250) in (NO, UNKNOWN)


def test_build_options_are_read_where_the_kernel_keeps_them(kernel: LiveKernel) -> None:
    if Path("/proc/config.gz").exists():
        text = gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
        assert kernel.option("CONFIG_BPF_SYSCALL") == "y"
        assert kernel.option("CONFIG_NO_SUCH_THING") == "n"
        assert (kernel.option("CONFIG_KPROBES") == "y") == ("\nCONFIG_KPROBES=y\n" in text)
    else:
        assert kernel.option("CONFIG_BPF_SYSCALL") in ("y", None)


def test_an_alternative_runs_what_fits_here() -> None:
    source = """
    SEC("fentry/vfs_read") int first(void *ctx) { return 0; }
    SEC("raw_tp/sys_enter") int second(void *ctx) { return 0; }
    """
    group = (
        Program(name="first", section="fentry/vfs_read", alternative="read"),
        Program(name="second", section="raw_tp/sys_enter", alternative="read"),
    )
    with opened(source, programs=group) as session:
        session.attach()
        assert [link.program for link in session.links] == ["second"]


def test_a_plan_made_on_this_kernel_loads_on_it() -> None:
    source = 'SEC("tp/sched/sched_switch") int program(void *ctx) { return 0; }'
    artifact, made = prepared(source)
    with Session.open(artifact, made, LiveKernel()) as session:
        session.attach()
        assert [link.program for link in session.links] == ["program"]
        assert "link" in {kind for kind, _ in held()}
