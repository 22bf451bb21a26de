/* Whole numbers as text, the rarer ones. */
#include "decimal.h"

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

u8 *bp_hex(u8 *out, u64 low, u64 high)
{
    *out++ = '0';
    *out++ = 'x';
    if (!high)
        return bp_hex64(out, low);
    return bp_hex8(bp_hex8(bp_hex64(out, high), (u32)(low >> 32)), (u32)low);
}

u8 *bp_hexdump(u8 *out, const u8 *from, u32 size)
{
    for (; size >= 4; size -= 4, from += 4)
        out = bp_hex8(out, __builtin_bswap32(bp_load32(from)));
    for (; size; size--, from++) {
        u8 *end = bp_hex8(out, (u32)*from << 24);
        out = end - 6;
    }
    return out;
}
