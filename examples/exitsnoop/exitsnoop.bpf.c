// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "bpfpack.h"

#define SIGNAL_GROUP_EXIT 4 /* include/linux/sched/signal.h */

struct event {
	__u64 time BPFPACK_FIELD(format(timestamp), clock(mono));
	pid_t pid;
	pid_t ppid;
	uid_t uid BPFPACK_FIELD(format(user));
	char comm[16];
	__u64 age BPFPACK_FIELD(format(duration));
	__u32 code;
	__u32 signal BPFPACK_FIELD(format(signal));
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

BPFPACK_OUTPUT(events, struct event);
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Show which processes end, how, and how long they lived"));

const volatile pid_t target_pid BPFPACK_PARAM(short(p), role(target-pid), help("only this process")) = 0;
const volatile pid_t parent BPFPACK_PARAM(short(P), help("only children of this process")) = 0;
const volatile bool failed BPFPACK_PARAM(short(x), help("only those that end with a code or a signal")) = false;
const volatile char name[16] BPFPACK_PARAM(short(n), help("only commands of this name")) = "";

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	pid_t ppid = task->real_parent->tgid;
	char comm[16] = {};
	struct event *e;
	int how;

	if (task->signal->live.counter) /* a thread, and others of its process live on */
		return 0;
	if ((target_pid && target_pid != task->tgid) || (parent && parent != ppid))
		return 0;
	/* As wait(2) has it: how all threads were ended at once, otherwise how the first ended. */
	if (task->signal->flags & SIGNAL_GROUP_EXIT)
		how = task->signal->group_exit_code;
	else
		how = task->group_leader->exit_code;
	if (failed && !how)
		return 0;
	/* `task` is the last thread; a process is called as its first. */
	BPF_CORE_READ_STR_INTO(&comm, task, group_leader, comm);
	if (name[0] && bpf_strncmp(comm, sizeof(comm), (const char *)name))
		return 0;
	e = bpfpack_reserve(events, sizeof(*e));
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = task->tgid;
	e->ppid = ppid;
	e->uid = bpf_get_current_uid_gid();
	__builtin_memcpy(e->comm, comm, sizeof(comm));
	e->age = e->time - task->group_leader->start_time;
	e->code = (__u32)how >> 8;
	e->signal = how & 0x7f;
	bpfpack_submit(e);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
