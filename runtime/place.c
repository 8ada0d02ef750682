// SPDX-License-Identifier: Apache-2.0
// Memory of the device for weights: packed copies, and native rows where kernels cannot read the mapped file.
#include <stdlib.h>

#include "runtime/runtime.h"

enum { PIECE_BYTES = 32 << 20 };     // of an upload: so much of the mapped file is resident at once

void rt_step_weights(const HeddleModule *module, uint8_t *out_used)
{
    for (uint32_t c = 0; c < module->class_count; c++)
        for (uint32_t l = 0; rt_class_is_step(&module->classes[c]) && l < module->classes[c].launch_count; l++) {
            const RtLaunch *launch = &module->classes[c].launches[l];
            for (uint32_t a = 0; a < launch->arg_count; a++) {
                const RtArg *arg = &module->args[launch->first_arg + a];
                if (arg->kind == HEDDLE_ARG_WEIGHT) out_used[arg->index] = 1;
            }
        }
}

// ---- blocks --------------------------------------------------------------------------------------------------

static uint64_t row_bytes(const HeddleModule *module, uint32_t row, bool packed)
{
    uint64_t bytes = packed ? module->weights[row].packed_bytes : module->tensors[module->weights[row].tensor].bytes;
    return hd_align_up(bytes, RT_ALIGN);
}

// Takes rows from *row on into one block of at most `bound` bytes, or one row that is larger.
static HdStatus *fill_block(HeddleModel *model, const uint8_t *chosen, bool packed, uint64_t bound, uint32_t *row)
{
    const RtMemoryType *memory = model->device->type->memory;
    RtBuffer block = {0};
    uint64_t bytes = 0;
    uint32_t first = *row;
    for (; *row < model->module->weight_count; ++*row) {
        uint64_t more = chosen[*row] ? row_bytes(model->module, *row, packed) : 0;
        if (bytes && more > bound - HD_MIN(bytes, bound)) break;
        if (more) model->homes[*row] = (RtHome){(uint32_t)model->blocks.len, bytes};
        bytes += more;
    }
    if (!bytes) return NULL;
    HdStatus *status = memory->alloc(model->device, bytes, RT_PLAIN, packed ? "packed weights" : "weights", &block);
    if (status) return status;
    if (memory->in_place) rt_prefer_huge_pages(&block);
    hd_vec_push(&model->blocks, block);
    for (uint32_t i = first; i < *row; i++)
        if (chosen[i]) model->addresses[i] = block.address + model->homes[i].offset;
    return NULL;
}

HdStatus *rt_place(HeddleModel *model, bool packed)
{
    const HeddleModule *module = model->module;
    uint64_t bound = model->device->type->memory->block_bytes(model->device);
    uint8_t *chosen = hd_xcalloc(module->weight_count, 1);
    HdStatus *status = NULL;
    rt_step_weights(module, chosen);
    for (uint32_t i = 0; i < module->weight_count; i++)
        chosen[i] = packed ? module->weights[i].packed_bytes > 0 : chosen[i] && !module->weights[i].packed_bytes;
    for (uint32_t row = 0; row < module->weight_count && !status;) status = fill_block(model, chosen, packed, bound, &row);
    free(chosen);
    return status;
}

void rt_unplace(HeddleModel *model)
{
    for (size_t i = 0; i < model->blocks.len; i++) model->device->type->memory->free(model->device, &model->blocks.data[i]);
    hd_vec_free(&model->blocks);
}

// ---- content -------------------------------------------------------------------------------------------------

HdStatus *rt_upload(HeddleModel *model, const RtBuffer *buffer, uint64_t offset, const void *data, uint64_t bytes,
                    RtProgress *progress)
{
    for (uint64_t at = 0, piece; at < bytes; at += piece) {
        const uint8_t *from = (const uint8_t *)data + at;
        piece = HD_MIN(bytes - at, (uint64_t)PIECE_BYTES);
        HD_TRY(model->device->type->memory->write(model->device, buffer, offset + at, from, piece));
        rt_release_pages(from, piece);
        if (!progress) continue;
        progress->done += piece;
        if (progress->report) progress->report(progress->user, progress->done, progress->all);
    }
    return NULL;
}

HdStatus *rt_fetch_packed(const HeddleModel *model, uint32_t row, RtBuffer *store, const void **out_data)
{
    const RtHome *home = &model->homes[row];
    if (home->block == RT_NO_BLOCK) {                    // mapped from a pack file
        *out_data = (const void *)(uintptr_t)model->addresses[row];
        return NULL;
    }
    return rt_fetch(model->device, &model->blocks.data[home->block], home->offset, model->module->weights[row].packed_bytes, store,
                    out_data);
}
