// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpfpack.h"

#define ARGS 512

struct event {
	__u64 time BPFPACK_FIELD(format(timestamp), clock(mono));
	pid_t pid;
	pid_t ppid;
	uid_t uid BPFPACK_FIELD(format(user));
	char comm[16];
	char args[ARGS];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

BPFPACK_OUTPUT(events, struct event);
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Show which programs are started, with their arguments"));

const volatile pid_t target_pid BPFPACK_PARAM(short(p), role(target-pid), help("only this process and its children")) = 0;
const volatile pid_t parent BPFPACK_PARAM(short(P), help("only children of this process")) = 0;
const volatile int target_uid BPFPACK_PARAM(short(u), help("only this user")) = -1;
const volatile char name[16] BPFPACK_PARAM(short(n), help("only programs of this name")) = "";

/* The kernel keeps the arguments one after the other, a NUL behind each. */
static void read_args(struct task_struct *task, char args[ARGS])
{
	unsigned long start = task->mm->arg_start;
	unsigned long size = task->mm->arg_end - start;

	if (size > ARGS - 1)
		size = ARGS - 1;
	if (bpf_probe_read_user(args, size, (const void *)start))
		size = 0;
	for (unsigned int i = 0; i + 1 < ARGS && i + 1 < size; i++) {
		if (!args[i])
			args[i] = ' ';
	}
	args[size & (ARGS - 1)] = 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	pid_t ppid = task->real_parent->tgid;
	uid_t uid = bpf_get_current_uid_gid();
	char comm[16];
	struct event *e;

	if (target_pid && target_pid != task->tgid && target_pid != ppid)
		return 0;
	if ((parent && parent != ppid) || (target_uid >= 0 && (uid_t)target_uid != uid))
		return 0;
	bpf_get_current_comm(comm, sizeof(comm));
	if (name[0] && bpf_strncmp(comm, sizeof(comm), (const char *)name))
		return 0;
	e = bpfpack_reserve(events, sizeof(*e));
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = task->tgid;
	e->ppid = ppid;
	e->uid = uid;
	__builtin_memcpy(e->comm, comm, sizeof(comm));
	read_args(task, e->args);
	bpfpack_submit(e);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
