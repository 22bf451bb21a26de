// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpfpack.h"

struct command {
	char comm[16];
};

struct { /* thread to when it became ready to run, in ns */
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, pid_t);
	__type(value, __u64);
} ready SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct command);
	__type(value, struct bpfpack_slots);
} latency SEC(".maps");

BPFPACK_HISTOGRAM(latency, log2, unit(us));
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Show how long threads wait for a processor"));

const volatile pid_t target_pid BPFPACK_PARAM(short(p), help("only this process")) = 0;
const volatile bool by_command BPFPACK_PARAM(short(c), help("one histogram for each command")) = false;

static void enqueue(struct task_struct *task)
{
	__u64 now = bpf_ktime_get_ns();
	pid_t thread = task->pid;

	if (thread && (!target_pid || target_pid == task->tgid))
		bpf_map_update_elem(&ready, &thread, &now, BPF_ANY);
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
	enqueue(task);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_new, struct task_struct *task)
{
	enqueue(task);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempted, struct task_struct *before, struct task_struct *next)
{
	pid_t thread = next->pid;
	struct command key = {};
	__u64 *since;

	if (!before->__state) /* TASK_RUNNING: it has to wait for its next turn */
		enqueue(before);
	since = bpf_map_lookup_elem(&ready, &thread);
	if (!since)
		return 0;
	if (by_command)
		bpf_probe_read_kernel_str(key.comm, sizeof(key.comm), next->comm);
	bpfpack_count_log2(latency, &key, (bpf_ktime_get_ns() - *since) / 1000);
	bpf_map_delete_elem(&ready, &thread);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
