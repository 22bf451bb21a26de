/* A record as the texts of its operations, one after the other. */
#include "quick.h"

/* What tells elements of a JSON array apart. */
static u8 *separated(struct bp_program *program, u8 *out)
{
    struct bp_text text = program->any ? program->further : program->first;
    program->any = 1;
    return bp_text(out, text);
}

u8 *bp_line(struct bp_program *program, u8 *out, const struct bp_type *type, const u8 *record,
            u32 length)
{
    const struct bp_op *op = bp_at(type->ops), *last = op + type->op_count - 1;
    if (program->further.size)
        out = separated(program, out);
    for (; op < last; op++) {
        out = bp_text(out, op->before);
        out = bp_quick(program, out, op, record, length);
    }
    return bp_text(out, last->before);
}
