/* Which records are kept: `--filter`, compiled to instructions by bpfpack.runner.filters.bytecode.
 *
 * The image, which `--unique` writes to, begins with a struct bp_filter; every place in it counts from there.
 */
#ifndef BPFPACK_ENGINE_FILTER_H
#define BPFPACK_ENGINE_FILTER_H

#include "call.h"

enum bp_question {
    BP_ASK_IN_RANGE = 0,      /* first <= number <= first + span, modulo 2^64 */
    BP_ASK_IN_WIDE_RANGE = 1, /* the same of 128 bits: the operand has both, 16 bytes each */
    BP_ASK_IN_REAL_RANGE = 2, /* first and span are the bits of two doubles; of NaN nothing is known */
    BP_ASK_HAS_BITS = 3,      /* all bits of `first` */
    BP_ASK_PRESENT = 4,
    BP_ASK_EQUALS = 5, /* these compare a text with the operand */
    BP_ASK_STARTS = 6,
    BP_ASK_ENDS = 7,
    BP_ASK_CONTAINS = 8, /* u16 for each byte of the operand, then the operand: see filter.c */
    BP_ASK_GLOB = 9,     /* a struct bp_glob */
};

/* How a number is read.  Whole ones of 1 to 8 bytes: 1 + 4 * log2(size)
 * + BP_LOAD_SIGNED + BP_LOAD_SWAPPED. */
enum {
    BP_LOAD_GENERAL = 0, /* any size to 16 bytes, bit-fields */
    /* also in bp_test.flags */
    BP_LOAD_SIGNED = 1,
    BP_LOAD_SWAPPED = 2, /* big-endian */
    BP_LOAD_UNTIL_NUL = 4,
};

/* Where to go on: the index of an instruction of this type that lies ahead, or one of these. */
enum { BP_KEEP = 0xffff, BP_DROP = 0xfffe };

struct bp_test {
    u8 question;
    u8 load;
    u8 shift; /* of a bit-field, as in bpfpack.spec.record.Field */
    u8 bits;
    u16 yes;
    u16 no;
    u16 missing;
    u16 flags;
    u32 offset;
    u32 size;   /* 0: to the end of the record */
    u32 needs;  /* missing in a record of fewer bytes */
    u32 data;   /* place of the operand */
    u32 length; /* of a text */
    u64 first;
    u64 span;
};

struct bp_glob {
    u64 stays;     /* states that stay on any byte */
    u64 continues; /* on one that continues a character of UTF-8 */
    u64 last;
    u64 takes[256]; /* states that a byte leads to */
};

/* Of `--unique`: which values of a record must not have been seen together. */
struct bp_parts {
    u32 at; /* place of struct bp_test, of which only where and how to read counts */
    u32 count;
};

struct bp_unique {
    u64 key[2];   /* of SipHash: nobody can make two combinations that look like one */
    u64 overflow; /* records that were shown though there was no room to remember them */
    u32 used;
    u32 most;
    u32 mask;  /* slots, a power of two, less one */
    u32 slots; /* place of two words each, zero when empty */
    struct bp_parts parts[]; /* as entry[] below */
};

struct bp_filter {
    u32 size; /* of the image */
    u32 types;
    u32 unique; /* place of a struct bp_unique, or 0 */
    u32 unused;
    /* Of each type, then of records of none: the place of its instructions, or all ones for
     * "keep", one less for "drop". */
    u32 entry[];
};

#define BP_KEEP_ALL 0xffffffffu
#define BP_DROP_ALL 0xfffffffeu

/* Whether a record passes the expression; `type` is its index, filter->types when of none. */
int bp_passes(const struct bp_filter *filter, u32 type, const u8 *record, u32 length);

/* Whether it is the first of its combination, or nothing is asked to be; remembers that it was
 * shown, so it is asked once, when there is room for the line. */
int bp_is_first(struct bp_filter *filter, u32 type, const u8 *record, u32 length);

#endif
