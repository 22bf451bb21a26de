/* Gives libFuzzer's inputs to the engine as records, everything but what a call may touch poisoned:
 * the image, the one record, and the output up to the bound that the image says.
 *
 * An input is the number of an image and the bytes of a record.  ENGINE_IMAGES names the file that
 * `sanitized.py` writes: a u32 size and the bytes of each image, all made for one address.
 */
#include <sanitizer/asan_interface.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define ARENA (64u << 20)
#define IMAGE 4096u
#define RUN 64u
#define MOST_IMAGES 4096u
#define LONGEST 65536u

static u8 *images[MOST_IMAGES];
static u32 sizes[MOST_IMAGES], count;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    FILE *file = fopen(getenv("ENGINE_IMAGES"), "rb");
    if (!file)
        abort();
    while (count < MOST_IMAGES && fread(&sizes[count], 4, 1, file) == 1) {
        images[count] = malloc(sizes[count]);
        if (fread(images[count], 1, sizes[count], file) != sizes[count])
            abort();
        count++;
    }
    fclose(file);
    bp_arena = aligned_alloc(4096, ARENA);
    ASAN_POISON_MEMORY_REGION(bp_arena, ARENA);
    return 0;
}

static u32 aligned(u32 at)
{
    return (at + 4095) & ~4095u;
}

/* Stages the record so that it ends where the poison begins. */
static u32 stage(u32 at, const uint8_t *record, u32 length)
{
    u32 header[2] = {length, 0};
    ASAN_UNPOISON_MEMORY_REGION(bp_arena + at, 8 + length);
    memcpy(bp_arena + at, header, 8);
    memcpy(bp_arena + at + 8, record, length);
    return at + 8 + ((length + 7) & ~7u);
}

static struct bp_run *call(u32 staged, u32 end, u32 output, u32 size)
{
    struct bp_run *run = (struct bp_run *)(bp_arena + RUN);
    memset(run, 0, sizeof *run);
    run->program = IMAGE;
    run->staged = staged;
    run->staged_end = end;
    run->output = output;
    run->output_size = size;
    run->most = 10;
    bp_run(RUN);
    return run;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > LONGEST)
        return 0;
    u32 which = (data[0] | (u32)data[1] << 8) % count, length = (u32)size - 2;
    ASAN_UNPOISON_MEMORY_REGION(bp_arena + RUN, sizeof(struct bp_run));
    ASAN_UNPOISON_MEMORY_REGION(bp_arena + IMAGE, sizes[which]);
    memcpy(bp_arena + IMAGE, images[which], sizes[which]);
    u32 staged = aligned(IMAGE + sizes[which]), end = stage(staged, data + 2, length);
    u32 output = aligned(end + 8);
    struct bp_run *run = call(staged, end, output, 0);
    if (run->status != BP_ROOM || run->taken || run->needed > ARENA - output)
        abort();
    u32 needed = run->needed;
    ASAN_UNPOISON_MEMORY_REGION(bp_arena + output, needed);
    run = call(staged, end, output, needed);
    if (run->status != BP_EMPTY || run->taken != 1 || run->written > needed)
        abort();
    ASAN_POISON_MEMORY_REGION(bp_arena, output + needed);
    return 0;
}
