/* Globals of every type that an option can set. */
typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef _Bool bool;
#define false 0
#define true 1

enum mode { MODE_ALL, MODE_FAILED = 7 };
enum wide { WIDE_LOW = -5000000000LL, WIDE_HIGH = 5000000000LL };

const volatile bool failed = false;
const volatile bool colour = true;
const volatile __u8 u8 = 1;
const volatile __s8 s8 = -1;
const volatile __u16 u16;
const volatile __s32 s32 = 42;
const volatile __u32 u32;
const volatile __u64 u64;
const volatile __s64 s64;
const volatile unsigned __int128 u128;
const volatile float f32;
const volatile double f64 = 0.5;
const volatile char text[8] = "abc";
const volatile enum mode mode;
const volatile enum wide wide = WIDE_LOW;
const volatile __u32 list[2];
__u64 used;

char license_text[] __attribute__((section("license"), used)) = "GPL";

__attribute__((section("socket"), used)) int program(void *context)
{
	used += failed + colour + u8 + s8 + u16 + s32 + u32 + u64 + s64 + (__u64)u128;
	used += text[used & 7] + mode + wide + list[used & 1];
	used += *(const volatile __u32 *)&f32 + *(const volatile __u64 *)&f64;
	return 0;
}
