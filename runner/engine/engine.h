/* What the parts of the engine share.
 *
 * Every printer takes where to write and returns behind what it wrote.  None checks for room:
 * `walk.c` asks for `fixed + factor * length` bytes before a line begins, which `assemble` sums
 * from what each operation can take at most (bpfpack/runner/engine/operations.py), plus BP_SLACK for
 * stores of whole words that reach past what they write.
 */
#ifndef BPFPACK_ENGINE_ENGINE_H
#define BPFPACK_ENGINE_ENGINE_H

#include "table.h"

#define BP_SLACK 32u

#ifdef __wasm__
static inline void *bp_at(address where)
{
    return (void *)where;
}
#else
/* Where a native build has its memory; the caller of bp_run sets it. */
extern u8 *bp_arena;

static inline void *bp_at(address where)
{
    return bp_arena + where;
}
#endif

static inline u64 bp_load64(const u8 *from)
{
    u64 word;
    __builtin_memcpy(&word, from, 8);
    return word;
}

static inline u32 bp_load32(const u8 *from)
{
    u32 word;
    __builtin_memcpy(&word, from, 4);
    return word;
}

static inline u16 bp_load16(const u8 *from)
{
    u16 word;
    __builtin_memcpy(&word, from, 2);
    return word;
}

static inline void bp_store64(u8 *to, u64 word)
{
    __builtin_memcpy(to, &word, 8);
}

static inline void bp_store32(u8 *to, u32 word)
{
    __builtin_memcpy(to, &word, 4);
}

static inline void bp_store16(u8 *to, u16 word)
{
    __builtin_memcpy(to, &word, 2);
}

/* text.c: copies what a text has beyond 16 bytes, by eights. */
void bp_rest(u8 *out, const u8 *from, u32 size);

/* Copies 16 bytes, and more by eights: up to 16 more than it has are read and written. */
static inline u8 *bp_text(u8 *out, struct bp_text text)
{
    const u8 *from = bp_at(text.at);
    bp_store64(out, bp_load64(from));
    bp_store64(out + 8, bp_load64(from + 8));
    if (text.size > 16)
        bp_rest(out, from, text.size);
    return out + text.size;
}

static inline u8 *bp_bytes(u8 *out, const u8 *from, u32 size)
{
    for (u32 i = 0; i < size; i++)
        out[i] = from[i];
    return out + size;
}

/* Writes `quote`, or nothing when it is 0. */
static inline u8 *bp_quote(u8 *out, u8 quote)
{
    *out = quote;
    return out + (quote != 0);
}

/* A number that is read: its value in two's complement, and whether it is below zero. */
struct bp_number {
    u64 low;
    u64 high;
    u32 negative;
};

/* Its distance from zero; the caller knows that it has no more than 64 bits. */
static inline u64 bp_magnitude(struct bp_number n)
{
    return n.negative ? 0 - n.low : n.low;
}

/* load.c: any number of a field, at `from`. */
struct bp_number bp_number(const struct bp_field *field, const u8 *from);

static inline struct bp_number bp_sign_extended(s64 low)
{
    struct bp_number number = {(u64)low, low < 0 ? ~0ull : 0, low < 0};
    return number;
}

/* The same, the common ones in few steps. */
static inline struct bp_number bp_quick_number(const struct bp_field *field, const u8 *from)
{
    struct bp_number number = {0, 0, 0};
    switch (field->quick) {
    case 4:
        number.low = bp_load32(from);
        return number;
    case 8:
        number.low = bp_load64(from);
        return number;
    case BP_QUICK_SIGNED + 4:
        return bp_sign_extended((s32)bp_load32(from));
    case BP_QUICK_SIGNED + 8:
        return bp_sign_extended((s64)bp_load64(from));
    default:
        return bp_number(field, from);
    }
}

/* numbers.c */
u8 *bp_wide_decimal(u8 *out, struct bp_number number);
u8 *bp_hex(u8 *out, u64 low, u64 high);
u8 *bp_hexdump(u8 *out, const u8 *from, u32 size);

/* floats.c: as Python's repr and "%g" write a finite number; `point` asks for one also before an
 * exponent. */
u8 *bp_repr(u8 *out, double number, u32 point);
u8 *bp_general(u8 *out, double number);
u8 *bp_fixed(u8 *out, double number, u32 decimals);

/* text.c */
u32 bp_decode(const u8 **from, const u8 *end);
u8 *bp_characters(const struct bp_program *program, u8 *out, u8 style, const u8 *from,
                  const u8 *end);
u8 *bp_string(const struct bp_program *program, u8 *out, u8 style, const u8 *from, u32 size);
u8 *bp_cap(u8 *start, u8 *out);
u32 bp_width(const struct bp_program *program, const u8 *start, const u8 *end);
u32 bp_code_width(const struct bp_program *program, u32 code);

/* What `bp_decode` says of bytes that are no UTF-8. */
#define BP_BAD 0xffffffffu

/* clock.c: NULL for a time that cannot be said. */
u8 *bp_utc(struct bp_program *program, u8 *out, const struct bp_field *field,
           struct bp_number number);
u8 *bp_local(struct bp_program *program, u8 *out, const struct bp_field *field,
             struct bp_number number);

/* quantities.c */
u8 *bp_duration(u8 *out, struct bp_number number, u32 scale);
u8 *bp_size(u8 *out, struct bp_number number);

/* internet.c */
u8 *bp_ipv4(u8 *out, const u8 *from, u8 swap);
u8 *bp_ipv6(u8 *out, const u8 *from, u8 swap);

/* names.c */
const struct bp_text *bp_label(const struct bp_labels *labels, u64 low, u64 high);
u8 *bp_flags(u8 *out, const struct bp_flags *flags, const struct bp_field *field, u8 style,
             struct bp_number number);

/* values.c: the value of one operation, or what stands for a missing one. */
u8 *bp_value(struct bp_program *program, u8 *out, const struct bp_op *op, const u8 *record,
             u32 length);

/* lines.c, columns.c: one record. */
u8 *bp_line(struct bp_program *program, u8 *out, const struct bp_type *type, const u8 *record,
            u32 length);
u8 *bp_row(struct bp_program *program, u8 *out, const struct bp_type *type, const u8 *record,
           u32 length);

#endif
