"""What a run tells of its maps: values of each CPU with ``--per-cpu``, and lost updates."""

import os

import pytest

from tests.kit.cli import Host

pytestmark = pytest.mark.kernel

_SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} calls SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} others SEC(".maps");
BPFPACK_TABLE(calls, interval(50));
BPFPACK_TABLE(others, interval(50));
BPFPACK_PACKAGE(license("GPL-2.0"));
const volatile int target_pid = 0;

SEC("raw_tp/sys_enter")
int on_call(void *ctx)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&calls, &zero), none = 0;

	for (__u32 i = 0; i < 10; i++) {
		__u32 key = i;

		bpfpack_lookup_or_init(others, &key, &none);
	}
	if (count && bpf_get_current_pid_tgid() >> 32 == target_pid)
		*count += 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host that built the package."""
    root = tmp_path_factory.mktemp("host")
    source = root / "calls.bpf.c"
    source.write_text(_SOURCE)
    made = Host(root=root)
    made.run("build", "-q", "-t", "calls:1", source)
    return made


def _on_cpu(cpu: int, count: int) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        for _ in range(count):
            os.getpgid(0)
    finally:
        os.sched_setaffinity(0, before)


def test_each_cpu_has_its_row(host: Host) -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    argv = ("run", "--per-cpu", "-o", "calls:json", "--timeout=500ms", "calls:1")
    with host.started(*argv, f"--pid={os.getpid()}") as running:
        running.until("^attached ", stderr=True)
        for cpu in cpus:
            _on_cpu(cpu, 1000 * (1 + cpu))
        rows = running.end().lines[-1]["rows"]
    counts = {row["key"]["cpu"]: row["value"] for row in rows}
    assert all(row["key"]["key"] == 0 for row in rows)
    assert all(counts[cpu] >= 1000 * (1 + cpu) for cpu in cpus), counts


def test_updates_without_room_are_counted(host: Host) -> None:
    """Of ten keys eight find room; the others fail each time."""
    done = host.run("run", "-o", "others:json", "--timeout=300ms", "calls:1")
    last = done.lines[-1]
    assert len(last["rows"]) == 8
    assert last["incomplete"] and last["updates_lost"] >= 2


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry"])
def test_what_has_no_values_of_each_cpu_is_refused(host: Host, dry: tuple[str, ...]) -> None:
    argv = ("run", *dry, "--per-cpu", "-o", "others:json", "calls:1")
    done = host.run(*argv, code=125)
    assert "--per-cpu: what is shown is not kept for each CPU" in done.stderr


def test_it_is_an_option_of_the_help(host: Host) -> None:
    assert "--per-cpu" in host.run("run", "--help").stdout


def test_csv_has_no_place_for_it_so_it_is_a_warning(host: Host) -> None:
    done = host.run("run", "-q", "-o", "others:csv", "--timeout=300ms", "calls:1")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert line.startswith("warning: others: the map had no room for ")
    assert line.endswith("; the map is full or evicts keys: some may be missing")
    whole = host.run("run", "-q", "-o", "calls:csv", "--timeout=300ms", "calls:1")
    assert "warning" not in whole.stderr
