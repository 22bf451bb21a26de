/* The number of a field: up to 16 bytes, or 128 bits that begin inside of the first of 17. */
#include "engine.h"

/* The bytes, 17 at most, as one number of 192 bits, and 64 of nothing for shifts: of these there
 * are less than 128 bits. */
static void gather(u64 *limbs, const struct bp_field *field, const u8 *from)
{
    for (u32 i = 0; i < field->size; i++) {
        u32 place = field->swap & BP_BIG ? field->size - 1 - i : i;
        limbs[place / 8] |= (u64)from[i] << 8 * (place % 8);
    }
}

static u64 shifted(const u64 *limbs, u32 by)
{
    const u64 *limb = limbs + by / 64;
    u32 rest = by % 64;
    return rest ? limb[0] >> rest | limb[1] << (64 - rest) : limb[0];
}

static struct bp_number cut(u64 low, u64 high, u32 bits, u32 is_signed)
{
    u64 mask = bits % 64 ? ~0ull >> (64 - bits % 64) : ~0ull;
    u64 *top = bits > 64 ? &high : &low;
    *top &= mask;
    u32 negative = is_signed && (*top & (mask ^ mask >> 1));
    if (negative)
        *top |= ~mask;
    if (bits <= 64)
        high = negative ? ~0ull : 0;
    struct bp_number number = {low, high, negative};
    return number;
}

struct bp_number bp_number(const struct bp_field *field, const u8 *from)
{
    u64 limbs[4] = {0, 0, 0, 0};
    if (field->size == 8)
        limbs[0] = field->swap & BP_BIG ? __builtin_bswap64(bp_load64(from)) : bp_load64(from);
    else if (field->size == 4)
        limbs[0] = field->swap & BP_BIG ? __builtin_bswap32(bp_load32(from)) : bp_load32(from);
    else
        gather(limbs, field, from);
    u32 bits = field->bits ? field->bits : 8 * field->size;
    return cut(shifted(limbs, field->shift), shifted(limbs, field->shift + 64u), bits,
               field->is_signed);
}
