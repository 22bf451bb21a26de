// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A tool of another project: plain libbpf style, with nothing of bpfpack in it. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define TASK_COMM_LEN 16
#define MAX_ENTRIES   10240
#define DELIVERED     0 /* TRACE_SIGNAL_DELIVERED */

struct event {
	__u64 ts;
	__u32 pid;
	__u32 uid;
	__u32 tpid;
	__s32 sig;
	__u32 result;
	char comm[TASK_COMM_LEN];
	char tcomm[TASK_COMM_LEN];
};

struct counter_key {
	__s32 sig;
};

/* /sys/kernel/tracing/events/signal/signal_generate/format */
struct signal_generate_args {
	__u64 common;
	int sig;
	int errno_;
	int code;
	char comm[TASK_COMM_LEN];
	int pid;
	int group;
	int result;
};

/* keeps the type in BTF */
const struct event *unused __attribute__((unused));

const volatile __u32 filtered_pid = 0;
const volatile int target_signal = 0;
const volatile bool failed_only = false;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, struct counter_key);
	__type(value, __u64);
} counts SEC(".maps");

SEC("tracepoint/signal/signal_generate")
int sig_trace(struct signal_generate_args *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct counter_key key = {.sig = ctx->sig};
	__u64 one = 1, *count;
	struct event *event;

	if (filtered_pid && pid != filtered_pid)
		return 0;
	if (target_signal && ctx->sig != target_signal)
		return 0;
	if (failed_only && ctx->result == DELIVERED)
		return 0;

	count = bpf_map_lookup_elem(&counts, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&counts, &key, &one, BPF_NOEXIST);

	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->ts = bpf_ktime_get_ns();
	event->pid = pid;
	event->uid = bpf_get_current_uid_gid();
	event->tpid = ctx->pid;
	event->sig = ctx->sig;
	event->result = ctx->result;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	__builtin_memcpy(event->tcomm, ctx->comm, sizeof(event->tcomm));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
