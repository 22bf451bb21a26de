/* The tables that drive the engine: what `assemble` (bpfpack/runner/engine/program.py) makes.
 *
 * An image of tables lies at one address, a multiple of 8, and refers to itself by addresses.
 * Fields say what is in a record, whatever is printed of it; operations say what one form of
 * output prints, field by field; labels and literals are text as that form needs it.
 * `image.py` has the same layouts, and a test holds the two together.
 */
#ifndef BPFPACK_ENGINE_TABLE_H
#define BPFPACK_ENGINE_TABLE_H

#include "call.h"

/* Text; behind it there are 16 more bytes, so that it can be copied without looking. */
struct bp_text {
    address at;
    u32 size;
};

/* A number of up to 128 bits: two's complement, or not, as the field says. */
struct bp_wide {
    u64 low;
    u64 high;
};

enum bp_base {
    BP_INT,   /* whole numbers of all kinds: enums, pointers, bools */
    BP_FLOAT, /* of 4 or 8 bytes */
    BP_CHARS, /* a char array up to its first NUL */
    BP_BYTES, /* bytes that are no number */
};

#define BP_QUICK_SIGNED 16

enum bp_swap {
    BP_BIG = 1,      /* the most significant byte of a number is first */
    BP_REVERSED = 2, /* the last byte of an address is: it may be read as a number all the same */
};

/* One leaf of a record: where it is, and how it is read.  Every form and the filter use these. */
struct bp_field {
    u32 offset;
    u32 size;    /* of one element; 0: up to the end of the record */
    u32 count;   /* elements; 0: as many whole ones as the record has */
    u32 end;     /* it is missing from a record that is shorter than this */
    address dimensions; /* u32 each: after how many elements an inner list ends, innermost last */
    u8 depth;    /* dimensions of an array, of which `dimensions` has all but the first */
    u8 base;     /* enum bp_base */
    u8 is_signed;
    u8 swap;     /* enum bp_swap */
    u8 shift;    /* a bit-field: its `bits` above the lowest `shift` of the number */
    u8 bits;     /* 0: no bit-field */
    u8 clock;    /* of a timestamp: which of bp_program.clocks */
    u8 quick;    /* a number of 4 or 8 bytes as it lies: the size, BP_QUICK_SIGNED more if signed */
    u32 scale;   /* of a timestamp or duration: nanoseconds in one */
};

/* One value and its text, ready for the form. */
struct bp_label {
    struct bp_wide value;
    struct bp_text text;
};

/* Names of numbers: dense ones from `first` on, without a text where there is none, or sorted
 * by value as a signed number of 128 bits. */
struct bp_labels {
    s64 first;
    u32 count;
    u32 dense;
    address dense_at;  /* struct bp_text */
    address sorted_at; /* struct bp_label */
};

/* A set of flags: the widest masks first; `order` is the place of each when they are shown. */
struct bp_flags {
    struct bp_text none; /* shown for 0 */
    struct bp_text open;
    struct bp_text between;
    struct bp_text close;
    struct bp_text rest;     /* stands before the digits of what has no name */
    struct bp_text rest_end; /* and behind them */
    u32 count;
    address masks; /* struct bp_label, sorted as they are shown */
    address order; /* u32: places in `masks`, in the order in which they are tried */
    u32 unused;
};

/* What is printed of one field. */
enum bp_kind {
    BP_U8,
    BP_U16,
    BP_U32,
    BP_U64,
    BP_S32,
    BP_S64,
    BP_DECIMAL, /* any number of up to 64 bits */
    BP_WIDE,    /* any number */
    BP_HEX,
    BP_BOOL,
    BP_REPR,    /* a float, shortest; `missing` when it is not finite */
    BP_GENERAL, /* a float in six digits */
    BP_LABEL,   /* by bp_labels, the number where it has none */
    BP_ERRNO,   /* by bp_labels of the absolute value; positive signed ones are numbers */
    BP_FLAGS,   /* by bp_flags */
    BP_UTC,
    BP_LOCAL,
    BP_DURATION,
    BP_SIZE,
    BP_IPV4,
    BP_IPV6,
    BP_HEXDUMP,
    BP_STRING,
    BP_UNKNOWN, /* the whole record as digits */
    BP_LITERAL, /* nothing but what stands before it */
    BP_LIST,    /* an array as in JSON */
    BP_JOINED,  /* an array joined by commas, at most 4096 characters */
};

/* How text is written. */
enum bp_style {
    BP_JSON,  /* quoted, safe to show; what is no UTF-8 becomes U+FFFD */
    BP_YAML,  /* the same, characters beyond the basic plane in one escape */
    BP_PLAIN, /* printable, U+FFFD as in JSON */
    BP_SHOWN, /* printable, bytes that are no UTF-8 as \xNN, at most 4096 characters */
};

struct bp_op {
    struct bp_text before; /* a literal */
    u8 kind;               /* enum bp_kind */
    u8 style;              /* enum bp_style */
    u8 quoted;             /* a value that is text in JSON: the quote, else 0 */
    u8 element;            /* enum bp_kind of one value: `kind`, but for BP_LIST and BP_JOINED */
    u8 requote;            /* CSV: quoted once more, where its text asks for it */
    u8 right;              /* table: stands right */
    u16 column;            /* table: place in bp_program.widths */
    u32 end;               /* as in its field */
    u32 offset;            /* as in its field */
    address field;         /* struct bp_field */
    address names;         /* struct bp_labels or struct bp_flags */
    struct bp_text missing; /* shown in place of a value that is not there */
};

/* One type that an output carries. */
struct bp_type {
    address fields; /* struct bp_field, hidden ones too, in the order of the layout */
    u32 field_count;
    address ops; /* struct bp_op, the last one BP_LITERAL */
    u32 op_count;
    /* A line takes at most fixed + factor * (length of the record) bytes. */
    u64 fixed;
    u32 factor;
    u32 unused;
};

enum bp_form {
    BP_LINES, /* the texts of operations, one after the other */
    BP_TABLE, /* padded to columns, cut where the terminal ends */
    BP_RAW,   /* the bytes of the records */
    BP_COLUMNS, /* no bytes: they fill columns */
    BP_FRAMED,  /* the records as they stand in a ring buffer */
};

/* How types are told apart. */
enum bp_select {
    BP_ONE,   /* there is one */
    BP_SIZES, /* the first of `sizes` that the record has room for */
    BP_VALUE, /* the value of a field */
};

struct bp_case {
    struct bp_wide value; /* of the field, or the size */
    u32 type;             /* place in bp_program.types */
    u32 unused;
};

/* A range of code points, both ends in it. */
struct bp_range {
    u32 first;
    u32 last;
};

struct bp_ranges {
    address at; /* sorted */
    u32 count;
};

/* From this second on, until the next change, local time is so many seconds ahead of UTC. */
struct bp_zone {
    s64 from;
    s64 offset;
};

/* The image begins with this. */
struct bp_program {
    s64 clocks[4]; /* nanoseconds to add to mono, boot, tai, real; the host refreshes them */
    u32 columns;   /* where the terminal ends now, 0: nowhere; the host refreshes it */
    u32 size;      /* of the whole image */
    u32 form;      /* enum bp_form */
    u32 select;    /* enum bp_select */
    address types; /* struct bp_type: the known ones, then that of records of no known type */
    u32 type_count; /* of the known ones */
    address cases;  /* struct bp_case */
    u32 case_count;
    address discriminator; /* struct bp_field */
    address filter;        /* struct bp_filter; 0: every record is shown */
    address widths;        /* u32 for each column, the engine makes them grow */
    u32 width_count;
    struct bp_text first;   /* JSON array: what stands before the first record */
    struct bp_text further; /* and before each further one */
    u32 any;                /* the engine sets it with the first record that is shown */
    address zones;          /* struct bp_zone, sorted */
    u32 zone_count;
    struct bp_ranges unsafe;    /* code points that are escaped */
    struct bp_ranges combining; /* that take no column */
    struct bp_ranges doubled;   /* that take two */
    /* struct bp_groups, to which records go; 0: they are shown.  BP_COLUMNS: struct bp_fill. */
    address groups;
    /* Seconds whose text was made last, and the text: events come in order. */
    s64 utc_second;
    s64 local_second;
    u8 utc_text[24];
    u8 local_text[8];
};

#endif
