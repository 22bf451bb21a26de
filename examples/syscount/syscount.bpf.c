// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

struct call {
	pid_t pid;
	__u32 syscall BPFPACK_FIELD(format(syscall));
};

struct tally {
	__u64 calls;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct call);
	__type(value, struct tally);
} counts SEC(".maps");

BPFPACK_TABLE(counts, interval(1000), sort(calls));
BPFPACK_PACKAGE(description("Count system calls"));

const volatile pid_t target_pid BPFPACK_PARAM(short(p), help("only this process"));
const volatile bool by_process BPFPACK_PARAM(short(P), help("count each process by itself"));

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	pid_t pid = bpf_get_current_pid_tgid() >> 32;
	struct call key = {.pid = by_process ? pid : 0, .syscall = ctx->args[1]};
	struct tally none = {}, *value;

	if (target_pid && target_pid != pid)
		return 0;
	value = bpfpack_lookup_or_init(counts, &key, &none);
	if (value)
		value->calls++; /* each processor has its own */
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
