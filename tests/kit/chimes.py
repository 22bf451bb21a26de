"""A package of several outputs: two types in one ring, a table, and what bpf_printk prints.

A test rings the first bell with getpgid(2), the second with getsid(2).
"""

import os
from pathlib import Path
from typing import Final

from tests.kit.cli import Host

NUMBERS: Final = {"x86_64": (121, 124), "aarch64": (155, 156)}

_SOURCE: Final = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

enum kind { HIGH = 1, LOW };
struct high { __u32 kind; __u32 number; };
struct low { __u32 kind; __u32 number; char tone[8]; };
struct tally { __u64 calls; };
struct who { __u32 kind; };

struct {
	__uint(type, BPF_MAP_TYPE_@RING@);
	@SIZE@
} bells SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct who);
	__type(value, struct tally);
} counts SEC(".maps");

BPFPACK_OUTPUT(bells, by(kind), type(struct high, HIGH), type(struct low, LOW));
BPFPACK_TABLE(counts, interval(50));
BPFPACK_PACKAGE(license("GPL-2.0"));
const volatile int target_pid BPFPACK_PARAM(short(p), help("whose calls"));
static __u32 number;

static void count(__u32 kind)
{
	struct who who = {.kind = kind};
	struct tally none = {}, *tally = bpfpack_lookup_or_init(counts, &who, &none);

	if (tally)
		tally->calls++;
}

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 != target_pid)
		return 0;
	if (ctx->args[1] == @HIGH@) {
		struct high e = {.kind = HIGH, .number = ++number};
		bpfpack_output(ctx, bells, &e, sizeof(e));
		count(HIGH);
		bpf_printk("high %d", number);
	} else if (ctx->args[1] == @LOW@) {
		struct low e = {.kind = LOW, .number = ++number, .tone = "do"};
		bpfpack_output(ctx, bells, &e, sizeof(e));
		count(LOW);
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""


def source(ring: str = "RINGBUF") -> str:
    """The C source, its buffer a ring or a PERF_EVENT_ARRAY."""
    high, low = NUMBERS[os.uname().machine]
    size = "__uint(max_entries, 4096);" if ring == "RINGBUF" else _PERF_SIZE
    text = _SOURCE.replace("@RING@", ring).replace("@SIZE@", size)
    return text.replace("@HIGH@", str(high)).replace("@LOW@", str(low))


_PERF_SIZE: Final = "__uint(key_size, 4); __uint(value_size, 4);"


def write(directory: Path, ring: str = "RINGBUF") -> Path:
    """Write the package's directory and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "chimes.bpf.c").write_text(source(ring))
    return directory


def built(root: Path, ring: str = "RINGBUF") -> Host:
    """A host, its directories below ``root``, that built the package as chimes:1."""
    host = Host(root=root)
    host.run("build", "-q", "-t", "chimes:1", write(root / "chimes", ring))
    return host


def ring(notes: str) -> None:
    """Ring once for each letter: "h" and "l"."""
    for note in notes:
        os.getpgid(0) if note == "h" else os.getsid(0)
