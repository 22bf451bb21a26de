/* Linked with everything.bpf.c: another program, and a static variable of the same name. */
#include "types.bpf.h"

extern int shared(int value);

static volatile int local_state;
const volatile __u32 threshold = 3;

SEC("raw_tp/sched_process_exit")
int on_exit(void *context)
{
	return shared(local_state++) + threshold;
}
