// SPDX-License-Identifier: Apache-2.0
// Memory whose size the input decides: how much it is, and getting it without ending the process.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/runtime.h"

// ---- allocation ----------------------------------------------------------------------------------------------

HdStatus *rt_no_memory(uint64_t bytes, const char *what)
{
    char size[HD_SIZE_TEXT];
    hd_size_text(bytes, size);
    return hd_error(HD_NO_MEMORY, "no memory for %s: %" PRIu64 " bytes (%s) asked for", what, bytes, size);
}

HdStatus *rt_alloc(uint64_t bytes, const char *what, RtBuffer *out_buffer)
{
    if (bytes >= (uint64_t)1 << 62) return rt_no_memory(bytes, what);
    void *data = mmap(NULL, HD_MAX(bytes, 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return rt_no_memory(bytes, what);
    *out_buffer = (RtBuffer){(uint64_t)(uintptr_t)data, bytes, data, NULL};
    return NULL;
}

void rt_prefer_huge_pages(const RtBuffer *buffer) { (void)madvise(rt_host(buffer), buffer->bytes, MADV_HUGEPAGE); }   // advice

void rt_free(RtBuffer *buffer)
{
    if (buffer->host) munmap(rt_host(buffer), HD_MAX(buffer->bytes, 1));
    *buffer = (RtBuffer){0};
}

static uint64_t page_bytes(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

void rt_zero(const RtBuffer *buffer, uint64_t offset, uint64_t bytes)
{
    uint64_t page = page_bytes(), begin = hd_align_up(offset, page), end = (offset + bytes) & ~(page - 1);
    uint8_t *data = rt_host(buffer);
    if (begin >= end || madvise(data + begin, end - begin, MADV_DONTNEED)) {
        memset(data + offset, 0, bytes);
        return;
    }
    memset(data + offset, 0, begin - offset);            // private anonymous pages that were given back read as zeros
    memset(data + end, 0, offset + bytes - end);
}

void rt_release_pages(const void *data, uint64_t bytes)
{
    uint64_t page = page_bytes(), at = (uint64_t)(uintptr_t)data, begin = hd_align_up(at, page), end = (at + bytes) & ~(page - 1);
    // advice: without it only more memory is resident
    if (begin < end) (void)madvise((void *)(uintptr_t)begin, end - begin, MADV_DONTNEED);
}

// ---- the shape of a session ----------------------------------------------------------------------------------

static HdStatus *choose_context(const HeddleModule *module, int64_t asked, uint32_t *out_context)
{
    enum { DEFAULT = 8192 };
    int64_t limit = module->info.context_length;         // a plan does not depend on C
    if (asked < HEDDLE_CONTEXT_MODEL || asked > limit)
        return hd_error(asked < 0 ? HD_USAGE : HD_LIMIT,
                        "context of %" PRId64 " tokens: %s takes 1 to %" PRId64, asked, module->path, limit);
    *out_context = (uint32_t)(asked > 0 ? asked : asked == 0 ? HD_MIN(limit, DEFAULT) : limit);
    return NULL;
}

HdStatus *rt_shape(const HeddleModule *module, const HeddleSessionOptions *options, RtShape *out_shape)
{
    static const HeddleSessionOptions defaults;
    RtShape shape = {0};
    if (!options) options = &defaults;
    if (!module->largest) return hd_error(HD_BAD_DATA, "%s: has no step class, so it can evaluate nothing", module->path);
    HD_TRY(choose_context(module, options->context, &shape.context));
    if (options->threads > HEDDLE_MAX_THREADS)
        return hd_error(HD_USAGE, "%" PRIu32 " threads: 1 to %d are possible", options->threads, HEDDLE_MAX_THREADS);
    shape.slots = HD_MAX(options->slots, 1);
    shape.planes = HD_MAX(options->planes, 1);
    if (shape.slots > INT32_MAX || shape.planes > INT32_MAX) return hd_error(HD_USAGE, "slots and planes have to be below 2^31");
    shape.threads = options->threads ? options->threads : heddle_default_threads();
    uint32_t bound = module->info.tokens_per_step;
    shape.tokens = options->tokens_per_call ? HD_MIN(options->tokens_per_call, bound) : bound;
    shape.poison = options->poison;
    *out_shape = shape;
    return NULL;
}

uint64_t rt_state_plane_bytes(const RtState *state, const RtShape *shape)
{
    // row_bytes <= 2^40, context < 2^31
    return hd_align_up(state->row_bytes * (state->append_only ? shape->context : 1), RT_ALIGN);
}

uint64_t rt_state_slot_bytes(const RtState *state, const RtShape *shape)
{
    uint64_t bytes = rt_state_plane_bytes(state, shape), all;
    return state->append_only ? bytes : hd_mul_u64(bytes, shape->planes, &all) ? all : UINT64_MAX / 4;
}

void rt_input_layout(const HeddleModule *module, const RtShape *shape, uint64_t out_offsets[HEDDLE_INPUT_COUNT + 1])
{
    const uint64_t tokens = shape->tokens, segments = module->info.slots_per_step, rows = module->info.rows_per_step;
    uint64_t at = 0;
    const uint64_t bytes[HEDDLE_INPUT_COUNT] = {[HEDDLE_INPUT_TOKENS] = tokens * 4,
                                                [HEDDLE_INPUT_SEGMENTS] = segments * 32,
                                                [HEDDLE_INPUT_ROWS] = rows * 4,
                                                [HEDDLE_INPUT_ROPE] = tokens * module->rope_n * 4,
                                                [HEDDLE_INPUT_TOKEN_INFO] = tokens * 16};
    for (int i = 0; i < HEDDLE_INPUT_COUNT; i++) {
        out_offsets[i] = at;
        at += hd_align_up(bytes[i], RT_ALIGN);
    }
    out_offsets[HEDDLE_INPUT_COUNT] = at;
}

// ---- the report ----------------------------------------------------------------------------------------------

uint32_t rt_step_scratch(const HeddleModule *module)
{
    uint32_t scratch = 0;
    for (uint32_t i = 0; i < module->class_count; i++)
        if (rt_class_is_step(&module->classes[i])) scratch = HD_MAX(scratch, module->classes[i].scratch);
    return scratch;
}

uint64_t rt_group_scratch(uint64_t group_bytes)
{
    uint64_t groups = group_bytes ? HEDDLE_GPU_SCRATCH_BYTES / group_bytes : 0;
    return group_bytes * HD_MAX(HD_MIN(groups, HEDDLE_GPU_MAX_GROUPS), 1);
}

uint32_t rt_group_count(int64_t units, uint64_t group_bytes, uint64_t scratch_bytes)
{
    uint64_t groups = HD_MIN((uint64_t)units, HEDDLE_GPU_MAX_GROUPS);
    if (group_bytes) groups = HD_MIN(groups, scratch_bytes / group_bytes);
    return (uint32_t)HD_MAX(groups, 1);
}

// Bytes of the tensors that step classes read as they lie in the file.
static uint64_t native_bytes(const HeddleModule *module)
{
    uint8_t *used = hd_xcalloc(module->weight_count, 1);
    uint64_t bytes = 0;
    rt_step_weights(module, used);
    for (uint32_t i = 0; i < module->weight_count; i++)
        if (used[i] && !module->weights[i].packed_bytes) bytes += module->tensors[module->weights[i].tensor].bytes;
    free(used);
    return bytes;
}

static HdStatus *state_bytes(const HeddleModule *module, const RtShape *shape, HeddleMemory *memory)
{
    bool fits = true;
    for (uint32_t i = 0; i < module->state_count; i++) {
        uint64_t *sum = module->states[i].append_only ? &memory->append_per_slot : &memory->recurrent_per_slot;
        fits = fits && hd_add_u64(*sum, rt_state_slot_bytes(&module->states[i], shape), sum);
    }
    fits = fits && hd_mul_u64(memory->append_per_slot + memory->recurrent_per_slot, shape->slots, &memory->state)
        && memory->state < INT64_MAX;
    if (fits) return NULL;
    return hd_error(HD_NO_MEMORY, "the state of %" PRIu32 " slots with %" PRIu32 " planes and %" PRIu32 " positions does not fit "
                    "any memory", shape->slots, shape->planes, shape->context);
}

HdStatus *rt_memory(const HeddleModule *module, const RtShape *shape, HeddleMemory *out_memory)
{
    HeddleMemory memory = {.weights_mapped = native_bytes(module),
                           .weights_packed = module->info.packed_bytes,
                           .context = shape->context,
                           .slots = shape->slots,
                           .threads = shape->threads,
                           .tokens_per_call = shape->tokens};
    uint64_t offsets[HEDDLE_INPUT_COUNT + 1];
    HD_TRY(state_bytes(module, shape, &memory));
    for (uint32_t i = 0; i < module->class_count; i++)
        if (rt_class_is_step(&module->classes[i])) memory.arena = HD_MAX(memory.arena, module->classes[i].arena_bytes);
    uint32_t scratch = rt_step_scratch(module);
    memory.scratch = rt_module_is_for_gpu(module) ? rt_group_scratch(scratch)
        : shape->threads * (hd_align_up(scratch, RT_ALIGN) + RT_ALIGN);
    rt_input_layout(module, shape, offsets);
    memory.inputs = offsets[HEDDLE_INPUT_COUNT];
    memory.rope = (uint64_t)shape->context * module->rope_n * sizeof(float);
    memory.total = memory.weights_mapped + memory.weights_packed + memory.state + memory.arena + memory.scratch + memory.inputs +
                   memory.rope;
    *out_memory = memory;
    return NULL;
}

HeddleStatus *heddle_memory_plan(const HeddleModule *module, const HeddleSessionOptions *options, HeddleMemory *out_memory)
{
    RtShape shape;
    HD_TRY(rt_shape(module, options, &shape));
    return rt_memory(module, &shape, out_memory);
}
