"""Targets on the command line: bpfpack's own option, the package's, and what goes wrong."""

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bpfpack.cli.run_options import help_text
from tests.kit import objects
from tests.kit.cgroups import cgroup
from tests.kit.cli import Host
from tests.kit.kernelobjects import eventually, in_kernel
from tests.kit.network import network, send
from tests.kit.objects import tool
from tests.kit.oldkernel import BEFORE_TCX

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

char LICENSE[] SEC("license") = "GPL";
struct frame { __u32 interface; __u32 bytes; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} frames SEC(".maps");
BPFPACK_OUTPUT(frames, struct frame);

SEC("xdp") BPFPACK_PROGRAM(option(iface))
int seen(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct frame *f;

	if (data + 14 > end || data[12] != 0x88 || data[13] != 0xb5)
		return XDP_PASS;
	if ((f = bpfpack_reserve(frames, sizeof(*f)))) {
		f->interface = ctx->ingress_ifindex;
		f->bytes = end - data;
		bpfpack_submit(f);
	}
	return XDP_PASS;
}
"""


@pytest.fixture(autouse=True)
def cable() -> Iterator[None]:
    with network():
        yield


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A user who has the source of a package."""
    made = Host(root=tmp_path_factory.mktemp("user"))
    folder = made.root / "frames"
    folder.mkdir()
    (folder / "frames.bpf.c").write_text(SOURCE)
    return made


@pytest.mark.parametrize("own", [True, False], ids=["package", "bpfpack"])
def test_a_target_is_told_to_the_package_or_to_bpfpack(host: Host, own: bool) -> None:
    before = ("run", "-o", "json", "--max-events", "3")
    argv = ("./frames", "--iface", "end0") if own else ("--attach", "end0", "./frames")
    with host.started(*before, *argv) as running:
        running.until("^attached 1 program", stderr=True)
        send("end1", 3)
        done = running.end()
    assert done.code == 0, done.stderr
    frames = done.lines
    assert [f["bytes"] for f in frames] == [60, 60, 60]
    assert len({f["interface"] for f in frames}) == 1


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("--iface", "-h"), "--iface '-h': there is no interface '-h'"),
        (("--iface", "--help"), "--iface '--help': there is no interface '--help'"),
        (("--", "--help"), "the package takes options only, not '--help'"),
        (("--nothing", "-h"), "--help after the reference lists its options"),
    ],
)
def test_what_only_looks_like_a_wish_for_help(host: Host, argv: tuple[str, ...], told: str) -> None:
    done = host.run("run", "--dry-run", "./frames", *argv, code=125)
    assert told in done.stderr and not done.stdout


def test_a_dry_run_shows_what_was_found_and_what_it_takes(host: Host) -> None:
    told = host.run("run", "--dry-run", "./frames", "--iface", "lo:generic").stdout
    assert "program seen (xdp): load; attach to lo (index 1), generic mode\n" in told
    assert "needs CAP_BPF, CAP_NET_ADMIN\n" in told
    shown = host.run("run", "--dry-run", "-o", "json", "./frames", "--iface", "lo").json
    assert shown["programs"][0]["attach"] == ["lo (index 1)"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ((), "no target to be attached to, and there is no default (program seen)"),
        ((), "  give it one: --iface INTERFACE[:native|:generic]"),
        (("--iface", "end7"), "--iface 'end7': there is no interface 'end7'"),
        (("--iface", "end7"), "  interfaces here: lo, end"),
        (("--iface", "lo:fast"), "--iface 'lo:fast': not of the form INTERFACE"),
    ],
)
def test_a_wrong_target_is_one_line_with_a_cure(
    host: Host, argv: tuple[str, ...], told: str
) -> None:
    done = host.run("run", "./frames", *argv, code=125)
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2


def test_the_package_s_help_names_its_option(host: Host) -> None:
    assert (
        "--iface TARGET  attach seen to INTERFACE" in host.run("run", "./frames", "--help").stdout
    )


def test_bpfpack_s_help_names_the_option() -> None:
    assert "--attach [PROG=]TARGET" in help_text()


@pytest.mark.parametrize("run", ["frames", "socket", "tc", "clsact"])
def test_an_interface_that_vanishes_is_told_and_ends_the_run(host: Host, run: str) -> None:
    package = _variant(host, "tc" if run == "clsact" else run)
    if run == "clsact":
        host = replace(host, prefix=BEFORE_TCX)
    target = {"tc": "end0:ingress", "clsact": "end0:ingress"}.get(run, "end0")
    argv = ("run", "-o", "json", "--attach", target, package)
    with host.started(*argv) as running:
        running.until("^attached 1 program", stderr=True)
        objects.run(tool("ip"), "link", "del", "end1")
        done = running.end()
    assert done.code == 125
    assert "warning: end0 is gone; seen is attached to nothing any more\n" in done.stderr


def test_an_interface_that_comes_again_with_the_same_index_is_another(host: Host) -> None:
    ip, index = tool("ip"), socket.if_nametoindex("end0")
    with host.started("run", "--attach", "end0", "./frames") as running:
        running.until("^attached 1 program", stderr=True)
        os.kill(running.pid, signal.SIGSTOP)
        objects.run(ip, "link", "del", "end1")
        again = ("type", "veth", "peer", "name", "end1")
        objects.run(ip, "link", "add", "end0", "index", str(index), *again)
        os.kill(running.pid, signal.SIGCONT)
        done = running.end()
    assert done.code == 125
    assert "warning: end0 is gone; seen is attached to nothing any more\n" in done.stderr


def test_a_port_that_leaves_its_bridge_is_still_there(host: Host) -> None:
    """The kernel tells so as a link that is deleted, of the bridge's family."""
    ip = tool("ip")
    objects.run(ip, "link", "add", "bridge0", "type", "bridge")
    objects.run(ip, "link", "set", "end0", "master", "bridge0")
    with host.started("run", "-o", "json", "--attach", "end0", "./frames") as running:
        running.until("^attached 1 program", stderr=True)
        objects.run(ip, "link", "set", "end0", "nomaster")
        send("end1", 1)
        running.until('"bytes":60')
        done = running.end(signal.SIGTERM)
    assert done.code == 143


def test_a_cgroup_that_is_removed_is_told_and_ends_the_run(host: Host) -> None:
    folder = host.root / "packets"
    folder.mkdir()
    text = SOURCE[: SOURCE.index('SEC("xdp")')]
    end = "int seen(struct __sk_buff *skb) { return 1; }\n"
    (folder / "packets.bpf.c").write_text(f'{text}SEC("cgroup_skb/egress") {end}')
    with cgroup("outer") as outer:
        first, second = outer / "first", outer / "second"
        first.mkdir()
        second.mkdir()
        argv = ("run", "--attach", str(first), "--attach", str(second), "./packets")
        with host.started(*argv) as running:
            running.until("^attached 1 program", stderr=True)
            first.rmdir()
            running.until(f"^warning: cgroup {first} is gone; seen is no longer", stderr=True)
            second.rmdir()
            done = running.end()
    assert done.code == 125
    assert f"cgroup {second} is gone; seen is attached to nothing any more\n" in done.stderr


def test_a_run_goes_on_where_another_interface_is_left(host: Host) -> None:
    argv = ("run", "-o", "json", "--attach", "end0", "--attach", "lo", "./frames")
    with host.started(*argv) as running:
        running.until("^attached 1 program", stderr=True)
        objects.run(tool("ip"), "link", "del", "end0")
        running.until("^warning: end0 is gone; seen is no longer attached there", stderr=True)
        send("lo", 1)
        running.until('"bytes":60')
        done = running.end(signal.SIGTERM)
    assert done.code == 143


def _variant(host: Host, kind: str) -> str:
    """The source with another kind of program."""
    if kind == "frames":
        return "./frames"
    folder = host.root / kind
    if not folder.exists():
        folder.mkdir()
        text = SOURCE[: SOURCE.index('SEC("xdp")')]
        end = "int seen(struct __sk_buff *skb) { return 0; }\n"
        (folder / f"{kind}.bpf.c").write_text(f'{text}SEC("{kind}") {end}')
    return f"./{kind}"


def test_the_kernel_is_clean_after_kill_9(host: Host, tmp_path: Path) -> None:
    before = in_kernel()
    with host.started("run", "-o", "json", "./frames", "--iface", "end0") as running:
        running.until("^attached 1 program", stderr=True)
        assert not in_kernel() <= before
        running.process.kill()
        running.process.wait(30)
    assert eventually(lambda: in_kernel() <= before)
