// SPDX-License-Identifier: Apache-2.0
// The table of architectures, and what holds for a file of any of them.
#include "models/models.h"

#include "frontend/dsl.h"

static const struct { const char *architecture; void (*describe)(Model *m); } models[] = {
#define MODEL(name, function) {name, function},
#include "models/models.def"
#undef MODEL
};

const char *const *model_architectures(void) {
    static const char *const names[] = {
#define MODEL(name, function) name,
#include "models/models.def"
#undef MODEL
        NULL};
    return names;
}

static void refuse_architecture(Model *m) {
    HdBuf known = {0};
    for (size_t i = 0; i < HD_COUNT(models); i++) hd_buf_printf(&known, "%s%s", i ? ", " : "", models[i].architecture);
    dsl_fail(m, HD_UNSUPPORTED, "architecture %s is not supported (supported: %s)", dsl_architecture(m), known.data);
    hd_buf_free(&known);
}

// A file may be something else than a model (an adapter, a vision projector), or quantised by a format that has since changed.
static void check_general_keys(Model *m, const GgufFile *file) {
    const char *type = "general.type", *version = "general.quantization_version";
    HdStr kind = HD_STR("model");
    HdStatus *wrong = gguf_find_key(file, type) ? gguf_get_string(file, type, &kind) : NULL;
    if (wrong || !hd_str_is(kind, "model")) dsl_fail(m, HD_UNSUPPORTED, "%s is not \"model\": this file is no model", type);
    hd_status_free(wrong);
    uint32_t number = 2;
    wrong = gguf_find_key(file, version) ? gguf_get_u32(file, version, &number) : NULL;
    if (wrong || number != 2) dsl_fail(m, HD_UNSUPPORTED, "%s must be 2", version);
    hd_status_free(wrong);
}

HdStatus *model_build(const GgufFile *file, const ModelOptions *options, IrModule **out_module) {
    static const ModelOptions defaults = {MODEL_KV_AUTO, false};
    if (!options) options = &defaults;
    Model *m = dsl_new(file, &(DslOptions){.choose_kv = options->kv != MODEL_KV_AUTO,
                                           .kv_dtype = options->kv == MODEL_KV_F32 ? IR_F32 : IR_F16,
                                           .probes = options->probes});
    check_general_keys(m, file);
    size_t i = 0;
    while (i < HD_COUNT(models) && !hd_str_is(hd_str(dsl_architecture(m)), models[i].architecture)) i++;
    if (i == HD_COUNT(models)) {
        refuse_architecture(m);
    } else {
        models[i].describe(m);
    }
    return dsl_finish(m, out_module);
}
