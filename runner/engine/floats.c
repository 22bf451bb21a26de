/* Floating point numbers as Python writes them, exactly: on numbers of any size.
 *
 * The digits are those of R / S, two large integers whose ratio is the number, scaled by a power
 * of ten to begin with one digit (Steele and White, "How to print floating-point numbers
 * accurately", 1990).  Slow, and floats in events are rare.
 */
#include "decimal.h"

/* 2^1075 and a few factors more. */
#define LIMBS 38

struct big {
    u32 limbs[LIMBS];
    u32 size;
};

static void set(struct big *a, u64 n)
{
    a->limbs[0] = (u32)n;
    a->limbs[1] = (u32)(n >> 32);
    a->size = n >> 32 ? 2 : n ? 1 : 0;
}

static void multiply(struct big *a, u32 by)
{
    u64 carry = 0;
    for (u32 i = 0; i < a->size; i++) {
        carry += (u64)a->limbs[i] * by;
        a->limbs[i] = (u32)carry;
        carry >>= 32;
    }
    if (carry)
        a->limbs[a->size++] = (u32)carry;
}

static void power_of_ten(struct big *a, u32 times)
{
    for (; times >= 9; times -= 9)
        multiply(a, 1000000000);
    while (times--)
        multiply(a, 10);
}

static void power_of_two(struct big *a, u32 times)
{
    for (; times >= 31; times -= 31)
        multiply(a, 0x80000000u);
    multiply(a, 1u << times);
}

static s32 compare(const struct big *a, const struct big *b)
{
    if (a->size != b->size)
        return a->size < b->size ? -1 : 1;
    for (u32 i = a->size; i-- > 0;)
        if (a->limbs[i] != b->limbs[i])
            return a->limbs[i] < b->limbs[i] ? -1 : 1;
    return 0;
}

static void trim(struct big *a)
{
    while (a->size && !a->limbs[a->size - 1])
        a->size--;
}

/* a - b, of which a is not less. */
static void subtract(struct big *a, const struct big *b)
{
    u64 borrow = 0;
    for (u32 i = 0; i < a->size; i++) {
        u64 less = (i < b->size ? b->limbs[i] : 0) + borrow;
        borrow = a->limbs[i] < less;
        a->limbs[i] = (u32)(a->limbs[i] - less);
    }
    trim(a);
}

static struct big sum(const struct big *a, const struct big *b)
{
    struct big c;
    u64 carry = 0;
    u32 size = a->size > b->size ? a->size : b->size;
    for (u32 i = 0; i < size; i++) {
        carry += (u64)(i < a->size ? a->limbs[i] : 0) + (i < b->size ? b->limbs[i] : 0);
        c.limbs[i] = (u32)carry;
        carry >>= 32;
    }
    c.size = size;
    if (carry)
        c.limbs[c.size++] = (u32)carry;
    return c;
}

/* The next digit of r / s, which is below 10; r becomes ten times the rest. */
static u8 next_digit(struct big *r, const struct big *s)
{
    u8 digit = '0';
    while (compare(r, s) >= 0) {
        subtract(r, s);
        digit++;
    }
    return digit;
}

/* A finite number above zero: `mantissa` * 2^`exponent`. */
struct parts {
    u64 mantissa;
    s32 exponent;
    u32 is_boundary; /* the next number below is only half as far away as the next above */
};

static struct parts parts_of(double number)
{
    u64 bits;
    __builtin_memcpy(&bits, &number, 8);
    u64 fraction = bits & 0xfffffffffffffu;
    s32 biased = (s32)(bits >> 52 & 0x7ff);
    struct parts parts = {fraction, -1074, 0};
    if (biased) {
        parts.mantissa |= 1ull << 52;
        parts.exponent = biased - 1075;
        parts.is_boundary = !fraction && biased > 1;
    }
    return parts;
}

/* The number as r / s, and how far it is to the middle of the next one below and above. */
struct ratio {
    struct big r, s, below, above;
};

static void make_ratio(struct ratio *q, struct parts parts)
{
    u32 boundary = parts.is_boundary;
    set(&q->r, parts.mantissa);
    set(&q->s, 1);
    set(&q->below, 1);
    if (parts.exponent > 0) {
        power_of_two(&q->r, (u32)parts.exponent);
        power_of_two(&q->below, (u32)parts.exponent);
    } else {
        power_of_two(&q->s, (u32)-parts.exponent);
    }
    q->above = q->below;
    power_of_two(&q->above, boundary);
    power_of_two(&q->r, 1 + boundary);
    power_of_two(&q->s, 1 + boundary);
}

/* Scales to 10^-`power`. */
static void scale(struct ratio *q, s32 power)
{
    if (power >= 0) {
        power_of_ten(&q->s, (u32)power);
        return;
    }
    power_of_ten(&q->r, (u32)-power);
    power_of_ten(&q->below, (u32)-power);
    power_of_ten(&q->above, (u32)-power);
}

static void times_ten(struct ratio *q)
{
    multiply(&q->r, 10);
    multiply(&q->below, 10);
    multiply(&q->above, 10);
}

/* The power of ten of the first digit, or one less: log10(2) is about 78913 / 2^18, which gives the
 * right power for each power of two that there is. */
static s32 estimate(struct parts parts)
{
    s32 bits = 64 - (s32)__builtin_clzll(parts.mantissa) + parts.exponent - 1;
    return (s32)(bits * 78913ll >> 18);
}

/* Digits, and the power of ten of the first. */
struct digits {
    u8 text[20];
    u32 count;
    s32 power;
};

/* One more in the last place, over as many nines as there are. */
static void round_up(struct digits *d)
{
    while (d->count && d->text[d->count - 1] == '9')
        d->count--;
    if (d->count) {
        d->text[d->count - 1]++;
        return;
    }
    d->text[d->count++] = '1';
    d->power++;
}

/* The shortest digits that are nearer to this number than to any other (Gay's dtoa, mode 0). */
static struct digits shortest(double number)
{
    struct parts parts = parts_of(number);
    struct ratio q;
    struct digits d = {{0}, 0, estimate(parts)};
    u32 even = !(parts.mantissa & 1);
    make_ratio(&q, parts);
    scale(&q, d.power);
    struct big top = sum(&q.r, &q.above), ten = q.s;
    multiply(&ten, 10);
    if (compare(&top, &ten) >= (even ? 0 : 1)) {
        multiply(&q.s, 10);
        d.power++;
    }
    for (;;) {
        u8 digit = next_digit(&q.r, &q.s);
        s32 low = compare(&q.r, &q.below);
        top = sum(&q.r, &q.above);
        s32 high = compare(&top, &q.s);
        d.text[d.count++] = digit;
        u32 is_low = low < 0 || (low == 0 && even), is_high = high > 0 || (high == 0 && even);
        if (is_low && high > 0) {
            multiply(&q.r, 2);
            s32 half = compare(&q.r, &q.s);
            if (half > 0 || (half == 0 && (digit & 1)))
                round_up(&d);
            return d;
        }
        if (is_high && !is_low)
            round_up(&d);
        if (is_low || is_high)
            return d;
        times_ten(&q);
    }
}

/* So many digits, to even where the number lies in the middle. */
static struct digits rounded(double number, u32 count)
{
    struct parts parts = parts_of(number);
    struct ratio q;
    struct digits d = {{0}, 0, estimate(parts)};
    make_ratio(&q, parts);
    scale(&q, d.power);
    struct big ten = q.s;
    multiply(&ten, 10);
    if (compare(&q.r, &ten) >= 0) {
        q.s = ten;
        d.power++;
    }
    while (d.count < count) {
        d.text[d.count++] = next_digit(&q.r, &q.s);
        multiply(&q.r, 10);
    }
    multiply(&q.s, 5);
    s32 half = compare(&q.r, &q.s);
    if (half > 0 || (half == 0 && (d.text[count - 1] & 1)))
        round_up(&d);
    while (d.count > 1 && d.text[d.count - 1] == '0')
        d.count--;
    return d;
}

static u8 *exponent(u8 *out, s32 power)
{
    *out++ = 'e';
    *out++ = power < 0 ? '-' : '+';
    u32 n = (u32)(power < 0 ? -power : power);
    if (n < 10)
        *out++ = '0';
    return bp_small(out, n);
}

static u8 *scientific(u8 *out, const struct digits *d, u32 point)
{
    *out++ = d->text[0];
    if (d->count > 1) {
        *out++ = '.';
        out = bp_bytes(out, d->text + 1, d->count - 1);
    } else if (point) {
        out = bp_bytes(out, (const u8 *)".0", 2);
    }
    return exponent(out, d->power);
}

static u8 *zeroes(u8 *out, s32 count)
{
    while (count-- > 0)
        *out++ = '0';
    return out;
}

/* Without an exponent; `whole` numbers end with ".0" where that is asked for. */
static u8 *positional(u8 *out, const struct digits *d, u32 point)
{
    s32 before = d->power + 1, count = (s32)d->count;
    if (before <= 0) {
        *out++ = '0';
        *out++ = '.';
        return bp_bytes(zeroes(out, -before), d->text, d->count);
    }
    if (count > before) {
        out = bp_bytes(out, d->text, (u32)before);
        *out++ = '.';
        return bp_bytes(out, d->text + before, (u32)(count - before));
    }
    out = zeroes(bp_bytes(out, d->text, d->count), before - count);
    return point ? bp_bytes(out, (const u8 *)".0", 2) : out;
}

/* Writes the sign; returns the number without it. */
static double unsign(u8 **out, double number)
{
    u64 bits;
    __builtin_memcpy(&bits, &number, 8);
    if (bits >> 63)
        *(*out)++ = '-';
    bits &= ~0ull >> 1;
    __builtin_memcpy(&number, &bits, 8);
    return number;
}

u8 *bp_repr(u8 *out, double number, u32 point)
{
    number = unsign(&out, number);
    if (number < 1e15 && number == (double)(u64)number)
        return bp_bytes(bp_u64(out, (u64)number), (const u8 *)".0", 2);
    struct digits d = shortest(number);
    return d.power < -4 || d.power >= 16 ? scientific(out, &d, point) : positional(out, &d, 1);
}

u8 *bp_general(u8 *out, double number)
{
    number = unsign(&out, number);
    if (number < 1e6 && number == (double)(u64)number)
        return bp_u64(out, (u64)number);
    struct digits d = rounded(number, 6);
    return d.power < -4 || d.power >= 6 ? scientific(out, &d, 0) : positional(out, &d, 0);
}

/* A number from 1/2 up to 2^20, so that its exponent is from -53 up to -33. */
u8 *bp_fixed(u8 *out, double number, u32 decimals)
{
    static const u32 powers[] = {1, 10, 100};
    struct parts parts = parts_of(number);
    u32 shift = (u32)-parts.exponent;
    u64 scaled = parts.mantissa * powers[decimals], half = 1ull << (shift - 1);
    u64 whole = scaled >> shift, rest = scaled & (2 * half - 1);
    if (rest > half || (rest == half && (whole & 1)))
        whole++;
    out = bp_u64(out, whole / powers[decimals]);
    if (!decimals)
        return out;
    *out++ = '.';
    u32 fraction = (u32)(whole % powers[decimals]);
    if (decimals == 2)
        *out++ = (u8)('0' + fraction / 10);
    *out++ = (u8)('0' + fraction % 10);
    return out;
}
