// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Events at any speed, made where driver.c says so and nowhere else: by BPF_PROG_TEST_RUN of a
 * program that otherwise sees only what never comes.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

#define MAGIC 0x62706670636b0a0dULL

struct event { /* 64 bytes, 12 fields */
	__u64 seq;
	__u64 latency;
	__u64 bytes;
	__u32 pid;
	__u32 tid;
	__u32 uid;
	__s32 ret;
	__u32 flags;
	__u16 port;
	__u8 family;
	__u8 cpu;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events SEC(".maps");

BPFPACK_OUTPUT(events, struct event);
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Make as many events as a benchmark asks for"));

struct batch {
	__u64 seq;
	__u64 stamp;
	__u32 failed;
};

static long one(__u32 i, struct batch *b)
{
	__u64 seq = b->seq + i, mixed = seq * 0x9e3779b97f4a7c15ULL;
	struct event *e = bpfpack_reserve(events, sizeof(*e));

	if (!e) {
		b->failed++;
		return 0;
	}
	e->seq = seq;
	e->latency = b->stamp ? b->stamp : mixed >> 44;
	e->bytes = mixed >> 40;
	e->pid = 1000 + (mixed >> 52);
	e->tid = 1000 + (mixed >> 51);
	e->uid = 1000;
	e->ret = (__s32)(mixed >> 60) - 2;
	e->flags = seq & 0xffff;
	e->port = mixed >> 48;
	e->family = 2;
	e->cpu = 1;
	*(__u64 *)e->comm = 0x302d72656b726f77ULL + ((seq & 7) << 56); /* "worker-0" and on */
	*(__u64 *)(e->comm + 8) = 0;
	bpfpack_submit(e);
	return 0;
}

/* The arguments of driver.c: magic, the first number, how many, whether to tell the time. */
SEC("raw_tp/sched_process_exec")
int flood(struct bpf_raw_tracepoint_args *ctx)
{
	struct batch b = { .seq = ctx->args[1], .failed = 0 };
	__u64 many = ctx->args[2] & 0xffffffff;

	if (ctx->args[0] != MAGIC)
		return 0;
	if (ctx->args[2] >> 63)
		b.stamp = bpf_ktime_get_ns();
	bpf_loop(many, one, &b, 0);
	return b.failed;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
