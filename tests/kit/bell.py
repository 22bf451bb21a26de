"""A package of one event for each getpgid(2) of one process: it shows what a test rings for.

Its ring holds 170 events, so that a test can lose some.
"""

import os
from pathlib import Path
from typing import Final

_NUMBERS: Final = {"x86_64": 121, "aarch64": 155}
RECORDS: Final = 4096 // 24

SOURCE: Final = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

struct event { __u64 number; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

BPFPACK_OUTPUT(events, struct event);
BPFPACK_PACKAGE(description("Rings"), license("GPL-2.0"));
const volatile int target_pid BPFPACK_PARAM(short(p), help("whose calls"));
static __u64 number;

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	struct event *e;

	if (bpf_get_current_pid_tgid() >> 32 != target_pid || ctx->args[1] != {call})
		return 0;
	number++;
	e = bpfpack_reserve(events, sizeof(*e));
	if (!e)
		return 0;
	e->number = number;
	bpfpack_submit(e);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
""".replace("{call}", str(_NUMBERS[os.uname().machine]))


def write(directory: Path) -> Path:
    """Write the package's directory and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "bell.bpf.c").write_text(SOURCE)
    return directory


def ring(times: int = 1) -> None:
    """Cause so many events of this process."""
    for _ in range(times):
        os.getpgid(0)


ME: Final = f"--pid={os.getpid()}"
