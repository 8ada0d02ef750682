// SPDX-License-Identifier: Apache-2.0
// Reading one module and comparing it with the weights.
#include "runtime/module.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

bool rt_class_is_step(const RtClass *class) { return strcmp(class->name, "load") != 0; }

const RtResult *rt_result_named(const HeddleModule *module, const char *name)
{
    const RtResult *found = NULL;
    for (uint32_t c = 0; c < module->class_count; c++) {
        const RtResult *here = NULL;
        for (uint32_t r = 0; r < module->classes[c].result_count; r++)
            if (!strcmp(module->classes[c].results[r].name, name)) here = &module->classes[c].results[r];
        if (!rt_class_is_step(&module->classes[c])) continue;
        if (!here || (found && (here->columns != found->columns || here->rows != found->rows))) return NULL;
        found = here;
    }
    return found;
}

bool rt_module_is_for(const HeddleModule *module, const char *device)
{
    const char *colon = strchr(module->info.target, ':');
    return colon && hd_str_is((HdStr){module->info.target, (size_t)(colon - module->info.target)}, device);
}

bool rt_module_is_for_gpu(const HeddleModule *module)
{
    return rt_module_is_for(module, "vulkan") || rt_module_is_for(module, "cuda");
}

const RtClass *rt_class_find(const HeddleModule *module, const char *name)
{
    for (uint32_t i = 0; i < module->class_count; i++)
        if (!strcmp(module->classes[i].name, name)) return &module->classes[i];
    return NULL;
}

const RtClass *rt_class_for(const HeddleModule *module, int64_t tokens, int64_t segments, int64_t rows)
{
    const RtClass *best = module->largest;
    for (uint32_t i = 0; i < module->class_count; i++) {
        const RtClass *class = &module->classes[i];
        const int64_t *bound = class->bound.value;
        if (rt_class_is_step(class) && bound[RT_T] >= tokens && bound[RT_S] >= segments && bound[RT_R] >= rows
            && bound[RT_T] < best->bound.value[RT_T])
            best = class;
    }
    return best;
}

static bool add_product(int64_t a, int64_t b, int64_t *sum)
{
    int64_t product;
    return !__builtin_mul_overflow(a, b, &product) && !__builtin_add_overflow(*sum, product, sum);
}

bool rt_expr_eval(const RtExpr *expr, const RtBinding *binding, int64_t *out_value)
{
    int64_t value = expr->constant;
    bool fits = true;
    for (int i = 0; i < RT_SYMS; i++) fits = fits && add_product(expr->coef[i], binding->value[i], &value);
    for (uint32_t i = 0; i < expr->ceils; i++) {
        int64_t of = binding->value[expr->ceil[i].sym], div = expr->ceil[i].div;
        fits = fits && add_product(expr->ceil[i].coef, of / div + (of % div > 0), &value);
    }
    if (fits) *out_value = value;
    return fits;
}

// ---- opening -------------------------------------------------------------------------------------------------

static HdStatus *read_text(HeddleModule *module, const char *key, const char **out_text)
{
    HdStr text;
    HD_TRY(gguf_get_string(module->gguf, key, &text));
    *out_text = hd_arena_strndup(&module->arena, text.data, text.len);
    return NULL;
}

static HdStatus *check_kind(const HeddleModule *module)
{
    HdStr architecture;
    uint32_t format, abi;
    HD_TRY(gguf_get_string(module->gguf, "general.architecture", &architecture));
    if (!hd_str_is(architecture, RT_ARCHITECTURE))
        return hd_error(HD_BAD_DATA, "%s: a GGUF file of architecture '" HD_STR_FMT "', not a compiled module; "
                        "make one: heddle compile MODEL.gguf -o MODULE.hdl", module->path, HD_STR_ARG(architecture));
    HD_TRY(gguf_get_u32(module->gguf, RT_KEY_FORMAT, &format));
    if (format != RT_MODULE_FORMAT)
        return hd_error(HD_UNSUPPORTED, "%s: module format %" PRIu32 ", this program reads format %d; compile the module again "
                        "with this version", module->path, format, RT_MODULE_FORMAT);
    HD_TRY(gguf_get_u32(module->gguf, RT_KEY_ABI, &abi));
    if (abi != HEDDLE_ABI_VERSION)
        return hd_error(HD_UNSUPPORTED, "%s: kernel interface %" PRIu32 ", this program has %d; compile the module again with "
                        "this version", module->path, abi, HEDDLE_ABI_VERSION);
    return NULL;
}

// heddle.digest must stand where the seal looks for it, or it has not been compared.
static HdStatus *check_digest_key(HeddleModule *module)
{
    const char *digest;
    HD_TRY(read_text(module, RT_KEY_DIGEST, &digest));
    if (!hd_str_is(gguf_key_at(module->gguf, 1)->key, RT_KEY_DIGEST) || strlen(digest) != 32)
        return hd_error(HD_BAD_DATA, "%s: key '%s' has to be the second key and hold 32 digits", module->path, RT_KEY_DIGEST);
    memcpy(module->info.digest, digest, sizeof module->info.digest);
    return NULL;
}

static HdStatus *read_features(HeddleModule *module)
{
    HdStr *features;
    uint64_t count;
    HD_TRY(gguf_get_strings(module->gguf, RT_KEY_FEATURES, &module->arena, &features, &count));
    module->features = HD_NEW_ARRAY(&module->arena, const char *, count);
    for (uint64_t i = 0; i < count; i++)
        module->features[i] = hd_arena_strndup(&module->arena, features[i].data, features[i].len);
    module->feature_count = (uint32_t)count;
    return NULL;
}

static HdStatus *read_fingerprint(HeddleModule *module)
{
    const char *fingerprint;
    HD_TRY(read_text(module, RT_KEY_FINGERPRINT, &fingerprint));
    snprintf(module->info.fingerprint, sizeof module->info.fingerprint, "%s", fingerprint);
    return NULL;
}

static HdStatus *read_header(HeddleModule *module)
{
    HeddleModuleInfo *info = &module->info;
    float theta;
    HD_TRY(read_text(module, RT_KEY_PRODUCER, &info->producer));
    HD_TRY(read_text(module, RT_KEY_TARGET, &info->target));
    HD_TRY(read_features(module));
    HD_TRY(read_text(module, RT_KEY_NUMERICS, &info->numerics));
    HD_TRY(read_text(module, RT_KEY_PIPELINE, &info->pipeline));
    HD_TRY(read_text(module, RT_KEY_MODEL_NAME, &info->name));
    HD_TRY(read_text(module, RT_KEY_MODEL_ARCH, &info->architecture));
    HD_TRY(gguf_get_u32(module->gguf, RT_KEY_VOCAB, &info->vocab));
    HD_TRY(gguf_get_u32(module->gguf, RT_KEY_CONTEXT, &info->context_length));
    HD_TRY(gguf_get_f32(module->gguf, RT_KEY_ROPE_THETA, &theta));
    HD_TRY(gguf_get_u32(module->gguf, RT_KEY_ROPE_N, &module->rope_n));
    module->rope_theta = (double)theta;
    if (info->vocab < 1 || info->vocab > INT32_MAX || info->context_length < 1 || info->context_length > INT32_MAX)
        return hd_error(HD_BAD_DATA, "%s: keys '%s' and '%s' have to be from 1 to 2^31 - 1", module->path, RT_KEY_VOCAB,
                        RT_KEY_CONTEXT);
    if (module->rope_n % 2 || module->rope_n > 65536 || (module->rope_n && !(isfinite(theta) && theta > 0)))
        return hd_error(HD_BAD_DATA, "%s: keys '%s' and '%s' have to be an even number and a base above 0", module->path,
                        RT_KEY_ROPE_N, RT_KEY_ROPE_THETA);
    return NULL;
}

HdStr rt_module_bytes(const HeddleModule *module, const char *name)
{
    const GgufTensor *tensor = gguf_find_tensor(module->gguf, name);
    return tensor && tensor->type->id == GGML_I8 ? (HdStr){(const char *)tensor->data, (size_t)tensor->bytes} : (HdStr){"", 0};
}

static void fill_info(HeddleModule *module)
{
    HdStr object = rt_module_bytes(module, RT_TENSOR_OBJECT), graph = rt_module_bytes(module, RT_TENSOR_GRAPH);
    HeddleModuleInfo *info = &module->info;
    module->object = (const uint8_t *)object.data, module->object_len = object.len;
    info->path = module->path;
    info->graph = graph.data, info->graph_len = graph.len;
    info->kernels = module->kernel_count, info->weights = module->weight_count, info->states = module->state_count;
    info->object_bytes = object.len;
    if (!info->kv_type) info->kv_type = "";
    if (!module->largest) return;
    info->tokens_per_step = (uint32_t)module->largest->bound.value[RT_T];
    info->slots_per_step = (uint32_t)module->largest->bound.value[RT_S];
    info->rows_per_step = (uint32_t)module->largest->bound.value[RT_R];
}

static HdStatus *read_module(HeddleModule *module)
{
    HD_TRY(rt_module_check_seal(module->path, module->bytes.data, module->bytes.len));
    HD_TRY(gguf_open_memory(module->path, module->bytes.data, module->bytes.len, NULL, &module->gguf));
    HD_TRY(check_kind(module));
    HD_TRY(check_digest_key(module));
    HD_TRY(read_fingerprint(module));
    if (gguf_find_key(module->gguf, RT_KEY_VARIANTS)) return NULL;
    HD_TRY(read_header(module));
    HD_TRY(rt_module_read_tables(module));
    fill_info(module);
    return NULL;
}

HdStatus *rt_module_read(const char *name, HdBuf bytes, HeddleModule **out_module)
{
    HeddleModule *module = hd_xcalloc(1, sizeof *module);
    module->path = hd_xstrdup(name);
    module->bytes = bytes;
    HdStatus *status = read_module(module);
    if (status) heddle_module_close(module);
    else *out_module = module;
    return status;
}

void heddle_module_close(HeddleModule *module)
{
    if (!module) return;
    gguf_close(module->gguf);
    hd_buf_free(&module->bytes);
    hd_arena_free(&module->arena);
    free(module->path);
    free(module);
}

void heddle_module_info(const HeddleModule *module, HeddleModuleInfo *out_info) { *out_info = module->info; }

// ---- does it belong to these weights? ------------------------------------------------------------------------

// All refusals end with the command that mends them.
static HdStatus *other_model(const HeddleModule *module, const GgufFile *file, const char *difference)
{
    HdBuf targets = {0};
    rt_module_targets(module, &targets);
    HdStatus *status = hd_error(HD_MISMATCH, "%s was not made for %s: %s; make it again: heddle compile %s --target %s -o %s",
                                module->path, gguf_path(file), difference, gguf_path(file), targets.data, module->path);
    hd_buf_free(&targets);
    return status;
}

static void shape_text(const RtTensor *tensor, const uint64_t ne[4], HdBuf *out_text)
{
    uint32_t dims = 4;
    while (dims > 1 && tensor->ne[dims - 1] == 1 && ne[dims - 1] == 1) dims--;
    for (uint32_t i = 0; i < dims; i++) hd_buf_printf(out_text, "%s%" PRIu64, i ? ", " : "[", ne[i]);
    hd_buf_str(out_text, "]");
}

// Appends the first difference of a tensor to `out_text`; nothing when there is none.
static void compare_tensor(const RtTensor *want, const GgufFile *file, HdBuf *out_text)
{
    const GgufTensor *have = gguf_find_tensor(file, want->name);
    if (!have) {
        hd_buf_printf(out_text, "%s: not in the file", want->name);
    } else if (have->type->id != want->type->id) {
        hd_buf_printf(out_text, "%s: module %s, file %s", want->name, want->type->name, have->type->name);
    } else if (memcmp(have->ne, want->ne, sizeof want->ne)) {
        hd_buf_printf(out_text, "%s: module ", want->name);
        shape_text(want, want->ne, out_text);
        hd_buf_str(out_text, ", file ");
        shape_text(want, have->ne, out_text);
    }
}

static void compare_key(const RtModelKey *want, const GgufFile *file, HdBuf *out_text)
{
    const GgufValue *have = gguf_find_key(file, want->key);
    if (!have) {
        hd_buf_printf(out_text, "%s: not in the file", want->key);
        return;
    }
    HdBuf value = {0};
    rt_model_value_text(have, &value);
    if (!hd_str_is((HdStr){value.data, value.len}, want->value))
        hd_buf_printf(out_text, "%s: module %s, file %s", want->key, want->value, value.data);
    hd_buf_free(&value);
}

// A hyperparameter that only the file has: the module was made without it.
static void compare_extra_keys(const HeddleModule *module, const GgufFile *file, HdBuf *out_text)
{
    if (!module->model_key_count) return;
    HdMap known = {0};
    for (uint32_t i = 0; i < module->model_key_count; i++) hd_map_put(&known, hd_str(module->model_keys[i].key), i);
    for (size_t i = 0; i < gguf_key_count(file) && !out_text->len; i++) {
        HdStr key = gguf_key_at(file, i)->key;
        uint32_t found;
        if (rt_is_model_key(key, module->info.architecture) && !hd_map_get(&known, key, &found))
            hd_buf_printf(out_text, HD_STR_FMT ": the module was made without it", HD_STR_ARG(key));
    }
    hd_map_free(&known);
}

static void compare_architecture(const HeddleModule *module, const GgufFile *file, HdBuf *out_text)
{
    HdStr have = {"", 0};
    hd_status_free(gguf_get_string(file, "general.architecture", &have));
    if (!hd_str_is(have, module->info.architecture))
        hd_buf_printf(out_text, "general.architecture: module %s, file " HD_STR_FMT, module->info.architecture, HD_STR_ARG(have));
}

HdStatus *rt_module_check_file(const HeddleModule *module, const GgufFile *file)
{
    HdBuf difference = {0};
    compare_architecture(module, file, &difference);
    for (uint32_t i = 0; i < module->tensor_count && !difference.len; i++) compare_tensor(&module->tensors[i], file, &difference);
    for (uint32_t i = 0; i < module->model_key_count && !difference.len; i++)
        compare_key(&module->model_keys[i], file, &difference);
    if (!difference.len) compare_extra_keys(module, file, &difference);
    HdStatus *status = difference.len ? other_model(module, file, difference.data) : NULL;
    hd_buf_free(&difference);
    return status;
}

HeddleStatus *heddle_module_check_weights(const HeddleModule *module, const HeddleWeights *weights)
{
    return rt_module_check_file(module, weights->file);
}
