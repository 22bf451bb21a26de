// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

#define STATE                                                                                 \
	BPFPACK_FIELD(labels("1=ESTABLISHED, 2=SYN_SENT, 3=SYN_RECV, 4=FIN_WAIT1, "           \
			     "5=FIN_WAIT2, 6=TIME_WAIT, 7=CLOSE, 8=CLOSE_WAIT, 9=LAST_ACK, " \
			     "10=LISTEN, 11=CLOSING, 12=NEW_SYN_RECV, 13=BOUND"))

struct event {
	__u64 time BPFPACK_FIELD(format(timestamp), clock(mono));
	pid_t pid;
	char comm[16];
	__u8 laddr[16] BPFPACK_FIELD(format(ipv6)); /* IPv4 as ::ffff:a.b.c.d */
	__u16 lport BPFPACK_FIELD(format(port), order(host));
	__u8 raddr[16] BPFPACK_FIELD(format(ipv6));
	__u16 rport BPFPACK_FIELD(format(port), order(host));
	__u32 from STATE;
	__u32 to STATE;
	__u64 after BPFPACK_FIELD(format(duration));
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct { /* socket to when it came into its state, in ns */
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} since SEC(".maps");

BPFPACK_OUTPUT(events, struct event);
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Show how TCP connections go from state to state, and how fast"));

const volatile __u16 local_port BPFPACK_PARAM(short(L), help("only this port of this host")) = 0;
const volatile __u16 remote_port BPFPACK_PARAM(short(R), help("only this port of the other host")) = 0;

SEC("tracepoint/sock/inet_sock_set_state")
int on_state(struct trace_event_raw_inet_sock_set_state *ctx)
{
	__u64 socket = (__u64)ctx->skaddr, now = bpf_ktime_get_ns(), *before;
	struct event *e;

	if (ctx->protocol != IPPROTO_TCP)
		return 0;
	if ((local_port && local_port != ctx->sport) || (remote_port && remote_port != ctx->dport))
		return 0;
	before = bpf_map_lookup_elem(&since, &socket);
	e = bpfpack_reserve(events, sizeof(*e));
	if (e) {
		e->time = now;
		e->pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(e->comm, sizeof(e->comm));
		bpf_probe_read_kernel(e->laddr, sizeof(e->laddr), ctx->saddr_v6);
		bpf_probe_read_kernel(e->raddr, sizeof(e->raddr), ctx->daddr_v6);
		e->lport = ctx->sport;
		e->rport = ctx->dport;
		e->from = ctx->oldstate;
		e->to = ctx->newstate;
		e->after = before ? now - *before : 0;
		bpfpack_submit(e);
	}
	if (ctx->newstate == BPF_TCP_CLOSE)
		bpf_map_delete_elem(&since, &socket);
	else
		bpf_map_update_elem(&since, &socket, &now, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
