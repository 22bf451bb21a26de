/* The values of most events, without a call and without a look at their field. */
#ifndef BPFPACK_ENGINE_QUICK_H
#define BPFPACK_ENGINE_QUICK_H

#include "decimal.h"

static inline u8 *bp_quick(struct bp_program *program, u8 *out, const struct bp_op *op,
                           const u8 *record, u32 length)
{
    const u8 *from = record + op->offset;
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
    default:
        return bp_value(program, out, op, record, length);
    }
}

#endif
