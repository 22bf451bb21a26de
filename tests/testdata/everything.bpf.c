/* One of each thing that an object can hold. */
#include "types.bpf.h"

enum verdict { PASS, DROP = -1, LATER = 7 };
enum wide { SMALL = 1, LARGE = 0x100000000ULL };

struct inner {
	__u16 port;
	__be32 address;
};

struct event {
	__u64 when;
	pid_t pid;
	uid_t uid TAG("bpfpack:title=USER");
	char comm[16] TAG("bpfpack:one") TAG("bpfpack:two");
	struct inner peer;
	union {
		__u32 word;
		__u8 octets[4];
	};
	struct {
		int low : 3;
		unsigned int high : 13;
		_Bool flag : 1;
	};
	enum verdict verdict;
	enum wide wide;
	short matrix[2][3];
	const volatile char *name;
	double ratio;
	int (*callback)(const struct inner *, ...);
	__u8 rest[];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps") TAG("bpfpack:output=event");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, 1);
	__uint(pinning, 1);
	__type(key, struct inner);
	__type(value, __u64);
} counts SEC(".maps");

struct inner_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, __u32);
} inner_one SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, struct inner_map);
} outer SEC(".maps") = { .values = { &inner_one } };

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int(void *));
} jumps SEC(".maps");

const volatile pid_t target_pid TAG("bpfpack:option=pid") = 42;
const volatile bool only_failed = 0;
const volatile char prefix[8] = "abc";
const volatile struct inner default_peer = { .port = 443, .address = 0x7f000001 };
__u64 seen = 5;
__u32 missed;
static __u32 hidden SEC(".data.hidden") = 9;
static volatile int local_state;

extern int kernel_function(__u32 value) __ksym __weak;
extern unsigned long CONFIG_HZ __kconfig;
extern const int kernel_variable __ksym __weak;

/* Nothing else names the event; a used static function keeps its type and costs no map. */
__attribute__((used)) static int keep_event(const struct event *e)
{
	return e->pid;
}

static __attribute__((noinline)) int helper_user(int value)
{
	return value + (int)bpf_get_smp_processor_id();
}

__attribute__((noinline)) int shared(int value)
{
	return helper_user(value) + 1;
}

static long each(void *map, const void *key, void *value, void *context)
{
	return bpf_get_prandom_u32() & 1;
}

SEC("tracepoint/syscalls/sys_enter_openat")
int trace_open(void *context)
{
	struct inner key = {};
	__u64 *count = bpf_map_lookup_elem(&counts, &key);

	if (target_pid && (bpf_get_current_pid_tgid() >> 32) != target_pid)
		return 0;
	if (count)
		__sync_fetch_and_add(count, 1);
	bpf_for_each_map_elem(&counts, each, 0, 0);
	bpf_tail_call(context, &jumps, 0);
	seen += only_failed + prefix[1] + default_peer.port;
	missed += hidden + CONFIG_HZ;
	return shared(local_state++);
}

SEC("?raw_tp/sched_switch")
int on_switch(void *context)
{
	void *room = bpf_ringbuf_reserve(&events, 8, 0);

	if (room)
		bpf_ringbuf_discard(room, 0);
	if (kernel_function)
		return kernel_function(1) + (&kernel_variable != 0);
	return 0;
}

SEC("tp_btf/sched_wakeup") TAG("bpfpack:optional")
int on_wakeup(void *context)
{
	return 0;
}

SEC("tp_btf/sched_wakeup")
int on_wakeup_too(void *context)
{
	return bpf_ktime_get_ns() & 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
__u32 VERSION SEC("version") = 0x60c00;
