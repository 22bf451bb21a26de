/* The values of most events in few steps: what is rarer goes to values.c. */
#ifndef BPFPACK_ENGINE_QUICK_H
#define BPFPACK_ENGINE_QUICK_H

#include "decimal.h"
#include "safe.h"

static inline u8 *bp_quick_hex(u8 *out, u8 quote, u64 number)
{
    out = bp_quote(out, quote);
    bp_store16(out, '0' | 'x' << 8);
    return bp_quote(bp_hex64(out + 2, number), quote);
}

/* A text in quotes, of which the first 16 bytes are all, or all that there is. */
static inline u8 *bp_quick_string(const struct bp_program *program, u8 *out, u8 style,
                                  const u8 *from, u32 size)
{
    *out++ = '"';
    u32 safe = bp_safe16(out, from);
    out += safe;
    if (safe < size && from[safe])
        out = bp_characters(program, out, style, from + safe, from + size);
    *out++ = '"';
    return out;
}

/* The same without quotes, in 16 bytes and not more; 0 where it is not that simple. */
static inline u8 *bp_quick_cell(u8 *out, const u8 *from, u32 size, u32 requote)
{
    u32 safe = bp_safe16(out, from);
    if ((safe < size && from[safe]) || (requote && bp_has_comma16(from)))
        return 0;
    return out + safe;
}

static inline u8 *bp_quick_label(u8 *out, const struct bp_op *op, u64 number)
{
    const struct bp_labels *labels = bp_at(op->names);
    u64 place = number - (u64)labels->first;
    if (!labels->dense || place >= labels->count)
        return 0;
    const struct bp_text *text = (const struct bp_text *)bp_at(labels->dense_at) + place;
    return text->at ? bp_text(out, *text) : 0;
}

/* 0: it is not one of the quick ones. */
static inline u8 *bp_quick_field(const struct bp_program *program, u8 *out, const struct bp_op *op,
                                 const u8 *from, u32 left)
{
    const struct bp_field *field = bp_at(op->field);
    if (op->kind == BP_STRING) {
        if (field->size < 16 || left < field->size)
            return 0;
        return op->style == BP_JSON || op->style == BP_YAML
                   ? bp_quick_string(program, out, op->style, from, field->size)
                   : bp_quick_cell(out, from, field->size, op->requote);
    }
    u64 number = field->quick == 4 ? bp_load32(from) : field->quick == 8 ? bp_load64(from) : ~0ull;
    if (number >> 63)
        return 0;
    return op->kind == BP_HEX ? bp_quick_hex(out, op->quoted, number)
                              : bp_quick_label(out, op, number);
}

static inline u8 *bp_quick(struct bp_program *program, u8 *out, const struct bp_op *op,
                           const u8 *record, u32 length)
{
    const u8 *from = record + op->offset;
    u8 *end;
    if (length < op->end)
        return bp_text(out, op->missing);
    switch (op->kind) {
    case BP_U8:
        return bp_small(out, *from);
    case BP_U16:
        return bp_small(out, bp_load16(from));
    case BP_U32:
        return bp_u32(out, bp_load32(from));
    case BP_U64:
        return bp_u64(out, bp_load64(from));
    case BP_S32:
        return bp_s64(out, (s32)bp_load32(from));
    case BP_S64:
        return bp_s64(out, (s64)bp_load64(from));
    case BP_HEX:
    case BP_LABEL:
    case BP_STRING:
        end = bp_quick_field(program, out, op, from, length - op->offset);
        if (end)
            return end;
        break;
    default:
        break;
    }
    return bp_value(program, out, op, record, length);
}

#endif
