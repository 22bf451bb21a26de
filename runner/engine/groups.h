/* Windows: events counted, added up and sketched by the values of some fields.
 *
 * `bpfpack.runner.windows.tables` makes the tables, reads the groups out at the end of a window,
 * and clears them.  Groups, their slots and the pages of their sketches are memory that the host
 * has given, zero at first; nothing is allocated, and what finds no room is counted.
 *
 * Quantiles are those of a DDSketch (Masson, Rim and Lee, PVLDB 12(12), 2019): counts of buckets
 * that grow by 2^(1/36), so that the middle of one is within 1 % of all that is in it.  The
 * buckets of one power of two are a page, which a sketch takes when it first needs it.
 */
#ifndef BPFPACK_ENGINE_GROUPS_H
#define BPFPACK_ENGINE_GROUPS_H

#include "table.h"

#define BP_BUCKETS 36u

/* One value of a key: bytes as they lie in the record. */
struct bp_part {
    u32 offset;
    u32 size;    /* at most so many bytes */
    u32 needs;   /* it is missing from a record that is shorter than this */
    u32 to;      /* where it stands in the key */
    u32 missing; /* bit of the key's first word that says that it is missing */
    u32 is_text; /* it ends at its first NUL */
    u64 own[2];  /* of what has at most 16 bytes: bits that are not a neighbour's */
};

/* One field that is added up. */
struct bp_measure {
    address field; /* struct bp_field of at most 64 bits, or of a float */
    u32 offset;
    u32 needs; /* as above */
    u32 at;    /* where its struct bp_sums stands in a group */
    s32 first; /* the power of two of the first page of its sketch */
    u32 powers; /* pages of positive numbers, those of negative ones, if any, follow; 0: no sketch */
};

/* What is done with the records of one type. */
struct bp_grouped {
    u64 first; /* word of its keys: what none of its records has, which type it is */
    u32 part_count;
    address parts;    /* struct bp_part */
    address measures; /* struct bp_measure */
    u32 measure_count;
};

struct bp_sums {
    u64 count;
    struct bp_wide sum; /* of 128 bits; of floats a double */
    u64 least;          /* as a number of the field's kind */
    u64 most;
    u64 zeros;   /* those of the sketch */
    u32 pages[]; /* places in bp_groups.pages, from 1 on; 0: none yet */
};

/* The first one is `_other`: what no group was left for. */
struct bp_group {
    u64 hash;
    u64 count;
    u32 key[]; /* bits of missing values, then the values; then the sums */
};

struct bp_groups {
    u64 secret[2]; /* of SipHash: nobody can choose keys that fall into one slot */
    address slots; /* u32: places in `groups`, 0 for none */
    u32 mask;      /* slots, a power of two, less one */
    address groups;
    u32 stride;   /* bytes of a group */
    u32 most;     /* groups beside `_other` */
    u32 used;     /* of these */
    u32 key_size; /* bytes, a multiple of 8 */
    u32 page_most;
    address pages; /* u32[BP_BUCKETS] each */
    u32 page_used;
    u64 lacking;  /* values that a sketch had no room for */
    address types; /* struct bp_grouped: the known ones, then that of records of no known type */
    u32 unused;
    u64 bounds[BP_BUCKETS + 1]; /* where buckets begin, in 63 bits behind the highest */
    u8 guesses[128]; /* the bucket of the smallest number with these 7 bits */
};

/* Takes one record. */
void bp_group(struct bp_groups *groups, u32 type, const u8 *record, u32 length);

#endif
