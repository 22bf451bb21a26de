/* An event whose bytes the compiler itself lays out, for formatters to read back. */
#include "types.bpf.h"

enum state { STATE_NEW = 1, STATE_BAD = -3 };
enum large { LARGE = 5000000000LL };

struct point {
	__u16 x;
	short y;
};

struct shown {
	__u8 byte;
	signed char signed_byte;
	__u64 pid;
	struct {
		__s32 ret;
		union {
			__u32 word;
			__u8 octet;
		};
	};
	struct point at;
	struct point path[2];
	__u16 grid[2][3];
	__u32 low : 3;
	__s32 middle : 9;
	__u64 high : 40;
	_Bool yes;
	enum state state, unknown, bad;
	enum large large;
	float real;
	double ratio;
	__int128 huge;
	void *pointer;
	char comm[8];
	char names[2][4];
	__u8 raw[3];
	__u64 tail;
};

const volatile struct shown shown = {
	.byte = 200,
	.signed_byte = -100,
	.pid = 0xfedcba9876543210ULL,
	.ret = -2,
	.word = 0x01010101,
	.at = { 1, -1 },
	.path = { { 2, -2 }, { 3, -3 } },
	.grid = { { 1, 2, 3 }, { 4, 5, 60000 } },
	.low = 5,
	.middle = -200,
	.high = 0x8123456789ULL,
	.yes = 1,
	.state = STATE_NEW,
	.unknown = (enum state)77,
	.bad = STATE_BAD,
	.large = LARGE,
	.real = 0.25f,
	.ratio = -1e300,
	.huge = -1,
	.pointer = (void *)0x1234,
	.comm = "a\"b\\c",
	.names = { "one", "four" },
	.raw = { 0, 0xab, 0xff },
	.tail = 7,
};

SEC("raw_tp/sched_switch")
int keep(void *context)
{
	return shown.byte;
}
