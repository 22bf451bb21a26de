/* Decimal digits, the part of every line that must be fast. */
#ifndef BPFPACK_ENGINE_DECIMAL_H
#define BPFPACK_ENGINE_DECIMAL_H

#include "engine.h"

/* "00" to "99". */
extern const u8 bp_pairs[200];

static inline u32 bp_pair(u32 n)
{
    return bp_load16(bp_pairs + 2 * n);
}

/* Below 10,000, as four digits in the order of memory. */
static inline u32 bp_four(u32 n)
{
    u32 high = n / 100;
    return bp_pair(high) | bp_pair(n - 100 * high) << 16;
}

/* Below 10,000, without leading zeroes: four digits, the zeroes shifted out at the front. */
static inline u8 *bp_small(u8 *out, u32 n)
{
    u32 zeroes = (u32)(n < 10) + (u32)(n < 100) + (u32)(n < 1000);
    bp_store32(out, bp_four(n) >> 8 * zeroes);
    return out + 4 - zeroes;
}

/* Below 100,000,000, as eight digits. */
static inline u8 *bp_eight(u8 *out, u32 n)
{
    u32 high = n / 10000;
    bp_store64(out, bp_four(high) | (u64)bp_four(n - 10000 * high) << 32);
    return out + 8;
}

static inline u8 *bp_u32(u8 *out, u32 n)
{
    if (n < 10000)
        return bp_small(out, n);
    if (n < 100000000) {
        u32 high = n / 10000;
        out = bp_small(out, high);
        bp_store32(out, bp_four(n - 10000 * high));
        return out + 4;
    }
    u32 high = n / 100000000;
    return bp_eight(bp_small(out, high), n - 100000000 * high);
}

static inline u8 *bp_u64(u8 *out, u64 n)
{
    if (n <= 0xffffffffu)
        return bp_u32(out, (u32)n);
    u64 high = n / 100000000;
    u32 low = (u32)(n - 100000000 * high);
    if (high <= 0xffffffffu) {
        out = bp_u32(out, (u32)high);
    } else {
        u64 top = high / 100000000;
        out = bp_u32(out, (u32)top);
        out = bp_eight(out, (u32)(high - 100000000 * top));
    }
    return bp_eight(out, low);
}

static inline u8 *bp_s64(u8 *out, s64 n)
{
    *out = '-';
    return n < 0 ? bp_u64(out + 1, 0 - (u64)n) : bp_u64(out, (u64)n);
}

#endif
