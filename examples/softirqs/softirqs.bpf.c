// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpfpack.h"

struct softirq {
	__u32 kind BPFPACK_FIELD(labels("0=hi, 1=timer, 2=net_tx, 3=net_rx, 4=block, 5=irq_poll, "
					"6=tasklet, 7=sched, 8=hrtimer, 9=rcu"));
};

struct { /* when the one that this processor works on began, in ns */
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} began SEC(".maps");

struct { /* each processor counts by itself; bpfpack adds up */
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, struct softirq);
	__type(value, struct bpfpack_slots);
} took SEC(".maps");

BPFPACK_HISTOGRAM(took, log2, unit(us));
BPFPACK_PACKAGE(version("1.0"), license("GPL-2.0-only OR BSD-2-Clause"),
		description("Show how long the kernel works on soft interrupts"));

const volatile int cpu BPFPACK_PARAM(short(c), help("only this processor")) = -1;

SEC("tracepoint/irq/softirq_entry")
int on_entry(struct trace_event_raw_softirq *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 zero = 0;

	if (cpu < 0 || (__u32)cpu == bpf_get_smp_processor_id())
		bpf_map_update_elem(&began, &zero, &now, BPF_ANY);
	return 0;
}

SEC("tracepoint/irq/softirq_exit")
int on_exit(struct trace_event_raw_softirq *ctx)
{
	struct softirq key = {.kind = ctx->vec};
	__u32 zero = 0;
	__u64 *start = bpf_map_lookup_elem(&began, &zero);

	if (start && *start) {
		bpfpack_count_log2(took, &key, (bpf_ktime_get_ns() - *start) / 1000);
		*start = 0;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
