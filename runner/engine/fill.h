/* Columns: each record fills one slot of each, as Apache Arrow lays out arrays in memory.
 *
 * `bpfpack.runner.columns.tables` makes these tables and places the memory of the columns, copies
 * what a call has filled, and clears `nulls` and the bits.  Each call begins with the first slot.
 */
#ifndef BPFPACK_ENGINE_FILL_H
#define BPFPACK_ENGINE_FILL_H

#include "table.h"

/* What stands in the slots of a column. */
enum bp_slot {
    BP_SLOT_NUMBER,   /* the lowest `width` bytes of a number, or of a float */
    BP_SLOT_BOOL,     /* a byte: 0 or 1 */
    BP_SLOT_TIME,     /* nanoseconds since 1970 (UTC), s64; none for what these cannot say */
    BP_SLOT_TEXT,     /* up to the first NUL, what is no UTF-8 as U+FFFD */
    BP_SLOT_BYTES,    /* as they are */
    BP_SLOT_WIDE,     /* the digits of a number of up to 128 bits */
    BP_SLOT_IPV4,
    BP_SLOT_IPV6,
    BP_SLOT_TYPE,     /* a number that all records of the type have: `offset` of the cell */
    BP_SLOT_PLAIN,    /* a number that lies in the record as in the column */
};

/* The memory of one column, of as many rows as a call may show. */
struct bp_column {
    address present; /* a bit for each slot, the lowest first: it has a value; all set at first */
    address slots;   /* numbers; u32 ends of texts and lists, behind the first one, which is 0 */
    address data;    /* the bytes of texts; of lists the struct bp_column of the elements */
    u32 size;        /* bytes of texts; of lists elements */
    u32 width;       /* bytes of a number, 0: texts or lists */
    u32 nulls;       /* some slot has no value */
};

/* What records of one type put into one column. */
struct bp_cell {
    address field; /* struct bp_field */
    u32 kind;      /* enum bp_slot */
    u32 offset;    /* as in its field */
    u32 end;       /* as in its field: shorter records have no value */
    u32 is_list;
    u32 unused;
};

struct bp_fill {
    address columns; /* struct bp_column */
    u32 count;
    address cells; /* struct bp_cell[count] for each known type, then of records of no known one */
    u32 unused;
};

/* Fills slot `row` of each column, or tells that some have no room for it (1): then nothing of it
 * counts. */
u32 bp_fill(const struct bp_program *program, u32 type, const u8 *record, u32 length, u32 row);

#endif
