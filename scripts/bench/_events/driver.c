// SPDX-License-Identifier: Apache-2.0
/*
 * Lets the program `flood`, which the process PID has loaded, make events.
 *
 *     driver PID flood SECONDS          as fast as can be
 *     driver PID rate PER_SECOND SECONDS
 *     driver PID single MICROSECONDS COUNT   one at a time, each with the time in `latency`
 *     driver PID count N                N in all
 *
 * Runs on the second processor and prints "PRODUCED FAILED SECONDS" when it ends.  The program
 * is found among the descriptors of PID, so that several benchmarks do not disturb each other.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x62706670636b0a0dULL
#define BATCH 20000

static unsigned long long produced, failed;
static int program;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void until(double when)
{
	struct timespec t = { .tv_sec = when, .tv_nsec = (when - (long)when) * 1e9 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static void make(unsigned long long many, int stamped)
{
	unsigned long long args[3] = { MAGIC, produced, many | (unsigned long long)stamped << 63 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = args, .ctx_size_in = sizeof(args));

	if (bpf_prog_test_run_opts(program, &opts)) {
		perror("BPF_PROG_TEST_RUN");
		exit(1);
	}
	produced += many;
	failed += opts.retval;
}

/* A descriptor of the program, or -1. */
static int find(const char *pid)
{
	char path[300], line[256];
	struct dirent *entry;
	DIR *dir;
	int found = -1;

	snprintf(path, sizeof(path), "/proc/%s/fdinfo", pid);
	dir = opendir(path);
	while (dir && found < 0 && (entry = readdir(dir))) {
		unsigned int id = 0;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, entry->d_name);
		file = fopen(path, "r");
		while (file && fgets(line, sizeof(line), file))
			if (sscanf(line, "prog_id: %u", &id) == 1) {
				struct bpf_prog_info info = {};
				__u32 size = sizeof(info);
				int fd = bpf_prog_get_fd_by_id(id);

				if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) &&
				    !strcmp(info.name, "flood"))
					found = fd;
				else if (fd >= 0)
					close(fd);
				break;
			}
		if (file)
			fclose(file);
	}
	if (dir)
		closedir(dir);
	return found;
}

static void pace(double rate, double seconds, double start)
{
	/* A thousand times a second, or as often as there is an event. */
	double tick = rate < 1000 ? 1 / rate : 0.001, at = start;

	while (at < start + seconds) {
		unsigned long long due = (at + tick - start) * rate + 0.5;

		if (due > produced)
			make(due - produced, 0);
		at += tick;
		until(at);
	}
}

int main(int argc, char **argv)
{
	const char *how = argc > 3 ? argv[2] : "";
	double start, value = argc > 3 ? atof(argv[3]) : 0;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) > 1, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	program = argc > 1 ? find(argv[1]) : -1;
	if (program < 0) {
		fprintf(stderr, "driver: no program `flood` in process %s\n", argc > 1 ? argv[1] : "?");
		return 1;
	}
	start = now();
	if (!strcmp(how, "flood"))
		while (now() < start + value)
			make(BATCH, 0);
	else if (!strcmp(how, "rate") && argc > 4)
		pace(value, atof(argv[4]), start);
	else if (!strcmp(how, "single") && argc > 4)
		for (long i = 0; i < atol(argv[4]); i++) {
			until(start + (i + 1) * value / 1e6);
			make(1, 1);
		}
	else if (!strcmp(how, "count"))
		for (double left = value; left > 0; left -= BATCH)
			make(left < BATCH ? left : BATCH, 0);
	else {
		fprintf(stderr, "driver: see its source\n");
		return 2;
	}
	printf("%llu %llu %.6f\n", produced, failed, now() - start);
	return 0;
}
