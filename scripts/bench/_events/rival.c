// SPDX-License-Identifier: Apache-2.0
/*
 * What a C programmer writes: libbpf's ring_buffer, and a printf of a JSON line for each event.
 *
 *     rival OBJECT
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct event {
	unsigned long long seq, latency, bytes;
	unsigned int pid, tid, uid;
	int ret;
	unsigned int flags;
	unsigned short port;
	unsigned char family, cpu;
	char comm[16];
};

static volatile sig_atomic_t ended;
static unsigned long long seen;

static void end(int signal)
{
	ended = 1;
}

static int show(void *context, void *data, size_t size)
{
	const struct event *e = data;

	printf("{\"seq\":%llu,\"latency\":%llu,\"bytes\":%llu,\"pid\":%u,\"tid\":%u,\"uid\":%u,"
	       "\"ret\":%d,\"flags\":%u,\"port\":%u,\"family\":%u,\"cpu\":%u,\"comm\":\"%s\"}\n",
	       e->seq, e->latency, e->bytes, e->pid, e->tid, e->uid, e->ret, e->flags, e->port,
	       e->family, e->cpu, e->comm);
	seen++;
	return 0;
}

/* What the program counted in .bss: its only variable there. */
static unsigned long long lost(struct bpf_object *object)
{
	struct bpf_map *map, *bss = NULL;
	unsigned long long count = 0;
	unsigned int zero = 0;

	bpf_object__for_each_map(map, object)
		if (strstr(bpf_map__name(map), ".bss"))
			bss = map;
	if (bss)
		bpf_map_lookup_elem(bpf_map__fd(bss), &zero, &count);
	return count;
}

int main(int argc, char **argv)
{
	struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
	struct bpf_program *program;
	struct ring_buffer *ring;
	int error = 0;

	signal(SIGTERM, end);
	setvbuf(stdout, NULL, _IOFBF, 1 << 20);
	if (!object || bpf_object__load(object))
		return 1;
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "events"), show, NULL, NULL);
	bpf_object__for_each_program(program, object)
		if (!bpf_program__attach(program))
			return 1;
	if (!ring)
		return 1;
	fprintf(stderr, "attached\n");
	while (!ended && (error >= 0 || error == -EINTR)) {
		error = ring_buffer__poll(ring, 1000);
		fflush(stdout);
	}
	ring_buffer__consume(ring);
	fflush(stdout);
	fprintf(stderr, "%llu events, %llu lost\n", seen, lost(object));
	return 0;
}
