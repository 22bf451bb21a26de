/* Numbers that have names: labels of enums, errors, signals, system calls, users, and flags. */
#include "engine.h"

static u32 is_less(const struct bp_wide *a, u64 low, u64 high)
{
    return a->high == high ? a->low < low : (s64)a->high < (s64)high;
}

static const struct bp_text *sorted_label(const struct bp_labels *labels, u64 low, u64 high)
{
    const struct bp_label *found = bp_at(labels->sorted_at);
    u32 first = 0, end = labels->count;
    while (first < end) {
        u32 middle = (first + end) / 2;
        if (is_less(&found[middle].value, low, high))
            first = middle + 1;
        else
            end = middle;
    }
    found += first;
    return first < labels->count && found->value.low == low && found->value.high == high
               ? &found->text
               : 0;
}

const struct bp_text *bp_label(const struct bp_labels *labels, u64 low, u64 high)
{
    if (!labels->dense)
        return sorted_label(labels, low, high);
    u64 place = low - (u64)labels->first;
    if (place >= labels->count || high != ((s64)low < 0 ? ~0ull : 0))
        return 0;
    const struct bp_text *text = (const struct bp_text *)bp_at(labels->dense_at) + place;
    return text->at ? text : 0;
}

static u32 covers(struct bp_wide left, const struct bp_wide *mask)
{
    return (left.low & mask->low) == mask->low && (left.high & mask->high) == mask->high;
}

/* Each mask that is found takes a bit at least, so there are 128 at most. */
struct found {
    u32 count;
    u32 places[128];
};

/* In the order in which they are shown. */
static void insert(struct found *found, u32 place)
{
    u32 i = found->count++;
    for (; i && found->places[i - 1] > place; i--)
        found->places[i] = found->places[i - 1];
    found->places[i] = place;
}

static struct bp_wide match(const struct bp_flags *flags, struct bp_wide left, struct found *found)
{
    const struct bp_label *masks = bp_at(flags->masks);
    const u32 *order = bp_at(flags->order);
    for (u32 i = 0; i < flags->count && (left.low | left.high); i++) {
        const struct bp_wide *mask = &masks[order[i]].value;
        if (!covers(left, mask))
            continue;
        insert(found, order[i]);
        left.low &= ~mask->low;
        left.high &= ~mask->high;
    }
    return left;
}

/* The bits of the field, without what the sign added. */
static struct bp_wide bits_of(const struct bp_field *field, struct bp_number number)
{
    u32 bits = field->bits ? field->bits : 8 * field->size;
    struct bp_wide left = {number.low, bits > 64 ? number.high : 0};
    if (bits < 64)
        left.low &= (1ull << bits) - 1;
    else if (bits > 64 && bits < 128)
        left.high &= (1ull << (bits - 64)) - 1;
    return left;
}

static u8 *shown(u8 *out, const struct bp_flags *flags, struct bp_wide left)
{
    struct found found;
    found.count = 0;
    left = match(flags, left, &found);
    const struct bp_label *masks = bp_at(flags->masks);
    for (u32 i = 0; i < found.count; i++) {
        if (i)
            out = bp_text(out, flags->between);
        out = bp_text(out, masks[found.places[i]].text);
    }
    if (!(left.low | left.high))
        return out;
    if (found.count)
        out = bp_text(out, flags->between);
    out = bp_text(out, flags->rest);
    return bp_text(bp_hex(out, left.low, left.high), flags->rest_end);
}

u8 *bp_flags(u8 *out, const struct bp_flags *flags, const struct bp_field *field, u8 style,
             struct bp_number number)
{
    struct bp_wide left = bits_of(field, number);
    u8 *start = out;
    out = bp_text(out, flags->open);
    out = left.low | left.high ? shown(out, flags, left) : bp_text(out, flags->none);
    out = bp_text(out, flags->close);
    if (style != BP_SHOWN)
        return out;
    if (out == start)
        *out++ = '0';
    return bp_cap(start, out);
}
