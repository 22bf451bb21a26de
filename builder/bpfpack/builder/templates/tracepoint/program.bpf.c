// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

/* One row of the output: each member is a column, a key in JSON, a field in CSV. */
struct event {
	__u64 time BPFPACK_FIELD(format(timestamp), clock(mono));
	pid_t pid;
	char comm[16];
	char path[128] BPFPACK_FIELD(format(path));
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

BPFPACK_OUTPUT(events, struct event);

/* Each `const volatile` is an option: this one is --pid. */
const volatile pid_t target_pid BPFPACK_PARAM(short(p), help("only this process")) = 0;

SEC("tracepoint/syscalls/sys_enter_openat")
int on_openat(struct trace_event_raw_sys_enter *ctx)
{
	pid_t pid = bpf_get_current_pid_tgid() >> 32;
	struct event *e;

	if (target_pid && target_pid != pid)
		return 0;
	e = bpfpack_reserve(events, sizeof(*e));
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = pid;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_probe_read_user_str(e->path, sizeof(e->path), (const char *)ctx->args[1]);
	bpfpack_submit(e);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
