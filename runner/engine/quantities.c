/* Durations and sizes in three digits or so. */
#include "decimal.h"

#define SECOND 1000000000u

static u8 *three(u8 *out, double number)
{
    return bp_fixed(out, number, number < 9.995 ? 2 : number < 99.95 ? 1 : 0);
}

static u8 *unit(u8 *out, const char *name)
{
    while (*name)
        *out++ = (u8)*name++;
    return out;
}

/* Minutes, hours or days and what is below them. */
static u8 *long_duration(u8 *out, u64 seconds)
{
    u64 minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
    if (days) {
        out = unit(bp_u64(out, days), "d");
        return unit(bp_two(out, (u32)(hours % 24)), "h");
    }
    if (hours) {
        out = unit(bp_u64(out, hours), "h");
        return unit(bp_two(out, (u32)(minutes % 60)), "m");
    }
    out = unit(bp_u64(out, minutes), "m");
    return unit(bp_two(out, (u32)(seconds % 60)), "s");
}

/* What would be rounded to 1000 is one of the next unit. */
static u8 *short_duration(u8 *out, u64 nanoseconds)
{
    if (nanoseconds < 1000)
        return unit(bp_u64(out, nanoseconds), "ns");
    if (nanoseconds < 999500)
        return unit(three(out, (double)nanoseconds / 1e3), "us");
    if (nanoseconds < 999500000)
        return unit(three(out, (double)nanoseconds / 1e6), "ms");
    return unit(three(out, (double)nanoseconds / 1e9), "s");
}

u8 *bp_duration(u8 *out, struct bp_number number, u32 scale)
{
    u64 n = bp_magnitude(number), in_second = SECOND / scale;
    u64 seconds = n / in_second, rest = n % in_second * scale;
    if (number.negative)
        *out++ = '-';
    if (seconds < 59 || (seconds == 59 && rest < 950000000))
        return short_duration(out, seconds * SECOND + rest);
    return long_duration(out, seconds < 60 ? 60 : seconds);
}

u8 *bp_size(u8 *out, struct bp_number number)
{
    static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    u64 n = bp_magnitude(number);
    if (number.negative)
        *out++ = '-';
    if (n < 1024)
        return unit(bp_u64(out, n), "B");
    double scaled = (double)n / 1024;
    u32 name = 0;
    for (; scaled >= 1023.5 && name < 5; name++)
        scaled /= 1024;
    return unit(three(out, scaled), names[name]);
}
