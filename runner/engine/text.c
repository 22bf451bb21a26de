/* Text from outside, made safe for a terminal and for each form, as `spec/safetext.py` says. */
#include "safe.h"

/* What a table or a CSV cell shows at most, in characters, and the bytes that can matter. */
#define SHOWN 4096u
#define LOOKED_AT (4 * SHOWN + 4)

void bp_rest(u8 *out, const u8 *from, u32 size)
{
    for (u32 done = 16; done < size; done += 8)
        bp_store64(out + done, bp_load64(from + done));
}

static const u8 nibbles[16] = "0123456789abcdef";

/* What may follow a first byte of UTF-8 (Unicode, table 3-7): how many, and the second's range. */
struct lead {
    u32 more;
    u8 least;
    u8 most;
};

static struct lead lead_of(u8 first)
{
    struct lead lead = {0, 0x80, 0xbf};
    if (first >= 0xc2 && first <= 0xf4)
        lead.more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (first == 0xe0)
        lead.least = 0xa0;
    else if (first == 0xf0)
        lead.least = 0x90;
    else if (first == 0xed)
        lead.most = 0x9f;
    else if (first == 0xf4)
        lead.most = 0x8f;
    return lead;
}

/* Takes one character; what is none is taken up to where it stops to be the beginning of one
 * (Unicode, section 3.9, maximal subparts), as Python's decoder does. */
u32 bp_decode(const u8 **from, const u8 *end)
{
    u8 first = *(*from)++;
    if (first < 0x80)
        return first;
    struct lead lead = lead_of(first);
    if (!lead.more)
        return BP_BAD;
    u32 code = first & (0x3fu >> lead.more);
    for (u32 left = lead.more; left; left--) {
        if (*from == end || **from < lead.least || **from > lead.most)
            return BP_BAD;
        code = code << 6 | (*(*from)++ & 0x3fu);
        lead.least = 0x80;
        lead.most = 0xbf;
    }
    return code;
}

static u32 is_in(struct bp_ranges ranges, u32 code)
{
    const struct bp_range *range = bp_at(ranges.at);
    u32 low = 0, high = ranges.count;
    while (low < high) {
        u32 middle = (low + high) / 2;
        if (range[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ranges.count && range[low].first <= code;
}

static u8 *escape(u8 *out, u8 letter, u32 code, u32 digits)
{
    *out++ = '\\';
    *out++ = letter;
    for (u32 i = digits; i-- > 0; code >>= 4)
        out[i] = nibbles[code & 15];
    return out + digits;
}

static u8 *escaped(u8 *out, u8 style, u32 code)
{
    u32 is_json = style == BP_JSON || style == BP_YAML;
    if (code < 0x100 && !is_json)
        return escape(out, 'x', code, 2);
    if (code < 0x10000)
        return escape(out, 'u', code, 4);
    if (style != BP_JSON)
        return escape(out, 'U', code, 8);
    /* RFC 8259, section 7: beyond the basic plane as a surrogate pair. */
    code -= 0x10000;
    out = escape(out, 'u', 0xd800 + (code >> 10), 4);
    return escape(out, 'u', 0xdc00 + (code & 0x3ff), 4);
}

/* An ASCII character that has a letter of its own in JSON, or 0. */
static u8 letter_of(u32 code)
{
    switch (code) {
    case '"':
    case '\\':
        return (u8)code;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

static u8 *ascii(u8 *out, u8 style, u32 code)
{
    if (style == BP_JSON || style == BP_YAML) {
        u8 letter = letter_of(code);
        if (letter) {
            *out++ = '\\';
            *out++ = letter;
            return out;
        }
    }
    if (code < 0x20 || code == 0x7f)
        return escaped(out, style, code);
    *out++ = (u8)code;
    return out;
}

/* One character, or bytes that are none, from `from` to where it moves. */
static u8 *character(const struct bp_program *program, u8 *out, u8 style, const u8 **from,
                     const u8 *end)
{
    const u8 *start = *from;
    u32 code = bp_decode(from, end);
    if (code < 0x80)
        return ascii(out, style, code);
    if (code == BP_BAD) {
        if (style != BP_SHOWN)
            return bp_bytes(out, (const u8 *)"\xef\xbf\xbd", 3);
        for (; start < *from; start++)
            out = escape(out, 'x', *start, 2);
        return out;
    }
    if (is_in(program->unsafe, code))
        return escaped(out, style, code);
    return bp_bytes(out, start, (u32)(*from - start));
}

/* The next 8 bytes, or the rest and zeroes: nothing behind the end is read. */
static u64 next_word(const u8 *from, const u8 *end)
{
    if (end - from >= 8)
        return bp_load64(from);
    u64 word = 0;
    for (u32 i = 0; from + i < end; i++)
        word |= (u64)from[i] << 8 * i;
    return word;
}

u8 *bp_characters(const struct bp_program *program, u8 *out, u8 style, const u8 *from,
                  const u8 *end)
{
    while (from < end) {
        u64 word = next_word(from, end);
        u64 found = bp_special(word);
        bp_store64(out, word);
        if (!found) {
            out += 8;
            from += 8;
            continue;
        }
        u32 plain = (u32)__builtin_ctzll(found) / 8;
        out += plain;
        from += plain;
        /* The zeroes behind the end stand for a NUL there. */
        if (from == end || !*from)
            break;
        out = character(program, out, style, &from, end);
    }
    return out;
}

u8 *bp_string(const struct bp_program *program, u8 *out, u8 style, const u8 *from, u32 size)
{
    u8 *start = out;
    if (style == BP_JSON || style == BP_YAML) {
        *out++ = '"';
        out = bp_characters(program, out, style, from, from + size);
        *out++ = '"';
        return out;
    }
    if (style == BP_PLAIN)
        return bp_characters(program, out, style, from, from + size);
    out = bp_characters(program, out, style, from, from + (size < LOOKED_AT ? size : LOOKED_AT));
    return bp_cap(start, out);
}

/* Cuts valid UTF-8 to what is shown at most, with an ellipsis. */
u8 *bp_cap(u8 *start, u8 *out)
{
    if ((u32)(out - start) <= SHOWN)
        return out;
    u8 *cut = out;
    u32 count = 0;
    for (u8 *at = start; at < out; at++) {
        if ((*at & 0xc0) == 0x80)
            continue;
        if (count == SHOWN - 1)
            cut = at;
        if (count++ == SHOWN)
            return bp_bytes(cut, (const u8 *)"\xe2\x80\xa6", 3);
    }
    return out;
}

u32 bp_code_width(const struct bp_program *program, u32 code)
{
    if (code < 0x80)
        return 1;
    if (is_in(program->combining, code))
        return 0;
    return is_in(program->doubled, code) ? 2 : 1;
}

u32 bp_width(const struct bp_program *program, const u8 *start, const u8 *end)
{
    u32 width = 0;
    while (start < end) {
        if (*start < 0x80) {
            width++;
            start++;
        } else {
            width += bp_code_width(program, bp_decode(&start, end));
        }
    }
    return width;
}
