"""``bpfpack run`` of a tc program where the kernel has no tcx: filters of clsact."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.runner.journal import parse
from tests.kit.cli import REPO, Host
from tests.kit.clsact import in_network, network, reapers, sh, snapshot
from tests.kit.kernelobjects import eventually, opened
from tests.kit.oldkernel import BEFORE_TCX, BeforeTcx

pytestmark = pytest.mark.kernel

CLEAN_WITHIN = 2.0
SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

struct event { __u32 length; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");
BPFPACK_OUTPUT(events, struct event);
BPFPACK_PACKAGE(license("GPL-2.0"));

SEC("tc")
int frames(struct __sk_buff *skb)
{
	struct event *e;

	if (skb->protocol != __builtin_bswap16(0x88b5))
		return -1;
	e = bpfpack_reserve(events, sizeof(*e));
	if (!e)
		return -1;
	e->length = skb->len;
	bpfpack_submit(e);
	return -1;
}

char LICENSE[] SEC("license") = "GPL";
"""
BOTH = ("--attach=frames=bare:ingress", "--attach=frames=shared:egress")


@pytest.fixture(scope="module")
def net() -> Iterator[tuple[str, ...]]:
    with network() as name:
        prefix = in_network(name)
        for end in ("bare", "bare-peer"):
            sh(*prefix, "ip", "link", "set", end, "up")
        yield prefix


@pytest.fixture(scope="module")
def host(net: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Host:
    root = tmp_path_factory.mktemp("host")
    source = root / "frames"
    source.mkdir()
    (source / "frames.bpf.c").write_text(SOURCE)
    Host(root=root).run("build", "-q", "-t", "frames:1.0", source)
    return Host(root=root, prefix=(*net, *BEFORE_TCX))


@pytest.fixture
def journals(host: Host) -> Path:
    """Where the host's runs write; none is left when a test is done."""
    return host.root / "run" / "journals"


def test_the_plan_says_that_it_outlives_its_owner(host: Host) -> None:
    told = host.run("run", "--dry-run", *BOTH, "frames:1.0").stdout
    assert "bare (index " in told
    assert told.count(", by clsact") == 2


def test_events_come_and_nothing_stays(host: Host, net: tuple[str, ...], journals: Path) -> None:
    """The run drops its privileges once it is attached; its reaper detaches for it."""
    before = snapshot(*net)
    with host.started("run", "-o", "json", *BOTH, "frames:1.0") as run:
        run.until("^attached 1 program", stderr=True)
        assert snapshot(*net) != before
        send = "from tests.kit.network import send; send('bare-peer', 3)"
        subprocess.run((*net, sys.executable, "-c", send), cwd=REPO, check=True)
        run.until('^{"length":60}')
        done = run.end(signal.SIGINT)
    assert done.code == 130
    assert len(done.lines) == 2
    assert snapshot(*net) == before
    assert not list(journals.iterdir())
    assert not reapers(journals)


@pytest.mark.parametrize("seed", range(8))
def test_kills_at_any_moment(host: Host, net: tuple[str, ...], journals: Path, seed: int) -> None:
    before = snapshot(*net)
    with host.started("run", *BOTH, "frames:1.0") as run:
        # Not a wait for anything: the moment is what is drawn.
        time.sleep(random.Random(seed).uniform(0.05, 0.4))
        run.end(signal.SIGKILL)
    assert eventually(lambda: snapshot(*net) == before, CLEAN_WITHIN)
    assert eventually(lambda: not reapers(journals), CLEAN_WITHIN)
    # One that was killed before it had a reaper has attached nothing.
    left = list(journals.iterdir()) if journals.is_dir() else []
    assert not [path for path in left if parse(path.read_bytes()).entries]


@pytest.mark.parametrize("next_", ["run", "prune"])
def test_what_nobody_undid_the_next_start_does(
    host: Host, net: tuple[str, ...], journals: Path, next_: str
) -> None:
    before = snapshot(*net)
    with host.started("run", *BOTH, "frames:1.0") as run:
        run.until("^attached 1 program", stderr=True)
        (reaper,) = reapers(journals)
        os.kill(reaper, signal.SIGKILL)
        run.end(signal.SIGKILL)
    assert snapshot(*net) != before
    words = {
        "run": ("run", "--timeout=100ms", "--attach", "frames=bare-peer:egress", "frames:1.0"),
        "prune": ("prune",),
    }
    done = host.run(*words[next_])
    assert "removed 2 leftovers of runs that were killed" in done.stderr
    assert snapshot(*net) == before
    assert not list(journals.iterdir())


def test_a_reaper_that_was_killed_is_told_of(
    host: Host, net: tuple[str, ...], journals: Path
) -> None:
    """Without it the run lacks the privileges that it has dropped; nothing is hidden."""
    before = snapshot(*net)
    with host.started("run", *BOTH, "frames:1.0") as run:
        run.until("^attached 1 program", stderr=True)
        (reaper,) = reapers(journals)
        os.kill(reaper, signal.SIGKILL)
        done = run.end(signal.SIGINT)
    assert "bpfpack prune" in done.stderr
    assert done.code == 126
    assert host.run("prune").stderr
    assert snapshot(*net) == before


def test_a_journal_that_cannot_be_written_attaches_nothing(
    host: Host, net: tuple[str, ...], tmp_path: Path
) -> None:
    before = snapshot(*net)
    elsewhere = tmp_path / "run"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    done = host.run("run", *BOTH, "frames:1.0", env={"BPFPACK_RUN_DIR": str(elsewhere)}, code=None)
    assert done.code == 125
    assert f"others can write {elsewhere}" in done.stderr
    assert snapshot(*net) == before


def test_a_package_of_links_begins_no_journal(
    host: Host, net: tuple[str, ...], tmp_path: Path
) -> None:
    """The same program on this kernel, which has tcx; nothing for journals is imported."""
    with_tcx = Host(root=host.root, prefix=net)
    env = {"BPFPACK_RUN_DIR": str(tmp_path / "run"), "PYTHONPROFILEIMPORTTIME": "1"}
    done = with_tcx.run("run", "--timeout=100ms", *BOTH, "frames:1.0", env=env)
    assert "attached 1 program" in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "bpfpack.runner.session" in imported
    for name in ("runner.journal", "runner.reaper", "runner._native.netlink", "cli.recovery"):
        assert f"bpfpack.{name}" not in imported
    assert not (tmp_path / "run").exists()


def test_a_session_without_a_journal_attaches_nothing_that_outlives_it() -> None:
    source = 'SEC("tc") int frames(struct __sk_buff *skb) { return -1; }'
    kernel = BeforeTcx()
    with (
        opened(source, attach=("lo:ingress",), kernel=kernel) as session,
        pytest.raises(ValueError, match="takes a journal"),
    ):
        session.attach()
    assert "clsact" not in sh("tc", "qdisc", "show", "dev", "lo")
