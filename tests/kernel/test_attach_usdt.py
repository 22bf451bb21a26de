"""Statically defined tracepoints of a program that the test builds."""

import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.spec.errors import UsageError
from tests.kit.kernelobjects import count, descriptors, eventually, in_kernel, opened, prepared
from tests.kit.objects import run, tool

pytestmark = pytest.mark.kernel

#: What <sys/sdt.h> makes of DTRACE_PROBE1(demo, tick, n).
VICTIM = r"""
#include <stdio.h>
#define TICK(n) __asm__ volatile( \
    "990: nop\n.pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n" \
    ".4byte 992f-991f,994f-993f,3\n991: .asciz \"stapsdt\"\n992: .balign 4\n" \
    "993: .8byte 990b\n.8byte _.stapsdt.base\n.8byte 0\n" \
    ".asciz \"demo\"\n.asciz \"tick\"\n.asciz \"-4@%0\"\n994: .balign 4\n.popsection\n" \
    ".ifndef _.stapsdt.base\n" \
    ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
    ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n" \
    ".size _.stapsdt.base,1\n.popsection\n.endif\n" :: "nor"(n))
int main(void)
{
    int c, n = 40;
    while ((c = getchar()) != EOF) { n++; TICK(n); TICK(n); putchar(c); fflush(stdout); }
    return 0;
}
"""
TICKS = """
#include <stdbool.h>
#include <linux/errno.h>
#include <linux/ptrace.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>
u64 count;
SEC("usdt") int tick(struct pt_regs *ctx)
{
    long n = 0;
    bpf_usdt_arg(ctx, 0, &n);
    __sync_fetch_and_add(&count, n);
    return 0;
}
"""
TARGETS = {"x86_64": "x86", "aarch64": "arm64"}
SOURCE = f"#define __TARGET_ARCH_{TARGETS.get(platform.machine(), 'x86')}\n{TICKS}"


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with a tracepoint at two places."""
    folder = tmp_path_factory.mktemp("victim")
    (folder / "victim.c").write_text(VICTIM)
    run(tool("cc"), "-O1", "-o", folder / "victim", folder / "victim.c")
    return folder / "victim"


@pytest.fixture
def running(victim: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([victim], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process


def _poke(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin and process.stdout
    process.stdin.write(b"x")
    process.stdin.flush()
    assert process.stdout.read(1) == b"x"


@pytest.mark.parametrize("which", ["", ",pid={pid}"], ids=["every", "one"])
def test_every_place_of_a_tracepoint_with_its_argument(
    victim: Path, running: "subprocess.Popen[bytes]", which: str
) -> None:
    target = f"{victim}:demo:tick{which.format(pid=running.pid)}"
    with opened(SOURCE, attach=(target,)) as session:
        _poke(running)
        session.attach()
        _poke(running)
        assert count(session) == 2 * 42
        session.detach()
        _poke(running)
        assert count(session) == 2 * 42


def test_the_section_s_tracepoint_in_another_file(
    victim: Path, running: "subprocess.Popen[bytes]"
) -> None:
    source = SOURCE.replace('"usdt"', '"usdt//bin/false:demo:tick"')
    with opened(source, attach=(str(victim),)) as session:
        session.attach()
        _poke(running)
        assert count(session) == 2 * 41


@pytest.mark.parametrize(
    ("target", "told", "cure"),
    [
        ("{victim}:demo:tock", "has no tracepoint demo:tock", "demo:tick"),
        ("/bin/true:demo:tick", "has no tracepoint demo:tick", ""),
        ("{victim}:tick", "not of the form FILE:PROVIDER:NAME", "FILE"),
    ],
)
def test_a_wrong_target_is_told_before_anything_is_loaded(
    victim: Path, target: str, told: str, cure: str
) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        prepared(SOURCE, attach=(target.format(victim=victim),))
    assert cure in (caught.value.hint or "")


def test_nothing_is_left_behind(victim: Path) -> None:
    before, open_before = in_kernel(), descriptors()
    with opened(SOURCE, attach=(f"{victim}:demo:tick",)) as session:
        session.attach()
    assert descriptors() == open_before
    assert eventually(lambda: in_kernel() <= before)
