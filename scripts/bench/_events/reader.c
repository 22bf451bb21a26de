// SPDX-License-Identifier: Apache-2.0
/*
 * Reads JSON lines from stdin, one at a time, and prints for each how many ns ago the clock
 * had the value of its member `latency`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
	static char text[1 << 16];
	struct timespec t;
	ssize_t size;

	while ((size = read(0, text, sizeof(text) - 1)) > 0) {
		const char *at;

		clock_gettime(CLOCK_MONOTONIC, &t);
		text[size] = 0;
		at = strstr(text, "\"latency\":");
		if (at)
			printf("%lld\n", t.tv_sec * 1000000000LL + t.tv_nsec -
						 strtoll(at + strlen("\"latency\":"), NULL, 10));
	}
	return 0;
}
