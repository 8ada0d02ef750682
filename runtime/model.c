// SPDX-License-Identifier: Apache-2.0
// Module and weights together: every row of the weight table gets an address, packed copies are made.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/runtime.h"

// ---- packing -------------------------------------------------------------------------------------------------
// @load runs launch by launch, each in pieces of its units: after a piece the source pages it has read are given back, so that
// memory holds the packed copy and a small window of the source. That units run through the source in order is only an
// assumption about speed: a page given back too early is read again.

enum { PIECE_BYTES = 32 << 20 };

// The tensor that a launch of @load reads; NULL when it reads none.
static const RtTensor *source_of(const HeddleModule *module, const RtLaunch *launch)
{
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        const RtArg *arg = &module->args[launch->first_arg + i];
        if (arg->kind == HEDDLE_ARG_WEIGHT && !module->weights[arg->index].packed_bytes)
            return &module->tensors[module->weights[arg->index].tensor];
    }
    return NULL;
}

// *packed: source bytes so far, nearly as many as are made of them.
static HdStatus *pack_launch(HeddleModel *model, const HeddleModelOptions *options, RtQueue *queue, const RtClass *load, uint32_t index,
                             uint64_t *packed)
{
    const RtTensor *source = source_of(model->module, &load->launches[index]);
    const GgufTensor *tensor = source ? gguf_find_tensor(model->weights->file, source->name) : NULL;
    uint64_t bytes = tensor ? tensor->bytes : 0;
    int64_t units = 0, pieces = (int64_t)(bytes / PIECE_BYTES) + 1;
    // was checked when the module was read
    if (!rt_expr_eval(&model->module->exprs[load->launches[index].units], &load->bound, &units)) units = 0;
    pieces = HD_MAX(1, HD_MIN(pieces, units));
    uint64_t released = 0;
    for (int64_t i = 0; i < pieces; i++) {
        int64_t begin = units / pieces * i + HD_MIN(units % pieces, i);
        int64_t end = units / pieces * (i + 1) + HD_MIN(units % pieces, i + 1);
        HD_TRY(model->device->type->launch(queue, load, index, begin, end));
        uint64_t done = i + 1 == pieces ? bytes : bytes / (uint64_t)pieces * (uint64_t)(i + 1);
        if (tensor) rt_release_pages(tensor->data + released, done - released);
        if (options->progress) options->progress(options->log_user, *packed + done, model->module->info.packed_bytes);
        released = done & ~(uint64_t)0xffff;             // a page cut in two is released with the next piece
    }
    *packed += bytes;
    return NULL;
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
    HdStatus *status = NULL;
    uint64_t packed = 0;
    for (uint32_t i = 0; i < load->launch_count && !status; i++) status = pack_launch(model, options, queue, load, i, &packed);
    model->device->type->queue_free(queue);
    return status;
}

// ---- addresses -----------------------------------------------------------------------------------------------

static void place_native(HeddleModel *model)
{
    const HeddleModule *module = model->module;
    for (uint32_t i = 0; i < module->weight_count && model->weights; i++) {
        const char *name = module->tensors[module->weights[i].tensor].name;
        if (module->weights[i].packed_bytes) continue;
        const GgufTensor *tensor = gguf_find_tensor(model->weights->file, name);   // is there: that was checked
        model->addresses[i] = (uint64_t)(uintptr_t)tensor->data;
    }
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

static HdStatus *place_packed(HeddleModel *model)
{
    const HeddleModule *module = model->module;
    HD_TRY(rt_alloc(module->info.packed_bytes, "packed weights", &model->packed));
    (void)madvise(rt_host(&model->packed), model->packed.bytes, MADV_HUGEPAGE);   // advice
    uint64_t at = 0;
    for (uint32_t i = 0; i < module->weight_count; i++) {
        if (!module->weights[i].packed_bytes) continue;
        model->addresses[i] = model->packed.address + at;
        at += hd_align_up(module->weights[i].packed_bytes, RT_ALIGN);
    }
    return NULL;
}

static HdStatus *prepare_weights(HeddleModel *model, const HeddleModelOptions *options)
{
    const HeddleModule *module = model->module;
    place_native(model);
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
    if (options->layout == HEDDLE_LAYOUT_AUTO) HD_TRY(check_room(model));
    HD_TRY(place_packed(model));
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
    HD_TRY(rt_device_type(model->module, options->device, &type));
    if (options->threads > HEDDLE_MAX_THREADS)
        return hd_error(HD_USAGE, "%" PRIu32 " threads: 1 to %d are possible", options->threads, HEDDLE_MAX_THREADS);
    if (type->runs_kernels) {
        if (!model->weights) return hd_error(HD_USAGE, "device %s needs a weight file", type->name);
        HD_TRY(heddle_module_check_machine(model->module));
    }
    if (model->weights) HD_TRY(heddle_module_check_weights(model->module, model->weights));
    HD_TRY(type->open(model->module, &model->device));
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
    HdStatus *status = build(model, options);
    model->log = (HdLog){0};                             // the sink was the caller's, for this call only
    if (status) heddle_model_free(model);
    else *out_model = model;
    return status;
}

void heddle_model_free(HeddleModel *model)
{
    if (!model) return;
    if (model->device) model->device->type->close(model->device);
    gguf_close(model->pack);
    rt_free(&model->packed);
    free(model->addresses);
    free(model);
}

const HeddleModule *heddle_model_module(const HeddleModel *model) { return model->module; }
