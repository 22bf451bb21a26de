/* From record to record: the ring buffer of the kernel, or what stands staged as in one.
 *
 * Headers are read live, each with acquire, and only what lies before the first busy one is
 * touched: the kernel's release of the header (kernel/bpf/ringbuf.c, bpf_ringbuf_commit)
 * makes the bytes behind it whole.  A copy of the span taken first would hold torn records.
 */
#include "engine.h"
#include "fill.h"
#include "filter.h"
#include "groups.h"

#define BUSY 0x80000000u
#define DISCARDED 0x40000000u
#define HEADER 8u
/* The producer must not wait for room that is long free. */
#define PUBLISH (256u * 1024)
/* Of a flood that the filter drops the host hears from time to time, too. */
#define TAKEN (1u << 18)

#ifndef __wasm__
u8 *bp_arena;
#endif

/* Where records come from; positions of a ring count on for ever, those staged are addresses. */
struct source {
    const u8 *data;
    u64 mask;
    u64 position;
    u64 end;
    u64 *consumer; /* NULL: staged */
    const u64 *producer;
    u64 published;
};

static struct source source_of(const struct bp_run *run)
{
    struct source source = {bp_at(0), ~0ull, run->staged, run->staged_end, 0, 0, run->staged};
    if (run->ring) {
        const struct bp_ring *ring = bp_at(run->ring);
        source.data = bp_at(ring->data);
        source.mask = ring->mask;
        source.consumer = bp_at(ring->consumer);
        source.producer = bp_at(ring->producer);
        source.position = source.end = source.published = *source.consumer;
    }
    return source;
}

static inline void publish(struct source *source)
{
    if (source->consumer && source->published != source->position)
        __atomic_store_n(source->consumer, source->position, __ATOMIC_RELEASE);
    source->published = source->position;
}

static inline u32 is_empty(struct source *source)
{
    if (source->position < source->end)
        return 0;
    if (source->producer)
        source->end = __atomic_load_n(source->producer, __ATOMIC_ACQUIRE);
    return source->position >= source->end;
}

static inline u32 select(const struct bp_program *program, const u8 *record, u32 length)
{
    if (program->select == BP_ONE)
        return 0;
    const struct bp_case *cases = bp_at(program->cases);
    struct bp_number value = {length, 0, 0};
    if (program->select == BP_VALUE) {
        const struct bp_field *field = bp_at(program->discriminator);
        if (length < field->end)
            return program->type_count;
        value = bp_number(field, record + field->offset);
    }
    for (u32 i = 0; i < program->case_count; i++) {
        const struct bp_wide *is = &cases[i].value;
        if (program->select == BP_SIZES ? is->low <= length
                                        : is->low == value.low && is->high == value.high)
            return cases[i].type;
    }
    return program->type_count;
}

/* By words; nothing behind the record is read. */
static u8 *copy(u8 *out, const u8 *record, u32 length)
{
    for (; length >= 8; length -= 8, out += 8, record += 8)
        bp_store64(out, bp_load64(record));
    return bp_bytes(out, record, length);
}

/* Its length, the record, and zeros up to a multiple of 8 bytes. */
static u8 *frame(u8 *out, const u8 *record, u32 length)
{
    bp_store64(out, length);
    bp_store64(copy(out + HEADER, record, length), 0);
    return out + HEADER + ((length + 7ull) & ~7ull);
}

static u8 *show(struct bp_program *program, u8 *out, const struct bp_type *type,
                const u8 *record, u32 length)
{
    switch (program->form) {
    case BP_LINES:
        return bp_line(program, out, type, record, length);
    case BP_TABLE:
        return bp_row(program, out, type, record, length);
    case BP_FRAMED:
        return frame(out, record, length);
    default:
        return copy(out, record, length);
    }
}

/* What a call counts: kept out of memory, which every byte of output might change. */
struct tally {
    u64 taken;
    u64 shown;
    u32 written;
    u32 needed;
};

/* The next slot of each column; what has no room is told by the length of the record. */
static enum bp_status fill(struct bp_program *program, struct tally *tally, u32 kind,
                           const u8 *record, u32 length)
{
    if (bp_fill(program, kind, record, length, (u32)tally->shown)) {
        tally->needed = length;
        return tally->shown ? BP_FULL : BP_ROOM;
    }
    if (!program->filter || bp_is_first(bp_at(program->filter), kind, record, length))
        tally->shown++;
    return BP_EMPTY;
}

/* Takes one whole record, shown or not; BP_EMPTY means that it is taken. */
static inline enum bp_status take(const struct bp_run *run, struct bp_program *program,
                                  struct tally *tally, const u8 *record, u32 length)
{
    u32 kind = select(program, record, length);
    if (program->filter && !bp_passes(bp_at(program->filter), kind, record, length))
        return BP_EMPTY;
    if (program->form == BP_COLUMNS)
        return fill(program, tally, kind, record, length);
    if (program->groups) {
        if (!program->filter || bp_is_first(bp_at(program->filter), kind, record, length)) {
            bp_group(bp_at(program->groups), kind, record, length);
            tally->shown++;
        }
        return BP_EMPTY;
    }
    const struct bp_type *types = bp_at(program->types);
    const struct bp_type *type = types + kind;
    u64 needed = type->fixed + (u64)type->factor * length;
    if (needed > run->output_size - tally->written) {
        tally->needed = needed > 0xffffffffu ? 0xffffffffu : (u32)needed;
        return tally->written ? BP_FULL : BP_ROOM;
    }
    if (program->filter && !bp_is_first(bp_at(program->filter), kind, record, length))
        return BP_EMPTY;
    u8 *out = bp_at(run->output);
    u8 *end = show(program, out + tally->written, type, record, length);
    tally->written = (u32)(end - out);
    tally->shown++;
    return BP_EMPTY;
}

static inline enum bp_status walk(const struct bp_run *run, struct bp_program *program,
                                  struct source *source, struct tally *tally)
{
    while (tally->shown < run->most && tally->taken < TAKEN) {
        if (is_empty(source))
            return BP_EMPTY;
        const u8 *at = source->data + (source->position & source->mask);
        u32 header = __atomic_load_n((const u32 *)(const void *)at, __ATOMIC_ACQUIRE);
        if (header & BUSY)
            return BP_BUSY;
        u32 length = header & ~(BUSY | DISCARDED);
        if (!(header & DISCARDED)) {
            enum bp_status status = take(run, program, tally, at + HEADER, length);
            if (status != BP_EMPTY)
                return status;
            tally->taken++;
        }
        source->position += (length + HEADER + 7) & ~7ull;
        if (source->position - source->published >= PUBLISH)
            publish(source);
    }
    return BP_MOST;
}

void bp_run(address at)
{
    struct bp_run *run = bp_at(at);
    struct source source = source_of(run);
    struct tally tally = {0, 0, 0, 0};
    run->status = walk(run, bp_at(run->program), &source, &tally);
    publish(&source);
    run->taken = tally.taken;
    run->shown = tally.shown;
    run->written = tally.written;
    run->needed = tally.needed;
    if (!source.consumer)
        run->staged = (address)source.position;
}
