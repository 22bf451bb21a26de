// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpfpack.h"

struct event {
	__u64 time BPFPACK_FIELD(format(timestamp), clock(mono));
	pid_t pid;
	uid_t uid BPFPACK_FIELD(format(user));
	char comm[16];
	char line[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

BPFPACK_OUTPUT(events, struct event);
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Show the lines that people type into bash"));

const volatile pid_t target_pid BPFPACK_PARAM(short(p), role(target-pid), help("only this process")) = 0;

/* What readline() returns: the line, or NULL at the end of the input. */
SEC("uretprobe//bin/bash:readline") BPFPACK_PROGRAM(option(shell))
int BPF_KRETPROBE(on_line, const char *line)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct event *e;

	if (!line || (target_pid && target_pid != (pid_t)(id >> 32)))
		return 0;
	e = bpfpack_reserve(events, sizeof(*e));
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = id >> 32;
	e->uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_probe_read_user_str(e->line, sizeof(e->line), line);
	bpfpack_submit(e);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
