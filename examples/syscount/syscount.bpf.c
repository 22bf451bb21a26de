// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

struct call {
	__u32 syscall BPFPACK_FIELD(format(syscall));
};

struct tally {
	__u64 calls;
};

struct { /* each processor counts by itself; bpfpack adds up */
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct call);
	__type(value, struct tally);
} counts SEC(".maps");

BPFPACK_TABLE(counts, interval(1000), sort(calls));
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Count system calls"));

const volatile pid_t target_pid BPFPACK_PARAM(short(p), help("only this process")) = 0;

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	pid_t pid = bpf_get_current_pid_tgid() >> 32;
	struct call call = {.syscall = ctx->args[1]};
	struct tally none = {}, *tally;

	if (target_pid && target_pid != pid)
		return 0;
	tally = bpfpack_lookup_or_init(counts, &call, &none);
	if (tally)
		tally->calls++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
