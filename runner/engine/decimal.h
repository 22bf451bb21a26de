/* Digits of numbers, the part of every line that must be fast: eight at a time, in one word. */
#ifndef BPFPACK_ENGINE_DECIMAL_H
#define BPFPACK_ENGINE_DECIMAL_H

#include "engine.h"

#define BP_ZEROES 0x3030303030303030u

/* Below 100,000,000: the values of its eight digits, the first one in the lowest byte.  Each step
 * halves what stands in a lane: 4 digits in 32 bits, 2 in 16, 1 in 8.  10486 / 2^20 and
 * 103 / 2^10 are 1/100 and 1/10, near enough for what is divided. */
static inline u64 bp_digits(u32 n)
{
    u32 high = n / 10000;
    u64 fours = high | (u64)(n - 10000 * high) << 32;
    u64 hundreds = (fours * 10486 >> 20) & 0x7f0000007fu;
    u64 twos = hundreds | (fours - 100 * hundreds) << 16;
    u64 tens = (twos * 103 >> 10) & 0x000f000f000f000fu;
    return tens | (twos - 10 * tens) << 8;
}

/* Below 100,000,000, with zeroes in front. */
static inline u8 *bp_eight(u8 *out, u32 n)
{
    bp_store64(out, bp_digits(n) | BP_ZEROES);
    return out + 8;
}

/* Writes the digits of a word from the first on that is not zero; the last one in any case. */
static inline u8 *bp_stripped(u8 *out, u64 digits, u64 ascii)
{
    u32 zeroes = (u32)__builtin_ctzll(digits | 1ull << 56) / 8;
    bp_store64(out, ascii >> 8 * zeroes);
    return out + 8 - zeroes;
}

/* Below 100,000,000. */
static inline u8 *bp_small(u8 *out, u32 n)
{
    u64 digits = bp_digits(n);
    return bp_stripped(out, digits, digits | BP_ZEROES);
}

/* Below 10,000: the same with half the steps, for what most numbers are. */
static inline u8 *bp_tiny(u8 *out, u32 n)
{
    u32 hundreds = n * 5243 >> 19;
    u32 twos = hundreds | (n - 100 * hundreds) << 16;
    u32 tens = (twos * 103 >> 10) & 0x000f000fu;
    u32 digits = tens | (twos - 10 * tens) << 8;
    u32 zeroes = (u32)__builtin_ctz(digits | 1u << 24) / 8;
    bp_store32(out, (digits | 0x30303030u) >> 8 * zeroes);
    return out + 4 - zeroes;
}

static inline u8 *bp_u32(u8 *out, u32 n)
{
    if (n < 10000)
        return bp_tiny(out, n);
    if (n < 100000000)
        return bp_small(out, n);
    u32 high = n / 100000000;
    return bp_eight(bp_small(out, high), n - 100000000 * high);
}

static inline u8 *bp_u64(u8 *out, u64 n)
{
    if (n < 100000000)
        return bp_small(out, (u32)n);
    u64 high = n / 100000000;
    u32 low = (u32)(n - 100000000 * high);
    if (high < 100000000) {
        out = bp_small(out, (u32)high);
    } else {
        u64 top = high / 100000000;
        out = bp_tiny(out, (u32)top); /* 1844 at most */
        out = bp_eight(out, (u32)(high - 100000000 * top));
    }
    return bp_eight(out, low);
}

static inline u8 *bp_s64(u8 *out, s64 n)
{
    *out = '-';
    return n < 0 ? bp_u64(out + 1, 0 - (u64)n) : bp_u64(out, (u64)n);
}

/* Two digits of a number below 100. */
static inline u8 *bp_two(u8 *out, u32 n)
{
    out[0] = (u8)('0' + n / 10);
    out[1] = (u8)('0' + n % 10);
    return out + 2;
}

/* The values of eight hexadecimal digits, the first one in the lowest byte. */
static inline u64 bp_hex_digits(u32 n)
{
    u64 x = __builtin_bswap32(n);
    x = (x | x << 16) & 0x0000ffff0000ffffu;
    x = (x | x << 8) & 0x00ff00ff00ff00ffu;
    return (x >> 4 | x << 8) & 0x0f0f0f0f0f0f0f0fu;
}

/* Their characters: 6 carries into the upper half of each byte that is a letter. */
static inline u64 bp_hex_ascii(u64 digits)
{
    u64 letters = (digits + 0x0606060606060606u) >> 4 & 0x0101010101010101u;
    return digits + BP_ZEROES + letters * ('a' - '0' - 10);
}

static inline u8 *bp_hex8(u8 *out, u32 n)
{
    bp_store64(out, bp_hex_ascii(bp_hex_digits(n)));
    return out + 8;
}

/* Without zeroes in front. */
static inline u8 *bp_hex32(u8 *out, u32 n)
{
    u64 digits = bp_hex_digits(n);
    return bp_stripped(out, digits, bp_hex_ascii(digits));
}

static inline u8 *bp_hex64(u8 *out, u64 n)
{
    u32 high = (u32)(n >> 32);
    return high ? bp_hex8(bp_hex32(out, high), (u32)n) : bp_hex32(out, (u32)n);
}

#endif
