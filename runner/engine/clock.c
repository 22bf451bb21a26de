/* Wall time from the kernel's clocks. */
#include "decimal.h"

#define SECOND 1000000000
/* 9999-12-31T23:59:59 UTC: RFC 3339 has years of four digits. */
#define LAST 253402300799
#define DAY 86400

struct moment {
    s64 second;
    u32 nanosecond;
    u32 is_known;
};

/* A number of nanoseconds and more, and the offset of its clock: each split before they are
 * added, since years to 9999 take more than 64 bits of nanoseconds. */
static struct moment moment_of(const struct bp_program *program, const struct bp_field *field,
                               struct bp_number number)
{
    u64 n = bp_magnitude(number), in_second = SECOND / field->scale;
    struct moment none = {0, 0, 0};
    /* Further away than any offset can bring back. */
    if (n / in_second > 2ull * LAST)
        return none;
    s64 second = (s64)(n / in_second), rest = (s64)(n % in_second) * field->scale;
    if (number.negative) {
        second = -second;
        rest = -rest;
    }
    s64 offset = program->clocks[field->clock];
    second += offset / SECOND;
    rest += offset % SECOND;
    while (rest < 0) {
        rest += SECOND;
        second--;
    }
    while (rest >= SECOND) {
        rest -= SECOND;
        second++;
    }
    struct moment found = {second, (u32)rest, second >= 0 && second <= LAST};
    return found;
}

static u8 *time_of_day(u8 *out, u32 second)
{
    out = bp_two(out, second / 3600);
    *out++ = ':';
    out = bp_two(out, second / 60 % 60);
    *out++ = ':';
    return bp_two(out, second % 60);
}

/* Counts years from March on, so that a leap day is the last one: 146097 days in 400 years. */
static u8 *date(u8 *out, u32 days)
{
    days += 719468; /* from 0000-03-01 */
    u32 era = days / 146097, day = days % 146097;
    u32 year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= 365 * year + year / 4 - year / 100;
    u32 month = (5 * day + 2) / 153;
    day -= (153 * month + 2) / 5;
    year += 400 * era + (month >= 10);
    month += month < 10 ? 3 : (u32)-9;
    out = bp_two(bp_two(out, year / 100), year % 100);
    *out++ = '-';
    out = bp_two(out, month);
    *out++ = '-';
    return bp_two(out, day + 1);
}

static void write_utc(struct bp_program *program, s64 second)
{
    u8 *out = date(program->utc_text, (u32)(second / DAY));
    *out++ = 'T';
    out = time_of_day(out, (u32)(second % DAY));
    *out = '.';
    program->utc_second = second;
}

/* "2026-11-24T22:31:51." is 20 bytes, of 24 that are there. */
u8 *bp_utc(struct bp_program *program, u8 *out, const struct bp_field *field,
           struct bp_number number)
{
    struct moment moment = moment_of(program, field, number);
    if (!moment.is_known)
        return 0;
    if (moment.second != program->utc_second)
        write_utc(program, moment.second);
    for (u32 i = 0; i < 24; i += 8)
        bp_store64(out + i, bp_load64(program->utc_text + i));
    out[20] = (u8)('0' + moment.nanosecond / 100000000);
    out = bp_eight(out + 21, moment.nanosecond % 100000000);
    *out++ = 'Z';
    return out;
}

static s64 offset_at(const struct bp_program *program, s64 second)
{
    const struct bp_zone *zones = bp_at(program->zones);
    u32 low = 0, high = program->zone_count;
    while (low < high) {
        u32 middle = (low + high) / 2;
        if (zones[middle].from <= second)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? zones[low - 1].offset : 0;
}

u8 *bp_local(struct bp_program *program, u8 *out, const struct bp_field *field,
             struct bp_number number)
{
    struct moment moment = moment_of(program, field, number);
    if (!moment.is_known)
        return 0;
    if (moment.second != program->local_second) {
        s64 local = moment.second + offset_at(program, moment.second);
        time_of_day(program->local_text, (u32)((local % DAY + DAY) % DAY));
        program->local_second = moment.second;
    }
    bp_store64(out, bp_load64(program->local_text));
    out[8] = '.';
    u32 millisecond = moment.nanosecond / 1000000;
    out[9] = (u8)('0' + millisecond / 100);
    bp_two(out + 10, millisecond % 100);
    return out + 12;
}
