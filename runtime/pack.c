// SPDX-License-Identifier: Apache-2.0
// Pack files: packed weights as another GGUF file, mapped instead of made at load. Tensor "packed.N" belongs to row N of the
// weight table. A pack file is bound to the way of packing (the kernels of @load, types, shapes and layouts) and to the
// identity of the weights; not to the module, so modules that pack alike share it.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

#define PACK_ARCHITECTURE "heddle-pack"
#define PACK_FORMAT "heddle.pack.format"
#define PACK_LAYOUT "heddle.pack.layout"
#define PACK_IDENTITY "heddle.pack.identity"
#define PACK_FULL "heddle.pack.full"
#define PACK_TENSORS "heddle.pack.tensors"

enum { FORMAT = 1, PAGE = 4096 };

static void layout_digest(const HeddleModule *module, char out_hex[33])
{
    HdBuf text = {0};
    const RtClass *load = rt_class_find(module, "load");
    for (uint32_t i = 0; load && i < load->launch_count; i++)
        hd_buf_printf(&text, "%s\n", module->kernels[load->launches[i].kernel].digest);
    for (uint32_t i = 0; i < module->weight_count; i++) {
        const RtWeight *weight = &module->weights[i];
        const RtTensor *tensor = &module->tensors[weight->tensor];
        if (weight->packed_bytes)
            hd_buf_printf(&text, "%" PRIu32 " %s %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %s %" PRIu64 "\n", i,
                          tensor->name, tensor->type->name, tensor->ne[0], tensor->ne[1],
                          tensor->ne[2], tensor->ne[3], weight->layout, weight->packed_bytes);
    }
    hd_digest_hex(hd_digest(text.data, text.len), out_hex);
    hd_buf_free(&text);
}

static bool has_packed(const HeddleModel *model)
{
    for (uint32_t i = 0; i < model->module->weight_count; i++)
        if (model->module->weights[i].packed_bytes) return model->weights && model->addresses[i];
    return false;
}

// copies: per row of the weight table, for what has to be read from a device.
static HdStatus *add_packed(GgufWriter *writer, const HeddleModel *model, RtBuffer *copies)
{
    const HeddleModule *module = model->module;
    HD_VEC(HdStr) names = {0};
    HdStatus *status = NULL;
    for (uint32_t i = 0; i < module->weight_count && !status; i++) {
        const void *data;
        char name[32];
        if (!module->weights[i].packed_bytes) continue;
        status = rt_fetch_packed(model, i, &copies[i], &data);
        if (status) break;
        snprintf(name, sizeof name, "packed.%" PRIu32, i);
        gguf_writer_tensor(writer, name, GGML_I8, 1, &module->weights[i].packed_bytes, data);
        hd_vec_push(&names, hd_str(module->tensors[module->weights[i].tensor].name));
    }
    gguf_writer_strings(writer, PACK_TENSORS, names.data, names.len);
    hd_vec_free(&names);
    return status;
}

HeddleStatus *heddle_pack_save(const HeddleModel *model, const char *path)
{
    const HeddleModule *module = model->module;
    char layout[33], identity[33], full[33];
    if (!has_packed(model))
        return hd_error(HD_USAGE, "%s: there are no packed weights to save: module %s uses them as they lie in the file, or the "
                        "device packs none", path, module->path);
    layout_digest(module, layout);
    rt_weights_identity(model->weights, identity, full);
    GgufWriter *writer = gguf_writer_new(PACK_ARCHITECTURE);
    gguf_writer_u32(writer, "general.alignment", PAGE);
    gguf_writer_u32(writer, PACK_FORMAT, FORMAT);
    gguf_writer_string(writer, PACK_LAYOUT, hd_str(layout));
    gguf_writer_string(writer, PACK_IDENTITY, hd_str(identity));
    gguf_writer_string(writer, PACK_FULL, hd_str(full));
    RtBuffer *copies = hd_xcalloc(module->weight_count, sizeof *copies);
    HdStatus *status = add_packed(writer, model, copies);
    if (!status) status = gguf_writer_save(writer, path);
    for (uint32_t i = 0; i < module->weight_count; i++) rt_free(&copies[i]);
    free(copies);
    gguf_writer_free(writer);
    return status;
}

// ---- mapping -------------------------------------------------------------------------------------------------

static HdStatus *check_keys(const HeddleModel *model, const GgufFile *pack, const char *mend)
{
    HdStr architecture, layout, identity, full;
    uint32_t format;
    char want[33];
    HD_TRY(gguf_get_string(pack, "general.architecture", &architecture));
    if (!hd_str_is(architecture, PACK_ARCHITECTURE))
        return hd_error(HD_BAD_DATA, "%s: a GGUF file of architecture '" HD_STR_FMT "', not a pack file; %s", gguf_path(pack),
                        HD_STR_ARG(architecture), mend);
    HD_TRY(gguf_get_u32(pack, PACK_FORMAT, &format));
    if (format != FORMAT)
        return hd_error(HD_UNSUPPORTED, "%s: pack format %" PRIu32 ", this program reads format %d; %s", gguf_path(pack), format,
                        FORMAT, mend);
    HD_TRY(gguf_get_string(pack, PACK_LAYOUT, &layout));
    layout_digest(model->module, want);
    if (!hd_str_is(layout, want))
        return hd_error(HD_MISMATCH, "%s: packed in another way (layout " HD_STR_FMT ") than module %s wants (%s); %s",
                        gguf_path(pack), HD_STR_ARG(layout), model->module->path, want, mend);
    HD_TRY(gguf_get_string(pack, PACK_IDENTITY, &identity));
    HD_TRY(gguf_get_string(pack, PACK_FULL, &full));
    return model->weights ? rt_weights_check(model->weights, identity, full, gguf_path(pack), mend) : NULL;
}

// Checks the packed copy of a row and leaves it where it is mapped, or takes it to the row's home on the device.
static HdStatus *place(HeddleModel *model, uint32_t row)
{
    char name[32];
    snprintf(name, sizeof name, "packed.%" PRIu32, row);
    const GgufTensor *tensor = gguf_find_tensor(model->pack, name);
    uint64_t want = model->module->weights[row].packed_bytes;
    if (!tensor || tensor->type->id != GGML_I8 || tensor->bytes != want || (uintptr_t)tensor->data % RT_ALIGN)
        return hd_error(HD_BAD_DATA, "%s: tensor %s has to be %" PRIu64 " bytes of i8, aligned to %d", gguf_path(model->pack),
                        name, want, RT_ALIGN);
    const RtHome *home = &model->homes[row];
    if (home->block != RT_NO_BLOCK)
        return rt_upload(model, &model->blocks.data[home->block], home->offset, tensor->data, tensor->bytes, NULL);
    model->addresses[row] = (uint64_t)(uintptr_t)tensor->data;
    return NULL;
}

HdStatus *rt_pack_open(HeddleModel *model, const char *path)
{
    HdBuf mend = {0};
    hd_buf_printf(&mend, "make it again: heddle compile %s --pack-weights -o %s",
                  model->weights ? heddle_weights_path(model->weights) : "MODEL.gguf", model->module->path);
    HdStatus *status = gguf_open(path, NULL, &model->pack);
    if (!status) status = check_keys(model, model->pack, mend.data);
    if (!status && !model->device->type->memory->in_place) status = rt_place(model, true);
    for (uint32_t i = 0; i < model->module->weight_count && !status; i++)
        if (model->module->weights[i].packed_bytes) status = place(model, i);
    hd_buf_free(&mend);
    return status;
}
