/* Whole numbers as text. */
#include "decimal.h"

const u8 bp_pairs[200] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546"
    "4748495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293"
    "949596979899";

static const u8 nibbles[16] = "0123456789abcdef";

/* Divides in place, 32 bits at a time; returns the rest. */
static u32 divide(u32 *limbs, u32 by)
{
    u64 rest = 0;
    for (s32 i = 3; i >= 0; i--) {
        rest = rest << 32 | limbs[i];
        limbs[i] = (u32)(rest / by);
        rest %= by;
    }
    return (u32)rest;
}

/* 128 bits have up to 39 digits: four times 9 and a rest. */
static u8 *unsigned_decimal(u8 *out, u64 low, u64 high)
{
    if (!high)
        return bp_u64(out, low);
    u32 limbs[4] = {(u32)low, (u32)(low >> 32), (u32)high, (u32)(high >> 32)};
    u32 nines[5], count = 0;
    while (limbs[0] | limbs[1] | limbs[2] | limbs[3])
        nines[count++] = divide(limbs, 1000000000);
    out = bp_u32(out, nines[--count]);
    while (count) {
        u32 nine = nines[--count];
        *out = (u8)('0' + nine / 100000000);
        out = bp_eight(out + 1, nine % 100000000);
    }
    return out;
}

static struct bp_number negated(struct bp_number n)
{
    struct bp_number of = {0 - n.low, ~n.high + (n.low == 0), 0};
    return of;
}

u8 *bp_wide_decimal(u8 *out, struct bp_number n)
{
    if (n.negative) {
        *out++ = '-';
        n = negated(n);
    }
    return unsigned_decimal(out, n.low, n.high);
}

static u8 *hex64(u8 *out, u64 n, u32 digits)
{
    for (u32 i = digits; i-- > 0; n >>= 4)
        out[i] = nibbles[n & 15];
    return out + digits;
}

static u32 hex_digits(u64 n)
{
    return n ? (67 - (u32)__builtin_clzll(n)) / 4 : 1;
}

u8 *bp_hex(u8 *out, u64 low, u64 high)
{
    *out++ = '0';
    *out++ = 'x';
    if (!high)
        return hex64(out, low, hex_digits(low));
    return hex64(hex64(out, high, hex_digits(high)), low, 16);
}

u8 *bp_hexdump(u8 *out, const u8 *from, u32 size)
{
    for (u32 i = 0; i < size; i++) {
        *out++ = nibbles[from[i] >> 4];
        *out++ = nibbles[from[i] & 15];
    }
    return out;
}
