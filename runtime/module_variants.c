// SPDX-License-Identifier: Apache-2.0
// Opening a file that holds one module, or several variants of one for several targets: which of them this machine runs.
#include <inttypes.h>
#include <stdlib.h>

#include "runtime/cpu_features.h"
#include "runtime/module.h"
#include "runtime/runtime.h"

// ---- what the machine lacks ------------------------------------------------------------------------------------

// Whether there is a GPU for a module that is alone is seen when the GPU is opened; `choosing` among several takes a look before.
static void list_lacks(const HeddleModule *module, bool choosing, HdBuf *out_text)
{
    bool is_cpu = rt_module_is_for(module, "cpu");
    hd_buf_str(out_text, is_cpu || rt_module_is_for_gpu(module) ? "" : "another device");
    if (choosing && rt_module_is_for(module, "vulkan")) rt_vulkan_lacks(out_text);
    if (choosing && rt_module_is_for(module, "cuda")) rt_cuda_lacks(module, out_text);
    for (uint32_t i = 0; i < module->feature_count && is_cpu; i++)
        if (!hd_cpu_has(module->features[i])) hd_buf_printf(out_text, "%s%s", out_text->len ? ", " : "", module->features[i]);
}

HdStatus *rt_other_target(const HeddleModule *module)
{
    return hd_error(HD_UNSUPPORTED, "%s: compiled for %s; this program runs cpu, vulkan and cuda modules: heddle compile MODEL.gguf "
                    "--target cpu:native -o %s", module->path, module->info.target, module->path);
}

static HdStatus *none_runs(const HeddleModule *module)
{
    HdBuf list = {0};
    for (uint32_t i = 0; i < module->variant_count; i++)
        hd_buf_printf(&list, "%s%s needs %s", i ? "; " : "", module->variants[i].target, module->variants[i].lacks);
    HdStatus *status = hd_error(HD_MISMATCH, "%s: this machine runs none of its %" PRIu32 " variants: %s; compile for it: heddle "
                                "compile MODEL.gguf --target cpu:native -o %s", module->path, module->variant_count, list.data,
                                module->path);
    hd_buf_free(&list);
    return status;
}

HeddleStatus *heddle_module_check_machine(const HeddleModule *module)
{
    const char *lacks = module->variants[module->info.variant - 1].lacks;
    if (!lacks[0]) return NULL;
    if (module->variant_count > 1) return none_runs(module);
    if (!rt_module_is_for(module, "cpu")) return rt_other_target(module);
    return hd_error(HD_MISMATCH, "%s: compiled for %s, which needs %s: this machine does not have that; compile for it: heddle "
                    "compile MODEL.gguf --target cpu:native -o %s", module->path, module->info.target, lacks, module->path);
}

void rt_module_targets(const HeddleModule *module, HdBuf *out_text)
{
    for (uint32_t i = 0; i < module->variant_count; i++)
        hd_buf_printf(out_text, "%s%s", i ? "," : "", module->variants[i].target);
}

// ---- one of the variants -----------------------------------------------------------------------------------------

// lacks: of this machine, "" for none
typedef struct Variants { HeddleModule *list[RT_MAX_VARIANTS]; HdBuf lacks[RT_MAX_VARIANTS]; uint32_t count; } Variants;

static HdStatus *check_variant(const HeddleModule *file, const HeddleModule *variant, HdStr target)
{
    if (gguf_find_key(variant->gguf, RT_KEY_VARIANTS))
        return hd_error(HD_BAD_DATA, "%s: holds variants itself; it has to be one module", variant->path);
    if (!hd_str_is(target, variant->info.target))
        return hd_error(HD_BAD_DATA, "%s: compiled for %s, but key '%s' says " HD_STR_FMT, variant->path, variant->info.target,
                        RT_KEY_VARIANTS, HD_STR_ARG(target));
    if (!hd_str_is(hd_str(variant->info.fingerprint), file->info.fingerprint))
        return hd_error(HD_BAD_DATA, "%s: made for another model (fingerprint %s) than the file (%s)", variant->path,
                        variant->info.fingerprint, file->info.fingerprint);
    return NULL;
}

// Every variant is read and checked on every machine: a bad file is refused whichever of them the machine would take.
static HdStatus *read_variant(const HeddleModule *file, HdStr target, Variants *variants)
{
    char tensor[32];
    HdBuf name = {0}, bytes = {0};
    HeddleModule *variant;
    snprintf(tensor, sizeof tensor, RT_TENSOR_VARIANT, variants->count + 1);
    HdStr content = rt_module_bytes(file, tensor);
    hd_buf_printf(&name, "%s: %s", file->path, tensor);
    hd_buf_bytes(&bytes, content.data, content.len);
    HdStatus *status = rt_module_read(name.data, bytes, &variant);
    hd_buf_free(&name);
    if (status) return status;
    variants->list[variants->count++] = variant;
    return check_variant(file, variant, target);
}

static HdStatus *read_variants(HeddleModule *file, Variants *out_variants)
{
    HdStr *targets;
    uint64_t count;
    HD_TRY(gguf_get_strings(file->gguf, RT_KEY_VARIANTS, &file->arena, &targets, &count));
    if (count < 1 || count > RT_MAX_VARIANTS)
        return hd_error(HD_BAD_DATA, "%s: key '%s' has %" PRIu64 " entries; 1 to %d are possible", file->path, RT_KEY_VARIANTS,
                        count, RT_MAX_VARIANTS);
    for (uint64_t i = 0; i < count; i++) HD_TRY(read_variant(file, targets[i], out_variants));
    return NULL;
}

static uint32_t first_that_runs(const Variants *variants)
{
    for (uint32_t i = 0; i < variants->count; i++)
        if (!variants->lacks[i].len) return i;
    return 0;
}

// Makes one of the variants stand for the file.
static HeddleModule *take(const char *path, const Variants *variants, uint32_t index)
{
    HeddleModule *module = variants->list[index];
    RtVariant *rows = HD_NEW_ARRAY(&module->arena, RtVariant, variants->count);
    for (uint32_t i = 0; i < variants->count; i++)
        rows[i] = (RtVariant){hd_arena_printf(&module->arena, "%s", variants->list[i]->info.target),
                              hd_arena_strndup(&module->arena, variants->lacks[i].data, variants->lacks[i].len)};
    free(module->path);
    module->path = hd_xstrdup(path);
    module->info.path = module->path;
    module->variants = rows, module->variant_count = variants->count;
    module->info.variant = index + 1, module->info.variants = variants->count;
    return module;
}

// ---- the file ----------------------------------------------------------------------------------------------------

// Takes `bytes` over. Only the variant that is taken stays in memory.
static HdStatus *open_file(const char *path, HdBuf bytes, uint32_t number, HeddleModule **out_module)
{
    HeddleModule *file;
    HdStatus *status = NULL;
    HD_TRY(rt_module_read(path, bytes, &file));
    Variants variants = {.list = {file}, .count = 1};
    if (gguf_find_key(file->gguf, RT_KEY_VARIANTS)) {
        variants.count = 0;
        status = read_variants(file, &variants);
        heddle_module_close(file);
    }
    if (!status && number > variants.count)
        status = hd_error(HD_USAGE, "%s: variant %" PRIu32 " is asked for; it has %" PRIu32, path, number, variants.count);
    HeddleModule *taken = NULL;
    for (uint32_t i = 0; i < variants.count && !status; i++) list_lacks(variants.list[i], variants.count > 1, &variants.lacks[i]);
    if (!status) *out_module = taken = take(path, &variants, number ? number - 1 : first_that_runs(&variants));
    for (uint32_t i = 0; i < variants.count; i++) {
        hd_buf_free(&variants.lacks[i]);
        if (variants.list[i] != taken) heddle_module_close(variants.list[i]);
    }
    return status;
}

HdStatus *rt_module_open_variant(const char *path, uint32_t number, HeddleModule **out_module)
{
    HdBuf bytes;
    HD_TRY(hd_read_file(path, &bytes));                  // read, not mapped: the digest stays true whatever happens to the file
    return open_file(path, bytes, number, out_module);
}

HeddleStatus *heddle_module_open(const char *path, HeddleModule **out_module)
{
    return rt_module_open_variant(path, 0, out_module);
}

HeddleStatus *heddle_module_open_memory(const char *name, const void *data, size_t len, HeddleModule **out_module)
{
    HdBuf bytes = {0};
    hd_buf_bytes(&bytes, data, len);
    return open_file(name, bytes, 0, out_module);
}
