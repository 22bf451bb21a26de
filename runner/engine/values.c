/* The value of one operation: one element, or the elements of an array. */
#include "decimal.h"

static u8 *number(u8 *out, struct bp_number n)
{
    return n.negative ? bp_s64(out, (s64)n.low) : bp_u64(out, n.low);
}

/* A number that has more than 64 bits, or may have. */
static u8 *any_number(u8 *out, struct bp_number n)
{
    if (n.high == (n.negative ? ~0ull : 0) && (!n.negative || (s64)n.low < 0))
        return number(out, n);
    return bp_wide_decimal(out, n);
}

static u8 *missing(u8 *out, const struct bp_op *op)
{
    /* An element of a list in a CSV cell is JSON. */
    return op->kind == BP_LIST ? bp_bytes(out, (const u8 *)"null", 4) : bp_text(out, op->missing);
}

static u8 *boolean(u8 *out, struct bp_number n)
{
    if (n.low | n.high)
        return bp_bytes(out, (const u8 *)"true", 4);
    return bp_bytes(out, (const u8 *)"false", 5);
}

static u8 *hex(u8 *out, const struct bp_op *op, struct bp_number n)
{
    out = bp_quote(out, op->quoted);
    if (n.negative) {
        *out++ = '-';
        n.high = ~n.high + (n.low == 0);
        n.low = 0 - n.low;
    }
    return bp_quote(bp_hex(out, n.low, n.high), op->quoted);
}

static u8 *label(u8 *out, const struct bp_op *op, struct bp_number n)
{
    const struct bp_text *text = bp_label(bp_at(op->names), n.low, n.high);
    return text ? bp_text(out, *text) : any_number(out, n);
}

/* A failed call returns a negative number; a positive one is an error only where none of the
 * type is negative. */
static u8 *error(u8 *out, const struct bp_op *op, const struct bp_field *field, struct bp_number n)
{
    u64 magnitude = bp_magnitude(n);
    const struct bp_text *text = 0;
    if (n.negative ? n.high == ~0ull : !n.high && !field->is_signed)
        text = bp_label(bp_at(op->names), magnitude, 0);
    return text ? bp_text(out, *text) : any_number(out, n);
}

static u8 *timestamp(struct bp_program *program, u8 *out, const struct bp_op *op,
                     const struct bp_field *field, struct bp_number n)
{
    if (op->element == BP_LOCAL) {
        u8 *end = bp_local(program, out, field, n);
        return end ? end : bp_bytes(out, (const u8 *)"-", 1);
    }
    u8 *end = bp_utc(program, bp_quote(out, op->quoted), field, n);
    return end ? bp_quote(end, op->quoted) : missing(out, op);
}

static double real(const struct bp_field *field, const u8 *from)
{
    u64 bits = field->swap & BP_BIG ? __builtin_bswap64(bp_load64(from)) : bp_load64(from);
    double wide;
    __builtin_memcpy(&wide, &bits, 8);
    return wide;
}

static double single(const struct bp_field *field, const u8 *from)
{
    u32 bits = field->swap & BP_BIG ? __builtin_bswap32(bp_load32(from)) : bp_load32(from);
    float narrow;
    __builtin_memcpy(&narrow, &bits, 4);
    return narrow;
}

static u8 *floating(u8 *out, const struct bp_op *op, const struct bp_field *field, const u8 *from)
{
    double x = field->size == 4 ? single(field, from) : real(field, from);
    u32 is_finite = x - x == 0;
    if (op->element == BP_REPR)
        return is_finite ? bp_repr(out, x, op->style == BP_YAML) : missing(out, op);
    if (is_finite)
        return bp_general(out, x);
    if (x != x)
        return bp_bytes(out, (const u8 *)"nan", 3);
    return x < 0 ? bp_bytes(out, (const u8 *)"-inf", 4) : bp_bytes(out, (const u8 *)"inf", 3);
}

static u8 *dump(u8 *out, const struct bp_op *op, const u8 *from, u32 size)
{
    u8 *start = out;
    u32 most = op->style == BP_SHOWN ? 4096 : size;
    out = bp_quote(out, op->quoted);
    out = bp_hexdump(out, from, size < most ? size : most);
    out = bp_quote(out, op->quoted);
    return op->style == BP_SHOWN ? bp_cap(start, out) : out;
}

static u8 *address_text(u8 *out, const struct bp_op *op, const struct bp_field *field,
                        const u8 *from)
{
    out = bp_quote(out, op->quoted);
    out = op->element == BP_IPV4 ? bp_ipv4(out, from, field->swap) : bp_ipv6(out, from, field->swap);
    return bp_quote(out, op->quoted);
}

static u8 *wide(u8 *out, const struct bp_op *op, struct bp_number n)
{
    return bp_quote(any_number(bp_quote(out, op->quoted), n), op->quoted);
}

static u8 *of_number(struct bp_program *program, u8 *out, const struct bp_op *op,
                     const struct bp_field *field, const u8 *from)
{
    struct bp_number n = bp_quick_number(field, from);
    switch (op->element) {
    case BP_DECIMAL:
        return number(out, n);
    case BP_WIDE:
        return wide(out, op, n);
    case BP_HEX:
        return hex(out, op, n);
    case BP_BOOL:
        return boolean(out, n);
    case BP_LABEL:
        return label(out, op, n);
    case BP_ERRNO:
        return error(out, op, field, n);
    case BP_FLAGS:
        return bp_flags(out, bp_at(op->names), field, op->style, n);
    case BP_UTC:
    case BP_LOCAL:
        return timestamp(program, out, op, field, n);
    case BP_DURATION:
        return bp_duration(out, n, field->scale);
    default:
        return bp_size(out, n);
    }
}

/* One element of `size` bytes at `from`. */
static inline u8 *element(struct bp_program *program, u8 *out, const struct bp_op *op,
                          const u8 *from, u32 size)
{
    const struct bp_field *field = bp_at(op->field);
    switch (op->element) {
    case BP_U8:
        return bp_small(out, *from);
    case BP_U16:
        return bp_u32(out, bp_load16(from));
    case BP_U32:
        return bp_u32(out, bp_load32(from));
    case BP_U64:
        return bp_u64(out, bp_load64(from));
    case BP_S32:
        return bp_s64(out, (s32)bp_load32(from));
    case BP_S64:
        return bp_s64(out, (s64)bp_load64(from));
    case BP_STRING:
        return bp_string(program, out, op->style, from, size);
    case BP_HEXDUMP:
        return dump(out, op, from, size);
    case BP_IPV4:
    case BP_IPV6:
        return address_text(out, op, field, from);
    case BP_REPR:
    case BP_GENERAL:
        return floating(out, op, field, from);
    default:
        return of_number(program, out, op, field, from);
    }
}

/* How many inner lists end, or begin, at this element. */
static u32 borders(const struct bp_field *field, u32 index)
{
    const u32 *dimensions = bp_at(field->dimensions);
    u32 count = 0;
    for (u32 i = 0; i + 1 < field->depth; i++)
        count += index % dimensions[i] == 0;
    return count;
}

static u8 *repeat(u8 *out, u8 c, u32 times)
{
    while (times--)
        *out++ = c;
    return out;
}

static u8 *list(struct bp_program *program, u8 *out, const struct bp_op *op, const u8 *from,
                u32 count)
{
    const struct bp_field *field = bp_at(op->field);
    u32 inner = count ? field->depth - 1u : 0;
    *out = '[';
    out = repeat(out + 1, '[', inner);
    for (u32 i = 0; i < count; i++, from += field->size) {
        if (i) {
            u32 times = borders(field, i);
            out = repeat(out, ']', times);
            *out = ',';
            out = repeat(out + 1, '[', times);
        }
        out = element(program, out, op, from, field->size);
    }
    return repeat(out, ']', inner + 1);
}

static u8 *joined(struct bp_program *program, u8 *out, const struct bp_op *op, const u8 *from,
                  u32 count)
{
    const struct bp_field *field = bp_at(op->field);
    u8 *start = out;
    for (u32 i = 0; i < count; i++, from += field->size) {
        if (i)
            *out++ = ',';
        out = element(program, out, op, from, field->size);
    }
    return bp_cap(start, out);
}

static u8 *elements(struct bp_program *program, u8 *out, const struct bp_op *op, const u8 *record,
                    u32 length)
{
    const struct bp_field *field = bp_at(op->field);
    u32 count = field->count ? field->count : (length - field->offset) / field->size;
    const u8 *from = record + field->offset;
    return op->kind == BP_LIST ? list(program, out, op, from, count)
                               : joined(program, out, op, from, count);
}

/* RFC 4180: in quotes, and each quote twice, where there is a comma or a quote. */
static u8 *requoted(u8 *start, u8 *out)
{
    u32 quotes = 0, commas = 0;
    for (const u8 *at = start; at < out; at++) {
        quotes += *at == '"';
        commas += *at == ',';
    }
    if (!(quotes | commas))
        return out;
    u8 *end = out + quotes + 2, *to = end;
    *--to = '"';
    while (out > start) {
        u8 c = *--out;
        *--to = c;
        if (c == '"')
            *--to = c;
    }
    *--to = '"';
    return end;
}

u8 *bp_value(struct bp_program *program, u8 *out, const struct bp_op *op, const u8 *record,
             u32 length)
{
    if (length < op->end)
        return bp_text(out, op->missing);
    if (op->kind == BP_UNKNOWN)
        return bp_hexdump(out, record, length);
    u8 *start = out;
    if (op->kind == BP_LIST || op->kind == BP_JOINED) {
        out = elements(program, out, op, record, length);
    } else {
        const struct bp_field *field = bp_at(op->field);
        u32 left = length - op->offset;
        u32 size = field->size && field->size < left ? field->size : left;
        out = element(program, out, op, record + op->offset, size);
    }
    return op->requote ? requoted(start, out) : out;
}
