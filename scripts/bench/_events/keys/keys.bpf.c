// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A histogram of many keys on every processor, filled where driver.c says so. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

#define MAGIC 0x62706670636b0a0dULL
#define KEYS 10000

struct slots {
	__u32 slots[27];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct slots);
} latencies SEC(".maps");

BPFPACK_HISTOGRAM(latencies, log2, unit(us), interval(1000));
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Keep a histogram of ten thousand keys"));

static long one(__u32 i, __u64 *first)
{
	__u32 key = (*first + i) % KEYS;

	bpfpack_count_log2(latencies, &key, ((*first + i) * 0x9e3779b97f4a7c15ULL) >> 40);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int flood(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 first = ctx->args[1];

	if (ctx->args[0] == MAGIC)
		bpf_loop(ctx->args[2] & 0xffffffff, one, &first, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
