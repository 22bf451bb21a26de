import os
import re
import time
from pathlib import Path

import pytest

from bpfpack.runner.events import names, syscalls
from bpfpack.runner.events.clock import SystemClock


@pytest.mark.parametrize(
    ("machine", "known"),
    [
        ("x86_64", {0: "read", 59: "execve", 257: "openat", 334: "rseq", 469: "file_setattr"}),
        ("aarch64", {56: "openat", 63: "read", 79: "newfstatat", 221: "execve", 462: "mseal"}),
    ],
)
def test_system_calls_have_the_numbers_of_their_architecture(
    machine: str, known: dict[int, str]
) -> None:
    found = syscalls.names(machine)
    assert {number: found[number] for number in known} == known
    named = [name for name in found if name != "-"]
    assert len(set(named)) == len(named)
    assert all(re.fullmatch(r"_?[a-z][a-z0-9_]*", name) for name in named)


def test_an_unknown_architecture_has_no_names() -> None:
    assert syscalls.names("pdp11") == ()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="reads the header of x86-64")
def test_system_calls_are_those_of_the_installed_header() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    listed = re.findall(r"#define __NR_(\w+) (\d+)", header)
    assert len(listed) > 300
    assert {(name, names.syscall_name(int(number))) for name, number in listed} == {
        (name, name) for name, _ in listed
    }


@pytest.mark.parametrize("number", [-1, 10**6, 2**64])
def test_what_has_no_name_is_none(number: int) -> None:
    assert names.error_name(number * 4096) is None
    assert names.signal_name(number) is None
    assert names.syscall_name(number) is None
    assert names.user_name(number) is None
    assert names.group_name(number) is None


def test_names_of_this_host() -> None:
    assert (names.user_name(0), names.group_name(0)) == ("root", "root")
    assert names.signal_name(15) == "SIGTERM"
    assert names.error_name(-110) == "ETIMEDOUT"


def test_offsets_lead_to_wall_time() -> None:
    clock = SystemClock()
    clock.refresh()
    assert clock.offset("real") == 0
    for name, number in (("mono", time.CLOCK_MONOTONIC), ("boot", time.CLOCK_BOOTTIME)):
        wall = time.clock_gettime_ns(number) + clock.offset(name)
        assert abs(time.time_ns() - wall) < 10**9
