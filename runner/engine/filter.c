#include "filter.h"

/* A number of 128 bits, sign-extended. */
struct wide {
    u64 low, high;
};

static inline u64 load_whole(const struct bp_test *test, const u8 *at)
{
    u16 two;
    u32 four;
    u64 eight;

    switch (test->load) {
    case 1:
    case 3:
        return at[0];
    case 2:
    case 4:
        return (u64)(s64)(signed char)at[0];
    case 5:
    case 6:
    case 7:
    case 8:
        __builtin_memcpy(&two, at, 2);
        if (test->load >= 7)
            two = __builtin_bswap16(two);
        return test->flags & BP_LOAD_SIGNED ? (u64)(s64)(short)two : two;
    case 9:
    case 10:
    case 11:
    case 12:
        __builtin_memcpy(&four, at, 4);
        if (test->load >= 11)
            four = __builtin_bswap32(four);
        return test->flags & BP_LOAD_SIGNED ? (u64)(s64)(s32)four : four;
    default:
        __builtin_memcpy(&eight, at, 8);
        return test->load >= 15 ? __builtin_bswap64(eight) : eight;
    }
}

/* Keeps the lowest `bits` of a number, 1 to 128, and extends its sign. */
static struct wide cut(struct wide number, u32 bits, int is_signed)
{
    u64 *top = bits > 64 ? &number.high : &number.low;
    u32 room = 64 - (bits > 64 ? bits - 64 : bits);

    *top <<= room;
    *top = is_signed ? (u64)((s64)*top >> room) : *top >> room;
    if (bits <= 64)
        number.high = is_signed && (s64)number.low < 0 ? ~0ull : 0;
    return number;
}

static struct wide load_general(const struct bp_test *test, const u8 *at)
{
    struct wide number = {0, 0};
    u32 shift = test->shift;

    for (u32 i = 0; i < test->size; i++) {
        u64 byte = at[test->flags & BP_LOAD_SWAPPED ? test->size - 1 - i : i];

        if (i < 8)
            number.low |= byte << 8 * i;
        else
            number.high |= byte << 8 * (i - 8);
    }
    if (shift >= 64) {
        number.low = number.high >> (shift - 64);
        number.high = 0;
    } else if (shift) {
        number.low = number.low >> shift | number.high << (64 - shift);
        number.high >>= shift;
    }
    return cut(number, test->bits ? test->bits : 8 * test->size, test->flags & BP_LOAD_SIGNED);
}

static inline u64 load(const struct bp_test *test, const u8 *at)
{
    return test->load == BP_LOAD_GENERAL ? load_general(test, at).low : load_whole(test, at);
}

static int in_wide_range(const struct bp_test *test, const u64 *operand, const u8 *at)
{
    struct wide number = load_general(test, at);
    u64 low = number.low - operand[0];
    u64 high = number.high - operand[1] - (number.low < operand[0]);

    return high < operand[3] || (high == operand[3] && low <= operand[2]);
}

/* 1 and 0 as an answer, -1 for what is no number. */
static int in_real_range(const struct bp_test *test, const u8 *at)
{
    u64 bits = load_whole(test, at);
    double number, low, high;

    if (test->size == 4) {
        u32 half = (u32)bits;
        float narrow;

        __builtin_memcpy(&narrow, &half, 4);
        number = narrow;
    } else {
        __builtin_memcpy(&number, &bits, 8);
    }
    if (number != number)
        return -1;
    __builtin_memcpy(&low, &test->first, 8);
    __builtin_memcpy(&high, &test->span, 8);
    return low <= number && number <= high;
}

static int same(const u8 *a, const u8 *b, u32 length)
{
    for (u32 i = 0; i < length; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

/* Knuth, Morris and Pratt: `stays[i]` bytes of the operand are found still when the byte after
 * the i+1 that were found is another one. */
static int contains(const u8 *text, u32 size, const u8 *data, u32 length)
{
    const u16 *stays = (const u16 *)data;
    const u8 *operand = data + 2 * length;
    u32 found = 0;

    if (!length)
        return 1;
    for (u32 i = 0; i < size; i++) {
        while (found && text[i] != operand[found])
            found = stays[found - 1];
        if (text[i] == operand[found] && ++found == length)
            return 1;
    }
    return 0;
}

static int matches(const u8 *text, u32 size, const struct bp_glob *glob)
{
    u64 states = 1;

    for (u32 i = 0; i < size; i++) {
        u64 stays = glob->stays | (text[i] >> 6 == 2 ? glob->continues : 0);

        states = ((states << 1) & glob->takes[text[i]]) | (states & stays);
        if (!states)
            return 0;
    }
    return (states & glob->last) != 0;
}

/* How far a text reaches in a record, its NUL and what is behind it still in it. */
static u32 reach(const struct bp_test *test, u32 length)
{
    u32 size = length - test->offset;

    return test->size && test->size < size ? test->size : size;
}

static u32 until_nul(const u8 *text, u32 size)
{
    u32 end = 0;

    while (end < size && text[end])
        end++;
    return end;
}

static int ask_text(const struct bp_test *test, const u8 *data, const u8 *record, u32 length)
{
    const u8 *text = record + test->offset;
    u32 size = reach(test, length);
    u32 operand = test->length;

    if (test->question == BP_ASK_STARTS || test->question == BP_ASK_EQUALS) {
        /* No NUL is in a text's operand: where it ends is seen on the way. */
        if (size < operand || !same(text, data, operand))
            return 0;
        if (test->question == BP_ASK_STARTS || size == operand)
            return 1;
        return test->flags & BP_LOAD_UNTIL_NUL && !text[operand];
    }
    if (test->flags & BP_LOAD_UNTIL_NUL)
        size = until_nul(text, size);
    if (test->question == BP_ASK_ENDS)
        return size >= operand && same(text + size - operand, data, operand);
    if (test->question == BP_ASK_CONTAINS)
        return contains(text, size, data, operand);
    return matches(text, size, (const struct bp_glob *)data);
}

static inline int ask(const struct bp_test *test, const u8 *data, const u8 *record, u32 length)
{
    const u8 *at = record + test->offset;

    switch (test->question) {
    case BP_ASK_IN_RANGE:
        return load(test, at) - test->first <= test->span;
    case BP_ASK_HAS_BITS:
        return (load(test, at) & test->first) == test->first;
    case BP_ASK_PRESENT:
        return 1;
    case BP_ASK_IN_WIDE_RANGE:
        return in_wide_range(test, (const u64 *)data, at);
    case BP_ASK_IN_REAL_RANGE:
        return in_real_range(test, at);
    default:
        return ask_text(test, data, record, length);
    }
}

int bp_passes(const struct bp_filter *filter, u32 type, const u8 *record, u32 length)
{
    const u8 *image = (const u8 *)filter;
    u32 entry = filter->entry[type];
    const struct bp_test *code = (const struct bp_test *)(image + entry);
    u32 next = 0;

    if (entry >= BP_DROP_ALL)
        return entry == BP_KEEP_ALL;
    while (next < BP_DROP) {
        const struct bp_test *test = code + next;
        int answer = length < test->needs ? -1 : ask(test, image + test->data, record, length);

        next = answer > 0 ? test->yes : answer ? test->missing : test->no;
    }
    return next == BP_KEEP;
}

/* SipHash-2-4 with 128 bits (Aumasson and Bernstein, 2012), of whole words. */
struct sip {
    u64 v[4];
    u64 words;
};

static inline u64 rotated(u64 word, u32 by)
{
    return word << by | word >> (64 - by);
}

static void sip_rounds(u64 v[4], u32 rounds)
{
    while (rounds--) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotated(v[1], 13) ^ v[0];
        v[3] = rotated(v[3], 16) ^ v[2];
        v[0] = rotated(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotated(v[1], 17) ^ v[2];
        v[3] = rotated(v[3], 21) ^ v[0];
        v[2] = rotated(v[2], 32);
    }
}

static void sip_begin(struct sip *sip, const u64 key[2])
{
    sip->v[0] = key[0] ^ 0x736f6d6570736575;
    sip->v[1] = key[1] ^ 0x646f72616e646f6d ^ 0xee;
    sip->v[2] = key[0] ^ 0x6c7967656e657261;
    sip->v[3] = key[1] ^ 0x7465646279746573;
    sip->words = 0;
}

static void sip_word(struct sip *sip, u64 word)
{
    sip->v[3] ^= word;
    sip_rounds(sip->v, 2);
    sip->v[0] ^= word;
    sip->words++;
}

static u64 sip_end(struct sip *sip, u64 mark)
{
    sip->v[mark == 0xee ? 2 : 1] ^= mark;
    sip_rounds(sip->v, 4);
    return sip->v[0] ^ sip->v[1] ^ sip->v[2] ^ sip->v[3];
}

/* A value: what it is, then its words.  What is missing is no text and no number. */
static void sip_part(struct sip *sip, const struct bp_test *part, const u8 *record, u32 length)
{
    const u8 *at = record + part->offset;
    u32 size;

    if (length < part->needs) {
        sip_word(sip, ~0ull);
        return;
    }
    if (part->question == BP_ASK_IN_RANGE) {
        struct wide number = load_general(part, at);

        sip_word(sip, ~1ull);
        sip_word(sip, number.low);
        sip_word(sip, number.high);
        return;
    }
    size = reach(part, length);
    if (part->flags & BP_LOAD_UNTIL_NUL)
        size = until_nul(at, size);
    sip_word(sip, size);
    for (u32 i = 0; i < size; i += 8) {
        u64 word = 0;

        for (u32 j = 0; j < 8 && i + j < size; j++)
            word |= (u64)at[i + j] << 8 * j;
        sip_word(sip, word);
    }
}

/* Remembers a combination; says whether it is new, or there is no room to know. */
static int is_new(struct bp_unique *unique, u64 *slots, u64 low, u64 high)
{
    for (u64 i = low & unique->mask;; i = (i + 1) & unique->mask) {
        u64 *slot = slots + 2 * i;

        if (slot[0] == low && slot[1] == high)
            return 0;
        if (slot[0] | slot[1])
            continue;
        if (unique->used >= unique->most) {
            unique->overflow++;
        } else {
            unique->used++;
            slot[0] = low;
            slot[1] = high;
        }
        return 1;
    }
}

int bp_is_first(struct bp_filter *filter, u32 type, const u8 *record, u32 length)
{
    u8 *image = (u8 *)filter;
    struct bp_unique *unique = (struct bp_unique *)(image + filter->unique);
    const struct bp_parts *parts;
    const struct bp_test *part;
    struct sip sip;
    u64 low, high;

    if (!filter->unique)
        return 1;
    parts = &unique->parts[type];
    part = (const struct bp_test *)(image + parts->at);
    sip_begin(&sip, unique->key);
    for (u32 i = 0; i < parts->count; i++)
        sip_part(&sip, part + i, record, length);
    sip_word(&sip, sip.words << 59);
    low = sip_end(&sip, 0xee);
    high = sip_end(&sip, 0xdd);
    /* All zero is an empty slot. */
    return is_new(unique, (u64 *)(image + unique->slots), low, low | high ? high : 1);
}
