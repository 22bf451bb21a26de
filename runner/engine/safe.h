/* Text that is safe as it is, which most is: found by words. */
#ifndef BPFPACK_ENGINE_SAFE_H
#define BPFPACK_ENGINE_SAFE_H

#include "engine.h"

/* The bytes of a word that are a control character, a quote, a backslash or no ASCII: the lowest
 * one is marked right, which is all that is asked for. */
static inline u64 bp_special(u64 word)
{
    const u64 ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    u64 quote = word ^ 0x22 * ones, slash = word ^ 0x5c * ones;
    u64 low = (word - 0x20 * ones) & ~word;
    return ((word | (word + ones)) | low | ((quote - ones) & ~quote) | ((slash - ones) & ~slash))
           & tops;
}

static inline u32 bp_has_comma16(const u8 *from)
{
    const u64 ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    u64 first = bp_load64(from) ^ ',' * ones, second = bp_load64(from + 8) ^ ',' * ones;
    return (((first - ones) & ~first) | ((second - ones) & ~second)) & tops ? 1 : 0;
}

/* The first 16 characters of a text that has as many bytes at least: how many are safe is found
 * without a branch, since names of all lengths come one after the other. */
static inline u32 bp_safe16(u8 *out, const u8 *from)
{
    u64 first = bp_load64(from), second = bp_load64(from + 8);
    u64 found = bp_special(first), later = bp_special(second);
    bp_store64(out, first);
    bp_store64(out + 8, second);
    u32 low = (u32)__builtin_ctzll(found | 1ull << 63) / 8;
    u32 high = later ? 8 + (u32)__builtin_ctzll(later) / 8 : 16;
    return found ? low : high;
}

#endif
