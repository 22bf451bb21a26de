"""cgroups: packets, sockets, calls, options, settings and devices of one cgroup and no other."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.spec.errors import Unsupported, UsageError
from bpfpack.spec.sections import SECTION_NAMES, parse_section
from tests.kit.cgroups import cgroup, run_inside
from tests.kit.kernelobjects import (
    count,
    descriptors,
    eventually,
    held,
    in_kernel,
    opened,
    prepared,
)
from tests.kit.network import network
from tests.kit.objects import run, tool

pytestmark = pytest.mark.kernel

PORT = 47_113
#: Sends three UDP packets to itself over loopback and receives them.
TALK = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", {PORT}))
for i in range(3):
    s.sendto(b"x", ("127.0.0.1", {PORT}))
    assert s.recv(1) == b"x"
"""
CONNECT = f"""
import socket
server = socket.create_server(("127.0.0.1", {PORT}))
client = socket.create_connection(("127.0.0.1", {PORT}))
client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
client.getpeername(); client.getsockname()
open("/proc/sys/net/core/somaxconn").read()
open("/dev/zero").read(1)
"""


def _source(section: str, body: str = "") -> str:
    return f"""
    u64 count;
    SEC("{section}") int program(void *ctx)
    {{
        {body or "__sync_fetch_and_add(&count, 1);"}
        return 1;
    }}
    """


@pytest.fixture(autouse=True)
def loopback() -> Iterator[None]:
    with network():
        yield


@pytest.fixture
def group() -> Iterator[Path]:
    with cgroup("test") as path:
        yield path


def _python(group: Path, code: str) -> None:
    run_inside(group, [sys.executable, "-S", "-c", code])


@pytest.mark.parametrize(
    ("section", "suffix"),
    [
        ("cgroup_skb/ingress", ""),
        ("cgroup_skb/egress", ""),
        ("cgroup/skb", ":ingress"),
        ("cgroup/skb", ":egress"),
    ],
)
def test_packets_of_one_cgroup_are_counted(group: Path, section: str, suffix: str) -> None:
    with (
        cgroup("other") as other,
        opened(_source(section), attach=(f"{group}{suffix}",)) as session,
    ):
        session.attach()
        _python(other, TALK)
        assert count(session) == 0
        _python(group, TALK)
        assert count(session) == 3
        session.detach()
        _python(group, TALK)
        assert count(session) == 3


def test_a_cgroup_by_its_name_below_the_root(group: Path) -> None:
    with opened(_source("cgroup_skb/egress"), attach=(group.name,)) as session:
        session.attach()
        _python(group, TALK)
        assert count(session) == 3


@pytest.mark.parametrize(
    "section",
    [
        *("sockops", "cgroup/sock_create", "cgroup/sock_release", "cgroup/connect4"),
        *("cgroup/bind4", "cgroup/post_bind4", "cgroup/getpeername4", "cgroup/getsockname4"),
        *("cgroup/getsockopt", "cgroup/setsockopt", "cgroup/sysctl", "cgroup/dev"),
    ],
)
def test_what_a_program_sees_of_a_connection(group: Path, section: str) -> None:
    with opened(_source(section), attach=(str(group),)) as session:
        session.attach()
        _python(group, CONNECT)
        assert eventually(lambda: count(session) > 0)


@pytest.mark.parametrize(
    "section",
    [s for s in SECTION_NAMES if s.startswith("cgroup") and s != "cgroup/skb"],
)
def test_every_kind_attaches(group: Path, section: str) -> None:
    assert parse_section(section).attach_type is not None
    with opened(_source(section), attach=(str(group),)) as session:
        session.attach()


def test_two_share_a_cgroup(group: Path) -> None:
    source = _source("cgroup_skb/egress")
    with (
        opened(source, attach=(str(group),)) as first,
        opened(source, attach=(str(group),)) as second,
    ):
        first.attach()
        second.attach()
        _python(group, TALK)
        assert count(first) == count(second) == 3


@pytest.mark.parametrize(
    ("section", "target", "told", "cure"),
    [
        ("cgroup_skb/egress", "no-such-group", "No such file", "below /"),
        ("cgroup_skb/egress", "/proc", "no cgroup of version 2", "below /"),
        ("cgroup/skb", "/sys/fs/cgroup", "not of the form", "CGROUP:ingress|:egress"),
    ],
)
def test_a_wrong_target_is_told_before_anything_is_loaded(
    section: str, target: str, told: str, cure: str
) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        prepared(_source(section), attach=(target,))
    assert cure in (caught.value.hint or "")


def test_without_a_target_no_cgroup_is_taken() -> None:
    with pytest.raises(UsageError, match="no target") as caught:
        prepared(_source("sockops"))
    assert "--attach program=CGROUP" in (caught.value.hint or "")


def test_a_cgroup_that_is_made_anew_is_another_one() -> None:
    with cgroup("test") as path, opened(_source("sockops"), attach=(str(path),)) as session:
        path.rmdir()
        path.mkdir()
        with pytest.raises(Unsupported, match="made anew"):
            session.attach()


def test_a_cgroup_that_another_shares_with_nobody_is_told_apart(group: Path) -> None:
    bpftool, source = tool("bpftool"), _source("cgroup_skb/egress")
    with opened(source, attach=(str(group),)) as other:
        (number,) = (number for kind, number in held() if kind == "prog")
        run(bpftool, "cgroup", "attach", group, "egress", "id", str(number))
        try:
            with pytest.raises(Unsupported, match="shares it with nobody"):
                other.attach()
        finally:
            run(bpftool, "cgroup", "detach", group, "egress", "id", str(number))


def test_nothing_is_left_behind(group: Path) -> None:
    before, open_before = in_kernel(), descriptors()
    with opened(_source("cgroup_skb/egress"), attach=(str(group),)) as session:
        session.attach()
    assert descriptors() == open_before
    assert eventually(lambda: in_kernel() <= before)
