/* A record as a line of aligned columns, as `events/table.py` makes them. */
#include "quick.h"

/* No cell makes a column wider than this. */
#define WIDEST 64u
/* Bytes that are shown of a record of no known type. */
#define GLIMPSE 64u

static const u8 ellipsis[4] = "\xe2\x80\xa6";

/* By words: behind the end there is the slack of the output, which is masked out. */
static u32 is_ascii(const u8 *start, const u8 *end)
{
    u64 all = 0;
    for (; end - start > 8; start += 8)
        all |= bp_load64(start);
    if (start < end)
        all |= bp_load64(start) << 8 * (8 - (end - start));
    return !(all & 0x8080808080808080u);
}

static u32 width_of(const struct bp_program *program, const u8 *start, const u8 *end)
{
    return is_ascii(start, end) ? (u32)(end - start) : bp_width(program, start, end);
}

/* 16 bytes, and more by eights. */
static inline u8 *spaces(u8 *out, u32 count)
{
    bp_store64(out, 0x2020202020202020u);
    bp_store64(out + 8, 0x2020202020202020u);
    for (u32 i = 16; i < count; i += 8)
        bp_store64(out + i, 0x2020202020202020u);
    return out + count;
}

/* Moves a cell to the right, spaces before it: the short ones, almost all, in two words. */
static u8 *shifted(u8 *start, u8 *end, u32 by)
{
    if (end - start <= 16) {
        u64 first = bp_load64(start), second = bp_load64(start + 8);
        spaces(start, by);
        bp_store64(start + by, first);
        bp_store64(start + by + 8, second);
        return end + by;
    }
    /* From its end, since both places overlap. */
    for (u8 *from = end; from > start;) {
        from--;
        from[by] = *from;
    }
    for (u32 i = 0; i < by; i++)
        start[i] = ' ';
    return end + by;
}

/* A number below 100,000,000 that stands right, written to where it stands; else 0. */
static inline u8 *quick_cell(u8 *out, const struct bp_op *op, const u8 *record, u32 length,
                             u32 room)
{
    if (!op->right || op->kind > BP_U32 || length < op->end)
        return 0;
    const u8 *from = record + op->offset;
    u32 n = op->kind == BP_U32 ? bp_load32(from) : op->kind == BP_U16 ? bp_load16(from) : *from;
    u64 digits = bp_digits(n);
    u32 size = 8 - (u32)__builtin_ctzll(digits | 1ull << 56) / 8;
    if (n >= 100000000 || size > room)
        return 0;
    spaces(out, room - size);
    bp_store64(out + room - size, (digits | BP_ZEROES) >> 8 * (8 - size));
    return out + room;
}

/* Kinds below BP_LABEL are numbers and the like: ASCII. */
static u8 *cell(struct bp_program *program, u8 *out, const struct bp_op *op, const u8 *record,
                u32 length, u32 *total)
{
    u32 *room = (u32 *)bp_at(program->widths) + op->column;
    u8 *quick = quick_cell(out, op, record, length, *room);
    if (quick) {
        *total += *room;
        return quick;
    }
    u8 *end = op->kind == BP_LITERAL ? bp_text(out, op->before)
                                     : bp_quick(program, out, op, record, length);
    u32 width = op->kind < BP_LABEL ? (u32)(end - out) : width_of(program, out, end);
    if (width > *room)
        *room = width < WIDEST ? width : *room > WIDEST ? *room : WIDEST;
    u32 pad = width < *room ? *room - width : 0;
    *total += width + pad;
    return op->right ? shifted(out, end, pad) : spaces(end, pad);
}

/* Cuts a line to its columns: what stands before the last of them, and an ellipsis. */
static u8 *cut(const struct bp_program *program, u8 *start, u8 *end)
{
    const u8 *at = start;
    u32 used = 0;
    while (at < end) {
        const u8 *character = at;
        used += bp_code_width(program, bp_decode(&at, end));
        if (used > program->columns - 1)
            return bp_bytes(start + (character - start), ellipsis, 3);
    }
    return end;
}

static u8 *ended(const struct bp_program *program, u8 *start, u8 *out, u32 width)
{
    while (out > start && out[-1] == ' ') {
        out--;
        width--;
    }
    if (program->columns && width > program->columns)
        out = cut(program, start, out);
    *out = '\n';
    return out + 1;
}

static u8 *unknown(const struct bp_program *program, u8 *out, const u8 *record, u32 length)
{
    u8 *start = out;
    u32 most = length < GLIMPSE ? length : GLIMPSE;
    *out++ = '?';
    *out++ = ' ';
    out = bp_hexdump(out, record, most);
    u32 width = 2 + 2 * most;
    if (length > most) {
        out = bp_bytes(out, ellipsis, 3);
        width++;
    }
    if (program->columns && width > program->columns)
        out = cut(program, start, out);
    *out = '\n';
    return out + 1;
}

u8 *bp_row(struct bp_program *program, u8 *out, const struct bp_type *type, const u8 *record,
           u32 length)
{
    const struct bp_op *first = bp_at(type->ops), *end = first + type->op_count;
    if (first->kind == BP_UNKNOWN)
        return unknown(program, out, record, length);
    u8 *start = out;
    u32 width = 0;
    for (const struct bp_op *op = first; op < end; op++) {
        if (op > first) {
            *out++ = ' ';
            width++;
        }
        out = cell(program, out, op, record, length, &width);
    }
    return ended(program, start, out, width);
}
