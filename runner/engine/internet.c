/* Addresses, as RFC 5952 and inet_ntop(3) write them. */
#include "decimal.h"

static u8 *dotted(u8 *out, const u8 *bytes)
{
    for (u32 i = 0; i < 4; i++) {
        if (i)
            *out++ = '.';
        out = bp_small(out, bytes[i]);
    }
    return out;
}

static void ordered(u8 *to, const u8 *from, u32 size, u8 swap)
{
    for (u32 i = 0; i < size; i++)
        to[i] = from[swap & BP_REVERSED ? size - 1 - i : i];
}

u8 *bp_ipv4(u8 *out, const u8 *from, u8 swap)
{
    u8 bytes[4];
    ordered(bytes, from, 4, swap);
    return dotted(out, bytes);
}

/* The longest run of zeroes, the first of several; one alone is written out. */
struct run {
    u32 first;
    u32 size;
};

static struct run longest(const u32 *groups)
{
    struct run best = {8, 1}, run = {0, 0};
    for (u32 i = 0; i < 8; i++) {
        if (groups[i]) {
            run.size = 0;
            continue;
        }
        if (!run.size++)
            run.first = i;
        if (run.size > best.size)
            best = run;
    }
    return best;
}

static u8 *group(u8 *out, u32 n)
{
    static const u8 nibbles[16] = "0123456789abcdef";
    for (u32 shift = n > 0xfff ? 16 : n > 0xff ? 12 : n > 0xf ? 8 : 4; shift; shift -= 4)
        *out++ = nibbles[n >> (shift - 4) & 15];
    return out;
}

/* RFC 4291, 2.5.5: an address of version 4 inside. */
static u32 has_dotted(struct run best, const u32 *groups)
{
    return !best.first && (best.size == 6 || (best.size == 5 && groups[5] == 0xffff));
}

u8 *bp_ipv6(u8 *out, const u8 *from, u8 swap)
{
    u8 bytes[16];
    u32 groups[8];
    ordered(bytes, from, 16, swap);
    for (u32 i = 0; i < 8; i++)
        groups[i] = (u32)bytes[2 * i] << 8 | bytes[2 * i + 1];
    struct run best = longest(groups);
    for (u32 i = 0; i < 8; i++) {
        if (i == best.first) {
            *out++ = ':';
            i += best.size;
            if (i == 8) {
                *out++ = ':';
                break;
            }
        }
        if (i)
            *out++ = ':';
        if (i == 6 && has_dotted(best, groups))
            return dotted(out, bytes + 12);
        out = group(out, groups[i]);
    }
    return out;
}
