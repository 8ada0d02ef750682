// SPDX-License-Identifier: Apache-2.0
// The model as a whole: its module and graph, the sticky error, blocks, results and the fingerprint.
#include "frontend/dsl_internal.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static void index_tensors(Model *m) {
    size_t count = gguf_tensor_count(m->file);
    m->used = hd_xcalloc(count + 1, sizeof *m->used);
    for (size_t i = 0; i < count; i++) hd_map_put(&m->tensors, gguf_tensor_at(m->file, i)->name, (uint32_t)i);
}

Model *dsl_new(const GgufFile *file, const DslOptions *options) {
    Model *m = hd_xcalloc(1, sizeof *m);
    m->file = file;
    m->options = *options;
    m->arch = "";
    index_tensors(m);
    HdStr arch;
    HdStatus *status = gguf_get_string(file, "general.architecture", &arch);
    if (status) {
        m->error = status;
    } else {
        m->arch = hd_arena_strndup(&m->arena, arch.data, arch.len);
    }
    m->module = ir_module_new(m->arch);
    m->graph = ir_graph_new(m->module, "model");
    m->graph->layer = -1;
    hd_buf_printf(&m->identity, "architecture %s\n", m->arch);
    ir_module_set_key(m->module, "arch", m->arch);
    return m;
}

const char *dsl_architecture(const Model *m) { return m->arch; }
bool dsl_failed(const Model *m) { return m->error != NULL; }

void dsl_fail(Model *m, HdCode code, const char *fmt, ...) {
    if (m->error) return;
    va_list args;
    va_start(args, fmt);
    HdStatus *status = hd_verror(code, fmt, args);
    va_end(args);
    m->error = hd_annotate(status, "%s", gguf_path(m->file));
}

// ---- blocks and names ----------------------------------------------------------------------------------------

void dsl_block(Model *m, int64_t index) {
    snprintf(m->prefix, sizeof m->prefix, "blk.%lld.", (long long)index);
    m->graph->layer = (int32_t)index;
}

void dsl_end_blocks(Model *m) {
    m->prefix[0] = 0;
    m->graph->layer = -1;
}

const char *dsl_full_name(Model *m, const char *name) { return hd_arena_printf(&m->arena, "%s%s", m->prefix, name); }

void dsl_ignore(Model *m, const char *pattern_fmt, ...) {
    char pattern[64];
    va_list args;
    va_start(args, pattern_fmt);
    vsnprintf(pattern, sizeof pattern, pattern_fmt, args);
    va_end(args);
    hd_vec_push(&m->ignored, hd_arena_strndup(&m->arena, pattern, strlen(pattern)));
}

bool dsl_ignored(const Model *m, HdStr name) {
    char text[128];
    snprintf(text, sizeof text, "%.*s", (int)HD_MIN(name.len, sizeof text - 1), name.data);
    for (size_t i = 0; i < m->ignored.len; i++)
        if (fnmatch(m->ignored.data[i], text, 0) == 0) return true;
    return false;
}

// ---- results and keys ----------------------------------------------------------------------------------------

void dsl_result(Model *m, const char *name, Tensor x) {
    if (m->error) return;
    IrResult result = {ir_intern(m->module, hd_str(name)), x.value};
    hd_vec_push(&m->graph->results, result);
}

void dsl_probe(Model *m, const char *name, int64_t index, Tensor x) {
    if (!m->options.probes) return;
    dsl_result(m, hd_arena_printf(&m->arena, "%s.%lld", name, (long long)index), x);
}

void dsl_key_int(Model *m, const char *key, int64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    ir_module_set_key(m->module, key, text);
}

void dsl_key_f32(Model *m, const char *key, float value) {
    HdBuf text = {0};
    hd_buf_f32(&text, value);
    ir_module_set_key(m->module, key, text.data);
    hd_buf_free(&text);
}

// ---- the end -------------------------------------------------------------------------------------------------

static void add_fingerprint(Model *m) {
    char hex[33];
    hd_digest_hex(hd_digest(m->identity.data, m->identity.len), hex);
    ir_module_set_key(m->module, "fingerprint", hex);
}

static void free_model(Model *m) {
    hd_map_free(&m->tensors);
    free(m->used);
    hd_vec_free(&m->ignored);
    hd_buf_free(&m->identity);
    hd_arena_free(&m->arena);
    free(m);
}

HdStatus *dsl_finish(Model *m, IrModule **out_module) {
    dsl_check_all_used(m);
    add_fingerprint(m);
    HdStatus *status = m->error ? m->error : ir_verify(m->graph);
    if (status) {
        ir_module_free(m->module);
    } else {
        *out_module = m->module;
    }
    free_model(m);
    return status;
}
