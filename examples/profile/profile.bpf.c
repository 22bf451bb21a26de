// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

struct profile_key {
	pid_t pid;
	char comm[16];
	int kernel_stack_id; /* numbers of stacks, below 0 an error */
	int user_stack_id;
};

struct { /* each processor counts by itself; bpfpack adds up */
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10240);
	__type(key, struct profile_key);
	__type(value, __u64);
} counts SEC(".maps");

struct { /* number of a stack to its addresses, the innermost first */
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 16384);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 127 * sizeof(__u64));
} stacks SEC(".maps");

BPFPACK_STACKS(counts);
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Show which functions processors spend their time in"));

const volatile pid_t target_pid BPFPACK_PARAM(short(p), role(target-pid), help("only this process")) = 0;
const volatile bool user_only BPFPACK_PARAM(short(U), help("no functions of the kernel")) = false;
const volatile bool kernel_only BPFPACK_PARAM(short(K), help("no functions of processes")) = false;
const volatile char name[16] BPFPACK_PARAM(short(n), help("only commands of this name")) = "";

SEC("perf_event") BPFPACK_PROGRAM(attach("cpu-clock:99hz"), option(rate))
int on_sample(struct bpf_perf_event_data *ctx)
{
	struct profile_key key = {.pid = bpf_get_current_pid_tgid() >> 32};
	__u64 none = 0, *count;

	if (!key.pid || (target_pid && target_pid != key.pid)) /* 0: nothing to do */
		return 0;
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	if (name[0] && bpf_strncmp(key.comm, sizeof(key.comm), (const char *)name))
		return 0;
	/* -EFAULT: there is no such stack */
	key.kernel_stack_id = user_only ? -14 : bpf_get_stackid(ctx, &stacks, 0);
	key.user_stack_id = kernel_only ? -14 : bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	count = bpfpack_lookup_or_init(counts, &key, &none);
	if (count)
		++*count;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
