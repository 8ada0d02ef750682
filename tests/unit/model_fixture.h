// SPDX-License-Identifier: Apache-2.0
// What the tests of models share: goldens, runs by the interpreter, and drafts, which are GGUF files being changed in memory.
#ifndef HEDDLE_TESTS_MODEL_FIXTURE_H
#define HEDDLE_TESTS_MODEL_FIXTURE_H

#include "models/models.h"
#include "tests/support/nmse.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// Fails the test with the message of `status`, if it is an error.
static inline void must(HdStatus *status) {
    if (status) fail_msg("%s", hd_status_message(status));
}

static inline GgufFile *open_gguf(const char *path) {
    GgufFile *file;
    must(gguf_open(path, NULL, &file));
    return file;
}

// ---- goldens -------------------------------------------------------------------------------------------------

typedef struct Golden {
    GgufFile *file;
    const int32_t *tokens;
    const float *logits;                 // [count, vocab]
    uint32_t count, vocab;
} Golden;

static inline Golden golden_open(const char *name) {
    char path[512];
    snprintf(path, sizeof path, TEST_DATA "/golden/%s.golden.gguf", name);
    Golden golden = {.file = open_gguf(path)};
    const GgufTensor *tokens = gguf_find_tensor(golden.file, "tokens"), *logits = gguf_find_tensor(golden.file, "logits");
    assert_non_null(tokens);
    assert_non_null(logits);
    golden.tokens = (const int32_t *)tokens->data;
    golden.logits = (const float *)logits->data;
    golden.count = (uint32_t)tokens->ne[0];
    golden.vocab = (uint32_t)logits->ne[0];
    return golden;
}

// ---- runs ----------------------------------------------------------------------------------------------------

static inline IrModule *build(const GgufFile *file, const ModelOptions *options) {
    IrModule *module;
    must(model_build(file, options, &module));
    return module;
}

static inline const IrGraph *model_graph(const IrModule *module) {
    const IrGraph *graph = ir_graph_find(module, "model");
    assert_non_null(graph);
    return graph;
}

static inline IrInterp *interp_new(const GgufFile *file, uint32_t context) {
    return ir_interp_new(&(IrWeights){.user = (void *)(uintptr_t)file, .rows = ir_weights_from_gguf}, 1, 1, context);
}

// One call of `count` tokens at `position`, all rows wanted; its logits go to out_logits.
static inline void run_call(IrInterp *interp, const IrGraph *graph, const int32_t *tokens, uint32_t position, uint32_t count,
                            float *out_logits) {
    int32_t segment[8] = {0, (int32_t)position, 0, (int32_t)count};
    int32_t *rows = hd_xmalloc(count * sizeof *rows);
    for (uint32_t i = 0; i < count; i++) rows[i] = (int32_t)i;
    must(ir_interp_run(interp, graph, &(IrCall){tokens, count, segment, 1, rows, count}));
    uint64_t size = 0;
    const float *logits = ir_interp_result(interp, "logits", &size);
    assert_non_null(logits);
    memcpy(out_logits, logits, size * sizeof *logits);
    free(rows);
}

// Logits [count, vocab] of the first `count` tokens, in calls of the sizes in `split` (ended by 0, the last repeating). The
// caller frees them.
static inline float *run_split(const GgufFile *file, const IrGraph *graph, const Golden *golden, uint32_t count,
                               const uint32_t *split) {
    IrInterp *interp = interp_new(file, count);
    float *logits = hd_xmalloc(sizeof *logits * count * golden->vocab);
    for (uint32_t at = 0, size; at < count; at += size) {
        size = HD_MIN(*split, count - at);
        run_call(interp, graph, golden->tokens + at, at, size, logits + (size_t)at * golden->vocab);
        if (split[1]) split++;
    }
    ir_interp_free(interp);
    return logits;
}

static inline float *run_whole(const GgufFile *file, const IrGraph *graph, const Golden *golden, uint32_t count) {
    return run_split(file, graph, golden, count, (const uint32_t[]){count, 0});
}

static inline double graph_nmse(const GgufFile *file, const IrGraph *graph, const Golden *golden, uint32_t count) {
    float *logits = run_whole(file, graph, golden, count);
    double error = nmse(logits, golden->logits, (uint64_t)count * golden->vocab);
    free(logits);
    return error;
}

// ---- drafts --------------------------------------------------------------------------------------------------
// A copy of a file's keys and tensors that can be changed and turned into a file in memory again.

typedef struct DraftTensor { const char *name; GgmlType type; uint32_t n_dims; uint64_t ne[4]; const void *data; } DraftTensor;
typedef struct DraftKey {
    const char *key;
    enum { DRAFT_INT, DRAFT_INTS, DRAFT_TEXT, DRAFT_F32 } kind;
    const int64_t *values;               // INT, INTS
    uint64_t count;
    const char *text;
    float real;
} DraftKey;
typedef struct Draft {
    GgufFile *source;
    HdArena arena;
    HD_VEC(const char *) without;        // keys that are not copied
    const char *architecture;
    HD_VEC(DraftTensor) tensors;
    HD_VEC(DraftKey) keys;               // that were set
    HdBuf bytes;                         // of the file made last
} Draft;

static inline Draft *draft_open(const char *path) {
    Draft *draft = hd_xcalloc(1, sizeof *draft);
    draft->source = open_gguf(path);
    HdStr architecture;
    must(gguf_get_string(draft->source, "general.architecture", &architecture));
    draft->architecture = hd_arena_strndup(&draft->arena, architecture.data, architecture.len);
    for (size_t i = 0; i < gguf_tensor_count(draft->source); i++) {
        const GgufTensor *tensor = gguf_tensor_at(draft->source, i);
        DraftTensor copy = {.name = hd_arena_strndup(&draft->arena, tensor->name.data, tensor->name.len),
                            .type = (GgmlType)tensor->type->id, .n_dims = tensor->n_dims, .data = tensor->data};
        memcpy(copy.ne, tensor->ne, sizeof copy.ne);
        hd_vec_push(&draft->tensors, copy);
    }
    return draft;
}

static inline void draft_close(Draft *draft) {
    gguf_close(draft->source);
    hd_arena_free(&draft->arena);
    hd_vec_free(&draft->without);
    hd_vec_free(&draft->tensors);
    hd_vec_free(&draft->keys);
    hd_buf_free(&draft->bytes);
    free(draft);
}

static inline const char *draft_key(Draft *draft, const char *key) {
    return hd_arena_printf(&draft->arena, "%s.%s", draft->architecture, key);
}

static inline void draft_drop_key(Draft *draft, const char *full_key) { hd_vec_push(&draft->without, full_key); }

static inline void draft_set(Draft *draft, DraftKey key) {
    draft_drop_key(draft, key.key);
    for (size_t i = 0; i < draft->keys.len; i++)
        if (strcmp(draft->keys.data[i].key, key.key) == 0) draft->keys.data[i] = draft->keys.data[--draft->keys.len];
    hd_vec_push(&draft->keys, key);
}

// Keys without the architecture's prefix.
static inline void draft_ints(Draft *draft, const char *key, const int64_t *values, uint64_t count) {
    int64_t *copy = HD_NEW_ARRAY(&draft->arena, int64_t, count);
    memcpy(copy, values, count * sizeof *copy);
    draft_set(draft, (DraftKey){.key = draft_key(draft, key), .kind = DRAFT_INTS, .values = copy, .count = count});
}
static inline void draft_int(Draft *draft, const char *key, int64_t value) {
    draft_ints(draft, key, &value, 1);
    draft->keys.data[draft->keys.len - 1].kind = DRAFT_INT;
}
static inline void draft_text(Draft *draft, const char *key, const char *text) {
    draft_set(draft, (DraftKey){.key = draft_key(draft, key), .kind = DRAFT_TEXT, .text = text});
}
static inline void draft_f32(Draft *draft, const char *key, float value) {
    draft_set(draft, (DraftKey){.key = draft_key(draft, key), .kind = DRAFT_F32, .real = value});
}

static inline DraftTensor *draft_find(Draft *draft, const char *name) {
    for (size_t i = 0; i < draft->tensors.len; i++)
        if (strcmp(draft->tensors.data[i].name, name) == 0) return &draft->tensors.data[i];
    return NULL;
}

static inline DraftTensor *draft_tensor(Draft *draft, const char *name) {
    DraftTensor *tensor = draft_find(draft, name);
    if (!tensor) fail_msg("the model has no tensor %s", name);
    return tensor;
}

static inline void draft_drop(Draft *draft, const char *name) {
    *draft_tensor(draft, name) = draft->tensors.data[draft->tensors.len - 1];
    draft->tensors.len--;
}

static inline void draft_add(Draft *draft, const char *name, uint32_t n_dims, const uint64_t *ne, const float *values) {
    DraftTensor tensor = {.type = GGML_F32, .n_dims = n_dims, .data = values};
    tensor.name = hd_arena_strndup(&draft->arena, name, strlen(name));
    for (uint32_t i = 0; i < 4; i++) tensor.ne[i] = i < n_dims ? ne[i] : 1;
    hd_vec_push(&draft->tensors, tensor);
}

static inline uint64_t draft_elements(const DraftTensor *tensor) {
    return tensor->ne[0] * tensor->ne[1] * tensor->ne[2] * tensor->ne[3];
}

static inline bool draft_is_without(const Draft *draft, HdStr key) {
    bool without = hd_str_is(key, "general.architecture");
    for (size_t i = 0; i < draft->without.len; i++) without = without || hd_str_is(key, draft->without.data[i]);
    return without;
}

static inline void draft_write_key(GgufWriter *writer, const DraftKey *key) {
    switch (key->kind) {
    case DRAFT_INT: gguf_writer_u64(writer, key->key, (uint64_t)key->values[0]); break;
    case DRAFT_INTS: gguf_writer_ints(writer, key->key, key->values, key->count); break;
    case DRAFT_TEXT: gguf_writer_string(writer, key->key, hd_str(key->text)); break;
    case DRAFT_F32: gguf_writer_f32(writer, key->key, key->real); break;
    }
}

// The draft as a file, which lives until the next call or draft_close; the caller closes it before.
static inline GgufFile *draft_file(Draft *draft) {
    GgufWriter *writer = gguf_writer_new(draft->architecture);
    for (size_t i = 0; i < gguf_key_count(draft->source); i++) {
        const GgufValue *value = gguf_key_at(draft->source, i);
        if (!draft_is_without(draft, value->key)) gguf_writer_copy_key(writer, value);
    }
    for (size_t i = 0; i < draft->keys.len; i++) draft_write_key(writer, &draft->keys.data[i]);
    for (size_t i = 0; i < draft->tensors.len; i++) {
        const DraftTensor *tensor = &draft->tensors.data[i];
        gguf_writer_tensor(writer, tensor->name, tensor->type, tensor->n_dims, tensor->ne, tensor->data);
    }
    hd_buf_free(&draft->bytes);
    gguf_writer_finish(writer, &draft->bytes);
    gguf_writer_free(writer);
    GgufFile *file;
    must(gguf_open_memory("draft.gguf", draft->bytes.data, draft->bytes.len, NULL, &file));
    return file;
}

// Logits of the draft's model for the first `count` tokens; the caller frees them.
static inline float *draft_logits(Draft *draft, const Golden *golden, uint32_t count) {
    GgufFile *file = draft_file(draft);
    IrModule *module = build(file, NULL);
    float *logits = run_whole(file, model_graph(module), golden, count);
    ir_module_free(module);
    gguf_close(file);
    return logits;
}

#endif
