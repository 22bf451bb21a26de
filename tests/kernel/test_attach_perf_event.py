"""Clocks and counters: a spinning child is sampled on whichever CPU it runs."""

import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bpfpack.spec.config import Program
from bpfpack.spec.errors import UsageError
from tests.kit.kernelobjects import count, descriptors, eventually, in_kernel, opened, prepared

pytestmark = pytest.mark.kernel

SAMPLES = """
const volatile u32 wanted; u64 count;
SEC("perf_event") int sample(void *ctx)
{
    if (caller() == wanted) __sync_fetch_and_add(&count, 1);
    return 0;
}
"""


@pytest.fixture
def spinning() -> Iterator[int]:
    """A child that does nothing but use a CPU."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        yield child.pid
        child.kill()


def _pid(pid: int) -> dict[str, bytes]:
    return {"wanted": struct.pack("=I", pid)}


@pytest.mark.parametrize("target", ["cpu-clock", "cpu-clock:999hz", "cpu-clock:1000000"])
def test_a_clock_samples_a_spinning_child(spinning: int, target: str) -> None:
    with opened(SAMPLES, values=_pid(spinning), attach=(target,)) as session:
        assert count(session) == 0
        session.attach()
        assert eventually(lambda: count(session) > 10)
        session.detach()
        before = count(session)
        assert not eventually(lambda: count(session) > before, 0.1)


def test_a_counter_counts_every_event() -> None:
    pages = 256
    child = f"import mmap; m = mmap.mmap(-1, {pages} * 4096); input()\n"
    child += f"for i in range({pages}): m[i * 4096] = 1\nprint('done', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        with opened(SAMPLES, values=_pid(process.pid), attach=("sample=page-faults",)) as session:
            session.attach()
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"done\n"
            assert count(session) >= pages
        process.stdin.write(b"\n")


def test_the_package_s_own_target_is_the_default_and_the_user_s_rate_changes_it(
    spinning: int,
) -> None:
    programs = (Program(name="sample", section="perf_event", attach=("cpu-clock:99hz",)),)
    _, made = prepared(SAMPLES, programs=programs)
    assert "cpu-clock, 99 times a second on each CPU" in made.programs[0].fate
    _, made = prepared(SAMPLES, programs=programs, attach=("999hz",))
    assert "cpu-clock, 999 times a second on each CPU" in made.programs[0].fate
    _, made = prepared(SAMPLES, programs=programs, attach=("page-faults:7",))
    assert "page-faults, every 7 on each CPU" in made.programs[0].fate


@pytest.mark.parametrize(
    ("target", "told", "cure"),
    [
        ((), "no target", "--attach sample=EVENT"),
        (("cpu-clok",), "no event is called 'cpu-clok'", "cpu-clock"),
        (("cpu-clock:0hz",), "not of the form", "EVENT"),
        (("cpu-clock:99999999hz",), "99999999 samples a second", "perf_event_max_sample_rate"),
        (("eth0:generic",), "not of the form", "EVENT"),
        (("nobody=cpu-clock",), "no program is called 'nobody'", "sample"),
    ],
)
def test_a_wrong_target_is_told_before_anything_is_loaded(
    target: tuple[str, ...], told: str, cure: str
) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        prepared(SAMPLES, attach=target)
    assert cure in (caught.value.hint or "")


def test_nothing_is_left_behind(spinning: int) -> None:
    before, open_before = in_kernel(), descriptors()
    with opened(SAMPLES, values=_pid(spinning), attach=("cpu-clock", "task-clock")) as session:
        session.attach()
        assert len(session.links) >= 2
    assert descriptors() == open_before
    assert eventually(lambda: in_kernel() <= before)
