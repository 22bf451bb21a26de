// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "bpfpack.h"

#define IN  0
#define OUT 1

struct peer {
	__u32 direction BPFPACK_FIELD(labels("0=in, 1=out"));
	__u8 address[16] BPFPACK_FIELD(format(ipv6)); /* IPv4 as ::ffff:a.b.c.d */
};

struct tally {
	__u64 packets;
	__u64 size BPFPACK_FIELD(title("bytes"), format(bytes));
};

struct { /* each processor counts by itself; bpfpack adds up */
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10240);
	__type(key, struct peer);
	__type(value, struct tally);
} counts SEC(".maps");

BPFPACK_TABLE(counts, interval(1000), sort(size));
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Count what an interface exchanges with each other host"));

static int count(struct __sk_buff *skb, __u32 direction)
{
	struct peer key = {.direction = direction};
	struct tally none = {}, *tally;
	long error;

	/* The address of the other host: the source of what comes in. */
	if (skb->protocol == bpf_htons(0x0800)) {
		key.address[10] = key.address[11] = 0xff;
		error = bpf_skb_load_bytes_relative(skb, direction == IN ? 12 : 16, key.address + 12,
						    4, BPF_HDR_START_NET);
	} else if (skb->protocol == bpf_htons(0x86dd)) {
		error = bpf_skb_load_bytes_relative(skb, direction == IN ? 8 : 24, key.address, 16,
						    BPF_HDR_START_NET);
	} else {
		return TCX_NEXT; /* no address of the Internet */
	}
	tally = error ? NULL : bpfpack_lookup_or_init(counts, &key, &none);
	if (tally) {
		tally->packets += skb->gso_segs ?: 1; /* several may travel as one */
		tally->size += skb->len;
	}
	return TCX_NEXT;
}

SEC("tcx/ingress") BPFPACK_PROGRAM(option(interface))
int incoming(struct __sk_buff *skb)
{
	return count(skb, IN);
}

SEC("tcx/egress") BPFPACK_PROGRAM(option(interface))
int outgoing(struct __sk_buff *skb)
{
	return count(skb, OUT);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
