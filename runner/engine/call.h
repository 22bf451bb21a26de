/* What one call of the engine takes and gives: the seam between host and engine.
 *
 * Little endian.  An address is an offset into the engine's memory (of Wasm's, or of the one
 * arena that a native build is given).  The host places everything; the engine allocates nothing.
 */
#ifndef BPFPACK_ENGINE_CALL_H
#define BPFPACK_ENGINE_CALL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed int s32;
typedef signed long long s64;

typedef u32 address;

/* Why a call came back. */
enum bp_status {
    BP_EMPTY = 0, /* nothing is left in the source */
    BP_BUSY = 1,  /* the next record is still being written (BPF_RINGBUF_BUSY_BIT) */
    BP_FULL = 2,  /* no room for another line: take what is written, call again */
    BP_MOST = 3,  /* `most` records were shown, or very many taken */
    BP_ROOM = 4,  /* one record needs `needed` bytes of output, more than there are at all */
};

/* A ring buffer of the kernel, mapped into the engine's memory (kernel/bpf/ringbuf.c):
 * the data stands twice, so that no record wraps. */
struct bp_ring {
    address consumer; /* of the u64 position, in a page that may be written */
    address producer; /* of the u64 position, read only as what follows */
    address data;
    u32 mask; /* size of the data, once, less one */
};

struct bp_run {
    address program; /* what `assemble` made; begins with the offsets of the clocks */
    address ring;    /* a struct bp_ring, or 0 for what is staged */
    /* Staged records stand as in a ring buffer: a u32 length, a u32 of nothing, the bytes, and
     * zeroes to a multiple of 8.  The engine moves `staged` on. */
    address staged;
    address staged_end;
    address output;
    u32 output_size;
    u64 most; /* records to be shown */
    /* Set by the engine. */
    u64 taken;   /* records consumed, shown or not */
    u64 shown;   /* of these, the ones that passed the filter */
    u32 written; /* bytes of output */
    u32 needed;
    u32 status;
    u32 unused;
};

/* The one entry: takes records until a bp_status tells why not more, and publishes the consumer's
 * position at least every 256 KiB and before it returns. */
void bp_run(address run);

#endif
