// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

struct event {
	__u64 time BPFPACK_FIELD(format(timestamp), clock(mono));
	pid_t pid;
	uid_t uid BPFPACK_FIELD(format(user));
	char comm[16];
	int ret BPFPACK_FIELD(format(errno));
	char path[256] BPFPACK_FIELD(format(path));
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct { /* thread to the path that its open() was given */
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64);
	__type(value, const char *);
} calls SEC(".maps");

BPFPACK_OUTPUT(events, struct event);
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Show which files are opened, by whom and with what result"));

const volatile pid_t target_pid BPFPACK_PARAM(short(p), role(target-pid), help("only this process")) = 0;
const volatile int target_uid BPFPACK_PARAM(short(u), help("only this user")) = -1;
const volatile bool failed BPFPACK_PARAM(short(x), help("only calls that failed")) = false;
const volatile char name[16] BPFPACK_PARAM(short(n), help("only commands of this name")) = "";

static int enter(const char *path)
{
	__u64 id = bpf_get_current_pid_tgid();
	uid_t uid = bpf_get_current_uid_gid();
	char comm[16];

	if (target_pid && target_pid != (pid_t)(id >> 32))
		return 0;
	if (target_uid >= 0 && (uid_t)target_uid != uid)
		return 0;
	bpf_get_current_comm(comm, sizeof(comm));
	if (name[0] && bpf_strncmp(comm, sizeof(comm), (const char *)name))
		return 0;
	bpf_map_update_elem(&calls, &id, &path, BPF_ANY);
	return 0;
}

static int leave(long ret)
{
	__u64 id = bpf_get_current_pid_tgid();
	const char **path = bpf_map_lookup_elem(&calls, &id);
	struct event *e;

	if (!path)
		return 0;
	if (!(failed && ret >= 0) && (e = bpfpack_reserve(events, sizeof(*e)))) {
		e->time = bpf_ktime_get_ns();
		e->pid = id >> 32;
		e->uid = bpf_get_current_uid_gid();
		e->ret = ret;
		bpf_get_current_comm(e->comm, sizeof(e->comm));
		bpf_probe_read_user_str(e->path, sizeof(e->path), *path);
		bpfpack_submit(e);
	}
	bpf_map_delete_elem(&calls, &id);
	return 0;
}

#define TRACE(call, argument, ...)                                                  \
	SEC("tracepoint/syscalls/sys_enter_" #call) BPFPACK_PROGRAM(__VA_ARGS__)    \
	int enter_##call(struct trace_event_raw_sys_enter *ctx)                     \
	{                                                                           \
		return enter((const char *)ctx->args[argument]);                    \
	}                                                                           \
	SEC("tracepoint/syscalls/sys_exit_" #call) BPFPACK_PROGRAM(__VA_ARGS__)     \
	int exit_##call(struct trace_event_raw_sys_exit *ctx)                       \
	{                                                                           \
		return leave(ctx->ret);                                             \
	}

TRACE(openat, 1)
TRACE(openat2, 1, optional) /* Linux 5.6 */
TRACE(open, 0, optional)    /* not on arm64 and riscv */

char LICENSE[] SEC("license") = "Dual BSD/GPL";
