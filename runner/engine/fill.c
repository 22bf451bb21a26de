/* One record into the slots of columns. */
#include "fill.h"
#include "engine.h"

static inline void mark(struct bp_column *column, u32 slot, u32 is_there)
{
    u8 *byte = (u8 *)bp_at(column->present) + slot / 8;
    u8 bit = (u8)(1u << slot % 8);
    if (!is_there) {
        column->nulls = 1;
        *byte &= (u8)~bit;
    } else if (column->nulls) {
        *byte |= bit;
    }
}

static inline void put(struct bp_column *column, u32 slot, u64 number)
{
    u8 *to = (u8 *)bp_at(column->slots) + slot * column->width;
    switch (column->width) {
    case 1:
        *to = (u8)number;
        break;
    case 2:
        bp_store16(to, (u16)number);
        break;
    case 4:
        bp_store32(to, (u32)number);
        break;
    default:
        bp_store64(to, number);
    }
}

static inline void copy(struct bp_column *column, u32 slot, const u8 *from)
{
    u8 *to = (u8 *)bp_at(column->slots) + slot * column->width;
    switch (column->width) {
    case 1:
        *to = *from;
        break;
    case 2:
        bp_store16(to, bp_load16(from));
        break;
    case 4:
        bp_store32(to, bp_load32(from));
        break;
    default:
        bp_store64(to, bp_load64(from));
    }
    if (column->nulls)
        mark(column, slot, 1);
}

/* Whether the time is from 1970 on and has 63 bits; products and sums may have more than 64. */
static u32 moment(const struct bp_program *program, const struct bp_field *field,
                  struct bp_number number, u64 *moment)
{
    /* The product by halves: no machine has to know numbers of 128 bits. */
    u64 n = bp_magnitude(number), low = (u32)n * (u64)field->scale;
    u64 high = (n >> 32) * field->scale + (low >> 32);
    s64 offset = program->clocks[field->clock];
    u64 ahead = offset < 0 ? 0 - (u64)offset : (u64)offset;
    if (high >> 32)
        return 0; /* further away than any offset can bring back */
    n = high << 32 | (u32)low;
    if (number.negative && offset < 0)
        return 0;
    if (number.negative || offset < 0) {
        u64 from = number.negative ? ahead : n, less = number.negative ? n : ahead;
        *moment = from - less;
        return less <= from && !(*moment >> 63);
    }
    *moment = n + ahead;
    return *moment >= n && !(*moment >> 63);
}

/* The first byte of a word that is a NUL or no ASCII is marked right. */
static inline u64 stops(u64 word)
{
    const u64 ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    return (word | ((word - ones) & ~word)) & tops;
}

static u8 *text(u8 *out, const u8 *from, const u8 *end)
{
    while (from < end) {
        if (end - from >= 8) {
            u64 word = bp_load64(from), found = stops(word);
            bp_store64(out, word);
            u32 plain = found ? (u32)__builtin_ctzll(found) / 8 : 8;
            out += plain;
            from += plain;
            if (!found)
                continue;
        }
        const u8 *start = from;
        if (!*from)
            break;
        if (bp_decode(&from, end) == BP_BAD)
            out = bp_bytes(out, (const u8 *)"\xef\xbf\xbd", 3);
        else
            out = bp_bytes(out, start, (u32)(from - start));
    }
    return out;
}

static u8 *write(u8 *out, const struct bp_cell *cell, const u8 *from, u32 size)
{
    const struct bp_field *field = bp_at(cell->field);
    switch (cell->kind) {
    case BP_SLOT_TEXT:
        return text(out, from, from + size);
    case BP_SLOT_BYTES:
        return bp_bytes(out, from, size);
    case BP_SLOT_IPV4:
        return bp_ipv4(out, from, field->swap);
    case BP_SLOT_IPV6:
        return bp_ipv6(out, from, field->swap);
    default:
        return bp_wide_decimal(out, bp_number(field, from));
    }
}

/* A byte of text becomes three at most; no number or address has more than 64 characters. */
static u64 room(const struct bp_cell *cell, u32 size)
{
    u64 most = cell->kind == BP_SLOT_TEXT ? 3ull * size : size;
    return (most < 64 ? 64 : most) + BP_SLACK;
}

static u32 is_full(struct bp_column *column, const struct bp_cell *cell, u32 slot, const u8 *from,
                   u32 size)
{
    u32 *ends = bp_at(column->slots);
    u32 at = ends[slot];
    if (room(cell, size) > column->size - at)
        return 1;
    u8 *out = (u8 *)bp_at(column->data) + at;
    ends[slot + 1] = at + (u32)(write(out, cell, from, size) - out);
    mark(column, slot, 1);
    return 0;
}

/* One value, `size` bytes at `from`; says whether there was no room. */
static inline u32 element(const struct bp_program *program, struct bp_column *column,
                          const struct bp_cell *cell, u32 slot, const u8 *from, u32 size)
{
    const struct bp_field *field = bp_at(cell->field);
    struct bp_number number;
    u64 value = 0;
    u32 is_there = 1;
    switch (cell->kind) {
    case BP_SLOT_NUMBER:
        value = bp_quick_number(field, from).low;
        break;
    case BP_SLOT_BOOL:
        number = bp_number(field, from);
        value = (number.low | number.high) != 0;
        break;
    case BP_SLOT_TIME:
        is_there = moment(program, field, bp_quick_number(field, from), &value);
        break;
    default:
        return is_full(column, cell, slot, from, size);
    }
    put(column, slot, is_there ? value : 0);
    mark(column, slot, is_there);
    return 0;
}

static u32 list(const struct bp_program *program, struct bp_column *column,
                const struct bp_cell *cell, u32 row, const u8 *record, u32 length)
{
    const struct bp_field *field = bp_at(cell->field);
    struct bp_column *elements = bp_at(column->data);
    u32 *ends = bp_at(column->slots);
    u32 count = field->count ? field->count : (length - field->offset) / field->size;
    u32 slot = ends[row];
    const u8 *from = record + field->offset;
    if (count > column->size - slot)
        return 1;
    for (u32 i = 0; i < count; i++, from += field->size)
        if (element(program, elements, cell, slot + i, from, field->size))
            return 1;
    ends[row + 1] = slot + count;
    mark(column, row, 1);
    return 0;
}

static void nothing(struct bp_column *column, u32 row)
{
    u32 *ends = bp_at(column->slots);
    if (column->width)
        put(column, row, 0);
    else
        ends[row + 1] = ends[row];
    mark(column, row, 0);
}

u32 bp_fill(const struct bp_program *program, u32 type, const u8 *record, u32 length, u32 row)
{
    const struct bp_fill *fill = bp_at(program->groups);
    struct bp_column *column = bp_at(fill->columns), *end = column + fill->count;
    const struct bp_cell *cell = (const struct bp_cell *)bp_at(fill->cells) + type * fill->count;
    for (; column < end; column++, cell++) {
        if (length < cell->end) {
            nothing(column, row);
        } else if (cell->kind == BP_SLOT_PLAIN) {
            copy(column, row, record + cell->offset);
        } else if (cell->kind == BP_SLOT_TYPE) {
            put(column, row, cell->offset);
            mark(column, row, 1);
        } else if (cell->is_list) {
            if (list(program, column, cell, row, record, length))
                return 1;
        } else {
            const struct bp_field *field = bp_at(cell->field);
            u32 left = length - cell->offset;
            u32 size = field->size && field->size < left ? field->size : left;
            if (element(program, column, cell, row, record + cell->offset, size))
                return 1;
        }
    }
    return 0;
}
