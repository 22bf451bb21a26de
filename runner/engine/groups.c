/* Groups of a window: see groups.h. */
#include "groups.h"
#include "engine.h"

/* Bytes of a key at most; `tables.py` knows it. */
#define KEY 1024u

#define ONES 0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

/* The bytes of a word before its first NUL; all of them have no bit of `*nul`. */
static inline u64 until_nul(u64 word, u64 *nul)
{
    *nul = (word - ONES) & ~word & HIGHS;
    /* The lowest bit that is set is that of the first NUL, whatever those above it say. */
    return *nul ? word & (((*nul & (0 - *nul)) >> 7) - 1) : word;
}

static void text(u8 *to, const u8 *from, u32 size)
{
    u32 i = 0;
    for (; i + 8 <= size; i += 8) {
        u64 nul;
        bp_store64(to + i, until_nul(bp_load64(from + i), &nul));
        if (nul)
            return;
    }
    for (; i < size && from[i]; i++)
        to[i] = from[i];
}

static void bytes(u8 *to, const struct bp_part *part, const u8 *from)
{
    if (part->size > 16) {
        bp_bytes(to, from, part->size);
        return;
    }
    const u8 *own = (const u8 *)part->own;
    for (u32 i = 0; i < part->size; i++)
        to[i] = from[i] & own[i];
}

/* A value into a key that is all zero. */
static inline void put(u8 *key, const struct bp_part *part, const u8 *record, u32 length)
{
    u32 left = length - part->offset;
    u8 *to = key + part->to;
    const u8 *from = record + part->offset;
    if (length < part->needs)
        *(u32 *)(void *)key |= part->missing;
    else if (part->is_text)
        text(to, from, part->size < left ? part->size : left);
    else if (part->size == 4)
        bp_store32(to, bp_load32(from) & (u32)part->own[0]);
    else if (part->size == 8)
        bp_store64(to, bp_load64(from) & part->own[0]);
    else
        bytes(to, part, from);
}

static inline u64 rotated(u64 word, u32 by)
{
    return word << by | word >> (64 - by);
}

/* SipHash-1-3 (Aumasson and Bernstein, 2012) of whole words, without their number: all keys of a
 * window have as many. */
static u64 hash(const u64 *secret, const u64 *words, u32 count)
{
    u64 a = secret[0] ^ 0x736f6d6570736575ull, b = secret[1] ^ 0x646f72616e646f6dull;
    u64 c = secret[0] ^ 0x6c7967656e657261ull, d = secret[1] ^ 0x7465646279746573ull;
    for (u32 i = 0; i < count + 3; i++) {
        u64 word = i < count ? words[i] : 0;
        d ^= word;
        c ^= i == count ? 0xff : 0;
        a += b;
        c += d;
        b = rotated(b, 13) ^ a;
        d = rotated(d, 16) ^ c;
        a = rotated(a, 32);
        c += b;
        a += d;
        b = rotated(b, 17) ^ c;
        d = rotated(d, 21) ^ a;
        c = rotated(c, 32);
        a ^= word;
    }
    return a ^ b ^ c ^ d;
}

static struct bp_group *group(const struct bp_groups *groups, u32 index)
{
    u8 *all = bp_at(groups->groups);
    return (struct bp_group *)(void *)(all + (u64)index * groups->stride);
}

static inline u32 same(const u64 *a, const u64 *b, u32 count)
{
    for (u32 i = 0; i < count; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

/* The group of a key, which is made when it is new and there is room. */
static struct bp_group *find(struct bp_groups *groups, const u64 *key)
{
    u32 words = groups->key_size / 8;
    u64 hashed = hash(groups->secret, key, words);
    u32 *slots = bp_at(groups->slots);
    for (u64 i = hashed & groups->mask;; i = (i + 1) & groups->mask) {
        struct bp_group *found = group(groups, slots[i]);
        if (slots[i] && found->hash == hashed && same((const u64 *)(void *)found->key, key, words))
            return found;
        if (slots[i])
            continue;
        if (groups->used >= groups->most)
            return group(groups, 0);
        slots[i] = ++groups->used;
        found = group(groups, slots[i]);
        found->hash = hashed;
        bp_bytes((u8 *)found->key, (const u8 *)key, groups->key_size);
        return found;
    }
}

/* Counts a number that is 2^power and, in 63 bits, so much more. */
static void sketch(struct bp_groups *groups, const struct bp_measure *measure,
                   struct bp_sums *sums, s32 power, u64 more, u32 negative)
{
    u32 place = (u32)(power - measure->first);
    if (power < measure->first || place >= measure->powers) {
        groups->lacking++;
        return;
    }
    u32 *page = sums->pages + place + (negative ? measure->powers : 0);
    if (!*page) {
        if (groups->page_used >= groups->page_most) {
            groups->lacking++;
            return;
        }
        *page = ++groups->page_used;
    }
    u32 bucket = groups->guesses[more >> 56];
    bucket += more >= groups->bounds[bucket + 1];
    u32 *count = (u32 *)bp_at(groups->pages) + (u64)(*page - 1) * BP_BUCKETS + bucket;
    if (*count == 0xffffffffu)
        groups->lacking++;
    else
        ++*count;
}

static inline void add_whole(struct bp_groups *groups, const struct bp_measure *measure,
                             struct bp_sums *sums, const struct bp_field *field, const u8 *from)
{
    struct bp_number n = bp_quick_number(field, from);
    u64 bias = field->is_signed ? 1ull << 63 : 0;
    u64 before = sums->sum.low;
    if (!sums->count++) {
        sums->least = sums->most = n.low;
    } else {
        if ((n.low ^ bias) < (sums->least ^ bias))
            sums->least = n.low;
        if ((n.low ^ bias) > (sums->most ^ bias))
            sums->most = n.low;
    }
    sums->sum.low += n.low;
    sums->sum.high += n.high + (sums->sum.low < before);
    if (!measure->powers)
        return;
    u64 size = bp_magnitude(n);
    if (!size) {
        sums->zeros++;
        return;
    }
    u32 above = (u32)__builtin_clzll(size);
    sketch(groups, measure, sums, 63 - (s32)above, size << above & ~(1ull << 63), n.negative);
}

static double real(const struct bp_field *field, const u8 *from)
{
    u64 bits = bp_number(field, from).low;
    double wide;
    if (field->size == 4) {
        u32 half = (u32)bits;
        float narrow;
        __builtin_memcpy(&narrow, &half, 4);
        return narrow;
    }
    __builtin_memcpy(&wide, &bits, 8);
    return wide;
}

static double as_real(u64 bits)
{
    double number;
    __builtin_memcpy(&number, &bits, 8);
    return number;
}

static u64 as_bits(double number)
{
    u64 bits;
    __builtin_memcpy(&bits, &number, 8);
    return bits;
}

/* What is no finite number is missing. */
static void add_real(struct bp_groups *groups, const struct bp_measure *measure,
                     struct bp_sums *sums, const struct bp_field *field, const u8 *from)
{
    double number = real(field, from);
    u64 bits = as_bits(number);
    if (number - number != 0)
        return;
    if (!sums->count++) {
        sums->least = sums->most = bits;
    } else {
        if (number < as_real(sums->least))
            sums->least = bits;
        if (number > as_real(sums->most))
            sums->most = bits;
    }
    sums->sum.low = as_bits(as_real(sums->sum.low) + number);
    if (!measure->powers)
        return;
    if (number == 0)
        sums->zeros++;
    else
        /* Those too small for a leading one have the least power, which no sketch has. */
        sketch(groups, measure, sums, (s32)(bits >> 52 & 0x7ff) - 1023, bits << 12 >> 1,
               (u32)(bits >> 63));
}

void bp_group(struct bp_groups *groups, u32 type, const u8 *record, u32 length)
{
    const struct bp_grouped *how = (const struct bp_grouped *)bp_at(groups->types) + type;
    const struct bp_part *parts = bp_at(how->parts);
    const struct bp_measure *measures = bp_at(how->measures);
    u64 key[KEY / 8];
    for (u32 i = 0; i < groups->key_size / 8; i++)
        key[i] = 0;
    key[0] = how->first;
    for (u32 i = 0; i < how->part_count; i++)
        put((u8 *)key, parts + i, record, length);
    struct bp_group *found = find(groups, key);
    found->count++;
    for (u32 i = 0; i < how->measure_count; i++) {
        const struct bp_measure *measure = measures + i;
        if (length < measure->needs)
            continue;
        struct bp_sums *sums = (struct bp_sums *)(void *)((u8 *)found + measure->at);
        const struct bp_field *field = bp_at(measure->field);
        if (field->base == BP_FLOAT)
            add_real(groups, measure, sums, field, record + measure->offset);
        else
            add_whole(groups, measure, sums, field, record + measure->offset);
    }
}
