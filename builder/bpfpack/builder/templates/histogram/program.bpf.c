// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

/* One histogram for each key. */
struct who {
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct who);
	__type(value, struct bpfpack_slots);
} sizes SEC(".maps");

BPFPACK_HISTOGRAM(sizes, log2, unit(bytes));

/* Each `const volatile` is an option: these are --pid and --by-command. */
const volatile pid_t target_pid BPFPACK_PARAM(short(p), help("only this process")) = 0;
const volatile bool by_command BPFPACK_PARAM(short(c), help("one histogram for each command")) = false;

SEC("tracepoint/syscalls/sys_enter_write")
int on_write(struct trace_event_raw_sys_enter *ctx)
{
	pid_t pid = bpf_get_current_pid_tgid() >> 32;
	struct who who = {};

	if (target_pid && target_pid != pid)
		return 0;
	if (by_command)
		bpf_get_current_comm(who.comm, sizeof(who.comm));
	bpfpack_count_log2(sizes, &who, ctx->args[2]);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
