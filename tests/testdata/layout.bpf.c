/* The compiler itself says in `expected` where it puts things: offset and size of each member. */
#include "types.bpf.h"

#define PACKED __attribute__((packed))

struct small {
	__u8 a;
	__u32 b;
};

struct PACKED tight {
	__u8 a;
	__u32 b;
	__u64 c;
};

struct layout {
	__u8 first;
	struct {
		__u16 inside;
		union {
			__u32 one;
			__u64 two;
		};
	};
	struct small nested;
	struct small several[3];
	struct tight packed;
	__u16 grid[2][5];
	__s64 big;
	__int128 huge;
	void *pointer;
	_Bool flag;
	float real;
	char tail[];
};

struct bits {
	__u32 a : 1;
	__u32 b : 5;
	__u64 c : 33;
	__s32 : 7;
	__s32 d : 12;
	__u8 e;
};

#define AT(m) __builtin_offsetof(struct layout, m), sizeof(((struct layout *)0)->m)

const volatile __u32 expected[] = {
	AT(first), AT(inside), AT(one), AT(two), AT(nested), AT(several), AT(packed), AT(grid),
	AT(big), AT(huge), AT(pointer), AT(flag), AT(real),
};
const volatile __u32 sizes[] = {
	sizeof(struct small), sizeof(struct tight), sizeof(struct layout), sizeof(struct bits),
	sizeof(__int128),
};

/* Every field another number: reading them back proves shifts and masks. */
const volatile struct bits filled = { .a = 1, .b = 19, .c = 0x123456789ULL, .d = -1234, .e = 200 };

struct layout *kept SEC(".data");

SEC("raw_tp/sched_switch")
int keep(void *context)
{
	return expected[0] + sizes[0] + filled.a + (kept != 0);
}
