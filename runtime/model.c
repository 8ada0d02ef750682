// SPDX-License-Identifier: Apache-2.0
// Module and weights together: every row of the weight table gets an address, packed copies are made.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

// ---- packing -------------------------------------------------------------------------------------------------
// @load runs launch by launch, each in pieces of its units: after a piece the source pages it has read are given back, so that
// memory holds the packed copy and a small window of the source. That units run through the source in order is only an
// assumption about speed: a page given back too early is read again.

enum { PIECE_BYTES = 32 << 20 };

enum { NO_ROW = UINT32_MAX };

// The row of the weight table that a launch of @load reads; NO_ROW when it reads none.
static uint32_t source_of(const HeddleModule *module, const RtLaunch *launch)
{
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        const RtArg *arg = &module->args[launch->first_arg + i];
        if (arg->kind == HEDDLE_ARG_WEIGHT && !module->weights[arg->index].packed_bytes) return (uint32_t)arg->index;
    }
    return NO_ROW;
}

static const GgufTensor *tensor_of(const HeddleModel *model, uint32_t row)
{
    if (row == NO_ROW || !model->weights) return NULL;
    return gguf_find_tensor(model->weights->file, model->module->tensors[model->module->weights[row].tensor].name);
}

// What one launch of @load packs. done: source bytes of all launches so far, nearly as many as are made of them.
typedef struct Packing {
    HeddleModel *model;
    const RtClass *load;
    RtQueue *queue;
    RtProgress progress;
} Packing;

static HdStatus *pack_pieces(Packing *packing, uint32_t index, const GgufTensor *tensor)
{
    HeddleModel *model = packing->model;
    const RtClass *load = packing->load;
    uint64_t bytes = tensor ? tensor->bytes : 0;
    int64_t units = 0, pieces = (int64_t)(bytes / PIECE_BYTES) + 1;
    // was checked when the module was read
    if (!rt_expr_eval(&model->module->exprs[load->launches[index].units], &load->bound, &units)) units = 0;
    pieces = HD_MAX(1, HD_MIN(pieces, units));
    uint64_t released = 0;
    for (int64_t i = 0; i < pieces; i++) {
        int64_t begin = units / pieces * i + HD_MIN(units % pieces, i);
        int64_t end = units / pieces * (i + 1) + HD_MIN(units % pieces, i + 1);
        HD_TRY(model->device->type->launch(packing->queue, load, index, begin, end));
        uint64_t done = i + 1 == pieces ? bytes : bytes / (uint64_t)pieces * (uint64_t)(i + 1);
        if (tensor) rt_release_pages(tensor->data + released, done - released);
        RtProgress *progress = &packing->progress;
        if (progress->report) progress->report(progress->user, progress->done + done, progress->all);
        released = done & ~(uint64_t)0xffff;             // a page cut in two is released with the next piece
    }
    packing->progress.done += bytes;
    return NULL;
}

// On a device with memory of its own, rows that no step reads are only there while they are packed.
static HdStatus *pack_launch(Packing *packing, uint32_t index)
{
    HeddleModel *model = packing->model;
    const RtMemoryType *memory = model->device->type->memory;
    uint32_t row = source_of(model->module, &packing->load->launches[index]);
    const GgufTensor *tensor = tensor_of(model, row);
    RtBuffer source = {0};
    if (!tensor || model->addresses[row]) return pack_pieces(packing, index, tensor);
    HD_TRY(memory->alloc(model->device, tensor->bytes, RT_PLAIN, "a weight that is packed", &source));
    model->addresses[row] = source.address;
    HdStatus *status = rt_upload(model, &source, 0, tensor->data, tensor->bytes, NULL);
    if (!status) status = pack_pieces(packing, index, tensor);
    model->addresses[row] = 0;
    memory->free(model->device, &source);
    return status;
}

static HdStatus *pack(HeddleModel *model, const HeddleModelOptions *options)
{
    const HeddleModule *module = model->module;
    const RtClass *load = rt_class_find(module, "load");
    if (!load) return hd_error(HD_BAD_DATA, "%s: has packed weights but no class 'load' that makes them", module->path);
    RtBindings bindings = {.weights = model->addresses, .threads = options->threads ? options->threads : heddle_default_threads()};
    RtQueue *queue;
    char size[HD_SIZE_TEXT];
    hd_size_text(module->info.packed_bytes, size);
    hd_log(&model->log, HD_LOG_INFO, "packing weights: %s", size);
    HD_TRY(model->device->type->queue_new(model->device, &bindings, load->arena_bytes, load->scratch, &queue));
    Packing packing = {model, load, queue, {options->progress, options->log_user, 0, module->info.packed_bytes}};
    HdStatus *status = NULL;
    for (uint32_t i = 0; i < load->launch_count && !status; i++) status = pack_launch(&packing, i);
    model->device->type->queue_free(queue);
    return status;
}

// ---- addresses -----------------------------------------------------------------------------------------------

// Copies the native rows that have a home there.
static HdStatus *upload_native(HeddleModel *model, const HeddleModelOptions *options)
{
    RtProgress progress = {options->progress, options->log_user, 0, 0};
    for (uint32_t i = 0; i < model->module->weight_count; i++)
        if (model->homes[i].block != RT_NO_BLOCK) progress.all += tensor_of(model, i)->bytes;
    for (uint32_t i = 0; i < model->module->weight_count; i++) {
        const RtHome *home = &model->homes[i];
        const GgufTensor *tensor = tensor_of(model, i);
        if (home->block != RT_NO_BLOCK)
            HD_TRY(rt_upload(model, &model->blocks.data[home->block], home->offset, tensor->data, tensor->bytes, &progress));
    }
    return NULL;
}

static HdStatus *place_native(HeddleModel *model, const HeddleModelOptions *options)
{
    const HeddleModule *module = model->module;
    if (!model->weights) return NULL;
    if (!model->device->type->memory->in_place) {
        HD_TRY(rt_place(model, false));
        return upload_native(model, options);
    }
    for (uint32_t i = 0; i < module->weight_count; i++)   // the tensor is there: that was checked
        if (!module->weights[i].packed_bytes) model->addresses[i] = (uint64_t)(uintptr_t)tensor_of(model, i)->data;
    return NULL;
}

static HdStatus *check_room(const HeddleModel *model)
{
    uint64_t need = model->module->info.packed_bytes, have = heddle_memory_available();
    char need_text[HD_SIZE_TEXT], have_text[HD_SIZE_TEXT];
    if (need <= have) return NULL;
    hd_size_text(need, need_text);
    hd_size_text(have, have_text);
    return hd_error(HD_NO_MEMORY, "packed weights need %" PRIu64 " bytes (%s), %s are free: use the weights as they are mapped "
                    "(heddle compile --layout native) or a pack file (--pack-weights)", need, need_text, have_text);
}

static HdStatus *prepare_weights(HeddleModel *model, const HeddleModelOptions *options)
{
    const HeddleModule *module = model->module;
    HD_TRY(place_native(model, options));
    if (!module->info.packed_bytes) {
        if (!options->pack_path) return NULL;
        return hd_error(HD_USAGE, "%s: module %s packs no weights, so no pack file belongs to it", options->pack_path,
                        module->path);
    }
    if (options->layout == HEDDLE_LAYOUT_NATIVE)
        return hd_error(HD_MISMATCH, "%s: compiled for packed weights, native layout is asked for: heddle compile MODEL.gguf "
                        "--layout native -o %s", module->path, module->path);
    if (options->pack_path) return rt_pack_open(model, options->pack_path);
    if (!model->device->type->runs_kernels) return NULL;
    if (options->layout == HEDDLE_LAYOUT_AUTO && model->device->type->memory->in_place) HD_TRY(check_room(model));
    HD_TRY(rt_place(model, true));
    return pack(model, options);
}

// ---- the handle ----------------------------------------------------------------------------------------------

// heddle.h's log sink has its own level numbers, those of HdLogLevel.
typedef struct Sink { HeddleLogSink log; void *user; } Sink;

static void forward(void *user, HdLogLevel level, const char *line)
{
    const Sink *sink = user;
    sink->log(sink->user, (int)level, line);
}

static HdStatus *build(HeddleModel *model, const HeddleModelOptions *options)
{
    const RtDeviceType *type;
    const char *which;
    HD_TRY(rt_device_type(model->module, options->device, &type, &which));
    if (options->threads > HEDDLE_MAX_THREADS)
        return hd_error(HD_USAGE, "%" PRIu32 " threads: 1 to %d are possible", options->threads, HEDDLE_MAX_THREADS);
    if (type->runs_kernels) {
        if (!model->weights) return hd_error(HD_USAGE, "device %s needs a weight file", type->name);
        HD_TRY(heddle_module_check_machine(model->module));
    }
    if (model->weights) HD_TRY(heddle_module_check_weights(model->module, model->weights));
    HD_TRY(type->open(model->module, which, &model->device));
    if (model->device->description) hd_log(&model->log, HD_LOG_INFO, "device: %s", model->device->description);
    return prepare_weights(model, options);
}

HeddleStatus *heddle_model_create(HeddleModule *module, HeddleWeights *weights, const HeddleModelOptions *options,
                                  HeddleModel **out_model)
{
    static const HeddleModelOptions defaults;
    if (!options) options = &defaults;
    Sink sink = {options->log, options->log_user};
    HeddleModel *model = hd_xcalloc(1, sizeof *model);
    model->module = module, model->weights = weights;
    model->log = (HdLog){HD_LOG_DEBUG, forward, &sink};
    if (!options->log) model->log.level = HD_LOG_ERROR;
    model->addresses = hd_xcalloc(module->weight_count, sizeof *model->addresses);
    model->homes = hd_xcalloc(module->weight_count, sizeof *model->homes);
    for (uint32_t i = 0; i < module->weight_count; i++) model->homes[i].block = RT_NO_BLOCK;
    HdStatus *status = build(model, options);
    model->log = (HdLog){0};                             // the sink was the caller's, for this call only
    if (status) heddle_model_free(model);
    else *out_model = model;
    return status;
}

void heddle_model_free(HeddleModel *model)
{
    if (!model) return;
    rt_unplace(model);
    if (model->device) model->device->type->close(model->device);
    gguf_close(model->pack);
    free(model->addresses);
    free(model->homes);
    free(model);
}

const HeddleModule *heddle_model_module(const HeddleModel *model) { return model->module; }
