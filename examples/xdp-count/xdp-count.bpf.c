// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "bpfpack.h"

struct kind {
	__u16 type BPFPACK_FIELD(labels("0x0800=ipv4, 0x0806=arp, 0x86dd=ipv6"));
	__u16 protocol BPFPACK_FIELD(labels("0=other, 1=icmp, 6=tcp, 17=udp, 58=icmpv6"));
};

struct tally {
	__u64 packets;
	__u64 size BPFPACK_FIELD(title("bytes"), format(bytes));
};

struct { /* each processor counts by itself; bpfpack adds up */
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct kind);
	__type(value, struct tally);
} counts SEC(".maps");

BPFPACK_TABLE(counts, interval(1000), sort(packets));
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Count the packets that an interface receives, before the kernel sees them"));

SEC("xdp") BPFPACK_PROGRAM(option(interface))
int on_packet(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct tally none = {}, *tally;
	struct kind key = {};

	/* The verifier lets nothing be read that was not compared with the end of the packet. */
	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	key.type = bpf_ntohs(eth->h_proto);
	/*
	 * Without CAP_PERFMON the verifier wants fixed offsets: both are read, and `volatile` keeps
	 * the compiler from reading one of them at an offset that depends. Nor does it let `data`
	 * be subtracted from `end`; a helper tells the length.
	 */
	if ((void *)(ip + 1) <= end) {
		__u8 protocol = *(volatile __u8 *)&ip->protocol;
		__u8 next = *(volatile __u8 *)&ip6->nexthdr;

		key.protocol = key.type == 0x0800 ? protocol : key.type == 0x86dd ? next : 0;
	}
	tally = bpfpack_lookup_or_init(counts, &key, &none);
	if (tally) {
		tally->packets++;
		tally->size += bpf_xdp_get_buff_len(ctx);
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
